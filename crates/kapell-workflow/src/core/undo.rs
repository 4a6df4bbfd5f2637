//! How a run ends, and how what it has completed is undone before that.
//!
//! Whatever faults or cancels a run drops what is active; then compensations begin one by one, the latest completed task first,
//! each until it has completed or is given up.

use std::collections::BTreeMap;

use super::record::{FrameId, Time, TimerId, TimerKind};
use super::state::{Action, Compensation, Effect, Frame, FrameState, Outcome, Owner, Phase, ROOT, Run};
use crate::expression::Datum;

impl Run {
    /// Begins the compensation of the last task in `done`.
    pub(super) fn undo(&mut self, at: Time) -> Option<()> {
        let done = self.done.last()?.clone();
        let input = Datum::object([("input", done.input), ("output", done.output)]).ok()?;
        let id = self.next_frame;
        self.next_frame += 1;
        let frame = Frame {
            owner: Owner::Compensation(done.task),
            parent: ROOT,
            slot: 0,
            scope: format!("undo:{};", done.key),
            visit: 0,
            attempt: self.undo_faults + 1,
            round: self.operated.round,
            raw_input: input.clone(),
            input: input.clone(),
            started_at: at,
            visits: BTreeMap::new(),
            state: FrameState::Plain,
        };
        self.frames.insert(id, frame);
        self.children.insert((ROOT, id));
        self.compensation = match self.compensation {
            Compensation::Failed => Compensation::Failed,
            _ => Compensation::Running,
        };
        self.agenda.push_back(Action::Enter { parent: id, slot: 0, input });
        Some(())
    }

    pub(super) fn undo_failed(&mut self, id: FrameId, retry: Option<Time>) -> Option<()> {
        self.remove(id);
        match retry {
            Some(retry) => {
                self.undo_faults += 1;
                self.set_timer(TimerId { frame: ROOT, kind: TimerKind::Undo }, Some(retry));
            }
            None => {
                self.undo_faults = 0;
                self.done.pop();
                self.compensation = Compensation::Failed;
                self.agenda.push_back(Action::Undo);
            }
        }
        Some(())
    }

    /// Everything active is dropped; what is completed will be undone.
    pub(super) fn end_with(&mut self, outcome: Outcome) {
        self.clear();
        self.operated.suspended = false;
        self.phase = Phase::Ending(outcome);
        self.agenda.push_back(Action::Undo);
    }

    pub(super) fn end(&mut self, at: Time, outcome: Outcome) {
        self.clear();
        self.frames.clear();
        if self.compensation == Compensation::Running {
            self.compensation = Compensation::Done;
        }
        self.phase = Phase::Ended(outcome);
        self.ended_at = Some(at);
        self.outbox.push(Effect::End);
    }
}
