//! A document in the form that runs: a flat table of tasks with resolved targets and compiled expressions.
//!
//! A program is immutable and shared by all runs of its definition. It knows nothing of runs, time or I/O.

use std::sync::Arc;

pub(crate) mod events;
pub(crate) mod process;
pub(crate) mod schedule;

use crate::authentication::Scheme;
use crate::duration::Millis;
use crate::expression::{Datum, Expression, Template};
use crate::grpc::GrpcMethod;
use crate::openapi::Operation;
use crate::schema::Schema;
use crate::settings::Settings;

/// Index into [`Program::tasks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TaskId(pub(crate) usize);

#[derive(Debug)]
pub(crate) struct Program {
    /// The document as `$workflow.definition` shows it.
    pub(crate) definition: Datum,
    /// The same with what is pinned of its resources: what a run keeps.
    pub(crate) pinned: Datum,
    pub(crate) input: DataFilter,
    pub(crate) output: DataFilter,
    pub(crate) timeout: Option<Timeout>,
    pub(crate) schedule: Option<schedule::Schedule>,
    /// The Secrets that `use.secrets` names.
    pub(crate) secrets: Vec<String>,
    /// Whether runs need tokens: for secrets, or for what a call proves itself with.
    pub(crate) sealed: bool,
    /// What the document says about its runs as a whole.
    pub(crate) settings: Settings,
    pub(crate) root: Block,
    pub(crate) tasks: Vec<Task>,
}

impl Program {
    /// Whether a run of it may publish events or wait for some.
    pub(crate) fn uses_events(&self) -> bool {
        self.tasks.iter().any(|task| matches!(task.kind, TaskKind::Emit(_) | TaskKind::Listen(_)))
    }

    pub(crate) fn task(&self, id: TaskId) -> &Task {
        &self.tasks[id.0]
    }
}

/// `input`, `output` or `export`.
#[derive(Debug, Default)]
pub(crate) struct DataFilter {
    /// `from` or `as`; `None` passes data on as it is.
    pub(crate) template: Option<Template>,
    /// What an input must fit before it is filtered, and an output or context after that.
    pub(crate) schema: Option<Schema>,
}

impl DataFilter {
    /// Whether data passes unchanged and unchecked.
    pub(crate) fn is_empty(&self) -> bool {
        self.template.is_none() && self.schema.is_none()
    }
}

/// A task list that runs in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    pub(crate) tasks: Vec<TaskId>,
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) name: String,
    /// JSON pointer from the document's root, as errors carry it in `instance`.
    pub(crate) pointer: String,
    /// The task as `$task.definition` shows it.
    pub(crate) definition: Datum,
    pub(crate) condition: Option<Expression>,
    pub(crate) input: DataFilter,
    pub(crate) output: DataFilter,
    pub(crate) export: DataFilter,
    pub(crate) timeout: Option<Timeout>,
    pub(crate) then: Flow,
    /// What undoes the task: `metadata."kapell.dev/v1".compensate`.
    pub(crate) compensate: Option<Block>,
    /// What completed inside of it is undone when it faults: `metadata."kapell.dev/v1".saga`.
    pub(crate) saga: Option<Saga>,
    pub(crate) kind: TaskKind,
}

/// A scope that is undone as a whole, in reverse order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saga {
    pub(crate) on_failure: OnFailure,
}

/// What becomes of a saga when a compensation has failed for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// The others are undone all the same.
    #[default]
    Continue,
    /// The others stay as they are, for people to look at.
    Stop,
}

#[derive(Debug)]
pub(crate) enum TaskKind {
    Do(Block),
    Dag(Dag),
    Set(Template),
    Call(Box<HttpCall>),
    Function(Box<FunctionCall>),
    Extended(Box<Extended>),
    Switch(Vec<Case>),
    For(ForLoop),
    Fork(Fork),
    Try(Box<TryCatch>),
    Raise(Box<ErrorTemplate>),
    Wait(DurationTemplate),
    Emit(events::Emit),
    Listen(Box<events::Listen>),
    Run(Box<process::RunTask>),
}

/// A `do` with `mode: dag`: each task begins when those that it needs are done.
#[derive(Debug)]
pub(crate) struct Dag {
    pub(crate) tasks: Vec<TaskId>,
    /// Positions of what each task needs.
    pub(crate) needs: Vec<Vec<usize>>,
}

/// Where to go after a task, with names resolved to a position in the task's own block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    #[default]
    Continue,
    /// Leaves the enclosing task.
    Exit,
    /// Completes the workflow.
    End,
    Goto(usize),
}

#[derive(Clone, Debug)]
pub(crate) enum DurationTemplate {
    Fixed(Millis),
    Computed(Template),
}

/// `timeout.after`.
pub(crate) type Timeout = DurationTemplate;

#[derive(Debug)]
pub(crate) struct HttpCall {
    pub(crate) method: http::Method,
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: Option<Template>,
    pub(crate) query: Option<Template>,
    pub(crate) body: Option<Template>,
    pub(crate) authentication: Option<Authentication>,
    pub(crate) output: HttpOutput,
    /// Whether 300–399 counts as success.
    pub(crate) redirect: bool,
}

/// How a call says who it is.
#[derive(Clone, Debug)]
pub(crate) struct Authentication {
    pub(crate) scheme: Scheme,
    /// Evaluates to the members of the policy.
    pub(crate) settings: Template,
}

#[derive(Debug)]
pub(crate) enum Endpoint {
    /// Text with `{name}` where a top-level member of the task's input goes.
    UriTemplate(String),
    Computed(Template),
    /// An operation of an OpenAPI document, which also decides on headers and body.
    Operation(Box<OperationCall>),
    Grpc(Box<GrpcCall>),
}

#[derive(Debug)]
pub(crate) struct OperationCall {
    pub(crate) operation: Operation,
    pub(crate) parameters: Template,
}

#[derive(Debug)]
pub(crate) struct GrpcCall {
    pub(crate) method: GrpcMethod,
    pub(crate) arguments: Template,
}

/// A task inside of its extensions.
#[derive(Debug)]
pub(crate) struct Extended {
    /// The task itself, with nothing but its kind.
    pub(crate) inner: TaskId,
    pub(crate) extensions: Vec<Extension>,
}

#[derive(Debug)]
pub(crate) struct Extension {
    pub(crate) when: Option<Expression>,
    pub(crate) before: Block,
    pub(crate) after: Block,
}

/// A custom function: a task with an input of its own.
#[derive(Debug)]
pub(crate) struct FunctionCall {
    pub(crate) with: Template,
    /// The function's task.
    pub(crate) body: Block,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HttpOutput {
    #[default]
    Content,
    Raw,
    Response,
}

#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// `None`: the default case.
    pub(crate) when: Option<Expression>,
    pub(crate) then: Flow,
}

#[derive(Debug)]
pub(crate) struct ForLoop {
    pub(crate) each: Arc<str>,
    pub(crate) at: Arc<str>,
    pub(crate) items: Template,
    pub(crate) condition: Option<Expression>,
    pub(crate) body: Block,
    pub(crate) parallel: Option<Parallel>,
}

/// `metadata."kapell.dev/v1".parallel` of a loop: its iterations run side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parallel {
    /// How many at a time.
    pub(crate) max: usize,
    pub(crate) on_error: OnError,
}

/// What becomes of a parallel loop when an iteration faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnError {
    /// It faults, and the other iterations are dropped.
    #[default]
    Fail,
    /// It goes on; in the output `{error: …}` stands in the iteration's place.
    Continue,
}

#[derive(Debug)]
pub(crate) struct Fork {
    pub(crate) branches: Vec<TaskId>,
    /// The first branch to complete wins, the others are cancelled.
    pub(crate) compete: bool,
}

#[derive(Debug)]
pub(crate) struct TryCatch {
    pub(crate) body: Block,
    pub(crate) filter: ErrorFilter,
    /// Name of the argument that holds the error.
    pub(crate) variable: Arc<str>,
    pub(crate) when: Option<Expression>,
    pub(crate) except_when: Option<Expression>,
    pub(crate) retry: Option<Retry>,
    pub(crate) handler: Option<Block>,
    /// Where to go once an error was handled, in place of the task's own `then`.
    pub(crate) then: Option<Flow>,
}

/// `catch.errors.with`: every given member must match.
#[derive(Clone, Debug, Default)]
pub(crate) struct ErrorFilter {
    pub(crate) type_: Option<String>,
    pub(crate) status: Option<i64>,
    pub(crate) instance: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) detail: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Retry {
    pub(crate) when: Option<Expression>,
    pub(crate) except_when: Option<Expression>,
    pub(crate) delay: Millis,
    pub(crate) backoff: Backoff,
    pub(crate) jitter: Option<(Millis, Millis)>,
    /// Attempts after the first.
    pub(crate) max_attempts: Option<u32>,
    /// How long one attempt may take.
    pub(crate) attempt_duration: Option<Millis>,
    /// How long all attempts together may take.
    pub(crate) total_duration: Option<Millis>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Backoff {
    #[default]
    Constant,
    Linear,
    /// Each delay is `factor` times the one before, until `max`; both are ours, the DSL's factor is 2.
    Exponential {
        factor: f64,
        max: Option<Millis>,
    },
}

/// What `raise` raises; the members may be expressions.
#[derive(Clone, Debug)]
pub(crate) struct ErrorTemplate {
    pub(crate) type_: Template,
    pub(crate) status: Template,
    pub(crate) title: Option<Template>,
    pub(crate) detail: Option<Template>,
}
