//! How records change a run. Nothing else does.
//!
//! A record that decides something belongs to the action at the head of the agenda; one that reports something from
//! outside names its frame. A record that fits neither means that the journal is not of this program and version, and
//! is refused: going on would do things twice or never.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::extension::Progress;
use super::record::{Body, Entry, FrameId, Record, Time, TimerId, TimerKind};
use super::state::{Action, Compensation, Done, Effect, Frame, FrameState, Operated, Outcome, Owner, Phase, ROOT, Run};
use crate::expression::Datum;
use crate::fault::{Fault, Standard};
use crate::program::{Flow, Program, TaskKind};

/// The journal does not fit the run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {number} ({record}) does not fit the run's state")]
pub(crate) struct Misfit {
    pub(crate) number: u64,
    pub(crate) record: &'static str,
}

impl Run {
    /// The state after record 0.
    pub(crate) fn start(program: Arc<Program>, entry: &Entry) -> Result<Self, Misfit> {
        let Entry(at, Record::Started { run, input, extensions_apart, .. }) = entry else {
            return Err(Misfit { number: 0, record: "not a start" });
        };
        let root = Frame::new(Owner::Workflow, ROOT, String::new(), input.clone(), *at);
        Ok(Self {
            program,
            identity: run.clone(),
            extensions_apart: *extensions_apart,
            started_at: *at,
            ended_at: None,
            raw_input: input.clone(),
            context: Datum::Object(Arc::default()),
            phase: Phase::Running,
            frames: BTreeMap::from([(ROOT, root)]),
            children: BTreeSet::new(),
            next_frame: 1,
            agenda: VecDeque::from([Action::Open]),
            done: Vec::new(),
            undo_faults: 0,
            rollbacks: BTreeMap::new(),
            undone: BTreeSet::new(),
            mailbox: VecDeque::new(),
            compensation: Compensation::None,
            calls: BTreeMap::new(),
            timers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            log_end: 0,
            reports: false,
            records: 1,
            latest: *at,
            operated: Operated::default(),
            kept: Default::default(),
            outbox: Vec::new(),
        })
    }

    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<(), Misfit> {
        let Entry(at, record) = entry;
        let number = self.records;
        self.records += 1;
        let applied = self.apply_record(*at, record);
        self.latest = *at;
        applied.ok_or(Misfit { number, record: name_of(record) })
    }

    fn apply_record(&mut self, at: Time, record: &Record) -> Option<()> {
        if self.is_ended() {
            return None;
        }
        match record {
            Record::Started { .. } => return None,
            Record::Answered { frame, output } => {
                self.settle(*frame)?;
                self.agenda.push_back(Action::Finish { frame: *frame, output: output.clone() });
            }
            Record::Failed { frame, fault } => {
                self.settle(*frame)?;
                self.agenda.push_back(Action::Propagate { frame: *frame, fault: fault.clone() });
            }
            Record::Heard { frame, position, met, event } => self.note_heard(*frame, *position, met, event)?,
            Record::Fired { timer } => self.fired(*timer)?,
            Record::Cancelled { reason } => self.end_with(Outcome::Cancelled(reason.clone())),
            Record::Aborted { fault } => self.end_with(Outcome::Faulted(fault.clone())),
            Record::Suspended => self.suspend(),
            Record::Resumed => self.resume(),
            Record::Substituted { task, output } => self.substitute(task, output.clone()),
            Record::Signalled { event } => self.signalled(event),
            Record::Rewound(rewind) => self.rewound(at, rewind)?,
            decided => {
                let action = self.agenda.pop_front()?;
                self.decided(at, action, decided)?;
            }
        }
        Some(())
    }

    fn decided(&mut self, at: Time, action: Action, record: &Record) -> Option<()> {
        match (record, action) {
            (Record::Opened { input, deadline }, Action::Open) => {
                let root = self.frames.get_mut(&ROOT)?;
                root.input = input.clone().unwrap_or_else(|| root.raw_input.clone());
                let input = root.input.clone();
                self.set_timer(TimerId { frame: ROOT, kind: TimerKind::Timeout }, *deadline);
                self.agenda.push_back(Action::Enter { parent: ROOT, slot: 0, input });
            }
            (Record::Skipped, Action::Enter { parent, slot, input }) => {
                self.child_left(parent, slot, Flow::Continue, input)?;
            }
            (Record::Entered { input: filtered, deadline, body }, Action::Enter { parent, slot, input }) => {
                let filtered = filtered.clone().unwrap_or_else(|| input.clone());
                let frame = self.create(at, parent, slot, input, filtered)?;
                self.set_timer(TimerId { frame, kind: TimerKind::Timeout }, *deadline);
                self.begin(at, frame, body)?;
            }
            (Record::Iterated, Action::Iterate { frame, index, input }) => {
                let state = self.frames.get_mut(&frame)?;
                state.visits.clear();
                match &mut state.state {
                    FrameState::For { index: current, .. } => *current = index,
                    _ => return None,
                }
                self.agenda.push_back(Action::Enter { parent: frame, slot: 0, input });
            }
            (Record::Emitted { event }, Action::Perform { frame }) => self.note_emitted(frame, event)?,
            (Record::Unfulfilled, Action::Judge { frame }) => self.go_on_listening(frame)?,
            (Record::Unfulfilled, Action::Receive { .. }) => {}
            (Record::Received { signal, met }, Action::Receive { frame }) => self.received(frame, *signal, met)?,
            (Record::Collected { output, context }, Action::Collect { frame, output: carried }) => {
                self.note_collected(frame, output.clone().unwrap_or(carried), context.as_ref())?;
            }
            (Record::Iterated, Action::Spawn { frame }) => self.spawned(at, frame)?,
            (Record::Left { output, context, case }, action) => {
                let frame = action.frame();
                let carried = match action {
                    Action::Finish { output, .. } => output,
                    Action::Iterate { input, .. } => input,
                    Action::Perform { .. } => self.frames.get(&frame)?.input.clone(),
                    Action::Judge { .. } => match &self.frames.get(&frame)?.state {
                        FrameState::Listen(hearing) => hearing.outputs.clone(),
                        _ => return None,
                    },
                    _ => return None,
                };
                if let Some(context) = context {
                    self.context = context.clone();
                }
                self.left(frame, output.clone().unwrap_or(carried), *case)?;
            }
            (Record::Faulted { fault }, action) => self.faulted(action, fault.clone())?,
            (Record::Caught { retry }, Action::Catch { frame, fault }) => self.caught(at, frame, fault, *retry)?,
            (Record::Concluded { output }, Action::Conclude { output: carried }) => {
                self.concluded(at, output.clone().unwrap_or(carried));
            }
            (Record::RollingBack, action) => self.roll_back(action)?,
            (Record::RolledBack, Action::Rollback { scope }) => self.rolled_back(scope)?,
            (Record::Undoing, Action::Rollback { scope }) => self.undo(at, Some(scope))?,
            (Record::Undoing, Action::Undo) => self.undo(at, None)?,
            (Record::UndoFailed { retry }, Action::Propagate { frame, .. }) => self.undo_failed(frame, *retry)?,
            (Record::Ended, Action::Undo) => match self.phase.clone() {
                Phase::Ending(outcome) => self.end(at, outcome),
                _ => return None,
            },
            _ => return None,
        }
        Some(())
    }

    /// Adds the frame of the task at `slot`.
    fn create(&mut self, at: Time, parent: FrameId, slot: usize, raw_input: Datum, input: Datum) -> Option<FrameId> {
        let above = self.frames.get(&parent)?;
        let task = self.child(above, slot)?;
        let scope = self.child_scope(above, slot);
        let attempt = match above.state {
            FrameState::Try { attempt, .. } => attempt,
            _ => above.attempt,
        };
        let visits = self.frames.get_mut(&parent)?.visits.entry(slot).or_insert(0);
        let visit = *visits;
        *visits += 1;
        let id = self.next_frame;
        self.next_frame += 1;
        let generation = self.generation(&format!("{scope}{}#{visit}", self.task(task).pointer));
        let round = self.operated.round;
        let frame = Frame::new(Owner::Task(task), parent, scope, input, at);
        let frame = Frame { slot, visit, attempt, round, generation, raw_input, ..frame };
        self.frames.insert(id, frame);
        self.children.insert((parent, id));
        Some(id)
    }

    /// What follows from a task having begun.
    fn begin(&mut self, at: Time, id: FrameId, body: &Body) -> Option<()> {
        let program = self.program.clone();
        let frame = self.frames.get_mut(&id)?;
        let Owner::Task(task) = frame.owner else { return None };
        let input = frame.input.clone();
        match (&program.task(task).kind, body) {
            (_, Body::Substituted(output)) => {
                self.operated.substitutes.remove(&task);
                self.agenda.push_back(Action::Finish { frame: id, output: output.clone() });
            }
            (TaskKind::Do(_), _) => self.agenda.push_back(Action::Enter { parent: id, slot: 0, input }),
            (TaskKind::Set(_) | TaskKind::Switch(_) | TaskKind::Raise(_) | TaskKind::Emit(_), _) => {
                self.agenda.push_back(Action::Perform { frame: id });
            }
            (TaskKind::Call(_), Body::Call(request)) => {
                let key = self.key(self.frames.get(&id)?);
                self.calls.insert(id, (**request).clone());
                self.outbox.push(Effect::Call { frame: id, request: (**request).clone(), key });
            }
            (TaskKind::Wait(_), Body::Wait(until)) => {
                self.set_timer(TimerId { frame: id, kind: TimerKind::Wait }, Some(*until));
            }
            (TaskKind::Run(_), Body::Run(job)) => {
                let (number, job) = (self.records, (**job).clone());
                self.jobs.insert(id, (number, job.clone()));
                self.outbox.push(Effect::Run { frame: id, number, job });
            }
            (TaskKind::Listen(_), Body::Listen { from, expected }) => self.begin_listening(id, *from, expected)?,
            (TaskKind::For(each), Body::For(items)) if each.parallel.is_some() => self.begin_parallel(id, items)?,
            (TaskKind::Dag(dag), _) => {
                frame.state = FrameState::Dag { outputs: BTreeMap::new() };
                let ready = dag.needs.iter().enumerate().filter(|(_, needs)| needs.is_empty());
                self.agenda.extend(ready.map(|(slot, _)| Action::Enter { parent: id, slot, input: input.clone() }));
            }
            (TaskKind::For(_), Body::For(items)) => {
                frame.state = FrameState::For { items: items.clone(), index: 0 };
                self.agenda.push_back(Action::Iterate { frame: id, index: 0, input });
            }
            (TaskKind::Function(_), Body::With(input)) => {
                self.agenda.push_back(Action::Enter { parent: id, slot: 0, input: input.clone() });
            }
            (TaskKind::Extended(_), Body::Extended(applied)) => {
                frame.state = FrameState::Extended(Progress::new(applied.clone()));
                let first = self.first_of_extended(id)?;
                self.agenda.push_back(first);
            }
            (TaskKind::Fork(fork), _) => {
                frame.state = FrameState::Fork { outputs: BTreeMap::new() };
                let branches = 0..fork.branches.len();
                self.agenda.extend(branches.map(|slot| Action::Enter { parent: id, slot, input: input.clone() }));
            }
            (TaskKind::Try(_), _) => {
                frame.state = FrameState::Try { attempt: 1, handling: None };
                self.attempt(at, id)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// Begins an attempt of a `try`.
    pub(super) fn attempt(&mut self, at: Time, id: FrameId) -> Option<()> {
        let program = self.program.clone();
        let frame = self.frames.get_mut(&id)?;
        frame.visits.clear();
        let Owner::Task(task) = frame.owner else { return None };
        let TaskKind::Try(catch) = &program.task(task).kind else { return None };
        let input = frame.input.clone();
        let limit = catch.retry.as_ref().and_then(|retry| retry.attempt_duration);
        self.set_timer(TimerId { frame: id, kind: TimerKind::Attempt }, limit.map(|limit| at + limit.0));
        self.agenda.push_back(Action::Enter { parent: id, slot: 0, input });
        Some(())
    }

    fn left(&mut self, id: FrameId, output: Datum, case: Option<usize>) -> Option<()> {
        let frame = self.frames.get(&id)?.clone();
        let key = self.key(&frame);
        self.remove(id);
        let task = match frame.owner {
            Owner::Task(task) => task,
            Owner::Compensation(_) => return self.undone(&frame.state),
            Owner::Iteration(_) => return self.iteration_left(frame.parent, frame.slot, output),
            Owner::Workflow => return None,
        };
        let program = self.program.clone();
        let task_definition = program.task(task);
        if task_definition.compensate.is_some() && self.phase == Phase::Running {
            // Another attempt of the same call is the same deed: it is undone once.
            self.done.retain(|done| done.key != key);
            let scopes = self.sagas_around(frame.parent);
            self.done.push(Done { task, key, input: frame.input, output: output.clone(), scopes });
        }
        let flow = match (&task_definition.kind, case) {
            (TaskKind::Switch(cases), Some(case)) => cases.get(case)?.then,
            (TaskKind::Try(catch), _) if matches!(frame.state, FrameState::Try { handling: Some(_), .. }) => {
                catch.then.unwrap_or(task_definition.then)
            }
            (TaskKind::Extended(_), _) => match frame.state {
                FrameState::Extended(Progress { flow, .. }) if flow != Flow::Continue => flow,
                _ => task_definition.then,
            },
            _ => task_definition.then,
        };
        self.child_left(frame.parent, frame.slot, flow, output)
    }

    /// A child at `slot` is done (or was skipped); where does its parent go?
    fn child_left(&mut self, parent: FrameId, slot: usize, flow: Flow, output: Datum) -> Option<()> {
        let above = self.frames.get(&parent)?;
        if flow == Flow::End && self.phase == Phase::Running {
            self.clear();
            self.agenda.push_back(Action::Conclude { output });
            return Some(());
        }
        match above.state {
            FrameState::Fork { .. } => return self.branch_left(parent, slot, output),
            FrameState::Dag { .. } => return self.dag_left(parent, slot, output),
            _ => {}
        }
        if let FrameState::Extended(_) = above.state {
            return self.extended_child_left(parent, slot, flow, output);
        }
        let block = self.block(above)?;
        let next = match flow {
            Flow::Continue => Some(slot + 1).filter(|next| *next < block.tasks.len()),
            Flow::Goto(position) => Some(position),
            Flow::Exit | Flow::End => None,
        };
        self.agenda.push_back(match (next, &above.state, above.owner) {
            (Some(slot), ..) => Action::Enter { parent, slot, input: output },
            (None, FrameState::For { index, .. }, _) => {
                Action::Iterate { frame: parent, index: index + 1, input: output }
            }
            (None, FrameState::Listen(_), _) => Action::Collect { frame: parent, output },
            (None, _, Owner::Workflow) => Action::Conclude { output },
            (None, ..) => Action::Finish { frame: parent, output },
        });
        Some(())
    }

    fn branch_left(&mut self, fork: FrameId, slot: usize, output: Datum) -> Option<()> {
        let program = self.program.clone();
        let frame = self.frames.get_mut(&fork)?;
        let (Owner::Task(task), FrameState::Fork { outputs }) = (frame.owner, &mut frame.state) else { return None };
        let TaskKind::Fork(definition) = &program.task(task).kind else { return None };
        if definition.compete {
            self.remove_children(fork);
            self.agenda.push_back(Action::Finish { frame: fork, output });
            return Some(());
        }
        outputs.insert(slot, output);
        if outputs.len() == definition.branches.len() {
            // As many short-lived copies as there are branches; the bounds on data were checked for each of them.
            let output = Datum::array(outputs.values().cloned());
            self.agenda.push_back(match output {
                Ok(output) => Action::Finish { frame: fork, output },
                Err(error) => {
                    let fault = Fault::new(Standard::Runtime, &program.task(task).pointer, error.to_string());
                    Action::Propagate { frame: fork, fault }
                }
            });
        }
        Some(())
    }

    /// The action's task faults: with `fault`, or with what the action carries.
    fn faulted(&mut self, action: Action, fault: Option<Fault>) -> Option<()> {
        let carried = match &action {
            Action::Catch { fault, .. } | Action::Propagate { fault, .. } => Some(fault.clone()),
            _ => None,
        };
        let fault = fault.or(carried)?;
        let parent = match action {
            Action::Open | Action::Conclude { .. } => ROOT,
            Action::Undo | Action::Rollback { .. } => return None,
            // The task did not come to have a frame.
            Action::Enter { parent, .. } => parent,
            other if other.frame() == ROOT => {
                self.end_with(Outcome::Faulted(fault));
                return Some(());
            }
            // Its own filters have faulted: first things are undone.
            other if !matches!(other, Action::Propagate { .. }) && self.has_to_roll_back(other.frame()) => {
                self.agenda.push_back(Action::Propagate { frame: other.frame(), fault });
                return Some(());
            }
            other => {
                let frame = self.frames.get(&other.frame())?;
                let (parent, slot, owner) = (frame.parent, frame.slot, frame.owner);
                self.remove(other.frame());
                if let Owner::Iteration(task) = owner
                    && self.goes_on(task)
                {
                    return self.iteration_left(parent, slot, super::parallel::instead(&fault));
                }
                parent
            }
        };
        let above = self.frames.get(&parent);
        self.agenda.push_back(match above.map(|above| &above.state) {
            Some(FrameState::Try { handling: None, .. }) => Action::Catch { frame: parent, fault },
            _ => Action::Propagate { frame: parent, fault },
        });
        Some(())
    }

    fn caught(&mut self, at: Time, id: FrameId, fault: Fault, retry: Option<Time>) -> Option<()> {
        self.remove_children(id);
        self.clear_timer(TimerId { frame: id, kind: TimerKind::Attempt });
        let frame = self.frames.get_mut(&id)?;
        let FrameState::Try { attempt, handling } = &mut frame.state else { return None };
        if let Some(retry) = retry {
            *attempt += 1;
            if retry <= at {
                return self.attempt(at, id);
            }
            self.set_timer(TimerId { frame: id, kind: TimerKind::Retry }, Some(retry));
            return Some(());
        }
        *handling = Some(fault);
        frame.visits.clear();
        let input = frame.input.clone();
        let frame = self.frames.get(&id)?;
        self.agenda.push_back(match self.block(frame) {
            Some(_) => Action::Enter { parent: id, slot: 0, input },
            None => Action::Finish { frame: id, output: input },
        });
        Some(())
    }
}

fn name_of(record: &Record) -> &'static str {
    match record {
        Record::Started { .. } => "started",
        Record::Opened { .. } => "opened",
        Record::Skipped => "skipped",
        Record::Entered { .. } => "entered",
        Record::Iterated => "iterated",
        Record::Left { .. } => "left",
        Record::Faulted { .. } => "faulted",
        Record::Caught { .. } => "caught",
        Record::Answered { .. } => "answered",
        Record::Failed { .. } => "failed",
        Record::Emitted { .. } => "emitted",
        Record::Heard { .. } => "heard",
        Record::Unfulfilled => "unfulfilled",
        Record::Collected { .. } => "collected",
        Record::Signalled { .. } => "signalled",
        Record::Received { .. } => "received",
        Record::RollingBack => "rollingBack",
        Record::RolledBack => "rolledBack",
        Record::Fired { .. } => "fired",
        Record::Cancelled { .. } => "cancelled",
        Record::Aborted { .. } => "aborted",
        Record::Concluded { .. } => "concluded",
        Record::Undoing => "undoing",
        Record::UndoFailed { .. } => "undoFailed",
        Record::Ended => "ended",
        Record::Suspended => "suspended",
        Record::Resumed => "resumed",
        Record::Substituted { .. } => "substituted",
        Record::Rewound(_) => "rewound",
    }
}
