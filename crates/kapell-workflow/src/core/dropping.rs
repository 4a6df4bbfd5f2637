//! Timers that come due, and what is left of a task's waiting when the task is gone: nothing.

use super::record::{FrameId, Time, TimerId, TimerKind};
use super::state::{Action, Effect, FrameState, ROOT, Run};
use crate::fault::{Fault, Standard};

impl Run {
    pub(super) fn fired(&mut self, timer: TimerId) -> Option<()> {
        let due = self.timers.remove(&timer)?;
        let TimerId { frame: id, kind } = timer;
        if kind == TimerKind::Undo {
            self.agenda.push_back(if id == ROOT { Action::Undo } else { Action::Rollback { scope: id } });
            return Some(());
        }
        let frame = self.frames.get(&id)?;
        let timed_out = |what: &str| {
            let took = due - frame.started_at;
            Fault::new(Standard::Timeout, self.pointer(frame), format!("{what} was not done after {took} ms"))
        };
        match kind {
            TimerKind::Wait => {
                let output = frame.input.clone();
                self.agenda.push_back(Action::Finish { frame: id, output });
            }
            TimerKind::Retry => self.attempt(due, id)?,
            TimerKind::Timeout => {
                let what = if id == ROOT { "the workflow" } else { "the task" };
                let fault = timed_out(what);
                self.remove_children(id);
                self.abandon(id);
                self.agenda.retain(|action| action.frame() != id);
                self.agenda.push_back(Action::Propagate { frame: id, fault });
            }
            TimerKind::Attempt => {
                let fault = timed_out("the attempt");
                self.remove_children(id);
                self.agenda.retain(|action| action.frame() != id);
                self.agenda.push_back(Action::Catch { frame: id, fault });
            }
            TimerKind::Undo => return None,
        }
        Some(())
    }

    pub(super) fn clear(&mut self) {
        self.remove_children(ROOT);
        self.timers.clear();
        self.agenda.clear();
    }

    pub(super) fn set_timer(&mut self, timer: TimerId, at: Option<Time>) {
        if let Some(at) = at {
            self.timers.insert(timer, at);
            self.outbox.push(Effect::Timer { timer, at });
        }
    }

    pub(super) fn clear_timer(&mut self, timer: TimerId) {
        self.timers.remove(&timer);
    }

    /// Removes the frame with all that happens inside of it.
    pub(super) fn remove(&mut self, id: FrameId) {
        self.remove_children(id);
        self.abandon(id);
        if let Some(frame) = self.frames.remove(&id) {
            self.children.remove(&(frame.parent, id));
        }
        self.forget(id);
    }

    pub(super) fn remove_children(&mut self, id: FrameId) {
        let children: Vec<FrameId> =
            self.children.range((id, 0)..=(id, FrameId::MAX)).map(|(_, child)| *child).collect();
        for child in children {
            self.remove(child);
        }
        self.agenda.retain(|action| !matches!(action, Action::Enter { parent, .. } if *parent == id));
    }

    /// Drops what the frame waits for and what was to be decided about it.
    pub(super) fn forget(&mut self, id: FrameId) {
        for kind in [TimerKind::Wait, TimerKind::Retry, TimerKind::Attempt, TimerKind::Timeout] {
            self.timers.remove(&TimerId { frame: id, kind });
        }
        self.agenda.retain(|action| action.frame() != id);
    }

    /// What the task waited for outside is over.
    pub(super) fn settle(&mut self, id: FrameId) -> Option<()> {
        let call = self.calls.remove(&id).map(drop);
        call.or_else(|| self.jobs.remove(&id).map(drop))
    }

    pub(super) fn abandon(&mut self, id: FrameId) {
        if self.settle(id).is_some() {
            self.outbox.push(Effect::Abandon { frame: id });
        }
        if let Some(frame) = self.frames.get_mut(&id)
            && let FrameState::Listen(hearing) = &mut frame.state
        {
            hearing.closed = true;
            self.outbox.push(Effect::Unlisten { frame: id });
        }
    }
}
