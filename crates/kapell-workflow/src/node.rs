//! A cursor over a document that knows its field path and collects everything that is wrong.
//!
//! Reading never stops at the first problem, and a member that nobody asks for is a problem too: [`Members::known`]
//! is given every key that the schema has, and names the one that was probably meant.

use kapell_api::problem::{Problem, Reason};
use serde_json::{Map, Value};

use crate::expression::Datum;

/// One value with the path at which it stands, e.g. `spec.do[0].reserve.with`.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    pub(crate) value: &'a Value,
    pub(crate) path: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Members<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

pub(crate) type Problems = Vec<Problem>;

pub(crate) fn not_supported(path: impl Into<String>, what: &str) -> Problem {
    Problem::new(path, Reason::NotSupported, format!("Unsupported value: {what} is not supported yet"))
}

pub(crate) fn wrong_type(path: impl Into<String>, value: &Value, wanted: &str) -> Problem {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Problem::new(path, Reason::TypeInvalid, format!("Invalid value: must be {wanted}, not {kind}"))
}

impl<'a> Node<'a> {
    pub(crate) fn new(value: &'a Value, path: impl Into<String>) -> Self {
        Self { value, path: path.into() }
    }

    pub(crate) fn members(&self, problems: &mut Problems) -> Option<Members<'a>> {
        match self.value {
            Value::Object(map) => Some(Members { map, path: self.path.clone() }),
            other => {
                problems.push(wrong_type(&self.path, other, "an object"));
                None
            }
        }
    }

    pub(crate) fn items(&self, problems: &mut Problems) -> Vec<Node<'a>> {
        match self.value {
            Value::Array(items) => {
                items.iter().enumerate().map(|(i, item)| Node::new(item, format!("{}[{i}]", self.path))).collect()
            }
            other => {
                problems.push(wrong_type(&self.path, other, "an array"));
                Vec::new()
            }
        }
    }

    pub(crate) fn text(&self, problems: &mut Problems) -> Option<&'a str> {
        match self.value {
            Value::String(text) => Some(text),
            other => {
                problems.push(wrong_type(&self.path, other, "a string"));
                None
            }
        }
    }

    pub(crate) fn boolean(&self, problems: &mut Problems) -> Option<bool> {
        match self.value {
            Value::Bool(flag) => Some(*flag),
            other => {
                problems.push(wrong_type(&self.path, other, "a boolean"));
                None
            }
        }
    }

    /// A whole number from 0 on.
    pub(crate) fn count(&self, problems: &mut Problems) -> Option<u32> {
        match self.value.as_u64().and_then(|n| u32::try_from(n).ok()) {
            Some(n) => Some(n),
            None => {
                problems.push(wrong_type(&self.path, self.value, "a whole number from 0 on"));
                None
            }
        }
    }
}

impl<'a> Members<'a> {
    pub(crate) fn path_of(&self, key: &str) -> String {
        member_path(&self.path, key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Node<'a>> {
        self.map.get(key).map(|value| Node::new(value, self.path_of(key)))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub(crate) fn require(&self, key: &str, problems: &mut Problems) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            problems.push(Problem::required(self.path_of(key), ""));
        }
        node
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, Node<'a>)> + '_ {
        self.map.iter().map(|(key, value)| (key.as_str(), Node::new(value, self.path_of(key))))
    }

    /// Refuses members outside of `known`, and by name those of `unsupported`.
    pub(crate) fn known(&self, known: &[&str], unsupported: &[&str], problems: &mut Problems) {
        for key in self.map.keys().map(String::as_str) {
            if unsupported.contains(&key) {
                problems.push(not_supported(self.path_of(key), &format!("`{key}`")));
            } else if !known.contains(&key) {
                problems.push(unknown(self.path_of(key), key, known));
            }
        }
    }
}

/// A value as a problem quotes it: JSON, cut short.
pub(crate) fn json(value: &Value) -> Datum {
    Datum::from_json(value).unwrap_or_default()
}

pub(crate) fn member_path(path: &str, key: &str) -> String {
    if key.contains(['.', '/', '[', ' ']) { format!("{path}[{key}]") } else { format!("{path}.{key}") }
}

/// An unknown field, with the known one that was probably meant.
pub(crate) fn unknown(path: String, key: &str, known: &[&str]) -> Problem {
    let hint = match closest(key, known) {
        Some(meant) => format!(", did you mean `{meant}`?"),
        None => format!(", known are {}", known.join(", ")),
    };
    Problem::new(path, Reason::NotSupported, format!("Unknown field `{key}`{hint}"))
}

/// The most similar candidate, if one is similar at all.
pub(crate) fn closest<'c>(text: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let (distance, best) = candidates.iter().map(|c| (edits(text, c), *c)).min()?;
    (distance <= 1 + best.len() / 4 && distance < best.len()).then_some(best)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`, ignoring case.
fn edits(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().take(64).collect();
    let b: Vec<char> = b.to_lowercase().chars().take(64).collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, n) | (n, 0) => n,
                _ => {
                    let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        best = best.min(rows[i - 2][j - 2] + 1);
                    }
                    best
                }
            };
        }
    }
    rows[a.len()][b.len()]
}
