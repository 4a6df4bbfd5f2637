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
    found
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
