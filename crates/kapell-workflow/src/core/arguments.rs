//! What `$context`, `$task` and the others stand for.

use super::record::{FrameId, Time};
use super::state::{Frame, FrameState, Owner, Run};
use crate::expression::{Arguments, Datum};
use crate::program::{Task, TaskKind};
use crate::secrets::Sealed;

/// The surroundings of one evaluation.
#[derive(Clone)]
pub(super) struct Surroundings<'r> {
    pub(super) run: &'r Run,
    /// The task in question with its raw input and the time at which it began.
    pub(super) task: Option<(&'r Task, Datum, Time)>,
    pub(super) input: Datum,
    /// `$context`, where it is not the present one.
    pub(super) context: Option<Datum>,
    pub(super) raw_output: Option<Datum>,
    pub(super) output: Option<Datum>,
    /// The innermost frame whose variables are visible.
    pub(super) frame: FrameId,
    /// `$task` is a task that is being extended, with the members of its definition.
    pub(super) extends: bool,
    /// Variables that hide those of frames.
    pub(super) extra: Vec<(&'r str, Datum)>,
}

impl<'r> Surroundings<'r> {
    pub(super) fn of_workflow(run: &'r Run) -> Self {
        let input = Datum::Null;
        let frame = super::state::ROOT;
        let (context, raw_output, output) = (None, None, None);
        Self { run, task: None, input, context, raw_output, output, frame, extends: false, extra: Vec::new() }
    }

    /// Inside of a task that has begun.
    pub(super) fn of_frame(run: &'r Run, id: FrameId, frame: &'r Frame) -> Self {
        let task = match frame.owner {
            Owner::Task(task) => Some((run.task(task), frame.raw_input.clone(), frame.started_at)),
            _ => None,
        };
        let input = frame.input.clone();
        let (context, raw_output, output) = (None, None, None);
        let mut around =
            Self { run, task, input, context, raw_output, output, frame: id, extends: false, extra: Vec::new() };
        around.belongs_to(frame.parent, frame.slot);
        around
    }

    /// For a task of an extension, `$task` is the one that it extends.
    pub(super) fn belongs_to(&mut self, parent: FrameId, slot: usize) {
        if let Some((task, frame)) = self.run.extended_by(parent, slot) {
            self.task = Some((task, frame.raw_input.clone(), frame.started_at));
            self.extends = true;
        }
    }

    /// Variables of loops and handlers, from the inside out.
    fn variable(&self, name: &str) -> Option<Datum> {
        if let Some((_, value)) = self.extra.iter().find(|(known, _)| *known == name) {
            return Some(value.clone());
        }
        let mut id = self.frame;
        while let Some(frame) = self.run.frames.get(&id) {
            if let Owner::Task(task) | Owner::Iteration(task) = frame.owner {
                match (&self.run.task(task).kind, &frame.state) {
                    (TaskKind::For(each), FrameState::For { items, index }) => {
                        if &*each.each == name {
                            return items.as_array().and_then(|items| items.get(*index)).cloned();
                        }
                        if &*each.at == name {
                            return Some(Datum::from(*index));
                        }
                    }
                    (TaskKind::For(each), FrameState::Iteration { item }) => {
                        if &*each.each == name {
                            return Some(item.clone());
                        }
                        if &*each.at == name {
                            return Some(Datum::from(frame.slot));
                        }
                    }
                    (TaskKind::Listen(listen), FrameState::Listen(hearing)) => {
                        let foreach = listen.foreach.as_ref();
                        if foreach.is_some_and(|foreach| &*foreach.item == name) && hearing.item.is_some() {
                            return hearing.item.clone();
                        }
                        if foreach.is_some_and(|foreach| &*foreach.at == name) {
                            return Some(Datum::from(hearing.index));
                        }
                    }
                    (TaskKind::Try(catch), FrameState::Try { handling: Some(fault), .. })
                        if &*catch.variable == name =>
                    {
                        return Some(fault.to_datum());
                    }
                    _ => {}
                }
            }
            if id == super::state::ROOT {
                break;
            }
            id = frame.parent;
        }
        None
    }

    fn task_argument(&self) -> Datum {
        let Some((task, raw_input, started_at)) = &self.task else { return Datum::Null };
        let members = [
            ("name", Some(Datum::string(task.name.as_str()))),
            ("reference", Some(Datum::string(task.pointer.as_str()))),
            ("definition", Some(task.definition.clone())),
            ("input", Some(raw_input.clone())),
            ("output", self.raw_output.clone()),
            ("startedAt", Some(date_time(*started_at))),
        ];
        let descriptor = object(members);
        // The examples of the specification ask for `$task.call` and `$task.with`.
        match (descriptor.as_object(), task.definition.as_object()) {
            (Some(own), Some(definition)) if self.extends => {
                let all = definition.members().iter().chain(own.members());
                Datum::object(all.map(|(key, value)| (key.clone(), value.clone()))).unwrap_or_default()
            }
            _ => descriptor,
        }
    }

    /// The parameter is a token: what stands for it is found out when the call is made.
    fn authorization_argument(&self) -> Datum {
        let Some((task, ..)) = &self.task else { return Datum::Null };
        let kind = match &task.kind {
            TaskKind::Extended(extended) => &self.run.task(extended.inner).kind,
            kind => kind,
        };
        let (TaskKind::Call(call), Some(sealed)) = (kind, &self.run.identity.secrets) else { return Datum::Null };
        let Some(authentication) = &call.authentication else { return Datum::Null };
        object([
            ("scheme", Some(Datum::string(authentication.scheme.authorization()))),
            ("parameter", Some(Datum::string(Sealed::authorization(&sealed.nonce)))),
        ])
    }

    fn workflow_argument(&self) -> Datum {
        object([
            ("id", Some(Datum::string(self.run.identity.uid.as_str()))),
            ("definition", Some(self.run.program.definition.clone())),
            ("input", Some(self.run.raw_input.clone())),
            ("startedAt", Some(date_time(self.run.started_at))),
        ])
    }
}

impl Arguments for Surroundings<'_> {
    fn argument(&self, name: &str) -> Datum {
        match name {
            "context" => self.context.as_ref().unwrap_or(&self.run.context).clone(),
            "input" => self.input.clone(),
            "output" => self.output.clone().unwrap_or_default(),
            "task" => self.task_argument(),
            "workflow" => self.workflow_argument(),
            "runtime" => object([
                ("name", Some(Datum::string("kapell"))),
                ("version", Some(Datum::string(env!("CARGO_PKG_VERSION")))),
            ]),
            "secrets" => self.run.identity.secrets.as_ref().map(Sealed::argument).unwrap_or_default(),
            "authorization" => self.authorization_argument(),
            variable => self.variable(variable).unwrap_or_default(),
        }
    }
}

/// The parts are within the bounds on data by themselves; together they could only exceed them when a definition and
/// its input are both as large as can be, and then the argument is `null` rather than wrong.
fn object<const N: usize>(members: [(&'static str, Option<Datum>); N]) -> Datum {
    Datum::object(members.into_iter().filter_map(|(key, value)| Some((key, value?)))).unwrap_or_default()
}

/// The DSL's date-time descriptor.
fn date_time(at: Time) -> Datum {
    let iso = jiff::Timestamp::from_millisecond(at).map(|at| at.to_string()).unwrap_or_default();
    let epoch = object([("seconds", Some(Datum::Int(at.div_euclid(1000)))), ("milliseconds", Some(Datum::Int(at)))]);
    object([("iso8601", Some(Datum::string(iso))), ("epoch", Some(epoch))])
}
