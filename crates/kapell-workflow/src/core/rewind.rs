//! Retrying a run that has ended: from which of its former states it goes on.
//!
//! A journal is never cut. A `Rewound` record says that the state after it is the one that the first `to` entries
//! make, with everything that was to come moved by the time that has passed since. So the entries that count are
//! found backwards from the end ([`effective`]).
//!
//! Without a task, a run goes on where the fault came about: the task that faulted begins again as the same deed, and
//! what ran beside it goes on. From a named task on, everything that came later is done again, as new deeds. What was
//! compensated has to be done again, so such a run goes on at the first compensated task or before it.

use std::collections::HashMap;
use std::sync::Arc;

use super::apply::Misfit;
use super::record::{Entry, FrameId, Record, Rewind, Time, TimerId, TimerKind};
use super::state::{Action, Outcome, Owner, Phase, ROOT, Run};
use crate::expression::Datum;
use crate::program::{Program, TaskId};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retry {
    pub(crate) number: u32,
    /// JSON pointer or name of a task.
    pub(crate) from: Option<String>,
    pub(crate) input: Option<Datum>,
}

/// Why a run does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("only a run that faulted or was cancelled can be retried")]
    NotFailed,
    #[error("{0}")]
    NoTask(String),
    #[error("task {0} has not begun in this run")]
    NotBegun(String),
    #[error("{task} came after {undone}, which was compensated: retry from {undone} or before it")]
    Undone { task: String, undone: String },
    #[error("the input can be edited only of a task: name the one to begin from")]
    NoInput,
    #[error(transparent)]
    Journal(#[from] Misfit),
}

/// The positions of the entries that make the present state, in order.
pub(crate) fn effective(entries: &[Entry]) -> Vec<usize> {
    let mut segments = Vec::new();
    let mut end = entries.len();
    loop {
        let rewound = entries[..end].iter().rposition(|Entry(_, record)| matches!(record, Record::Rewound(_)));
        let Some(position) = rewound else {
            segments.push(0..end);
            break;
        };
        segments.push(position..end);
        let Record::Rewound(rewind) = &entries[position].1 else { break };
        // A record that points forward would be a defect; it is found as a misfit when the state does not fit.
        end = usize::try_from(rewind.to).unwrap_or(usize::MAX).min(position);
    }
    segments.into_iter().rev().flatten().collect()
}

/// Replays the entries that count; `look` sees the state before each of them.
pub(crate) fn replay(
    program: Arc<Program>,
    entries: &[Entry],
    mut look: impl FnMut(&Run, usize),
) -> Result<Run, Misfit> {
    let first = entries.first().ok_or(Misfit { number: 0, record: "none" })?;
    let mut run = Run::start(program, first)?;
    for position in effective(entries).into_iter().skip(1) {
        look(&run, position);
        run.records = position as u64;
        run.apply(&entries[position])?;
    }
    Ok(run)
}

/// What a walk through the journal finds.
#[derive(Default)]
struct Findings {
    /// Where faults came about that nothing inside had caught before: position, and the frame that is to begin again.
    origins: Vec<(usize, Option<FrameId>, String)>,
    /// Where the wanted task began last.
    wanted: Option<usize>,
    /// Where each task with a compensation began, by its key.
    begun: HashMap<String, (usize, TaskId)>,
    /// Keys of what was compensated, and when that began.
    undone: Vec<(usize, String)>,
}

impl Findings {
    fn note(&mut self, run: &Run, position: usize, Entry(_, record): &Entry, wanted: Option<TaskId>) {
        let action = run.agenda.front();
        if let (Record::Undoing, Some(done)) = (record, run.next_undone(action)) {
            self.undone.push((position, done.key.clone()));
        }
        if run.phase != Phase::Running {
            return;
        }
        match (record, action) {
            (Record::Failed { frame, .. }, _) => self.origin(run, position, Some(*frame)),
            (Record::Fired { timer }, _) if matches!(timer.kind, TimerKind::Timeout | TimerKind::Attempt) => {
                self.origin(run, position, Some(timer.frame).filter(|frame| *frame != ROOT));
            }
            (Record::Cancelled { .. } | Record::Aborted { .. }, _) => self.origin(run, position, None),
            (Record::Faulted { fault: Some(_) }, Some(Action::Enter { parent, slot, .. })) => {
                let task = run.frames.get(parent).and_then(|above| run.child(above, *slot));
                let pointer = task.map(|task| run.task(task).pointer.clone()).unwrap_or_default();
                self.origins.push((position, None, pointer));
            }
            (Record::Faulted { fault: Some(_) }, Some(action)) => {
                self.origin(run, position, Some(action.frame()).filter(|frame| *frame != ROOT));
            }
            _ => {}
        }
        if let Some(Action::Enter { parent, slot, .. }) = action
            && decides_entry(record)
            && let Some(task) = run.frames.get(parent).and_then(|above| run.child(above, *slot))
        {
            if wanted == Some(task) {
                self.wanted = Some(position);
            }
            if run.task(task).compensate.is_some() {
                self.begun.insert(run.next_key(*parent, *slot, task), (position, task));
            }
        }
    }

    fn origin(&mut self, run: &Run, position: usize, frame: Option<FrameId>) {
        let pointer = frame.and_then(|id| run.frames.get(&id)).map(|frame| run.pointer(frame).to_owned());
        self.origins.push((position, frame, pointer.unwrap_or_default()));
    }

    /// Of the tasks that had begun before an entry and were compensated from it on, the first.
    fn first_undone(&self, to: usize) -> Option<(usize, TaskId)> {
        let after = self.undone.iter().filter(|(at, _)| *at >= to);
        after.filter_map(|(_, key)| self.begun.get(key)).filter(|(begun, _)| *begun < to).min().copied()
    }

    /// The latest entry up to this one after which nothing was compensated that had been done before it.
    fn whole(&self, to: usize) -> usize {
        let mut whole = to;
        while let Some((begun, _)) = self.first_undone(whole) {
            whole = begun;
        }
        whole
    }
}

fn decides_entry(record: &Record) -> bool {
    matches!(record, Record::Entered { .. } | Record::Skipped | Record::Faulted { .. })
}

/// Where the run goes on.
pub(crate) fn plan(program: &Arc<Program>, entries: &[Entry], retry: &Retry) -> Result<Rewind, Refusal> {
    let wanted = retry.from.as_ref().map(|from| program.find_task(from).map_err(Refusal::NoTask)).transpose()?;
    let mut findings = Findings::default();
    let run = replay(program.clone(), entries, |run, position| {
        findings.note(run, position, &entries[position], wanted);
    })?;
    let instance = match &run.phase {
        Phase::Ended(Outcome::Faulted(fault)) => fault.instance.clone(),
        Phase::Ended(Outcome::Cancelled(_)) => None,
        _ => return Err(Refusal::NotFailed),
    };
    let rewind = |to: usize, frame, anew| Rewind {
        to: to as u64,
        number: retry.number,
        frame,
        input: retry.input.clone(),
        anew,
        all_its_time: matches!(&entries[to].1, Record::Fired { timer } if timer.frame == ROOT),
        next_frame: run.next_frame,
    };
    let name = |task: TaskId| program.task(task).name.clone();

    let origin = match &instance {
        Some(pointer) => findings.origins.iter().rev().find(|(_, _, of)| of == pointer).or(findings.origins.last()),
        None => findings.origins.last(),
    };
    let faulted = origin.filter(|(.., pointer)| wanted.is_none_or(|task| program.task(task).pointer == *pointer));
    match (faulted, wanted) {
        (Some((to, ..)), None) if findings.whole(*to) < *to => Ok(rewind(findings.whole(*to), None, true)),
        (Some((to, ..)), Some(task)) if findings.first_undone(*to).is_some() => {
            let undone = findings.first_undone(*to).map_or_else(String::new, |(_, undone)| name(undone));
            Err(Refusal::Undone { task: name(task), undone })
        }
        (Some((to, frame, pointer)), _) => {
            if retry.input.is_some() && pointer.is_empty() {
                return Err(Refusal::NoInput);
            }
            Ok(rewind(*to, *frame, retry.input.is_some()))
        }
        (None, Some(task)) => {
            let position = findings.wanted.ok_or_else(|| Refusal::NotBegun(name(task)))?;
            // It may have begun several times; once before what was undone is enough to be told apart.
            if let Some((_, undone)) = findings.first_undone(position) {
                return Err(Refusal::Undone { task: name(task), undone: name(undone) });
            }
            Ok(rewind(position, None, true))
        }
        (None, None) => Err(Refusal::NotFailed),
    }
}

impl Run {
    /// The key that the next activation of a child will have.
    fn next_key(&self, parent: FrameId, slot: usize, task: TaskId) -> String {
        let Some(above) = self.frames.get(&parent) else { return String::new() };
        let visit = above.visits.get(&slot).copied().unwrap_or(0);
        let key = format!("{}{}#{visit}", self.child_scope(above, slot), self.task(task).pointer);
        let generation = self.generation(&key);
        super::state::key_of(key, self.operated.round, generation)
    }

    /// This state, which was left behind, is the present one again.
    pub(super) fn rewound(&mut self, at: Time, rewind: &Rewind) -> Option<()> {
        if rewind.to == 0 || rewind.next_frame < self.next_frame || self.phase != Phase::Running {
            return None;
        }
        // As if the time between had not passed.
        self.postpone(at - self.latest);
        let timer = TimerId { frame: ROOT, kind: TimerKind::Timeout };
        if let Some(deadline) = self.timers.get_mut(&timer).filter(|_| rewind.all_its_time) {
            *deadline = at + (*deadline - self.frames.get(&ROOT)?.started_at);
        }
        self.next_frame = rewind.next_frame;
        self.operated.retries = rewind.number;
        self.operated.refusal = None;
        self.operated.suspended = false;
        if rewind.anew {
            self.operated.round = rewind.number;
        }
        let begun = rewind.frame.map(|id| self.frames.get(&id).cloned().map(|frame| (id, frame)));
        match begun {
            Some(Some((id, frame))) => {
                if !matches!(frame.owner, Owner::Task(_)) {
                    return None;
                }
                self.remove(id);
                if let Some(visits) = self.frames.get_mut(&frame.parent)?.visits.get_mut(&frame.slot) {
                    *visits = visits.saturating_sub(1);
                }
                let input = rewind.input.clone().unwrap_or(frame.raw_input);
                self.agenda.push_front(Action::Enter { parent: frame.parent, slot: frame.slot, input });
            }
            Some(None) => return None,
            None => match (&rewind.input, self.agenda.front_mut()) {
                (None, _) => {}
                (Some(edited), Some(Action::Enter { input, .. })) => *input = edited.clone(),
                (Some(_), _) => return None,
            },
        }
        Some(())
    }
}
