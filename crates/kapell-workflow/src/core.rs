//! The engine without the world: from a run's state and an event to records and effects.
//!
//! [`step`] admits an event, then decides until nothing can be decided without another one. Each decision is a record
//! that is applied at once; [`Run::apply`](state::Run::apply) is the only thing that changes a run, so a run that is
//! rebuilt from its records is the run that made them. Time and randomness are arguments. The caller writes the
//! records to disk, all of them in one transaction, and only then performs the effects.

use std::sync::Arc;

use rand::RngCore;

pub(crate) mod apply;
mod arguments;
pub(crate) mod correlation;
mod dag;
mod decide;
mod dropping;
pub(crate) mod exchange;
pub(crate) mod extension;
mod lifecycle;
pub(crate) mod listening;
mod operate;
mod parallel;
pub(crate) mod record;
pub(crate) mod rewind;
pub(crate) mod running;
mod saga;
mod signals;
#[cfg_attr(not(test), allow(dead_code, reason = "crashes are for our own tests"))]
pub(crate) mod simulation;
pub(crate) mod state;
#[cfg(test)]
mod tests;
mod undo;

pub(crate) use decide::admissible;
use exchange::{Reply, Unanswered};
pub(crate) use listening::read;
use record::{Entry, FrameId, Identity, Record, Time, TimerId};
use state::{Effect, Owner, Phase, Run};

use crate::cloud_event::CloudEvent;
use crate::expression::Datum;
use crate::fault::{Fault, Standard};
use crate::program::{Program, TaskKind};
use crate::secrets::shown;

/// Decisions taken in one go. More would make other runs wait, and one transaction large.
const MAX_DECISIONS: usize = 512;

/// Records after which a run is stopped. Without a limit, a loop of tasks that never wait fills the disk.
const MAX_RECORDS: u64 = 5_000_000;

/// Something that happened outside.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Go on with what is on the agenda.
    Continue,
    Replied {
        frame: FrameId,
        reply: Reply,
    },
    Unanswered {
        frame: FrameId,
        failure: Unanswered,
    },
    TimerDue {
        timer: TimerId,
    },
    /// What a `run` has started has ended.
    JobEnded {
        frame: FrameId,
        end: running::JobEnd,
    },
    /// An event that the task may be waiting for.
    Occurred {
        frame: FrameId,
        /// The task was handed whatever there was for it before this position.
        follows: u64,
        occurrence: Arc<Occurrence>,
        #[allow(dead_code, reason = "read by its being dropped")]
        receipt: Receipt,
    },
    Cancel {
        reason: String,
    },
    /// Begin no further task.
    Suspend,
    /// Begin tasks again.
    Resume,
    /// An event for this run alone; `number` counts them from 1.
    Signal {
        number: u32,
        event: Datum,
    },
    /// Take this for what the task produces; `number` counts such requests from 1.
    Substitute {
        number: u32,
        task: String,
        output: Datum,
    },
}

/// Dropped when the event has been taken in, by which the sender may know.
pub(crate) type Receipt = Option<Arc<dyn std::any::Any + Send + Sync>>;

/// An event as it stands in the log of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Occurrence {
    pub(crate) position: u64,
    pub(crate) event: CloudEvent,
    /// The run that emitted it, by its UID, and by which activation of a task.
    pub(crate) origin: Option<(String, FrameId)>,
}

/// What a step asks for.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// To be appended to the journal, in one transaction.
    pub(crate) entries: Vec<Entry>,
    /// To be performed once the records are on disk.
    pub(crate) effects: Vec<Effect>,
    /// There is more to decide: call again with [`Event::Continue`].
    pub(crate) more: bool,
}

/// Makes a run: its first record, and the state after it.
pub(crate) fn start(
    program: Arc<Program>,
    identity: Identity,
    input: Datum,
    now: Time,
) -> Result<(Run, Entry), apply::Misfit> {
    let definition = program.pinned.clone();
    let extensions_apart = program.tasks.iter().any(|task| matches!(task.kind, TaskKind::Extended(_)));
    let entry = Entry(now, Record::Started { run: identity, definition, input, extensions_apart });
    Ok((Run::start(program, &entry)?, entry))
}

/// Takes one event in. An event that the run does not wait for (a late answer, a timer of a task that is over)
/// changes nothing.
///
/// # Errors
/// Never in a correct engine: a decision that does not fit the state that it was made from.
pub(crate) fn step(run: &mut Run, event: Event, now: Time, rng: &mut dyn RngCore) -> Result<Step, apply::Misfit> {
    let mut step = Step::default();
    let offered = match &event {
        Event::Occurred { frame, follows, occurrence, .. } => Some((*frame, *follows, occurrence.position)),
        _ => None,
    };
    run.rearm(&event, now);
    if let Some(record) = admit(run, event, now) {
        let entry = Entry(now, record);
        take_down(run, &entry)?;
        step.entries.push(entry);
    }
    if let Some((frame, follows, position)) = offered {
        run.note_offered(frame, follows, position);
    }
    while let Some(action) = run.agenda.front().filter(|_| !run.operated.suspended) {
        if step.entries.len() >= MAX_DECISIONS {
            step.more = true;
            break;
        }
        let record = if run.records >= MAX_RECORDS && run.phase == Phase::Running {
            let detail = format!("the run has made {MAX_RECORDS} steps, which is the limit");
            Record::Aborted { fault: Fault::new(Standard::Runtime, "/do", detail) }
        } else {
            decide::decide(run, action, now, rng)
        };
        let entry = Entry(now, record);
        take_down(run, &entry)?;
        step.entries.push(entry);
    }
    step.effects = std::mem::take(&mut run.outbox);
    Ok(step)
}

/// Applies a record, and publishes what it means if the run does so.
fn take_down(run: &mut Run, entry: &Entry) -> Result<(), apply::Misfit> {
    let before = lifecycle::Before::of(run);
    run.apply(entry)?;
    if let Some(before) = before {
        lifecycle::report(run, &before, entry);
    }
    Ok(())
}

/// The record of an event that the run waits for.
fn admit(run: &Run, event: Event, now: Time) -> Option<Record> {
    if run.is_ended() {
        return None;
    }
    match event {
        Event::Continue => None,
        Event::Cancel { reason } => (run.phase == Phase::Running).then_some(Record::Cancelled { reason }),
        Event::JobEnded { frame, end } => running::ended(run, frame, end),
        Event::Occurred { frame, follows, occurrence, .. } => listening::heard(run, frame, follows, &occurrence),
        Event::TimerDue { timer } => {
            let due = !run.operated.suspended && run.timers.get(&timer).is_some_and(|at| *at <= now);
            due.then_some(Record::Fired { timer })
        }
        request @ (Event::Suspend | Event::Resume | Event::Substitute { .. } | Event::Signal { .. }) => {
            run.admit_request(&request)
        }
        Event::Replied { frame, reply } => {
            let request = run.calls.get(&frame)?;
            let active = run.frames.get(&frame)?;
            let Owner::Task(task) = active.owner else { return None };
            let TaskKind::Call(call) = &run.task(task).kind else { return None };
            Some(match exchange::output(call, request, &reply) {
                Ok(output) => Record::Answered { frame, output },
                Err((status, detail)) => {
                    let fault = Fault::new(Standard::Communication, run.pointer(active), detail);
                    Record::Failed { frame, fault: fault.with_status(status) }
                }
            })
        }
        Event::Unanswered { frame, failure } => {
            let request = run.calls.get(&frame)?;
            let active = run.frames.get(&frame)?;
            let detail = format!("{} {}: {}", request.method, shown(&request.uri), failure);
            let fault = Fault::new(failure.standard(), run.pointer(active), detail);
            Some(Record::Failed { frame, fault: fault.with_status(failure.status()) })
        }
    }
}

impl Run {
    /// Everything that the run waits for, as effects: what a process that takes the run over has to perform.
    pub(crate) fn pending(&self) -> Vec<Effect> {
        let calls = self.calls.iter().filter_map(|(frame, request)| {
            let key = self.key(self.frames.get(frame)?);
            Some(Effect::Call { frame: *frame, request: request.clone(), key })
        });
        let timers = self.timers.iter().map(|(timer, at)| Effect::Timer { timer: *timer, at: *at });
        let listens = self
            .frames
            .keys()
            .filter_map(|frame| Some(Effect::Listen { frame: *frame, interest: self.interest(*frame)? }));
        let jobs = self.jobs.iter().map(|(frame, (number, job))| Effect::Run {
            frame: *frame,
            number: *number,
            job: job.clone(),
        });
        calls.chain(timers).chain(listens).chain(jobs).collect()
    }

    /// What the run waits for, as a sentence; `None` when it does not wait.
    pub(crate) fn waiting_for(&self) -> Option<String> {
        if self.operated.suspended {
            return Some("to be resumed".to_owned());
        }
        let name = |frame: &FrameId| Some(self.task(self.frames.get(frame)?.owner.task()?).name.clone());
        let calls = self.calls.iter().filter_map(|(frame, request)| {
            Some(format!("task {} waits for an answer to {} {}", name(frame)?, request.method, shown(&request.uri)))
        });
        let timers = self.timers.iter().filter_map(|(timer, at)| {
            let until = jiff::Timestamp::from_millisecond(*at).ok()?;
            match timer.kind {
                record::TimerKind::Wait => Some(format!("task {} waits until {until}", name(&timer.frame)?)),
                record::TimerKind::Retry => Some(format!("task {} tries again at {until}", name(&timer.frame)?)),
                record::TimerKind::Undo => Some(format!("a compensation is tried again at {until}")),
                record::TimerKind::Attempt | record::TimerKind::Timeout => None,
            }
        });
        let listens = self.frames.keys().filter_map(|frame| {
            let interest = self.interest(*frame).filter(|interest| !interest.deaf)?;
            let types: Vec<&str> = interest.keys.iter().map(|key| key.type_.as_deref().unwrap_or("any type")).collect();
            Some(format!("task {} listens for an event of {}", name(frame)?, types.join(" or ")))
        });
        let jobs = self
            .jobs
            .iter()
            .filter_map(|(frame, (_, job))| Some(format!("task {} waits for {}", name(frame)?, job.describe())));
        let all: Vec<String> = calls.chain(timers).chain(listens).chain(jobs).take(4).collect();
        match all.as_slice() {
            [] => None,
            [some @ .., _] if all.len() == 4 => Some(format!("{} and more", some.join("; "))),
            all => Some(all.join("; ")),
        }
    }
}
