//! Comparing a value with a schema.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fmt;

use super::{Findings, MAX_DEPTH, Node, NodeId, Schema, UnknownField};
use crate::problem::{Problem, Reason};
use crate::quantity::Quantity;
use crate::{field_path, time};

/// How many findings of a sort are reported: enough for people, and a bound for hostile input.
const MOST_FINDINGS: usize = 100;

pub(super) fn check(schema: &Schema, value: &Value) -> Findings {
    let mut walk = Walk { schema, path: String::new(), depth: 0, findings: Findings::default() };
    walk.value(schema.root, value);
    walk.findings
}

struct Walk<'a> {
    schema: &'a Schema,
    path: String,
    depth: usize,
    findings: Findings,
}

impl Walk<'_> {
    fn value(&mut self, id: NodeId, value: &Value) {
        if self.depth > MAX_DEPTH {
            return self.problem(format!("Invalid value: nested more than {MAX_DEPTH} levels deep"));
        }
        self.depth += 1;
        match (self.schema.node(id), value) {
            (Node::Any, _) => {}
            (Node::Object { fields, .. }, Value::Object(map)) => {
                for (key, value) in map {
                    match fields.get(key) {
                        _ if value.is_null() && fields.contains_key(key) => {}
                        Some(field) => self.below(|path| field_path::push_key(path, key), field.node, value),
                        None => self.unknown(key, fields.keys()),
                    }
                }
            }
            (Node::Map(values), Value::Object(map)) => {
                let values = *values;
                let null_is_empty = matches!(self.schema.node(values), Node::String | Node::Bytes);
                for (key, value) in map {
                    if !(null_is_empty && value.is_null()) {
                        self.below(|path| field_path::push_key(path, key), values, value);
                    }
                }
            }
            (Node::Array(items), Value::Array(list)) => {
                let items = *items;
                for (index, value) in list.iter().enumerate() {
                    self.below(|path| field_path::push_index(path, index), items, value);
                }
            }
            (node, value) => {
                if let Some(message) = scalar_problem(node, value) {
                    self.problem(message);
                }
            }
        }
        self.depth -= 1;
    }

    fn below(&mut self, push: impl FnOnce(&mut String), id: NodeId, value: &Value) {
        let length = self.path.len();
        push(&mut self.path);
        self.value(id, value);
        self.path.truncate(length);
    }

    fn problem(&mut self, message: String) {
        if self.findings.problems.len() < MOST_FINDINGS {
            self.findings.problems.push(Problem::new(self.path.clone(), Reason::TypeInvalid, message));
        }
    }

    fn unknown<'k>(&mut self, key: &str, known: impl Iterator<Item = &'k String>) {
        if self.findings.unknown.len() < MOST_FINDINGS {
            let mut path = self.path.clone();
            field_path::push_key(&mut path, key);
            let suggestion = closest(key, known.map(String::as_str)).map(str::to_owned);
            self.findings.unknown.push(UnknownField { path, suggestion });
        }
    }
}

/// What is wrong with a value that is not a container matching a container node.
fn scalar_problem(node: &Node, value: &Value) -> Option<String> {
    let expected = match node {
        Node::Any => return None,
        Node::Object { .. } | Node::Map(_) => "an object",
        Node::Array(_) => "a list",
        Node::String if value.is_string() => return None,
        Node::String => "a string",
        Node::Integer(32) if value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => return None,
        Node::Integer(32) => "a 32-bit integer",
        Node::Integer(_) if value.as_i64().is_some() => return None,
        Node::Integer(_) => "a 64-bit integer",
        Node::Number if value.is_number() => return None,
        Node::Number => "a number",
        Node::Boolean if value.is_boolean() => return None,
        Node::Boolean => "true or false",
        Node::IntOrString if value.is_string() || value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
            return None;
        }
        Node::IntOrString => "a 32-bit integer or a string",
        Node::Quantity if quantity(value).is_some() => return None,
        Node::Quantity => "a quantity such as 100m, 2 or 1.5Gi",
        Node::Time | Node::MicroTime if value.as_str().is_some_and(|t| time::parse(t).is_ok()) => return None,
        Node::Time | Node::MicroTime => "an RFC 3339 time",
        Node::Bytes if value.as_str().is_some_and(|t| STANDARD.decode(t).is_ok()) => return None,
        Node::Bytes => "base64",
    };
    Some(format!("Invalid value: expected {expected}, found {}", describe(value)))
}

/// A quantity may also be written as a JSON number.
pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => format!("the boolean {b}"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) if s.chars().count() <= 40 => format!("the string {s:?}"),
        Value::String(_) => "a long string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

pub(super) fn missing(schema: &Schema, value: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    missing_below(schema, schema.root, value, &mut String::new(), 0, &mut problems);
    problems
}

fn missing_below(s: &Schema, id: NodeId, value: &Value, path: &mut String, depth: usize, problems: &mut Vec<Problem>) {
    if depth > MAX_DEPTH || problems.len() >= MOST_FINDINGS {
        return;
    }
    let length = path.len();
    match (s.node(id), value) {
        (Node::Object { required, fields, .. }, Value::Object(map)) => {
            for name in required.iter().filter(|name| map.get(*name).is_none_or(Value::is_null)) {
                field_path::push_key(path, name);
                problems.push(Problem::required(path.clone(), ""));
                path.truncate(length);
            }
            for (key, value) in map {
                if let Some(field) = fields.get(key) {
                    field_path::push_key(path, key);
                    missing_below(s, field.node, value, path, depth + 1, problems);
                    path.truncate(length);
                }
            }
        }
        (Node::Map(values), Value::Object(map)) => {
            for (key, value) in map {
                field_path::push_key(path, key);
                missing_below(s, *values, value, path, depth + 1, problems);
                path.truncate(length);
            }
        }
        (Node::Array(items), Value::Array(list)) => {
            for (index, value) in list.iter().enumerate() {
                field_path::push_index(path, index);
                missing_below(s, *items, value, path, depth + 1, problems);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// The candidate that was probably meant: nearest by edit distance without regard to case, at most a third away.
pub(super) fn closest<'k>(word: &str, candidates: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    /// Longer words are no slips of known names, and the table below is quadratic.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    let near = candidates.map(|c| (edit_distance(&word, &c.to_ascii_lowercase()), c));
    near.filter(|(distance, _)| *distance <= allowed).min_by_key(|(distance, _)| *distance).map(|(_, c)| c)
}

/// Insertions, deletions, replacements, and swaps of neighbours, each counting one.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(previous[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous[b.len()]
}

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown field \"{}\"", self.path)
    }
}
