//! `emit`, `listen` and the strategies of event consumption.

use std::sync::Arc;

use kapell_api::problem::Problem;
use serde_json::Value;

use super::{Compiler, Position};
use crate::cloud_event::{ATTRIBUTES, is_attribute_name};
use crate::expression::template::enclosed;
use crate::expression::{Datum, Expression, NoArguments};
use crate::node::{Members, Node, wrong_type};
use crate::program::events::{
    Correlation, Emit, EventFilter, Listen, Mode, Pattern, Read, Strategy, Subscription, Until,
};

const DEFINITION: Position = Position::TaskDefinition;

/// Characters that make a text a regular expression. A dot alone does not: types are full of them.
const OF_REGEX: &[char] = &['\\', '*', '+', '?', '[', ']', '(', ')', '{', '}', '^', '$', '|'];

impl Compiler {
    pub(super) fn emit(&mut self, node: &Node<'_>) -> Option<Emit> {
        let members = node.members(&mut self.problems)?;
        members.known(&["event"], &[], &mut self.problems);
        let event = members.require("event", &mut self.problems)?;
        let event_members = event.members(&mut self.problems)?;
        event_members.known(&["with"], &[], &mut self.problems);
        let with = event_members.require("with", &mut self.problems)?;
        let attributes = with.members(&mut self.problems)?;
        for required in ["source", "type"] {
            attributes.require(required, &mut self.problems);
        }
        self.check_attributes(&attributes);
        Some(Emit { event: self.template(&with, DEFINITION) })
    }

    fn check_attributes(&mut self, attributes: &Members<'_>) {
        for (name, node) in attributes.entries() {
            if !ATTRIBUTES.contains(&name) && !is_attribute_name(name) {
                let detail = "attributes of events are named with lower-case letters and digits";
                self.problems.push(Problem::invalid(node.path, name, detail));
            }
        }
    }

    pub(super) fn listen(&mut self, node: &Node<'_>, task: &Members<'_>, pointer: &str) -> Option<Listen> {
        let members = node.members(&mut self.problems)?;
        members.known(&["to", "read"], &[], &mut self.problems);
        let read = members.get("read").map_or(Some(Read::Data), |node| self.read(&node));
        let to = members.require("to", &mut self.problems).and_then(|node| self.strategy(&node, DEFINITION, true));
        let foreach = match task.get("foreach") {
            Some(node) => Some(self.subscription(&node, pointer)?),
            None => None,
        };
        Some(Listen { to: to?, read: read?, foreach })
    }

    pub(super) fn read(&mut self, node: &Node<'_>) -> Option<Read> {
        match node.text(&mut self.problems)? {
            "data" => Some(Read::Data),
            "envelope" => Some(Read::Envelope),
            "raw" => Some(Read::Raw),
            other => {
                let detail = "must be data, envelope or raw";
                self.problems.push(Problem::invalid(node.path.clone(), other, detail));
                None
            }
        }
    }

    fn subscription(&mut self, node: &Node<'_>, pointer: &str) -> Option<Subscription> {
        let members = node.members(&mut self.problems)?;
        members.known(&["item", "at", "do", "output", "export"], &[], &mut self.problems);
        let item = self.variable(&members, "item", "item");
        let at = self.variable(&members, "at", "index");
        self.variables.extend([item.clone(), at.clone()]);
        let body = members.get("do").map(|node| self.block(&node, &format!("{pointer}/foreach/do")));
        let output = members.get("output").map(|node| self.filter(&node, "as", DEFINITION)).unwrap_or_default();
        let export =
            members.get("export").map(|node| self.filter(&node, "as", Position::TaskExport)).unwrap_or_default();
        self.variables.truncate(self.variables.len() - 2);
        Some(Subscription { item, at, body, output, export })
    }

    /// `all`, `any` or `one`; `until` only where it may stand.
    pub(super) fn strategy(&mut self, node: &Node<'_>, position: Position, may_end: bool) -> Option<Strategy> {
        let members = node.members(&mut self.problems)?;
        members.known(&["all", "any", "one", "until"], &[], &mut self.problems);
        let given: Vec<&str> = ["all", "any", "one"].into_iter().filter(|key| members.has(key)).collect();
        let [keyword] = given.as_slice() else {
            let detail = "exactly one of all, any, one";
            self.problems.push(Problem::required(node.path.clone(), detail));
            return None;
        };
        let list = members.get(keyword)?;
        let (mode, mut filters) = match *keyword {
            "one" => (Mode::Any, vec![self.event_filter(&list, position)]),
            keyword => {
                let mode = if keyword == "all" { Mode::All } else { Mode::Any };
                let items = list.items(&mut self.problems);
                (mode, items.iter().map(|item| self.event_filter(item, position)).collect::<Vec<_>>())
            }
        };
        if filters.is_empty() && list.value.is_array() {
            if mode == Mode::All {
                self.problems.push(Problem::required(list.path.clone(), "at least one filter"));
            }
            // `any: []` is everything.
            filters.push(Some(EventFilter::default()));
        }
        let mut filters: Vec<EventFilter> = filters.into_iter().collect::<Option<_>>()?;
        let wanted = filters.len();
        let until = match members.get("until") {
            None => None,
            Some(node) if !may_end || *keyword != "any" => {
                let detail = "`until` belongs to a `listen` to `any`";
                self.problems.push(Problem::forbidden(node.path, detail));
                return None;
            }
            Some(node) if node.value.is_object() => {
                let ending = self.strategy(&node, position, false)?;
                filters.extend(ending.filters);
                Some(Until::Events(ending.mode))
            }
            Some(node) => Some(Until::Condition(self.expression(&node, position)?)),
        };
        Some(Strategy { mode, filters, wanted, until })
    }

    fn event_filter(&mut self, node: &Node<'_>, position: Position) -> Option<EventFilter> {
        let members = node.members(&mut self.problems)?;
        members.known(&["with", "correlate"], &[], &mut self.problems);
        let mut filter = EventFilter::default();
        if let Some(with) = members.require("with", &mut self.problems) {
            let attributes = with.members(&mut self.problems)?;
            self.check_attributes(&attributes);
            for (name, node) in attributes.entries() {
                filter.with.push((name.to_owned(), self.pattern(&node, position)?));
            }
        }
        if let Some(correlate) = members.get("correlate") {
            for (key, node) in correlate.members(&mut self.problems)?.entries() {
                filter.correlate.push(self.correlation(key, &node, position)?);
            }
        }
        Some(filter)
    }

    fn correlation(&mut self, key: &str, node: &Node<'_>, position: Position) -> Option<Correlation> {
        let members = node.members(&mut self.problems)?;
        members.known(&["from", "expect"], &[], &mut self.problems);
        let from = members.require("from", &mut self.problems)?;
        let code: Arc<str> = from.value.as_str().map(|text| enclosed(text).unwrap_or(text)).unwrap_or_default().into();
        let expect = members.get("expect").map(|node| self.template(&node, position));
        Some(Correlation { key: key.to_owned(), from: self.expression(&from, position)?, code, expect })
    }

    /// What an attribute, or a member of the data, has to be.
    fn pattern(&mut self, node: &Node<'_>, position: Position) -> Option<Pattern> {
        let literal = Datum::from_json(node.value).unwrap_or_default();
        Some(match node.value {
            Value::String(text) if enclosed(text).is_some() => Pattern::Computed(self.expression(node, position)?),
            Value::String(text) if text.contains(OF_REGEX) => match whole_match(text) {
                Some(regex) => Pattern::Matches(literal, regex),
                None => Pattern::Equals(literal),
            },
            Value::Object(members) => {
                let mut patterns = Vec::with_capacity(members.len());
                for (key, value) in members {
                    let node = Node::new(value, format!("{}.{key}", node.path));
                    patterns.push((key.clone(), self.pattern(&node, position)?));
                }
                Pattern::Members(patterns)
            }
            Value::Null => {
                self.problems.push(wrong_type(
                    &node.path,
                    node.value,
                    "a value, a regular expression or an expression",
                ));
                return None;
            }
            _ => Pattern::Equals(literal),
        })
    }
}

/// A filter that tells whether all of a text matches; `None` when the text is no regular expression.
fn whole_match(regex: &str) -> Option<Expression> {
    let quoted = Value::String(format!("^(?:{regex})$")).to_string();
    let test = Expression::compile(&format!("type == \"string\" and test({quoted})"), &[]).ok()?;
    test.evaluate(&Datum::string(""), &NoArguments).ok()?;
    Some(test)
}
