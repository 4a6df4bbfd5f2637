//! A task inside of its extensions: which child follows which.

use super::record::FrameId;
use super::state::{Action, Frame, FrameState, Owner, Run};
use crate::expression::Datum;
use crate::program::{Block, Extended, Flow, Task, TaskId, TaskKind};

/// What has been found out about an extended task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Progress {
    /// Which extensions apply.
    pub(crate) applied: Vec<bool>,
    /// What the task itself put out, once it has.
    result: Option<Datum>,
    /// Where the task itself goes, if it decides that.
    pub(crate) flow: Flow,
}

/// A run of slots: the tasks of one list, or the task itself.
struct Segment<'e> {
    start: usize,
    extension: Option<usize>,
    after: bool,
    tasks: &'e [TaskId],
}

impl Extended {
    /// All lists in order, whether or not they apply, with the task itself in the middle.
    fn segments(&self) -> Vec<Segment<'_>> {
        let lists = |of: fn(&crate::program::Extension) -> &Block| {
            self.extensions.iter().enumerate().map(move |(i, extension)| (Some(i), of(extension).tasks.as_slice()))
        };
        let before = lists(|extension| &extension.before).map(|(i, tasks)| (i, false, tasks));
        let after = lists(|extension| &extension.after).map(|(i, tasks)| (i, true, tasks));
        let inner = [(None, false, std::slice::from_ref(&self.inner))];
        let mut start = 0;
        let all = before.chain(inner).chain(after).map(|(extension, after, tasks)| {
            let segment = Segment { start, extension, after, tasks };
            start += tasks.len();
            segment
        });
        all.collect()
    }

    pub(crate) fn child(&self, slot: usize) -> Option<TaskId> {
        self.segments().iter().find_map(|segment| segment.tasks.get(slot.checked_sub(segment.start)?).copied())
    }

    pub(super) fn is_inner(&self, slot: usize) -> bool {
        self.segments().iter().any(|segment| segment.extension.is_none() && segment.start == slot)
    }

    /// The first slot from a segment on that is to be entered.
    fn next(&self, from: usize, applied: &[bool]) -> Option<usize> {
        let applies = |segment: &&Segment<'_>| {
            !segment.tasks.is_empty() && segment.extension.is_none_or(|i| applied.get(i).copied().unwrap_or_default())
        };
        self.segments().iter().skip(from).find(applies).map(|segment| segment.start)
    }
}

impl Progress {
    pub(super) fn new(applied: Vec<bool>) -> Self {
        Self { applied, result: None, flow: Flow::Continue }
    }
}

impl Run {
    pub(super) fn extended(&self, frame: &Frame) -> Option<&Extended> {
        let Owner::Task(task) = frame.owner else { return None };
        match &self.task(task).kind {
            TaskKind::Extended(extended) => Some(extended),
            _ => None,
        }
    }

    /// Whether the child at this slot is the extended task itself, which its frame stands for already.
    pub(crate) fn is_inner(&self, parent: FrameId, slot: usize) -> bool {
        let extended = self.frames.get(&parent).and_then(|above| self.extended(above));
        extended.is_some_and(|extended| extended.is_inner(slot))
    }

    /// The extended task whose extensions a child at this slot belongs to.
    pub(super) fn extended_by(&self, parent: FrameId, slot: usize) -> Option<(&Task, &Frame)> {
        let (mut id, mut slot, mut direct) = (parent, slot, true);
        loop {
            let above = self.frames.get(&id)?;
            let Owner::Task(task) = above.owner else { return None };
            if let Some(extended) = self.extended(above) {
                return (direct || !extended.is_inner(slot)).then(|| (self.task(task), above));
            }
            if matches!(self.task(task).kind, TaskKind::Function(_)) {
                return None;
            }
            (id, slot, direct) = (above.parent, above.slot, false);
        }
    }

    /// The first child of an extended task.
    pub(super) fn first_of_extended(&self, id: FrameId) -> Option<Action> {
        let frame = self.frames.get(&id)?;
        let FrameState::Extended(progress) = &frame.state else { return None };
        let slot = self.extended(frame)?.next(0, &progress.applied)?;
        Some(Action::Enter { parent: id, slot, input: frame.input.clone() })
    }

    /// What follows when a child of an extended task has left.
    pub(super) fn extended_child_left(&mut self, id: FrameId, slot: usize, flow: Flow, output: Datum) -> Option<()> {
        let program = self.program.clone();
        let frame = self.frames.get_mut(&id)?;
        let Owner::Task(task) = frame.owner else { return None };
        let TaskKind::Extended(extended) = &program.task(task).kind else { return None };
        let FrameState::Extended(progress) = &mut frame.state else { return None };
        let segments = extended.segments();
        let at = segments.iter().position(|s| (s.start..s.start + s.tasks.len()).contains(&slot))?;
        let segment = &segments[at];
        if segment.extension.is_none() {
            progress.result = Some(output.clone());
            progress.flow = flow;
        } else {
            let inside = match flow {
                Flow::Continue => Some(slot + 1 - segment.start).filter(|next| *next < segment.tasks.len()),
                Flow::Goto(position) => Some(position),
                // Puts out in the task's place.
                Flow::Exit if !segment.after => {
                    self.agenda.push_back(Action::Finish { frame: id, output });
                    return Some(());
                }
                Flow::Exit | Flow::End => None,
            };
            if let Some(next) = inside {
                self.agenda.push_back(Action::Enter { parent: id, slot: segment.start + next, input: output });
                return Some(());
            }
        }
        let data = progress.result.clone().unwrap_or_else(|| frame.input.clone());
        let next = extended.next(at + 1, &progress.applied);
        self.agenda.push_back(match next {
            Some(slot) => Action::Enter { parent: id, slot, input: data },
            None => Action::Finish { frame: id, output: data },
        });
        Some(())
    }
}
