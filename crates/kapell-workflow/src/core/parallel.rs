//! A `for` with `parallel`: iterations side by side, so many at a time, each with the loop's input. The output is the
//! array of their outputs in order.
//!
//! Iterations are begun one after another by a single action that puts itself on the agenda again, so that the agenda
//! stays short however many there are.

use super::record::{FrameId, Time};
use super::state::{Action, Frame, FrameState, Iterations, Owner, Run};
use crate::expression::Datum;
use crate::fault::{Fault, Standard};
use crate::program::{OnError, Parallel, TaskId, TaskKind};

/// What stands in the output in place of an iteration that faulted.
pub(super) fn instead(fault: &Fault) -> Datum {
    Datum::object([("error", fault.to_datum())]).unwrap_or_default()
}

impl Run {
    fn parallel(&self, task: TaskId) -> Option<Parallel> {
        match &self.task(task).kind {
            TaskKind::For(each) => each.parallel,
            _ => None,
        }
    }

    /// Whether the loop goes on when one of its iterations faults.
    pub(super) fn goes_on(&self, task: TaskId) -> bool {
        self.parallel(task).is_some_and(|parallel| parallel.on_error == OnError::Continue)
    }

    pub(super) fn begin_parallel(&mut self, id: FrameId, items: &Datum) -> Option<()> {
        let frame = self.frames.get_mut(&id)?;
        let is_empty = items.as_array()?.is_empty();
        frame.state =
            FrameState::Parallel(Iterations { items: items.clone(), spawning: !is_empty, ..Iterations::default() });
        self.agenda.push_back(if is_empty {
            Action::Finish { frame: id, output: Datum::array([]).unwrap_or_default() }
        } else {
            Action::Spawn { frame: id }
        });
        Some(())
    }

    /// The next iteration begins.
    pub(super) fn spawned(&mut self, at: Time, id: FrameId) -> Option<()> {
        let above = self.frames.get(&id)?;
        let Owner::Task(task) = above.owner else { return None };
        let Parallel { max, .. } = self.parallel(task)?;
        let (key, attempt, input) = (self.key(above), above.attempt, above.input.clone());
        let FrameState::Parallel(state) = &mut self.frames.get_mut(&id)?.state else { return None };
        let index = state.next;
        let items = state.items.as_array()?;
        let item = items.get(index)?.clone();
        state.next += 1;
        state.going += 1;
        state.spawning = state.next < items.len() && state.going < max;
        let spawning = state.spawning;

        let child = self.next_frame;
        self.next_frame += 1;
        let state = FrameState::Iteration { item };
        let frame = Frame::new(Owner::Iteration(task), id, format!("{key}@{index};"), input.clone(), at);
        let frame = Frame { slot: index, attempt, round: self.operated.round, state, ..frame };
        self.frames.insert(child, frame);
        self.children.insert((id, child));
        self.agenda.push_back(Action::Enter { parent: child, slot: 0, input });
        if spawning {
            self.agenda.push_back(Action::Spawn { frame: id });
        }
        Some(())
    }

    /// An iteration is done, or `output` stands in its place.
    pub(super) fn iteration_left(&mut self, id: FrameId, index: usize, output: Datum) -> Option<()> {
        let program = self.program.clone();
        let frame = self.frames.get_mut(&id)?;
        let (Owner::Task(task), FrameState::Parallel(state)) = (frame.owner, &mut frame.state) else { return None };
        state.outputs.insert(index, output);
        state.going -= 1;
        if state.next < state.items.as_array()?.len() {
            if !state.spawning {
                state.spawning = true;
                self.agenda.push_back(Action::Spawn { frame: id });
            }
        } else if state.going == 0 {
            let output = Datum::array(std::mem::take(&mut state.outputs).into_values());
            self.agenda.push_back(match output {
                Ok(output) => Action::Finish { frame: id, output },
                Err(error) => {
                    let fault = Fault::new(Standard::Runtime, &program.task(task).pointer, error.to_string());
                    Action::Propagate { frame: id, fault }
                }
            });
        }
        Some(())
    }
}
