//! Cases: a workflow, the world that it runs in, and what comes of it, as one YAML document. For `kapell workflow test`,
//! and for our own suite.
//!
//! `tests/cases/README.md` describes the fields. A case runs on the core with a virtual clock, so an hour's wait takes no
//! time; services answer as the case says, nothing is called.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use kapell_api::decode::{self, Position};
use serde_json::{Map, Value, json};

use crate::cloud_event::CloudEvent;
use crate::compile::{self, Failure, pin};
use crate::core::Event;
use crate::core::exchange::{Reply, Unanswered};
use crate::core::running::JobEnd;
use crate::core::simulation::{Answer, EPOCH, Services, World};
use crate::core::state::{Outcome, Phase};
use crate::expression::Datum;
use crate::expression::meter::on_deep_stack;
use crate::fault::Fault;
use crate::program::Program;
use crate::resources::reduce;

const FIELDS: [&str; 20] = [
    "name",
    "workflow",
    "input",
    "services",
    "resources",
    "secrets",
    "events",
    "signals",
    "published",
    "lifecycle",
    "jobs",
    "cancelAt",
    "output",
    "error",
    "phase",
    "order",
    "calls",
    "headers",
    "compensation",
    "took",
];

/// What is run, in which world, and what comes of it.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    /// Where it stands in its file.
    pub position: Option<Position>,
    pub(crate) fields: Map<String, Value>,
}

/// Something that came out otherwise than written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field of the case, e.g. `output`.
    pub field: String,
    pub wanted: String,
    pub found: String,
}

/// Why a case cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    #[error("{0}")]
    Syntax(decode::DecodeError),
    #[error("a case is an object with `name` and `workflow`")]
    NoCase,
    #[error("{name}: unknown field `{field}`, known are {}", FIELDS.join(", "))]
    UnknownField { name: String, field: String },
    #[error("{name}: `{field}` {why}")]
    Field { name: String, field: &'static str, why: String },
    #[error("{name}: {problem}")]
    Workflow { name: String, problem: String },
    #[error("{name}: {path} asks for {uri}, which is not among its `resources`")]
    NoResource { name: String, path: String, uri: String },
}

/// The cases in a YAML text.
///
/// # Errors
/// When the text, or one of its documents, is no case.
pub fn read(text: &str) -> Result<Vec<Case>, CaseError> {
    let documents = decode::documents(text).map_err(CaseError::Syntax)?;
    let case = |document: decode::Decoded| {
        let position = document.positions.get("name");
        let Value::Object(fields) = document.value else { return Err(CaseError::NoCase) };
        let Some(name) = fields.get("name").and_then(Value::as_str).map(str::to_owned) else {
            return Err(CaseError::NoCase);
        };
        if let Some(field) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            return Err(CaseError::UnknownField { name, field: field.clone() });
        }
        if !fields.contains_key("workflow") {
            return Err(CaseError::NoCase);
        }
        Ok(Case { name, position, fields })
    };
    documents.into_iter().map(case).collect()
}

impl Case {
    /// The file that the workflow stands in, if the case names one instead of having it inside.
    pub fn workflow_file(&self) -> Option<&str> {
        self.fields.get("workflow").and_then(Value::as_str)
    }

    /// The same case with this document.
    #[must_use]
    pub fn with_workflow(mut self, document: Value) -> Self {
        self.fields.insert("workflow".to_owned(), document);
        self
    }

    /// Runs the case; says what came out otherwise than written.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn run(&self) -> Result<Vec<Difference>, CaseError> {
        let program = self.program()?;
        on_deep_stack(|| {
            let mut world = self.world(program, 1)?;
            world.live();
            Ok(self.differences(&world))
        })
    }

    fn field_error(&self, field: &'static str, why: impl ToString) -> CaseError {
        CaseError::Field { name: self.name.clone(), field, why: why.to_string() }
    }

    /// Compiles the workflow with the resources that the case gives.
    pub(crate) fn program(&self) -> Result<Arc<Program>, CaseError> {
        let name = || self.name.clone();
        let mut workflow = self.fields["workflow"].clone();
        let Some(members) = workflow.as_object_mut() else {
            return Err(self.field_error("workflow", "is no document"));
        };
        let header = json!({ "dsl": "1.0.0", "namespace": "test", "name": "test", "version": "1.0.0" });
        members.entry("document").or_insert(header);
        let resources = self.fields.get("resources").unwrap_or(&Value::Null);
        loop {
            let needs = match compile::program(&workflow) {
                Ok(program) => return Ok(Arc::new(program)),
                Err(Failure::Problems(problems)) => {
                    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    return Err(CaseError::Workflow { name: name(), problem: problems.join("; ") });
                }
                Err(Failure::Needs(needs)) => needs,
            };
            for need in needs {
                let Some(given) = resources.get(&need.uri) else {
                    return Err(CaseError::NoResource { name: name(), path: need.path, uri: need.uri });
                };
                let text = given.as_str().map_or_else(|| given.to_string(), str::to_owned);
                let pinned = reduce(&need, text.as_bytes());
                let pinned = pinned.map_err(|why| self.field_error("resources", format!("{} {why}", need.uri)))?;
                pin(&mut workflow, &need, pinned);
            }
        }
    }

    pub(crate) fn world(&self, program: Arc<Program>, seed: u64) -> Result<World, CaseError> {
        let input = self.fields.get("input").cloned().unwrap_or_else(|| json!({}));
        let input = Datum::from_json(&input).map_err(|error| self.field_error("input", error))?;
        let mut world = World::new(program, input, self.services()?, seed);
        world.reports = self.fields.contains_key("lifecycle");
        let jobs = self.fields.get("jobs").unwrap_or(&Value::Null);
        if !jobs.is_null() && !jobs.is_object() {
            return Err(self.field_error("jobs", "is not an object of what is started and how it ends"));
        }
        for (job, end) in jobs.as_object().into_iter().flatten() {
            world.jobs.insert(job.clone(), self.job_end(job, end)?);
        }
        if let Some(at) = self.fields.get("cancelAt") {
            let at = at.as_i64().ok_or_else(|| self.field_error("cancelAt", "is not a number of milliseconds"))?;
            world.happens(EPOCH + at, Event::Cancel { reason: "test".to_owned() });
        }
        let listed = |field: &str| self.fields.get(field).and_then(Value::as_array).into_iter().flatten();
        for (number, given) in listed("events").enumerate() {
            let (at, event) = self.event(number, given)?;
            world.is_published(EPOCH + at, event);
        }
        for (number, given) in listed("signals").enumerate() {
            let (at, event) = self.event(number, given)?;
            world.is_signalled(EPOCH + at, event);
        }
        Ok(world)
    }

    /// How something that the run starts ends.
    fn job_end(&self, job: &str, script: &Value) -> Result<JobEnd, CaseError> {
        let known = ["output", "error", "code", "stdout", "stderr"];
        let members = script.as_object();
        let members = members.ok_or_else(|| self.field_error("jobs", format!("{job}: an end is an object")))?;
        if let Some(key) = members.keys().find(|key| !known.contains(&key.as_str())) {
            let why = format!("{job}: unknown field `{key}`, known are {}", known.join(", "));
            return Err(self.field_error("jobs", why));
        }
        let refused = |error: &dyn std::fmt::Display| self.field_error("jobs", format!("{job}: {error}"));
        if let Some(fault) = script.get("error") {
            return serde_json::from_value(fault.clone()).map(JobEnd::Faulted).map_err(|error| refused(&error));
        }
        if let Some(code) = script.get("code") {
            let code = code.as_i64().ok_or_else(|| refused(&"`code` is not a whole number"))?;
            let text = |key: &str| script.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            return Ok(JobEnd::Exited { code, stdout: text("stdout"), stderr: text("stderr") });
        }
        let output = script.get("output").unwrap_or(&Value::Null);
        Datum::from_json(output).map(JobEnd::Completed).map_err(|error| refused(&error))
    }

    /// What somebody else publishes, and when.
    fn event(&self, number: usize, given: &Value) -> Result<(i64, CloudEvent), CaseError> {
        let members =
            given.as_object().ok_or_else(|| self.field_error("events", "holds something that is no event"))?;
        let mut envelope = json!({ "specversion": "1.0", "source": "/case", "id": number.to_string() });
        for (key, value) in members.iter().filter(|(key, _)| *key != "at") {
            envelope[key] = value.clone();
        }
        let event = Datum::from_json(&envelope).map_err(|error| self.field_error("events", error))?;
        let event = CloudEvent::new(event).map_err(|error| self.field_error("events", error))?;
        Ok((given.get("at").and_then(Value::as_i64).unwrap_or(1), event))
    }

    pub(crate) fn services(&self) -> Result<Services, CaseError> {
        let mut answers: HashMap<String, VecDeque<Answer>> = HashMap::new();
        let services = self.fields.get("services").unwrap_or(&Value::Null);
        if !services.is_null() && !services.is_object() {
            return Err(self.field_error("services", "is not an object of METHOD URI and answers"));
        }
        for (call, script) in services.as_object().into_iter().flatten() {
            let script = script.as_array().cloned().unwrap_or_else(|| vec![script.clone()]);
            let script: Result<_, _> = script.iter().map(|answer| self.answer(call, answer)).collect();
            answers.insert(call.clone(), script?);
        }
        let mut services = Services::new(answers);
        if let Some(secrets) = self.fields.get("secrets") {
            let secrets = serde_json::from_value(secrets.clone());
            services.secrets = secrets.map_err(|error| self.field_error("secrets", error))?;
        }
        Ok(services)
    }

    fn answer(&self, call: &str, script: &Value) -> Result<Answer, CaseError> {
        let known = ["status", "json", "text", "type", "after", "failure"];
        let members = script.as_object();
        let members = members.ok_or_else(|| self.field_error("services", format!("{call}: an answer is an object")))?;
        if let Some(key) = members.keys().find(|key| !known.contains(&key.as_str())) {
            let why = format!("{call}: unknown field `{key}`, known are {}", known.join(", "));
            return Err(self.field_error("services", why));
        }
        let after = script.get("after").and_then(Value::as_i64).unwrap_or(1);
        if let Some(failure) = script.get("failure").and_then(Value::as_str) {
            return Ok(Answer { after, result: Err(Unanswered::Broken(failure.to_owned())) });
        }
        let status = script.get("status").and_then(Value::as_u64).unwrap_or(200);
        let status = u16::try_from(status).map_err(|error| self.field_error("services", format!("{call}: {error}")))?;
        let (kind, body) = match (script.get("json"), script.get("text").and_then(Value::as_str)) {
            (Some(json), _) => ("application/json", json.to_string()),
            (None, Some(text)) => ("text/plain", text.to_owned()),
            (None, None) => ("text/plain", String::new()),
        };
        let kind = script.get("type").and_then(Value::as_str).unwrap_or(kind);
        let headers = vec![("Content-Type".to_owned(), kind.to_owned())];
        Ok(Answer { after, result: Ok(Reply { status, headers, body: body.into() }) })
    }

    /// What came out otherwise than written, in a world that has lived.
    pub(crate) fn differences(&self, world: &World) -> Vec<Difference> {
        let mut found = Findings(Vec::new());
        let Phase::Ended(outcome) = &world.run.phase else {
            let waits = world.run.waiting_for().unwrap_or_else(|| "nothing".to_owned());
            found.note("phase", "an end", format!("no end; it waits for {waits}"));
            return found.0;
        };
        self.check_outcome(outcome, &mut found);
        let field = |name: &str| self.fields.get(name);
        if let Some(order) = field("order") {
            found.compare("order", order, &json!(world.order()));
        }
        if let Some(calls) = field("calls") {
            let seen = world.services.seen.iter().map(|seen| {
                let body = seen.request.body.as_deref().map(|body| format!(" {body}")).unwrap_or_default();
                format!("{} {}{body}", seen.request.method, seen.request.uri)
            });
            found.compare("calls", calls, &json!(seen.collect::<Vec<_>>()));
        }
        if let Some(headers) = field("headers").and_then(Value::as_array) {
            check_headers(headers, world, &mut found);
        }
        if let Some(published) = field("published").and_then(Value::as_array) {
            check_published(published, world, &mut found);
        }
        if let Some(lifecycle) = field("lifecycle") {
            let lines: Vec<String> = world.emitted().filter_map(lifecycle_line).collect();
            found.compare("lifecycle", lifecycle, &json!(lines));
        }
        if let Some(compensation) = field("compensation") {
            found.compare("compensation", compensation, &json!(world.run.compensation.as_str()));
        }
        if let Some(took) = field("took") {
            found.compare("took", took, &json!(world.run.ended_at.map(|ended| ended - EPOCH)));
        }
        found.0
    }

    fn check_outcome(&self, outcome: &Outcome, found: &mut Findings) {
        let (phase, said) = match outcome {
            Outcome::Completed(output) => ("Completed", output.to_value()),
            Outcome::Faulted(fault) => ("Faulted", json!(fault)),
            Outcome::Cancelled(reason) => ("Cancelled", json!(reason)),
        };
        let wanted = self.fields.get("phase").and_then(Value::as_str);
        let wanted = wanted.unwrap_or(if self.fields.contains_key("error") { "Faulted" } else { "Completed" });
        if phase != wanted {
            return found.note("phase", wanted, format!("{phase}: {said}"));
        }
        match outcome {
            Outcome::Completed(output) => {
                if let Some(wanted) = self.fields.get("output") {
                    let mut output = output.to_value();
                    crate::secrets::show(&mut output);
                    found.compare("output", wanted, &output);
                }
            }
            Outcome::Faulted(fault) => {
                let wanted = self.fields.get("error").and_then(Value::as_object);
                wanted.into_iter().flatten().for_each(|(key, wanted)| check_error(key, wanted, fault, found));
            }
            Outcome::Cancelled(_) => {}
        }
    }
}

/// Of `type` the last segment is enough, of `detail` a part.
fn check_error(key: &str, wanted: &Value, fault: &Fault, found: &mut Findings) {
    let actual = json!(fault);
    let fits = match (key, wanted.as_str()) {
        ("type", Some(wanted)) if !wanted.contains(':') => fault.type_.ends_with(&format!("/{wanted}")),
        ("detail", Some(wanted)) => fault.detail.as_deref().unwrap_or_default().contains(wanted),
        _ => &actual[key] == wanted,
    };
    if !fits {
        found.note(&format!("error.{key}"), wanted, &actual);
    }
}

fn check_headers(headers: &[Value], world: &World, found: &mut Findings) {
    if world.services.seen.len() != headers.len() {
        let seen = format!("{} calls", world.services.seen.len());
        return found.note("headers", format!("{} calls", headers.len()), seen);
    }
    for (seen, wanted) in world.services.seen.iter().zip(headers) {
        for (header, wanted) in wanted.as_object().into_iter().flatten() {
            let sent = seen.request.headers.iter().filter(|(name, _)| name == header).map(|(_, value)| value);
            found.compare(&format!("headers.{header}"), &json!([wanted]), &json!(sent.collect::<Vec<_>>()));
        }
    }
}

/// A lifecycle event's type without what all have in common, with its task and status.
fn lifecycle_line(event: &CloudEvent) -> Option<String> {
    let what = event.type_().strip_prefix("io.serverlessworkflow.")?.strip_suffix(".v1")?.to_owned();
    let detail = |key: &str| event.data().get(key).and_then(Datum::as_str).map(|text| format!(" {text}"));
    Some([Some(what), detail("task"), detail("status")].into_iter().flatten().collect())
}

/// Of each event only the attributes given.
fn check_published(published: &[Value], world: &World, found: &mut Findings) {
    let emitted: Vec<Value> = world.emitted().map(|event| event.envelope().to_value()).collect();
    if emitted.len() != published.len() {
        return found.note("published", format!("{} events", published.len()), json!(emitted));
    }
    for (number, (actual, wanted)) in emitted.iter().zip(published).enumerate() {
        for (key, wanted) in wanted.as_object().into_iter().flatten() {
            found.compare(&format!("published[{number}].{key}"), wanted, &actual[key]);
        }
    }
}

struct Findings(Vec<Difference>);

impl Findings {
    fn compare(&mut self, field: &str, wanted: &Value, found: &Value) {
        if wanted != found {
            self.note(field, wanted, found);
        }
    }

    fn note(&mut self, field: &str, wanted: impl ToString, found: impl ToString) {
        let (field, wanted, found) = (field.to_owned(), wanted.to_string(), found.to_string());
        self.0.push(Difference { field, wanted, found });
    }
}
