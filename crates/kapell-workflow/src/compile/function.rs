//! Custom functions: of `use.functions`, of a catalog, or by their address.
//!
//! A function is a task. It is compiled once, however often it is called, and sees nothing of its callers but what they
//! hand it in `with`; `$context` is the workflow's.

use kapell_api::problem::{Problem, Reason};
use serde_json::{Map, Value};

use super::data::undefined;
use super::resource::Fixed;
use super::task::Names;
use super::{Compiler, Position};
use crate::expression::Template;
use crate::node::{Members, Node, member_path, not_supported};
use crate::program::{Block, FunctionCall, TaskId};
use crate::resources::Kind;

/// How far reading a function has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// A call of it from inside of it would never end.
    Begun,
    Done(Option<TaskId>),
}

impl Compiler {
    /// `call: NAME` with `with`.
    pub(super) fn function_call(&mut self, name: &str, call: &Node<'_>, task: &Members<'_>) -> Option<FunctionCall> {
        let with = match task.get("with") {
            Some(node) => {
                if !self.expect_object_or_text(&node) {
                    return None;
                }
                self.template(&node, Position::TaskDefinition)
            }
            None => Template::empty(),
        };
        let function = self.function(name, call)?;
        Some(FunctionCall { with, body: Block { tasks: vec![function] } })
    }

    /// Compiles a function of `use.functions` that perhaps nobody calls.
    pub(super) fn check_function(&mut self, name: &str, place: &Node<'_>) {
        let _ = self.function(name, place);
    }

    fn function(&mut self, name: &str, call: &Node<'_>) -> Option<TaskId> {
        // What an extension calls is not extended either, or it would call itself.
        let known = (name.to_owned(), self.extending);
        match self.read_functions.get(&known) {
            Some(Reading::Done(task)) => return *task,
            Some(Reading::Begun) => {
                let message = format!("Invalid value: function `{name}` calls itself, which would never end");
                self.problems.push(Problem::new(call.path.clone(), Reason::Invalid, message));
                return None;
            }
            None => {}
        }
        let (definition, path, pointer, named) = self.find_function(name, call)?;
        self.read_functions.insert(known.clone(), Reading::Begun);
        let variables = std::mem::take(&mut self.variables);
        let task = self.task(&named, &Node::new(&definition, path), pointer, &Names::new());
        self.variables = variables;
        self.read_functions.insert(known, Reading::Done(task));
        task
    }

    /// The definition with its path, its pointer and the name of its task.
    fn find_function(&mut self, name: &str, call: &Node<'_>) -> Option<(Value, String, String, String)> {
        if let Some(definition) = self.functions.get(name) {
            let path = member_path("spec.use.functions", name);
            let pointer = format!("/use/functions/{}", name.replace('~', "~0").replace('/', "~1"));
            return Some((definition.clone(), path, pointer, name.to_owned()));
        }
        let (fixed, named) = if name.contains("://") {
            let named = name
                .trim_end_matches("/function.yaml")
                .rsplit('/')
                .find(|part| !part.starts_with(|c: char| c.is_ascii_digit()));
            (
                self.fixed_endpoint(&Node::new(&Value::String(name.to_owned()), call.path.clone()))?,
                named.unwrap_or(name),
            )
        } else if let Some((function, catalog)) = name.split_once('@') {
            (self.cataloged(function, catalog, call)?, function.split(':').next().unwrap_or(function))
        } else {
            let known: Vec<String> = self.functions.keys().cloned().collect();
            let kinds = ["http", "openapi", "grpc", "asyncapi", "a2a", "mcp"].map(str::to_owned);
            self.problems.push(undefined(&call.path, name, "use.functions", known.iter().chain(&kinds)));
            return None;
        };
        let pointer = format!("/functions/{}", fixed.uri.replace('~', "~0").replace('/', "~1"));
        let named = named.to_owned();
        // Until it is there, something stands in for it that compiles.
        let stand_in = || Value::Object(Map::from_iter([("set".to_owned(), Value::Object(Map::new()))]));
        let uri = fixed.uri.clone();
        let definition = self.pinned(fixed, Kind::Function, &call.path).unwrap_or_else(stand_in);
        Some((definition, format!("{} (in {uri})", call.path), pointer, named))
    }

    /// `NAME:VERSION` of a catalog.
    fn cataloged(&mut self, function: &str, catalog: &str, call: &Node<'_>) -> Option<Fixed> {
        let Some(fixed) = self.catalogs.get(catalog).cloned() else {
            if catalog == "default" {
                self.problems.push(not_supported(&call.path, "a default catalog (define `default` in use.catalogs)"));
            } else {
                self.problems.push(undefined(&call.path, catalog, "use.catalogs", self.catalogs.keys()));
            }
            return None;
        };
        let valid = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c))
        };
        let Some((name, version)) = function.split_once(':').filter(|(name, version)| valid(name) && valid(version))
        else {
            let detail = "must be NAME:VERSION@CATALOG";
            self.problems.push(Problem::invalid(call.path.clone(), format!("{function}@{catalog}"), detail));
            return None;
        };
        let root = fixed.uri.trim_end_matches('/');
        Some(Fixed {
            uri: format!("{root}/functions/{name}/{version}/function.yaml"),
            authentication: fixed.authentication,
        })
    }
}
