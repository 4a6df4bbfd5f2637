//! What a run did, attempt by attempt, as `workflowruns/timeline` shows it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::record::{Entry, FrameId, Record, Time};
use crate::core::state::{Action, FrameState, Owner, Run};
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
}

/// `{"items": [{task, name, attempt, startTime, endTime, outcome, detail}]}` in order of start. Outcomes are
/// `Running`, `Completed`, `Faulted`, `Retrying` (faulted, and a `try` made or will make another attempt), `Skipped`,
/// `Cancelled` (dropped because of something else), `Compensated` (undone after it had completed) and, for the steps
/// of a compensation themselves, the same with `detail` naming what they undo.
pub(crate) fn timeline(program: Arc<Program>, entries: &[Entry]) -> Result<Value, JournalError> {
    let (first, rest) = entries.split_first().ok_or(JournalError::Empty)?;
    let mut run = Run::start(program, first)?;
    let mut timeline = Timeline::default();
    for entry in rest {
        let before = run.agenda.front().cloned();
        timeline.note_before(&run, before.as_ref(), entry);
        run.apply(entry)?;
        timeline.note_after(&run, before.as_ref(), entry);
    }
    Ok(json!({ "items": timeline.items.iter().map(Item::to_json).collect::<Vec<_>>() }))
}

#[derive(Default)]
struct Timeline {
    items: Vec<Item>,
    /// Positions of items that have not ended.
    open: HashMap<FrameId, usize>,
    /// Positions of the latest completed item of each key that compensations name.
    completed: HashMap<String, usize>,
    /// What has just faulted and may be tried again.
    faulted: Vec<usize>,
}

impl Timeline {
    /// What can only be seen while the task is still there.
    fn note_before(&mut self, run: &Run, action: Option<&Action>, entry: &Entry) {
        let Entry(at, record) = entry;
        let frame = action.map(Action::frame);
        match record {
            Record::Skipped => self.begin_item(run, action, *at, "Skipped", None),
            Record::Left { case, .. } => {
                let Some(id) = frame else { return };
                if let Some(active) = run.frames.get(&id) {
                    if matches!(active.owner, Owner::Compensation(_)) {
                        self.compensated(run);
                    }
                    let detail = case.and_then(|case| chosen(run, id, case));
                    if let Some(position) = self.end(id, *at, "Completed", detail) {
                        self.completed.insert(run.key(active), position);
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
        if let (Record::Entered { .. }, Some(Action::Enter { .. })) = (record, action) {
            let id = run.next_frame - 1;
            if let Some(frame) = run.frames.get(&id)
                && let Owner::Task(task) = frame.owner
                && !run.is_inner(frame.parent, frame.slot)
            {
                let task = run.task(task);
                self.open.insert(id, self.items.len());
                let undoing = run.frames.get(&frame.parent).and_then(|above| match above.owner {
                    Owner::Compensation(undone) => Some(format!("undoes {}", run.task(undone).name)),
                    _ => None,
                });
                let (task, name) = (task.pointer.clone(), task.name.clone());
                let item = Item {
                    task,
                    name,
                    attempt: frame.attempt,
                    start: *at,
                    end: None,
                    outcome: "Running",
                    detail: undoing,
                };
                self.items.push(item);
            }
        }
        // Whatever is gone without having ended was dropped: a losing branch, a timeout, a cancellation.
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
        self.items.push(Item { task, name, attempt, start: at, end: Some(at), outcome, detail });
    }

    fn end(&mut self, id: FrameId, at: Time, outcome: &'static str, detail: Option<String>) -> Option<usize> {
        let position = self.open.remove(&id)?;
        let item = &mut self.items[position];
        item.end = Some(at);
        item.outcome = outcome;
        item.detail = detail.or(item.detail.take());
        Some(position)
    }

    /// The compensation of the last completed task is done.
    fn compensated(&mut self, run: &Run) {
        let undone = run.done.last().and_then(|done| self.completed.get(&done.key));
        if let Some(position) = undone {
            self.items[*position].outcome = "Compensated";
        }
    }
}

fn said(fault: &Fault) -> String {
    fault.detail.clone().or_else(|| fault.title.clone()).unwrap_or_else(|| fault.type_.clone())
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
        })
    }
}
