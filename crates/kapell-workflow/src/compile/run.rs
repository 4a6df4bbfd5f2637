//! `run`: workflows, shell commands and scripts.

use kapell_api::problem::{Problem, Reason};
use serde_json::Value;

use super::{Compiler, Position};
use crate::expression::Template;
use crate::node::{Members, Node, not_supported};
use crate::program::TaskKind;
use crate::program::process::{Language, ProcessTemplate, Returns, RunTask, RunWhat};

const DEFINITION: Position = Position::TaskDefinition;

/// The tasks of a document that start processes on this machine, which not every server allows.
pub fn processes(spec: &Value) -> Vec<Problem> {
    let Ok(program) = super::program(spec) else { return Vec::new() };
    let starts_process = |kind: &TaskKind| match kind {
        TaskKind::Run(run) => !matches!(run.what, RunWhat::Workflow { .. }),
        _ => false,
    };
    let tasks = program.tasks.iter().filter(|task| starts_process(&task.kind));
    let message = "Forbidden: this server does not run processes for workflows; start it with --allow-run";
    tasks.map(|task| Problem::new(format!("{}.run", path_of(&task.pointer)), Reason::Forbidden, message)).collect()
}

/// `/do/0/a` as `spec.do[0].a`.
fn path_of(pointer: &str) -> String {
    let mut path = "spec".to_owned();
    for segment in pointer.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        if segment.bytes().all(|byte| byte.is_ascii_digit()) {
            path.push_str(&format!("[{segment}]"));
        } else {
            path = crate::node::member_path(&path, &segment);
        }
    }
    path
}

impl Compiler {
    /// A template whose outcome others may see: another run's input, a command line.
    fn open(&mut self, node: &Node<'_>) -> Template {
        let template = self.template(node, DEFINITION);
        if template.uses("secrets") {
            let detail = "a secret can be handed over only in `environment` or `stdin` of a command";
            self.problems.push(Problem::forbidden(node.path.clone(), detail));
        }
        template
    }

    pub(super) fn run(&mut self, node: &Node<'_>) -> Option<RunTask> {
        let members = node.members(&mut self.problems)?;
        members.known(&["workflow", "shell", "script", "container", "await", "return"], &[], &mut self.problems);
        if let Some(node) = members.get("container") {
            let what = "`container` (this node has no container runtime)";
            self.problems.push(not_supported(node.path, what));
            return None;
        }
        let awaited = members.get("await").map_or(Some(true), |node| node.boolean(&mut self.problems))?;
        let returns = members.get("return").map_or(Some(Returns::Stdout), |node| self.returns(&node))?;
        let given: Vec<&str> =
            ["workflow", "shell", "script"].into_iter().filter(|keyword| members.has(keyword)).collect();
        let [keyword] = given.as_slice() else {
            let detail = "exactly one of workflow, shell, script";
            self.problems.push(Problem::required(node.path.clone(), detail));
            return None;
        };
        let body = members.get(keyword)?;
        let inner = body.members(&mut self.problems)?;
        let what = match *keyword {
            "workflow" => self.run_workflow(&inner)?,
            "shell" => {
                inner.known(&["command", "arguments", "environment", "stdin"], &[], &mut self.problems);
                let command = inner.require("command", &mut self.problems)?;
                command.text(&mut self.problems)?;
                RunWhat::Shell { command: self.open(&command), process: self.process(&inner, returns) }
            }
            _ => self.run_script(&inner, returns)?,
        };
        Some(RunTask { what, awaited })
    }

    fn returns(&mut self, node: &Node<'_>) -> Option<Returns> {
        Some(match node.text(&mut self.problems)? {
            "stdout" => Returns::Stdout,
            "stderr" => Returns::Stderr,
            "code" => Returns::Code,
            "all" => Returns::All,
            "none" => Returns::None,
            other => {
                let detail = "must be one of stdout, stderr, code, all, none";
                self.problems.push(Problem::invalid(node.path.clone(), other, detail));
                return None;
            }
        })
    }

    fn run_workflow(&mut self, members: &Members<'_>) -> Option<RunWhat> {
        members.known(&["namespace", "name", "version", "input"], &[], &mut self.problems);
        if let Some(node) = members.get("namespace")
            && let Some(namespace) = node.text(&mut self.problems)
            && namespace != self.namespace
        {
            let what = format!("a workflow of another namespace (this one is in {})", self.namespace);
            self.problems.push(not_supported(node.path, &what));
        }
        let name = members.require("name", &mut self.problems)?.text(&mut self.problems)?.to_owned();
        let version = members.require("version", &mut self.problems)?.text(&mut self.problems)?.to_owned();
        let input = members.get("input").map(|node| self.open(&node));
        Some(RunWhat::Workflow { name, version, input })
    }

    fn run_script(&mut self, members: &Members<'_>, returns: Returns) -> Option<RunWhat> {
        let known = ["language", "code", "arguments", "environment", "stdin"];
        members.known(&known, &["source"], &mut self.problems);
        let language = members.require("language", &mut self.problems)?;
        let language = match language.text(&mut self.problems)? {
            "js" | "javascript" => Language::JavaScript,
            "python" => Language::Python,
            other => {
                let detail = "must be js or python";
                self.problems.push(Problem::invalid(language.path.clone(), other, detail));
                return None;
            }
        };
        let code = members.require("code", &mut self.problems)?;
        code.text(&mut self.problems)?;
        Some(RunWhat::Script { language, code: self.open(&code), process: self.process(members, returns) })
    }

    fn process(&mut self, members: &Members<'_>, returns: Returns) -> ProcessTemplate {
        let arguments = members.get("arguments").map(|node| self.open(&node));
        let mut template = |key| members.get(key).map(|node| self.template(&node, DEFINITION));
        ProcessTemplate { arguments, environment: template("environment"), stdin: template("stdin"), returns }
    }
}
