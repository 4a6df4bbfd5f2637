//! Scopes with `saga`: what completed inside of one is undone when it faults, before anyone else learns of the fault.
//!
//! So a `try` catches, tries again or hands on an error of a scope that has left nothing behind. Deeds that are undone are
//! not done again under their old keys: a service that knows a key would answer from memory what is not so any more.
//!
//! What is undone is undone to its end, whatever becomes of the scope meanwhile (an outer timeout, a branch that wins): a rollback
//! belongs to the run. A run that faults or is cancelled takes it over, since then everything is undone.

use super::record::{FrameId, TimerId, TimerKind};
use super::state::{Action, Compensation, Owner, Phase, ROOT, Rollback, Run};
use crate::program::{OnFailure, Saga};

impl Run {
    fn saga_of(&self, id: FrameId) -> Option<Saga> {
        match self.frames.get(&id)?.owner {
            Owner::Task(task) => self.task(task).saga,
            _ => None,
        }
    }

    /// The scopes that something below this frame stands in, the innermost first.
    pub(super) fn sagas_around(&self, mut id: FrameId) -> Vec<FrameId> {
        let mut scopes = Vec::new();
        while id != ROOT {
            scopes.extend(self.saga_of(id).map(|_| id));
            let Some(frame) = self.frames.get(&id) else { break };
            id = frame.parent;
        }
        scopes
    }

    pub(super) fn owes(&self, scope: FrameId) -> bool {
        self.done.iter().any(|done| done.scopes.contains(&scope))
    }

    /// Whether a fault of this frame has to wait until something is undone.
    pub(super) fn has_to_roll_back(&self, id: FrameId) -> bool {
        self.phase == Phase::Running && self.saga_of(id).is_some() && self.owes(id)
    }

    /// `action` is what becomes of the scope's fault.
    pub(super) fn roll_back(&mut self, action: Action) -> Option<()> {
        if !matches!(action, Action::Catch { .. } | Action::Propagate { .. }) {
            return None;
        }
        let scope = action.frame();
        let on_failure = self.saga_of(scope)?.on_failure;
        self.remove_children(scope);
        self.forget(scope);
        let owed = self.done.iter().filter(|done| done.scopes.contains(&scope)).map(|done| done.key.clone());
        self.undone.extend(owed);
        self.rollbacks.insert(scope, Rollback { resume: action, faults: 0, on_failure });
        self.agenda.push_back(Action::Rollback { scope });
        Some(())
    }

    pub(super) fn rolled_back(&mut self, scope: FrameId) -> Option<()> {
        let rollback = self.rollbacks.remove(&scope)?;
        if self.rollbacks.is_empty() && self.compensation == Compensation::Running {
            self.compensation = Compensation::Done;
        }
        if self.frames.contains_key(&scope) {
            self.agenda.push_back(rollback.resume);
        }
        Some(())
    }

    /// A compensation of the scope was given up: with `onFailure: stop`, so are the others.
    pub(super) fn give_up_if_asked(&mut self, scope: FrameId) -> Option<()> {
        if self.rollbacks.get(&scope)?.on_failure == OnFailure::Stop {
            self.done.retain(|done| !done.scopes.contains(&scope));
            self.timers.remove(&TimerId { frame: scope, kind: TimerKind::Undo });
        }
        Some(())
    }
}
