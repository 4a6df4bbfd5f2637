//! What is allowed, and probably not meant.

use kapell_api::problem::{Problem, Reason};
use serde_json::Value;

use crate::node::member_path;

/// Fields that hold an expression without `${ }`.
const EXPRESSIONS: [&str; 8] = ["if", "when", "exceptWhen", "in", "while", "from", "as", "until"];

/// Parts of a document that no expression is looked for in.
const TEXTS: [&str; 4] = ["document", "metadata", "schema", "evaluate"];

/// Texts that look like expressions and are not, as they stand outside of `${ }`; with paths below `spec`.
pub fn doubts(document: &Value) -> Vec<Problem> {
    let mut found = Vec::new();
    if document.pointer("/evaluate/mode").and_then(Value::as_str) != Some("loose") {
        walk(document, "spec", &mut found);
    }
    unused(document, "spec", &mut found);
    found
}

/// Members that the language has and no run reads.
fn unused(value: &Value, path: &str, found: &mut Vec<Problem>) {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| unused(item, &format!("{path}[{i}]"), found));
        }
        Value::Object(members) => {
            for (key, member) in members.iter().filter(|(key, _)| !TEXTS.contains(&key.as_str())) {
                let path = member_path(path, key);
                let endpoints = member.get("endpoints").filter(|_| key == "oauth2");
                for name in ["introspection", "revocation"] {
                    if endpoints.is_some_and(|endpoints| endpoints.get(name).is_some()) {
                        let message = "Doubtful value: it is not used; tokens are neither introspected nor revoked";
                        found.push(Problem::new(format!("{path}.endpoints.{name}"), Reason::Invalid, message));
                    }
                }
                unused(member, &path, found);
            }
        }
        _ => {}
    }
}

fn walk(value: &Value, path: &str, found: &mut Vec<Problem>) {
    match value {
        Value::String(text) if looks_like_an_expression(text) => {
            let message = format!("Doubtful value: {text:?} is a text; did you mean the expression `${{ {text} }}`?");
            found.push(Problem::new(path, Reason::Invalid, message));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| walk(item, &format!("{path}[{i}]"), found));
        }
        Value::Object(members) => {
            for (key, member) in members {
                let is_expression = member.is_string() && EXPRESSIONS.contains(&key.as_str());
                if !is_expression && !TEXTS.contains(&key.as_str()) {
                    walk(member, &member_path(path, key), found);
                }
            }
        }
        _ => {}
    }
}

/// `.order.id`, `$context.total`, `.items[0]`.
fn looks_like_an_expression(text: &str) -> bool {
    let rest = text.strip_prefix('.').or_else(|| text.strip_prefix('$'));
    rest.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && rest.chars().all(|c| c.is_ascii_alphanumeric() || "_.[]".contains(c))
    })
}

#[cfg(test)]
mod tests;
