//! What a run did, attempt by attempt, as `workflowruns/timeline` shows it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::record::{Body, Entry, FrameId, Record, Time};
use crate::core::rewind;
use crate::core::state::{Action, FrameState, Owner, Run};
use crate::engine::idempotency_key;
use crate::expression::Datum;
use crate::fault::Fault;
use crate::journal::JournalError;
use crate::program::{Program, TaskKind};

/// One activation of a task.
struct Item {
    task: String,
    name: String,
    attempt: u32,
    start: Time,
    end: Option<Time>,
    outcome: &'static str,
    detail: Option<String>,
    /// The retry of the run in which it began; 0 for none.
    retry: u32,
    input: Option<Datum>,
    output: Option<Datum>,
    /// Of a call: the span that the service was told.
    span: Option<String>,
}

/// `{"traceId", "items": [{task, name, attempt, startTime, endTime, outcome, detail, retry, input, output, spanId}]}` in order of start. Outcomes are
/// `Running`, `Completed`, `Faulted`, `Retrying` (faulted, and a `try` made or will make another attempt), `Skipped`,
/// `Substituted` (an operator gave its output), `Cancelled` (dropped because of something else), `Compensated` (undone after it had completed) and, for the steps
/// of a compensation themselves, the same with `detail` naming what they undo.
pub(crate) fn timeline(program: Arc<Program>, entries: &[Entry]) -> Result<Value, JournalError> {
    let (first, rest) = entries.split_first().ok_or(JournalError::Empty)?;
    let mut run = Run::start(program.clone(), first)?;
    let mut timeline = Timeline::default();
    for (position, entry) in rest.iter().enumerate() {
        if let Entry(_, Record::Rewound(_)) = entry {
            run = rewind::replay(program.clone(), &entries[..=position + 1], |_, _| {})?;
            timeline.reopen(&run);
            continue;
        }
        let before = run.agenda.front().cloned();
        timeline.note_before(&run, before.as_ref(), entry);
        run.apply(entry)?;
        timeline.note_after(&run, before.as_ref(), entry);
    }
    let trace = run.identity.uid.replace('-', "");
    Ok(json!({ "traceId": trace, "items": timeline.items.iter().map(Item::to_json).collect::<Vec<_>>() }))
}

#[derive(Default)]
struct Timeline {
    items: Vec<Item>,
    /// Positions of items that have not ended.
    open: HashMap<FrameId, usize>,
    /// The position of each frame's item.
    known: HashMap<FrameId, usize>,
    /// Positions of the latest completed item of each key that compensations name.
    completed: HashMap<String, usize>,
    /// How many frames there were before the present entry.
    frames: usize,
    /// What has just faulted and may be tried again.
    faulted: Vec<usize>,
}

impl Timeline {
    /// What can only be seen while the task is still there.
    fn note_before(&mut self, run: &Run, action: Option<&Action>, entry: &Entry) {
        let Entry(at, record) = entry;
        let frame = action.map(Action::frame);
        self.frames = run.frames.len();
        match record {
            Record::Skipped => self.begin_item(run, action, *at, "Skipped", None),
            Record::Left { case, output, .. } => {
                let Some(id) = frame else { return };
                if let Some(active) = run.frames.get(&id) {
                    if matches!(active.owner, Owner::Compensation(_)) {
                        self.compensated(run, action);
                    }
                    let detail = case.and_then(|case| chosen(run, id, case));
                    let substituted = self.open.get(&id).is_some_and(|at| self.items[*at].outcome == "Substituted");
                    let outcome = if substituted { "Substituted" } else { "Completed" };
                    if let Some(position) = self.end(id, *at, outcome, detail) {
                        self.completed.insert(run.key(active), position);
                        self.items[position].output = output.clone().or_else(|| carried(run, action));
                    }
                }
            }
            Record::Faulted { fault } => match action {
                Some(Action::Enter { .. }) => {
                    let detail = fault.as_ref().and_then(|fault| fault.detail.clone());
                    let known = self.items.len();
                    self.begin_item(run, action, *at, "Faulted", detail);
                    self.faulted.extend(known..self.items.len());
                }
                Some(action) => {
                    let carried = match action {
                        Action::Catch { fault, .. } | Action::Propagate { fault, .. } => Some(fault),
                        _ => None,
                    };
                    let position = self.end(action.frame(), *at, "Faulted", fault.as_ref().or(carried).map(said));
                    self.faulted.extend(position);
                }
                None => {}
            },
            Record::Caught { retry } => {
                for position in self.faulted.drain(..) {
                    if retry.is_some() {
                        self.items[position].outcome = "Retrying";
                    }
                }
            }
            // Another attempt does what was undone anew.
            Record::RollingBack => self.faulted.clear(),
            Record::UndoFailed { .. } => {
                let retrying = matches!(record, Record::UndoFailed { retry: Some(_) });
                for position in self.faulted.drain(..) {
                    if retrying {
                        self.items[position].outcome = "Retrying";
                    }
                }
            }
            _ => {}
        }
    }

    fn note_after(&mut self, run: &Run, action: Option<&Action>, entry: &Entry) {
        let Entry(at, record) = entry;
        if let Record::Substituted { task, .. } = record
            && let Ok(task) = run.program.find_task(task)
            && let Some(position) = self.open.iter().find_map(|(id, position)| {
                run.frames.get(id).is_some_and(|frame| frame.owner == Owner::Task(task)).then_some(*position)
            })
        {
            self.items[position].outcome = "Substituted";
        }
        if let (Record::Entered { body, .. }, Some(Action::Enter { .. })) = (record, action) {
            let id = run.next_frame - 1;
            if let Some(frame) = run.frames.get(&id)
                && let Owner::Task(task) = frame.owner
                && !run.is_inner(frame.parent, frame.slot)
            {
                let task = run.task(task);
                self.open.insert(id, self.items.len());
                self.known.insert(id, self.items.len());
                let undoing = run.frames.get(&frame.parent).and_then(|above| match above.owner {
                    Owner::Compensation(undone) => Some(format!("undoes {}", run.task(undone).name)),
                    _ => None,
                });
                let substituted = matches!(body, Body::Substituted(_));
                self.items.push(Item {
                    task: task.pointer.clone(),
                    name: task.name.clone(),
                    attempt: frame.attempt,
                    start: *at,
                    end: None,
                    outcome: if substituted { "Substituted" } else { "Running" },
                    detail: undoing,
                    retry: run.operated.retries,
                    input: Some(frame.input.clone()),
                    output: None,
                    span: matches!(body, Body::Call(_)).then(|| {
                        let key = idempotency_key(&run.identity.uid, &run.key(frame));
                        key[..16].to_owned()
                    }),
                });
            }
        }
        // Whatever is gone without having ended was dropped: a losing branch, a timeout, a cancellation.
        // Most entries drop nothing else, and looking at each open item for each of them takes long in a large run.
        let expected = match record {
            Record::Entered { .. } => self.frames + 1,
            Record::Left { .. } => self.frames - 1,
            Record::Iterated if matches!(action, Some(Action::Spawn { .. })) => self.frames + 1,
            _ => self.frames,
        };
        if run.frames.len() == expected {
            return;
        }
        let gone: Vec<FrameId> = self.open.keys().filter(|id| !run.frames.contains_key(id)).copied().collect();
        for id in gone {
            self.end(id, *at, "Cancelled", None);
        }
    }

    fn begin_item(
        &mut self,
        run: &Run,
        action: Option<&Action>,
        at: Time,
        outcome: &'static str,
        detail: Option<String>,
    ) {
        let Some(Action::Enter { parent, slot, .. }) = action else { return };
        if run.is_inner(*parent, *slot) {
            return;
        }
        let Some(above) = run.frames.get(parent) else { return };
        let Some(task) = run.child(above, *slot).map(|task| run.task(task)) else { return };
        let attempt = match above.state {
            FrameState::Try { attempt, .. } => attempt,
            _ => above.attempt,
        };
        let (task, name) = (task.pointer.clone(), task.name.clone());
        let retry = run.operated.retries;
        self.items.push(Item {
            task,
            name,
            attempt,
            start: at,
            end: Some(at),
            outcome,
            detail,
            retry,
            input: None,
            output: None,
            span: None,
        });
    }

    /// The run goes on from an earlier state, in which these were active.
    fn reopen(&mut self, run: &Run) {
        self.open.clear();
        self.faulted.clear();
        for id in run.frames.keys() {
            if let Some(position) = self.known.get(id) {
                let item = &mut self.items[*position];
                (item.outcome, item.end, item.detail, item.output) = ("Running", None, None, None);
                self.open.insert(*id, *position);
            }
        }
    }

    fn end(&mut self, id: FrameId, at: Time, outcome: &'static str, detail: Option<String>) -> Option<usize> {
        let position = self.open.remove(&id)?;
        let item = &mut self.items[position];
        item.end = Some(at);
        item.outcome = outcome;
        item.detail = detail.or(item.detail.take());
        Some(position)
    }

    /// A compensation is done.
    fn compensated(&mut self, run: &Run, action: Option<&Action>) {
        let undone = run.next_undone(action).and_then(|done| self.completed.get(&done.key));
        if let Some(position) = undone {
            self.items[*position].outcome = "Compensated";
        }
    }
}

/// The output that the action hands to the end of its task.
fn carried(run: &Run, action: Option<&Action>) -> Option<Datum> {
    match action? {
        Action::Finish { output, .. } => Some(output.clone()),
        Action::Iterate { input, .. } => Some(input.clone()),
        Action::Perform { frame } => run.frames.get(frame).map(|frame| frame.input.clone()),
        _ => None,
    }
}

fn said(fault: &Fault) -> String {
    fault.detail.clone().or_else(|| fault.title.clone()).unwrap_or_else(|| fault.type_.clone())
}

/// What is heavier is described: a timeline of large data that goes from task to task would be many times as large. About 256 KiB.
const HEAVIEST_SHOWN: u64 = 16_384;

fn shown(datum: &Datum) -> Value {
    if datum.weight() > HEAVIEST_SHOWN { json!(datum.to_string()) } else { datum.to_value() }
}

/// Which case a switch took.
fn chosen(run: &Run, id: FrameId, case: usize) -> Option<String> {
    let Owner::Task(task) = run.frames.get(&id)?.owner else { return None };
    let TaskKind::Switch(cases) = &run.task(task).kind else { return None };
    Some(format!("case {}", cases.get(case)?.name))
}

impl Item {
    fn to_json(&self) -> Value {
        let date = |at: Time| jiff::Timestamp::from_millisecond(at).map(|at| at.to_string()).unwrap_or_default();
        json!({
            "task": self.task,
            "name": self.name,
            "attempt": self.attempt,
            "startTime": date(self.start),
            "endTime": self.end.map(date),
            "outcome": self.outcome,
            "detail": self.detail,
            "retry": (self.retry > 0).then_some(self.retry),
            "input": self.input.as_ref().map(shown),
            "output": self.output.as_ref().map(shown),
            "spanId": self.span,
        })
    }
}
