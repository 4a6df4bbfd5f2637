//! A run as it stands: which tasks are active, what they wait for, what is to be decided next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::extension::Progress;
use super::listening::Hearing;
use super::record::{FrameId, Identity, Request, Time, TimerId};
use super::running::Job;
use crate::cloud_event::CloudEvent;
use crate::expression::outline::Kept;
use crate::expression::{Datum, Expression};
use crate::fault::Fault;
use crate::program::{Block, OnFailure, Program, Task, TaskId, TaskKind};

/// The workflow's own frame.
pub(crate) const ROOT: FrameId = 0;

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) program: Arc<Program>,
    pub(crate) identity: Identity,
    /// See [`Record::Started`](super::record::Record::Started).
    pub(crate) extensions_apart: bool,
    pub(crate) started_at: Time,
    pub(crate) ended_at: Option<Time>,
    pub(crate) raw_input: Datum,
    pub(crate) context: Datum,
    pub(crate) phase: Phase,
    pub(crate) frames: BTreeMap<FrameId, Frame>,
    /// Pairs of parent and child.
    pub(crate) children: BTreeSet<(FrameId, FrameId)>,
    pub(crate) next_frame: FrameId,
    /// What can be decided without anything happening outside; empty when the run waits.
    pub(crate) agenda: VecDeque<Action>,
    /// Completed tasks with a compensation, in order of completion.
    pub(crate) done: Vec<Done>,
    /// How often the compensation at the end of `done` has faulted.
    pub(crate) undo_faults: u32,
    /// Scopes that are being undone, by their frames; these may be gone meanwhile.
    pub(crate) rollbacks: BTreeMap<FrameId, Rollback>,
    /// Keys of deeds that were undone, or are about to be: they are not used again.
    pub(crate) undone: BTreeSet<String>,
    pub(crate) compensation: Compensation,
    /// Signals that nothing has listened for yet, with their numbers.
    pub(crate) mailbox: VecDeque<(u32, Datum)>,
    /// Calls that are due and not answered.
    pub(crate) calls: BTreeMap<FrameId, Request>,
    pub(crate) timers: BTreeMap<TimerId, Time>,
    /// What was started and has not ended, with the number of the record that did so: a retry of the run starts it anew.
    pub(crate) jobs: BTreeMap<FrameId, (u64, Job)>,
    /// The position at which the event log of the run's namespace ends; not part of the state, told by whoever takes
    /// steps.
    pub(crate) log_end: u64,
    /// Whether its lifecycle is published; not part of the state, told by whoever takes steps.
    pub(crate) reports: bool,
    /// Records applied so far.
    pub(crate) records: u64,
    /// When the latest of them was made.
    pub(crate) latest: Time,
    /// What operators have asked for.
    pub(crate) operated: Operated,
    /// The payloads that its journal has; not part of the state, told and kept by whoever writes the journal.
    pub(crate) kept: Kept,
    /// What applying records has made due; not part of the state, taken by whoever performs it.
    pub(crate) outbox: Vec<Effect>,
}

/// What operators have asked of a run, as far as it is in its journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Operated {
    pub(crate) suspended: bool,
    /// Number of the latest retry.
    pub(crate) retries: u32,
    /// The retry whose deeds are new ones; 0 for the run as it began.
    pub(crate) round: u32,
    /// How many substitutions were asked for.
    pub(crate) substitutions: u32,
    /// How many signals were sent.
    pub(crate) signals: u32,
    /// Outputs of tasks that are not to be done when they begin next.
    pub(crate) substitutes: BTreeMap<TaskId, Datum>,
    /// Why the latest request has no effect.
    pub(crate) refusal: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    Running,
    /// Going to end like this, once the completed tasks are undone.
    Ending(Outcome),
    Ended(Outcome),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Completed(Datum),
    Faulted(Fault),
    Cancelled(String),
}

/// `status.compensation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Compensation {
    #[default]
    None,
    Running,
    Done,
    Failed,
}

impl Compensation {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Compensation::None => "None",
            Compensation::Running => "Running",
            Compensation::Done => "Done",
            Compensation::Failed => "Failed",
        }
    }
}

/// A completed task that may have to be undone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Done {
    pub(crate) task: TaskId,
    pub(crate) key: String,
    pub(crate) input: Datum,
    pub(crate) output: Datum,
    /// Frames of the scopes with `saga` that it was completed in.
    pub(crate) scopes: Vec<FrameId>,
}

/// A scope that is being undone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rollback {
    /// What comes after it: the fault goes on.
    pub(crate) resume: Action,
    /// How often the present compensation has faulted.
    pub(crate) faults: u32,
    pub(crate) on_failure: OnFailure,
}

/// One activation of a task, of the workflow, or of a compensation.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) owner: Owner,
    pub(crate) parent: FrameId,
    /// Position in the parent's block or branches.
    pub(crate) slot: usize,
    /// The iterations and repetitions that lead here; with the task's pointer and `visit` it names what is done
    /// across attempts and restarts.
    pub(crate) scope: String,
    /// How often this task was entered before in the same activation of its parent.
    pub(crate) visit: u32,
    /// Number of the attempt of the innermost `try` around it, from 1.
    pub(crate) attempt: u32,
    /// The round of retries in which it began.
    pub(crate) round: u32,
    /// How often the same deed was undone before.
    pub(crate) generation: u32,
    pub(crate) raw_input: Datum,
    pub(crate) input: Datum,
    pub(crate) started_at: Time,
    /// Entries of each child so far.
    pub(crate) visits: BTreeMap<usize, u32>,
    pub(crate) state: FrameState,
}

impl Frame {
    /// The first activation of something that begins now, in the first round of retries.
    pub(super) fn new(owner: Owner, parent: FrameId, scope: String, input: Datum, at: Time) -> Self {
        Self {
            owner,
            parent,
            slot: 0,
            scope,
            visit: 0,
            attempt: 1,
            round: 0,
            generation: 0,
            raw_input: input.clone(),
            input,
            started_at: at,
            visits: BTreeMap::new(),
            state: FrameState::Plain,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Workflow,
    Task(TaskId),
    /// One of the parallel iterations of this loop.
    Iteration(TaskId),
    /// Undoes this task.
    Compensation(TaskId),
}

impl Owner {
    /// The task that is executed, or undone.
    pub(crate) fn task(self) -> Option<TaskId> {
        match self {
            Owner::Workflow => None,
            Owner::Task(task) | Owner::Iteration(task) | Owner::Compensation(task) => Some(task),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FrameState {
    Plain,
    For {
        items: Datum,
        index: usize,
    },
    Fork {
        outputs: BTreeMap<usize, Datum>,
    },
    Try {
        attempt: u32,
        handling: Option<Fault>,
    },
    Extended(Progress),
    Dag {
        outputs: BTreeMap<usize, Datum>,
    },
    Listen(Box<Hearing>),
    Parallel(Iterations),
    /// Of [`Owner::Compensation`]: the scope that is undone, if it is not the run; and the key of the deed.
    Undoing {
        of: Option<FrameId>,
        key: String,
    },
    /// Of [`Owner::Iteration`]; its position is the frame's `slot`.
    Iteration {
        item: Datum,
    },
}

/// How far a parallel loop is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Iterations {
    pub(crate) items: Datum,
    /// The next to begin.
    pub(crate) next: usize,
    pub(crate) going: usize,
    /// An [`Action::Spawn`] is on the agenda.
    pub(crate) spawning: bool,
    pub(crate) outputs: BTreeMap<usize, Datum>,
}

/// A decision that is due.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Filter the workflow's input.
    Open,
    /// Begin the task at `slot`.
    Enter { parent: FrameId, slot: usize, input: Datum },
    /// Do what a task without waiting does.
    Perform { frame: FrameId },
    /// Begin this iteration, or end the loop.
    Iterate { frame: FrameId, index: usize, input: Datum },
    /// Ask a `listen` whether it was enough.
    Judge { frame: FrameId },
    /// Filter the output of one item of a `listen`.
    Collect { frame: FrameId, output: Datum },
    /// Begin the next iteration of a parallel loop.
    Spawn { frame: FrameId },
    /// Filter a task's output.
    Finish { frame: FrameId, output: Datum },
    /// Find out whether a `try` handles this.
    Catch { frame: FrameId, fault: Fault },
    /// Fault, because of something inside or a timeout.
    Propagate { frame: FrameId, fault: Fault },
    /// Filter the workflow's output.
    Conclude { output: Datum },
    /// Begin the next compensation, or end.
    Undo,
    /// Begin the next compensation of this scope, or let its fault go on.
    Rollback { scope: FrameId },
    /// See whether a signal is one that this `listen` waits for.
    Receive { frame: FrameId },
}

impl Action {
    /// The frame without which the action has no meaning.
    pub(crate) fn frame(&self) -> FrameId {
        match self {
            Action::Open | Action::Conclude { .. } | Action::Undo => ROOT,
            Action::Enter { parent, .. } => *parent,
            // The scope's frame may be gone, and what is undone goes on.
            Action::Rollback { .. } => ROOT,
            Action::Receive { frame }
            | Action::Perform { frame }
            | Action::Iterate { frame, .. }
            | Action::Judge { frame }
            | Action::Collect { frame, .. }
            | Action::Spawn { frame }
            | Action::Finish { frame, .. }
            | Action::Catch { frame, .. }
            | Action::Propagate { frame, .. } => *frame,
        }
    }
}

/// What is to be done outside, once the records that ask for it are on disk.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    Call {
        frame: FrameId,
        request: Request,
        key: String,
    },
    /// The answer is no longer wanted.
    Abandon {
        frame: FrameId,
    },
    Timer {
        timer: TimerId,
        at: Time,
    },
    /// Part of the transaction that the records are in, rather than something that follows it.
    Publish {
        frame: FrameId,
        event: CloudEvent,
    },
    /// Find events for this task, from now on those that are described like this.
    Listen {
        frame: FrameId,
        interest: Interest,
    },
    Unlisten {
        frame: FrameId,
    },
    /// Starts it, unless it has been.
    Run {
        frame: FrameId,
        number: u64,
        job: Job,
    },
    End,
}

/// By what events for a task are found. Whoever does the finding may find too many.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Interest {
    /// Only events from this position on.
    pub(crate) from: u64,
    /// None at present, but those from this position on must not be lost.
    pub(crate) deaf: bool,
    /// Any of these.
    pub(crate) keys: Vec<Key>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    /// `None`: events of all types.
    pub(crate) type_: Option<Arc<str>>,
    /// A further condition.
    pub(crate) probe: Option<Probe>,
}

/// What an expression says of the event, as JSON.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    pub(crate) code: Arc<str>,
    pub(crate) expression: Expression,
    pub(crate) value: String,
}

impl PartialEq for Probe {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code && self.value == other.value
    }
}

impl Run {
    pub(crate) fn task(&self, id: TaskId) -> &Task {
        self.program.task(id)
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// The task list that this frame is going through.
    pub(crate) fn block(&self, frame: &Frame) -> Option<&Block> {
        match frame.owner {
            Owner::Workflow => Some(&self.program.root),
            Owner::Compensation(task) => self.task(task).compensate.as_ref(),
            Owner::Iteration(task) => match &self.task(task).kind {
                TaskKind::For(each) => Some(&each.body),
                _ => None,
            },
            Owner::Task(task) => match (&self.task(task).kind, &frame.state) {
                (TaskKind::Do(block), _) => Some(block),
                (TaskKind::For(each), _) => Some(&each.body),
                (TaskKind::Listen(listen), _) => listen.foreach.as_ref()?.body.as_ref(),
                (TaskKind::Function(function), _) => Some(&function.body),
                (TaskKind::Try(catch), FrameState::Try { handling: None, .. }) => Some(&catch.body),
                (TaskKind::Try(catch), FrameState::Try { .. }) => catch.handler.as_ref(),
                _ => None,
            },
        }
    }

    /// The task at a position below this frame.
    pub(crate) fn child(&self, frame: &Frame, slot: usize) -> Option<TaskId> {
        if let Owner::Task(task) = frame.owner {
            match &self.task(task).kind {
                TaskKind::Fork(fork) => return fork.branches.get(slot).copied(),
                TaskKind::Dag(dag) => return dag.tasks.get(slot).copied(),
                _ => {}
            }
        }
        if let Owner::Task(task) = frame.owner
            && let TaskKind::Extended(extended) = &self.task(task).kind
        {
            return extended.child(slot);
        }
        self.block(frame)?.tasks.get(slot).copied()
    }

    /// JSON pointer of what the frame executes.
    pub(crate) fn pointer(&self, frame: &Frame) -> &str {
        frame.owner.task().map_or("/do", |task| &self.task(task).pointer)
    }

    /// Names what this activation does, whichever attempt it is.
    pub(crate) fn key(&self, frame: &Frame) -> String {
        let key = format!("{}{}#{}", frame.scope, self.pointer(frame), frame.visit);
        key_of(key, frame.round, frame.generation)
    }

    /// How often the deed with this key, as it would be in the present round, was undone.
    pub(super) fn generation(&self, key: &str) -> u32 {
        let used = |generation: &u32| self.undone.contains(&key_of(key.to_owned(), self.operated.round, *generation));
        if self.undone.is_empty() { 0 } else { (0..).take_while(used).count() as u32 }
    }

    /// The scope of the child of this frame at `slot`.
    pub(super) fn child_scope(&self, frame: &Frame, slot: usize) -> String {
        // The tasks of extensions are the same wherever they are used.
        let of_extension = self.extensions_apart && self.extended(frame).is_some_and(|all| !all.is_inner(slot));
        if of_extension { format!("{};", self.key(frame)) } else { self.inner_scope(frame) }
    }

    fn inner_scope(&self, frame: &Frame) -> String {
        let repeated = frame.visit > 0 || frame.generation > 0;
        // The tasks of functions are the same wherever they are used.
        let is_function =
            matches!(frame.owner, Owner::Task(task) if matches!(self.task(task).kind, TaskKind::Function(_)));
        let repeated = repeated || is_function;
        match &frame.state {
            FrameState::For { index, .. } => format!("{}@{index};", self.key(frame)),
            FrameState::Listen(hearing) => format!("{}@{};", self.key(frame), hearing.index),
            _ if repeated || matches!(frame.owner, Owner::Compensation(_)) => format!("{};", self.key(frame)),
            _ => frame.scope.clone(),
        }
    }
}

/// The key of a deed: what it is, the retry of the run that it belongs to, and how often it was undone before.
pub(super) fn key_of(mut key: String, round: u32, generation: u32) -> String {
    if round > 0 {
        key.push_str(&format!("~{round}"));
    }
    if generation > 0 {
        key.push_str(&format!("!{generation}"));
    }
    key
}
