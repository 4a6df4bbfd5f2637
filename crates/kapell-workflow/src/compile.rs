//! From a Serverless Workflow document to a [`Program`]: everything is checked here, before anything runs.
//!
//! The document is read once. Whatever is unknown, of the wrong type, undefined or not supported becomes a problem
//! with its path; a program exists only when there is none. What is not supported yet is refused by its name and
//! never skipped.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kapell_api::problem::Problem;
use serde_json::Value;

use crate::expression::meter::on_deep_stack;
use crate::expression::{Datum, template::Mode};
use crate::node::{Members, Node, Problems, member_path, not_supported, wrong_type};
use crate::program::{Authentication, ErrorTemplate, Program, Retry, Task, Timeout};
use crate::resources::{Need, PINNED, Resources};
use crate::settings::Settings;

mod call;
pub(crate) use call::check_http_url;
mod authentication;
mod data;
mod events;
mod extended;
mod extension;
mod faults;
mod function;
mod reach;
mod resource;
mod run;
pub use run::processes;
mod schedule;
mod settings;
mod task;
#[cfg(test)]
mod tests;

use extended::Extender;
use function::Reading;
use resource::Fixed;

/// Everything wrong with the document, with paths below `spec`; empty when it can run.
pub fn validate(spec: &Value) -> Vec<Problem> {
    on_deep_stack(|| {
        let mut compiler = Compiler::default();
        compiler.document(&Node::new(spec, "spec"));
        let mut problems = compiler.problems;
        problems.append(&mut compiler.unreachable);
        problems
    })
}

/// Why there is no program.
#[derive(Debug)]
pub(crate) enum Failure {
    Problems(Vec<Problem>),
    /// These have to be pinned first.
    Needs(Vec<Need>),
}

/// Compiles the definition of a run: a document, with what is pinned of its resources under [`PINNED`]. What
/// [`validate`] calls unreachable does not keep a document from running: those of runs that began under an older
/// version still compile.
pub(crate) fn program(definition: &Value) -> Result<Program, Failure> {
    on_deep_stack(|| {
        let mut document = definition.clone();
        let pinned = document.as_object_mut().and_then(|members| members.shift_remove(PINNED));
        let resources = match pinned {
            Some(Value::Object(pinned)) => pinned.into_iter().collect(),
            _ => Resources::new(),
        };
        let mut compiler = Compiler { resources, ..Compiler::default() };
        let program = compiler.document(&Node::new(&document, "spec"));
        match program {
            _ if !compiler.problems.is_empty() => Err(Failure::Problems(compiler.problems)),
            _ if !compiler.needs.is_empty() => Err(Failure::Needs(compiler.needs)),
            Some(program) => Ok(Program { pinned: Datum::from_json(definition).unwrap_or_default(), ..program }),
            None => Err(Failure::Problems(compiler.problems)),
        }
    })
}

/// Compiles a document without what it needs from elsewhere: to be looked at, not to be run.
pub(crate) fn unlinked(document: &Value) -> Result<Program, Vec<Problem>> {
    on_deep_stack(|| {
        let mut compiler = Compiler::default();
        match compiler.document(&Node::new(document, "spec")) {
            Some(program) if compiler.problems.is_empty() => Ok(program),
            _ => Err(compiler.problems),
        }
    })
}

/// What a document says about its runs as a whole, whatever it needs from elsewhere; `None` when it is wrong.
pub(crate) fn settings(document: &Value) -> Option<Settings> {
    on_deep_stack(|| Compiler::default().document(&Node::new(document, "spec")).map(|program| program.settings))
}

/// The definition with one more resource pinned.
pub(crate) fn pin(definition: &mut Value, need: &Need, pinned: Value) {
    let Some(members) = definition.as_object_mut() else { return };
    let resources = members.entry(PINNED).or_insert_with(|| Value::Object(serde_json::Map::new()));
    if let Some(resources) = resources.as_object_mut() {
        resources.insert(need.key(), pinned);
    }
}

/// Where our own extensions stand, inside the `metadata` of a task or of the document.
const EXTENSION: &str = "kapell.dev/v1";

/// What has been read so far.
#[derive(Default)]
struct Compiler {
    problems: Problems,
    tasks: Vec<Task>,
    mode: Mode,
    errors: HashMap<String, ErrorTemplate>,
    retries: HashMap<String, Retry>,
    timeouts: HashMap<String, Timeout>,
    /// `document.namespace`.
    namespace: String,
    authentications: HashMap<String, Authentication>,
    catalogs: HashMap<String, Fixed>,
    /// Definitions, to be compiled when they are called.
    functions: BTreeMap<String, Value>,
    read_functions: HashMap<(String, bool), Reading>,
    extenders: Vec<Extender>,
    /// Inside of an extension, whose tasks are not extended.
    extending: bool,
    secrets: Vec<String>,
    sealed: bool,
    resources: Resources,
    /// Resources that are still to be pinned.
    needs: Vec<Need>,
    /// Tasks that no path leads to.
    unreachable: Problems,
    settings: Settings,
    /// The tasks that are read now stand in a `do` with `mode: dag`.
    in_dag: bool,
    /// Arguments that the enclosing tasks define: loop variables and caught errors.
    variables: Vec<Arc<str>>,
}

/// Where an expression stands, which decides on its arguments (the table in dsl.md, "Runtime expression arguments").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Before a run begins.
    Admission,
    WorkflowInput,
    WorkflowOutput,
    TaskInput,
    TaskDefinition,
    TaskExport,
    /// Filters of events that start runs: there is no run yet.
    Schedule,
}

impl Position {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Position::Admission => &[],
            Position::WorkflowInput => &["workflow", "runtime"],
            Position::WorkflowOutput => &["context", "workflow", "runtime"],
            Position::TaskInput => &["context", "task", "workflow", "runtime"],
            Position::TaskDefinition => &["context", "input", "task", "workflow", "runtime", "authorization"],
            Position::Schedule => &[],
            Position::TaskExport => &["context", "input", "output", "task", "workflow", "runtime"],
        }
    }
}

impl Compiler {
    fn document(&mut self, node: &Node<'_>) -> Option<Program> {
        let members = node.members(&mut self.problems)?;
        let known = ["document", "input", "use", "do", "timeout", "output", "evaluate", "schedule"];
        members.known(&known, &[], &mut self.problems);
        if let Some(evaluate) = members.get("evaluate") {
            self.evaluate(&evaluate);
        }
        let header = members.require("document", &mut self.problems).and_then(|node| self.header(&node));
        if let Some(node) = members.get("use") {
            self.definitions(&node);
        }
        let input = members.get("input").map(|node| self.filter(&node, "from", Position::WorkflowInput));
        let timeout = members.get("timeout").and_then(|node| self.timeout(&node, Position::WorkflowInput));
        let root = members.require("do", &mut self.problems).map(|node| self.block(&node, "/do"));
        let output = members.get("output").map(|node| self.filter(&node, "as", Position::WorkflowOutput));
        let definition = Datum::from_json(node.value).unwrap_or_default();
        let policy = header?;
        let schedule = members.get("schedule").and_then(|node| self.schedule(&node, policy));
        let (input, output) = (input.unwrap_or_default(), output.unwrap_or_default());
        let settings = std::mem::take(&mut self.settings);
        let secrets = std::mem::take(&mut self.secrets);
        let sealed = self.sealed || !secrets.is_empty();
        let (root, tasks) = (root?, std::mem::take(&mut self.tasks));
        let pinned = Datum::Null;
        Some(Program { pinned, definition, input, output, timeout, schedule, secrets, sealed, settings, root, tasks })
    }

    /// Gives what it says about the schedule.
    fn header(&mut self, node: &Node<'_>) -> Option<schedule::Policy> {
        let members = node.members(&mut self.problems)?;
        let known = ["dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata"];
        members.known(&known, &[], &mut self.problems);
        self.check_text(&members, "dsl", "a version 1.0.x of the DSL", |text| {
            is_semver(text) && text.starts_with("1.0.")
        });
        self.namespace = members.get("namespace").and_then(|node| node.value.as_str()).unwrap_or_default().to_owned();
        self.check_text(&members, "namespace", "a DNS label of at most 63 characters", is_dns_label);
        self.check_text(&members, "version", "a semantic version such as 1.0.0", is_semver);
        self.check_text(&members, "name", "a DNS label of at most 63 characters", is_dns_label);
        for key in ["title", "summary"] {
            members.get(key).and_then(|node| node.text(&mut self.problems));
        }
        members.get("tags").and_then(|node| node.members(&mut self.problems));
        // `metadata` is open to everyone; our own block in it holds an input to try the workflow with, for people.
        let metadata = members.get("metadata").and_then(|node| node.members(&mut self.problems));
        if let Some(ours) = metadata.and_then(|metadata| metadata.get(EXTENSION))
            && let Some(ours) = ours.members(&mut self.problems)
        {
            let known: Vec<&str> = ["exampleInput", "schedule"].into_iter().chain(settings::SETTINGS).collect();
            ours.known(&known, &[], &mut self.problems);
            self.settings = self.settings(&ours);
            return Some(self.policy(&ours));
        }
        Some(schedule::Policy::default())
    }

    /// A required text of a certain form.
    fn check_text(&mut self, members: &Members<'_>, key: &str, wanted: &str, accepts: fn(&str) -> bool) {
        let Some(node) = members.require(key, &mut self.problems) else { return };
        let Some(text) = node.text(&mut self.problems) else { return };
        if !accepts(text) {
            self.problems.push(Problem::invalid(node.path, text, &format!("must be {wanted}")));
        }
    }

    fn evaluate(&mut self, node: &Node<'_>) {
        let Some(members) = node.members(&mut self.problems) else { return };
        members.known(&["language", "mode"], &[], &mut self.problems);
        if let Some(language) = members.get("language") {
            match language.text(&mut self.problems) {
                None | Some("jq") => {}
                Some(other) => {
                    self.problems.push(not_supported(language.path, &format!("the expression language `{other}`")));
                }
            }
        }
        if let Some(mode) = members.get("mode") {
            match mode.text(&mut self.problems) {
                None => {}
                Some("strict") => self.mode = Mode::Strict,
                Some("loose") => self.mode = Mode::Loose,
                Some(other) => self.problems.push(Problem::invalid(mode.path, other, "must be strict or loose")),
            }
        }
    }

    /// `use`: what tasks refer to by name.
    fn definitions(&mut self, node: &Node<'_>) {
        let Some(members) = node.members(&mut self.problems) else { return };
        let known = ["secrets", "authentications", "catalogs", "functions", "errors", "retries", "timeouts"];
        let all: Vec<&str> = known.iter().copied().chain(["extensions"]).collect();
        members.known(&all, &[], &mut self.problems);
        if let Some(secrets) = members.get("secrets") {
            self.secret_names(&secrets);
        }
        // In this order, as later ones refer to earlier ones.
        for key in &known[1..] {
            let Some(node) = members.get(key) else { continue };
            let Some(entries) = node.members(&mut self.problems) else { continue };
            for (name, node) in entries.entries() {
                self.define(key, name, &node);
            }
        }
        if let Some(extensions) = members.get("extensions") {
            self.extensions(&extensions);
        }
        // Also those that nobody calls are checked.
        for name in self.functions.keys().cloned().collect::<Vec<_>>() {
            let place = Node::new(&Value::Null, member_path("spec.use.functions", &name));
            self.check_function(&name, &place);
        }
    }

    fn define(&mut self, key: &str, name: &str, node: &Node<'_>) {
        let name = name.to_owned();
        match key {
            "authentications" => {
                let authentication = self.authentication(node);
                self.authentications.extend(authentication.map(|found| (name, found)));
            }
            "catalogs" => {
                let Some(members) = node.members(&mut self.problems) else { return };
                members.known(&["endpoint"], &[], &mut self.problems);
                let endpoint = members.require("endpoint", &mut self.problems);
                let fixed = endpoint.and_then(|node| self.fixed_endpoint(&node));
                self.catalogs.extend(fixed.map(|fixed| (name, fixed)));
            }
            "functions" => drop(self.functions.insert(name, node.value.clone())),
            "errors" => {
                let error = self.error(node);
                self.errors.extend(error.map(|error| (name, error)));
            }
            "retries" => {
                let retry = self.retry(node);
                self.retries.extend(retry.map(|retry| (name, retry)));
            }
            _ => {
                let timeout = self.timeout(node, Position::TaskDefinition);
                self.timeouts.extend(timeout.map(|timeout| (name, timeout)));
            }
        }
    }

    fn secret_names(&mut self, node: &Node<'_>) {
        for item in node.items(&mut self.problems) {
            let Some(name) = item.text(&mut self.problems) else { continue };
            // Whether there is such a Secret, a run finds out: other runtimes have other names for theirs.
            if name.is_empty() || name.contains('/') {
                let detail = "must be the name of a Secret in the run's namespace";
                self.problems.push(Problem::invalid(item.path, name, detail));
            } else if !self.secrets.iter().any(|known| known == name) {
                self.secrets.push(name.to_owned());
            }
        }
    }

    /// A member that must be an object or a text; anything else is reported.
    fn expect_object_or_text(&mut self, node: &Node<'_>) -> bool {
        let fits = node.value.is_object() || node.value.is_string();
        if !fits {
            self.problems.push(wrong_type(&node.path, node.value, "an object or an expression"));
        }
        fits
    }
}

fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// `1.2.3`, `1.2.3-alpha.1+build`.
fn is_semver(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let number = |n: &str| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()) && (n == "0" || !n.starts_with('0'));
    let identifiers = |text: &str| {
        text.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
    };
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers.into_iter().all(number)
        && pre.is_none_or(identifiers)
        && build.is_none_or(identifiers)
}
