//! What operators may do to a run while it goes: stop and continue it, and take an output instead of what a task does.
//!
//! A suspended run takes in what happens outside (answers are recorded, so that nothing has to be done again) but
//! decides nothing, and its timers ring when it goes on.

use super::record::Record;
use super::state::{Action, Effect, Owner, Phase, Run};
use super::{Event, Time};
use crate::expression::Datum;
use crate::program::{Program, TaskId};

impl Program {
    /// The task with this JSON pointer, or the only one with this name.
    ///
    /// # Errors
    /// What is wrong with the reference, as a sentence.
    pub(crate) fn find_task(&self, reference: &str) -> Result<TaskId, String> {
        let fitting = |fits: &dyn Fn(&crate::program::Task) -> bool| {
            let found = self.tasks.iter().enumerate().filter(|(_, task)| fits(task));
            found.map(|(index, _)| TaskId(index)).collect::<Vec<_>>()
        };
        if let [task] = fitting(&|task| task.pointer == reference)[..] {
            return Ok(task);
        }
        match fitting(&|task| task.name == reference)[..] {
            [task] => Ok(task),
            [] => Err(format!("the workflow has no task {reference}")),
            ref several => {
                let pointers: Vec<&str> = several.iter().map(|task| self.task(*task).pointer.as_str()).collect();
                Err(format!("there are several tasks {reference}: {}", pointers.join(", ")))
            }
        }
    }
}

impl Run {
    /// The record of an operator's request; `None` when it asks for what is so already.
    pub(super) fn admit_request(&self, event: &Event) -> Option<Record> {
        match event {
            Event::Suspend => (self.phase == Phase::Running && !self.operated.suspended).then_some(Record::Suspended),
            Event::Resume => self.operated.suspended.then_some(Record::Resumed),
            Event::Substitute { number, task, output } => (*number == self.operated.substitutions + 1)
                .then(|| Record::Substituted { task: task.clone(), output: output.clone() }),
            Event::Signal { number, event } => {
                (*number == self.operated.signals + 1).then(|| Record::Signalled { event: event.clone() })
            }
            _ => None,
        }
    }

    pub(super) fn suspend(&mut self) {
        self.operated.suspended = true;
    }

    pub(super) fn resume(&mut self) {
        self.operated.suspended = false;
        // Those that rang meanwhile were not heard.
        self.outbox.extend(self.timers.iter().map(|(timer, at)| Effect::Timer { timer: *timer, at: *at }));
    }

    /// The task's present activation is dropped and ends with this output; without one, the next one will.
    pub(super) fn substitute(&mut self, task: &str, output: Datum) {
        self.operated.substitutions += 1;
        let task = match self.program.find_task(task) {
            Ok(task) => task,
            Err(error) => {
                let number = self.operated.substitutions;
                self.operated.refusal = Some(format!("skip {number}: {error}"));
                return;
            }
        };
        let active = self.frames.iter().find(|(_, frame)| frame.owner == Owner::Task(task)).map(|(id, _)| *id);
        match active {
            Some(id) => {
                self.remove_children(id);
                self.abandon(id);
                self.forget(id);
                self.agenda.push_back(Action::Finish { frame: id, output });
            }
            None => {
                self.operated.substitutes.insert(task, output);
            }
        }
    }

    /// A timer that rings too early, because the clock was set back meanwhile, has to ring again.
    pub(super) fn rearm(&mut self, event: &Event, now: Time) {
        if let Event::TimerDue { timer } = event
            && let Some(at) = self.timers.get(timer).filter(|at| **at > now)
        {
            self.outbox.push(Effect::Timer { timer: *timer, at: *at });
        }
    }

    /// Until when nothing can happen to the run but what operators do; `None` where it does or expects something else.
    pub(crate) fn sleeps_until(&self) -> Option<Time> {
        if self.is_ended() || !self.calls.is_empty() {
            return None;
        }
        if self.operated.suspended {
            return Some(Time::MAX);
        }
        if !self.agenda.is_empty() || !self.pending().iter().all(|effect| matches!(effect, Effect::Timer { .. })) {
            return None;
        }
        self.timers.values().min().copied()
    }

    /// Moves everything that was to come by `shift` milliseconds.
    pub(super) fn postpone(&mut self, shift: Time) {
        for at in self.timers.values_mut() {
            *at += shift;
        }
        for frame in self.frames.values_mut() {
            frame.started_at += shift;
        }
    }
}

#[cfg(test)]
mod tests;
