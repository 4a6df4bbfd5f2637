//! How a run ends, and how what it has completed is undone before that.
//!
//! Whatever faults or cancels a run drops what is active; then compensations begin one by one, that of the task that completed
//! last first, each until it has completed or is given up. [`super::saga`] does the same for a part of a run.

use super::record::{FrameId, Time, TimerId, TimerKind};
use super::state::{Action, Compensation, Done, Effect, Frame, FrameState, Outcome, Owner, Phase, ROOT, Run};
use crate::expression::Datum;

impl Run {
    /// What the compensation that is on now, or begins next, undoes.
    pub(crate) fn next_undone(&self, action: Option<&Action>) -> Option<&Done> {
        match action? {
            Action::Undo => self.done.last(),
            Action::Rollback { scope } => self.done.iter().rev().find(|done| done.scopes.contains(scope)),
            other => match &self.frames.get(&other.frame())?.state {
                FrameState::Undoing { key, .. } => self.done.iter().find(|done| done.key == *key),
                _ => None,
            },
        }
    }

    /// Begins the compensation of the last task in `done`, of those in this scope.
    pub(super) fn undo(&mut self, at: Time, of: Option<FrameId>) -> Option<()> {
        let action = of.map_or(Action::Undo, |scope| Action::Rollback { scope });
        let done = self.next_undone(Some(&action))?.clone();
        let faults = match of {
            None => self.undo_faults,
            Some(scope) => self.rollbacks.get(&scope)?.faults,
        };
        let input = Datum::object([("input", done.input), ("output", done.output)]).ok()?;
        let id = self.next_frame;
        self.next_frame += 1;
        let (attempt, round) = (faults + 1, self.operated.round);
        let frame = Frame::new(Owner::Compensation(done.task), ROOT, format!("undo:{};", done.key), input.clone(), at);
        let frame = Frame { attempt, round, state: FrameState::Undoing { of, key: done.key }, ..frame };
        self.frames.insert(id, frame);
        self.children.insert((ROOT, id));
        self.compensation = match self.compensation {
            Compensation::Failed => Compensation::Failed,
            _ => Compensation::Running,
        };
        self.agenda.push_back(Action::Enter { parent: id, slot: 0, input });
        Some(())
    }

    /// A compensation has completed.
    pub(super) fn undone(&mut self, state: &FrameState) -> Option<()> {
        let FrameState::Undoing { of, key } = state else { return None };
        self.done.retain(|done| done.key != *key);
        self.note_undo_faults(*of, 0)?;
        self.undo_next(*of);
        Some(())
    }

    pub(super) fn undo_failed(&mut self, id: FrameId, retry: Option<Time>) -> Option<()> {
        let FrameState::Undoing { of, key } = self.frames.get(&id)?.state.clone() else { return None };
        self.remove(id);
        match retry {
            Some(retry) => {
                let faults = self.undo_faults_of(of) + 1;
                self.note_undo_faults(of, faults)?;
                self.set_timer(TimerId { frame: of.unwrap_or(ROOT), kind: TimerKind::Undo }, Some(retry));
            }
            None => {
                self.note_undo_faults(of, 0)?;
                self.done.retain(|done| done.key != key);
                self.compensation = Compensation::Failed;
                if let Some(scope) = of {
                    self.give_up_if_asked(scope)?;
                }
                self.undo_next(of);
            }
        }
        Some(())
    }

    /// How often the present compensation has faulted.
    pub(super) fn undo_faults_of(&self, of: Option<FrameId>) -> u32 {
        match of {
            None => self.undo_faults,
            Some(scope) => self.rollbacks.get(&scope).map_or(0, |rollback| rollback.faults),
        }
    }

    fn note_undo_faults(&mut self, of: Option<FrameId>, faults: u32) -> Option<()> {
        match of {
            None => self.undo_faults = faults,
            Some(scope) => self.rollbacks.get_mut(&scope)?.faults = faults,
        }
        Some(())
    }

    fn undo_next(&mut self, of: Option<FrameId>) {
        self.agenda.push_back(of.map_or(Action::Undo, |scope| Action::Rollback { scope }));
    }

    /// The run has its output. A scope that is being undone has to be undone to its end, though nobody waits for it any more.
    pub(super) fn concluded(&mut self, at: Time, output: Datum) {
        let unfinished = std::mem::take(&mut self.rollbacks);
        self.done.retain(|done| done.scopes.iter().any(|scope| unfinished.contains_key(scope)));
        if self.done.is_empty() {
            self.end(at, Outcome::Completed(output));
        } else {
            self.end_with(Outcome::Completed(output));
        }
    }

    /// Everything active is dropped; what is completed will be undone.
    pub(super) fn end_with(&mut self, outcome: Outcome) {
        self.clear();
        self.rollbacks.clear();
        self.undo_faults = 0;
        self.operated.suspended = false;
        self.phase = Phase::Ending(outcome);
        self.agenda.push_back(Action::Undo);
    }

    pub(super) fn end(&mut self, at: Time, outcome: Outcome) {
        self.clear();
        self.frames.clear();
        self.mailbox.clear();
        if self.compensation == Compensation::Running {
            self.compensation = Compensation::Done;
        }
        self.phase = Phase::Ended(outcome);
        self.ended_at = Some(at);
        self.outbox.push(Effect::End);
    }
}
