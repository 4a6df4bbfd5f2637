//! Expressions, data filters and durations.

use std::sync::Arc;

use kapell_api::problem::{Problem, Reason};
use serde_json::Value;

use super::{Compiler, Position};
use crate::duration::{DurationError, Millis, UNITS};
use crate::expression::template::enclosed;
use crate::expression::{CompileError, Datum, Expression, Template};
use crate::node::{Node, not_supported, wrong_type};
use crate::program::{DataFilter, DurationTemplate, Timeout};
use crate::resources::Kind;
use crate::schema::Schema;

impl Compiler {
    pub(super) fn scope(&self, position: Position) -> Vec<Arc<str>> {
        let secrets = (!self.secrets.is_empty()).then_some("secrets");
        let arguments = position.arguments().iter().copied().chain(secrets).map(Arc::from);
        arguments.chain(self.variables.iter().cloned()).collect()
    }

    /// A value with `${ … }` inside.
    pub(super) fn template(&mut self, node: &Node<'_>, position: Position) -> Template {
        let scope = self.scope(position);
        let problems = &mut self.problems;
        Template::compile(node.value, self.mode, &scope, &mut |path, text, error| {
            problems.push(bad_expression(format!("{}{}", node.path, path.concat()), text, error));
        })
    }

    /// A field that holds an expression whether or not it is enclosed in `${ … }`.
    pub(super) fn expression(&mut self, node: &Node<'_>, position: Position) -> Option<Expression> {
        let text = node.text(&mut self.problems)?;
        match Expression::compile(enclosed(text).unwrap_or(text), &self.scope(position)) {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.problems.push(bad_expression(node.path.clone(), text, error));
                None
            }
        }
    }

    /// `input`, `output` or `export` with the member that filters, `from` or `as`.
    pub(super) fn filter(&mut self, node: &Node<'_>, key: &str, position: Position) -> DataFilter {
        let Some(members) = node.members(&mut self.problems) else { return DataFilter::default() };
        members.known(&[key, "schema"], &[], &mut self.problems);
        let schema = members.get("schema").and_then(|node| self.schema(&node));
        let template = members.get(key).and_then(|node| match node.value {
            Value::String(_) => self.expression(&node, position).map(Template::Expression),
            Value::Object(_) => Some(self.template(&node, position)),
            other => {
                self.problems.push(wrong_type(&node.path, other, "an expression or an object"));
                None
            }
        });
        DataFilter { template, schema }
    }

    /// `schema`: a JSON schema inside of the document.
    fn schema(&mut self, node: &Node<'_>) -> Option<Schema> {
        let members = node.members(&mut self.problems)?;
        members.known(&["format", "document", "resource"], &[], &mut self.problems);
        if let Some(format) = members.get("format") {
            let text = format.text(&mut self.problems)?;
            // A version may follow: `json:2020-12`. What the schema says itself in `$schema` decides.
            if text != "json" && !text.starts_with("json:") {
                self.problems.push(not_supported(format.path, &format!("the schema format `{text}`")));
                return None;
            }
        }
        if let Some(resource) = members.get("resource") {
            if members.has("document") {
                self.problems.push(Problem::forbidden(members.path_of("document"), "there is a `resource` already"));
            }
            let fixed = self.external(&resource)?;
            let pinned = self.pinned(fixed, Kind::Schema, &resource.path)?;
            return self.compiled_schema(&Node::new(&pinned, resource.path));
        }
        let document = members.require("document", &mut self.problems)?;
        self.compiled_schema(&document)
    }

    fn compiled_schema(&mut self, document: &Node<'_>) -> Option<Schema> {
        match Schema::compile(document.value) {
            Ok(schema) => Some(schema),
            Err(reason) => {
                let message = format!("Invalid value: {reason}");
                self.problems.push(Problem::new(document.path.clone(), Reason::Invalid, message));
                None
            }
        }
    }

    /// `timeout`: a name from `use.timeouts`, or `after`.
    pub(super) fn timeout(&mut self, node: &Node<'_>, position: Position) -> Option<Timeout> {
        if let Value::String(name) = node.value {
            let timeout = self.timeouts.get(name).cloned();
            if timeout.is_none() {
                self.problems.push(undefined(&node.path, name, "use.timeouts", self.timeouts.keys()));
            }
            return timeout;
        }
        let members = node.members(&mut self.problems)?;
        members.known(&["after"], &[], &mut self.problems);
        let after = members.require("after", &mut self.problems)?;
        self.duration_template(&after, position)
    }

    /// A duration that may be computed.
    pub(super) fn duration_template(&mut self, node: &Node<'_>, position: Position) -> Option<DurationTemplate> {
        let computed = match node.value {
            Value::String(text) => enclosed(text).is_some(),
            Value::Object(members) => members.values().any(|v| v.as_str().is_some_and(|v| enclosed(v).is_some())),
            _ => false,
        };
        if computed {
            return Some(DurationTemplate::Computed(self.template(node, position)));
        }
        self.duration(node).map(DurationTemplate::Fixed)
    }

    pub(super) fn duration(&mut self, node: &Node<'_>) -> Option<Millis> {
        if let Value::Object(_) = node.value {
            let members = node.members(&mut self.problems)?;
            members.known(&UNITS.map(|(name, _)| name), &[], &mut self.problems);
        }
        let value = Datum::from_json(node.value).unwrap_or_default();
        match Millis::from_datum(&value) {
            Ok(duration) => Some(duration),
            Err(DurationError::Type) if node.value.is_object() => None, // `known` has named the member
            Err(error) => {
                self.problems.push(Problem::invalid(node.path.clone(), value, &error.to_string()));
                None
            }
        }
    }
}

/// A reference to a name that is not there.
pub(super) fn undefined<'n>(path: &str, name: &str, place: &str, known: impl Iterator<Item = &'n String>) -> Problem {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let hint = crate::node::closest(name, &known).map_or(String::new(), |meant| format!(", did you mean `{meant}`?"));
    Problem::new(path, Reason::NotFound, format!("Not found: there is no `{name}` in {place}{hint}"))
}

fn bad_expression(path: String, text: &str, error: CompileError) -> Problem {
    match &error {
        CompileError::Undefined { name, .. } if name == "$secrets" => {
            Problem::new(path, Reason::NotFound, "Not found: `$secrets` has no members, as `use.secrets` names none")
        }
        _ => {
            let shown: String = text.chars().take(100).collect();
            Problem::invalid(path, shown, &format!("not a jq expression: {error}"))
        }
    }
}
