//! The document's own block of settings: see [`crate::settings`].

use kapell_api::problem::Problem;
use serde_json::Value;

use super::{Compiler, Position};
use crate::expression::Template;
use crate::expression::template::enclosed;
use crate::node::{Members, Node, wrong_type};
use crate::settings::{Concurrency, Policy, Retention, Settings};

/// The members of the block that are read here.
pub(super) const SETTINGS: [&str; 4] = ["retention", "searchAttributes", "concurrency", "priority"];

/// Before a run begins there is its input only.
const INPUT: Position = Position::Admission;

impl Compiler {
    pub(super) fn settings(&mut self, ours: &Members<'_>) -> Settings {
        let mut settings = Settings::default();
        if let Some(node) = ours.get("retention") {
            settings.retention = self.retention(&node);
        }
        if let Some(members) = ours.get("searchAttributes").and_then(|node| node.members(&mut self.problems)) {
            for (name, node) in members.entries() {
                settings.search_attributes.extend(self.computed(&node).map(|template| (name.to_owned(), template)));
            }
        }
        settings.concurrency = ours.get("concurrency").and_then(|node| self.concurrency(&node));
        settings.priority = ours.get("priority").and_then(|node| match node.value {
            Value::Number(number) if number.is_i64() => Some(self.template(&node, INPUT)),
            _ => self.computed(&node),
        });
        settings
    }

    /// An expression, enclosed or not.
    fn computed(&mut self, node: &Node<'_>) -> Option<Template> {
        self.expression(node, INPUT).map(Template::Expression)
    }

    fn retention(&mut self, node: &Node<'_>) -> Retention {
        let mut retention = Retention::default();
        let Some(members) = node.members(&mut self.problems) else { return retention };
        members.known(&["after", "runs"], &[], &mut self.problems);
        if let Some(after) = members.get("after").and_then(|node| self.duration(&node)) {
            retention.after = after;
        }
        if let Some(runs) = members.get("runs").and_then(|node| node.count(&mut self.problems)) {
            retention.runs = runs as usize;
        }
        retention
    }

    fn concurrency(&mut self, node: &Node<'_>) -> Option<Concurrency> {
        let members = node.members(&mut self.problems)?;
        members.known(&["key", "policy"], &[], &mut self.problems);
        let key = members.require("key", &mut self.problems)?;
        let key = match key.value {
            Value::String(text) if enclosed(text).is_none() => Some(self.template(&key, INPUT)),
            _ => self.computed(&key),
        };
        let policy = match members.get("policy") {
            None => Policy::Queue,
            Some(node) => match node.value.as_str() {
                Some("queue") => Policy::Queue,
                Some("reject") => Policy::Reject,
                Some("cancel") => Policy::Cancel,
                Some(other) => {
                    self.problems.push(Problem::invalid(node.path, other, "must be queue, reject or cancel"));
                    return None;
                }
                None => {
                    self.problems.push(wrong_type(&node.path, node.value, "queue, reject or cancel"));
                    return None;
                }
            },
        };
        Some(Concurrency { key: key?, policy })
    }
}
