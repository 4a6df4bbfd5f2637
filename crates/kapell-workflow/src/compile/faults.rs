//! `raise`, `catch` and retry policies.

use std::sync::Arc;

use kapell_api::problem::Problem;
use serde_json::Value;

use super::data::undefined;
use super::task::Names;
use super::{Compiler, Position};
use crate::node::{Members, Node, wrong_type};
use crate::program::{Backoff, Block, ErrorFilter, ErrorTemplate, Retry, TryCatch};

const DEFINITION: Position = Position::TaskDefinition;

impl Compiler {
    /// An error definition, inline or in `use.errors`.
    pub(super) fn error(&mut self, node: &Node<'_>) -> Option<ErrorTemplate> {
        let members = node.members(&mut self.problems)?;
        let known = ["type", "status", "title", "detail", "instance"];
        members.known(&known, &[], &mut self.problems);
        if let Some(instance) = members.get("instance") {
            // The DSL lets the runtime set it; a literal pointer in the document would be silently replaced.
            self.problems.push(Problem::forbidden(instance.path, "is set to the raising task by the runtime"));
        }
        let type_ = members.require("type", &mut self.problems);
        let status = members.require("status", &mut self.problems);
        if let Some(type_) = &type_ {
            type_.text(&mut self.problems)?;
        }
        if let Some(status) = &status {
            let in_range = status.value.as_u64().is_some_and(|status| (100..=599).contains(&status));
            if !in_range && !status.value.is_string() {
                self.problems.push(wrong_type(&status.path, status.value, "a status from 100 to 599"));
            }
        }
        Some(ErrorTemplate {
            type_: self.template(&type_?, DEFINITION),
            status: self.template(&status?, DEFINITION),
            title: members.get("title").map(|node| self.template(&node, DEFINITION)),
            detail: members.get("detail").map(|node| self.template(&node, DEFINITION)),
        })
    }

    pub(super) fn raise(&mut self, node: &Node<'_>) -> Option<ErrorTemplate> {
        let members = node.members(&mut self.problems)?;
        members.known(&["error"], &[], &mut self.problems);
        let node = members.require("error", &mut self.problems)?;
        let Value::String(name) = node.value else { return self.error(&node) };
        let error = self.errors.get(name).cloned();
        if error.is_none() {
            self.problems.push(undefined(&node.path, name, "use.errors", self.errors.keys()));
        }
        error
    }

    pub(super) fn try_catch(
        &mut self,
        body: &Node<'_>,
        task: &Members<'_>,
        pointer: &str,
        names: &Names,
    ) -> Option<TryCatch> {
        let body = self.block(body, &format!("{pointer}/try"));
        let node = task.require("catch", &mut self.problems)?;
        let members = node.members(&mut self.problems)?;
        let known = ["errors", "as", "when", "exceptWhen", "retry", "do", "then"];
        members.known(&known, &[], &mut self.problems);
        let filter = members.get("errors").map_or(Some(ErrorFilter::default()), |node| self.error_filter(&node));
        let variable = self.variable(&members, "as", "error");

        self.variables.push(variable.clone());
        let when = members.get("when").and_then(|node| self.expression(&node, DEFINITION));
        let except_when = members.get("exceptWhen").and_then(|node| self.expression(&node, DEFINITION));
        let retry = members.get("retry").and_then(|node| self.retry(&node));
        let handler: Option<Block> = members.get("do").map(|node| self.block(&node, &format!("{pointer}/catch/do")));
        self.variables.pop();
        let then = members.get("then").map(|node| self.flow(&node, names));

        Some(TryCatch { body, filter: filter?, variable, when, except_when, retry, handler, then })
    }

    /// The name of an argument that a task defines.
    pub(super) fn variable(&mut self, members: &Members<'_>, key: &str, default: &str) -> Arc<str> {
        let Some(node) = members.get(key) else { return default.into() };
        let Some(name) = node.text(&mut self.problems) else { return default.into() };
        let start = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let valid = start && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let reserved = ["context", "input", "output", "task", "workflow", "runtime", "secrets", "authorization"];
        if !valid {
            let detail = "must be a name of letters, digits and underscores";
            self.problems.push(Problem::invalid(node.path, name, detail));
        } else if reserved.contains(&name) {
            self.problems.push(Problem::invalid(node.path, name, "is the name of an argument of the DSL"));
        }
        name.into()
    }

    fn error_filter(&mut self, node: &Node<'_>) -> Option<ErrorFilter> {
        let members = node.members(&mut self.problems)?;
        members.known(&["with"], &[], &mut self.problems);
        let Some(with) = members.get("with") else { return Some(ErrorFilter::default()) };
        let with = with.members(&mut self.problems)?;
        with.known(&["type", "status", "instance", "title", "detail"], &[], &mut self.problems);
        let mut text = |key| with.get(key).and_then(|node| node.text(&mut self.problems)).map(str::to_owned);
        let (type_, instance, title, detail) = (text("type"), text("instance"), text("title"), text("detail"));
        let status = match with.get("status") {
            None => None,
            Some(node) => Some(i64::from(node.count(&mut self.problems)?)),
        };
        Some(ErrorFilter { type_, status, instance, title, detail })
    }

    /// A retry policy: inline, or a name from `use.retries`.
    pub(super) fn retry(&mut self, node: &Node<'_>) -> Option<Retry> {
        if let Value::String(name) = node.value {
            let retry = self.retries.get(name).cloned();
            if retry.is_none() {
                self.problems.push(undefined(&node.path, name, "use.retries", self.retries.keys()));
            }
            return retry;
        }
        let members = node.members(&mut self.problems)?;
        members.known(&["when", "exceptWhen", "delay", "backoff", "limit", "jitter"], &[], &mut self.problems);
        // A named policy does not know what its users call the error, so `$error` always works.
        self.variables.push("error".into());
        let when = members.get("when").and_then(|node| self.expression(&node, DEFINITION));
        let except_when = members.get("exceptWhen").and_then(|node| self.expression(&node, DEFINITION));
        self.variables.pop();
        let delay = members.get("delay").and_then(|node| self.duration(&node)).unwrap_or_default();
        let backoff = members.get("backoff").map_or(Some(Backoff::Constant), |node| self.backoff(&node));
        let mut retry = Retry {
            when,
            except_when,
            delay,
            backoff: backoff?,
            jitter: None,
            max_attempts: None,
            attempt_duration: None,
            total_duration: None,
        };
        if let Some(node) = members.get("jitter") {
            let members = node.members(&mut self.problems)?;
            members.known(&["from", "to"], &[], &mut self.problems);
            let from = members.require("from", &mut self.problems).and_then(|node| self.duration(&node));
            let to = members.require("to", &mut self.problems).and_then(|node| self.duration(&node));
            retry.jitter = Some((from?, to?));
            if from > to {
                self.problems.push(Problem::invalid(
                    node.path,
                    crate::node::json(node.value),
                    "`from` must not exceed `to`",
                ));
            }
        }
        if let Some(node) = members.get("limit") {
            self.limit(&node, &mut retry);
        }
        Some(retry)
    }

    fn backoff(&mut self, node: &Node<'_>) -> Option<Backoff> {
        let members = node.members(&mut self.problems)?;
        members.known(&["constant", "linear", "exponential"], &[], &mut self.problems);
        let mut chosen = Vec::new();
        for (key, node) in members.entries() {
            let Some(inner) = node.members(&mut self.problems) else { continue };
            if key == "exponential" {
                chosen.push(self.exponential(&inner));
                continue;
            }
            inner.known(&[], &["factor", "maxDelay"], &mut self.problems);
            chosen.extend(match key {
                "constant" => Some(Backoff::Constant),
                "linear" => Some(Backoff::Linear),
                _ => None,
            });
        }
        if chosen.len() != 1 {
            let detail = "must have exactly one of constant, linear and exponential";
            self.problems.push(Problem::invalid(node.path.clone(), crate::node::json(node.value), detail));
        }
        chosen.pop()
    }

    /// The DSL leaves the object open; `factor` and `maxDelay` in it are ours.
    fn exponential(&mut self, members: &Members<'_>) -> Backoff {
        members.known(&["factor", "maxDelay"], &[], &mut self.problems);
        let mut factor = 2.0;
        if let Some(node) = members.get("factor") {
            match node.value.as_f64() {
                Some(given) if (1.0..=100.0).contains(&given) => factor = given,
                _ => {
                    let detail = "must be a number from 1 to 100";
                    self.problems.push(Problem::invalid(node.path, crate::node::json(node.value), detail));
                }
            }
        }
        let max = members.get("maxDelay").and_then(|node| self.duration(&node));
        Backoff::Exponential { factor, max }
    }

    fn limit(&mut self, node: &Node<'_>, retry: &mut Retry) {
        let Some(members) = node.members(&mut self.problems) else { return };
        members.known(&["attempt", "duration"], &[], &mut self.problems);
        retry.total_duration = members.get("duration").and_then(|node| self.duration(&node));
        let Some(attempt) = members.get("attempt") else { return };
        let Some(members) = attempt.members(&mut self.problems) else { return };
        members.known(&["count", "duration"], &[], &mut self.problems);
        retry.max_attempts = members.get("count").and_then(|node| node.count(&mut self.problems));
        retry.attempt_duration = members.get("duration").and_then(|node| self.duration(&node));
    }
}
