//! JSON schemas that data of a workflow must fit: `input.schema`, `output.schema` and `export.schema`.
//!
//! A [`Schema`] is compiled with its document. It never fetches anything: references stay inside of the schema. Its
//! patterns run in linear time, so a schema cannot make a check endless.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::expression::Datum;

/// What of a misfit is shown.
const LONGEST_DETAIL: usize = 300;

/// A compiled schema.
#[derive(Clone)]
pub(crate) struct Schema(Arc<jsonschema::Validator>);

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

impl Schema {
    /// # Errors
    /// What is wrong with the schema, as a sentence.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        if let Some(path) = endless(schema, schema, &mut Vec::new()) {
            return Err(format!("has a `$ref` at `{path}` that leads back to itself"));
        }
        let options = jsonschema::options().with_pattern_options(jsonschema::PatternOptions::regex());
        match options.build(schema) {
            Ok(validator) => Ok(Self(Arc::new(validator))),
            Err(error) => Err(format!("is not a JSON schema: {}", shortened(&error.to_string()))),
        }
    }

    /// # Errors
    /// The first misfit with its JSON pointer: `/order/total: "x" is not of type "number"`.
    pub(crate) fn check(&self, data: &Datum) -> Result<(), String> {
        let value = data.to_value();
        self.0.validate(&value).map_err(|error| {
            let place = error.instance_path().to_string();
            let detail = shortened(&error.to_string());
            if place.is_empty() { detail } else { format!("{place}: {detail}") }
        })
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_DETAIL).collect()
}

/// A chain of references that comes back to where it was without going deeper into the data would never end.
fn endless<'s>(root: &'s Value, at: &'s Value, chain: &mut Vec<&'s str>) -> Option<String> {
    match at {
        Value::Object(members) => {
            if let Some(pointer) = members.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#')) {
                if chain.contains(&pointer) {
                    return Some(format!("#{pointer}"));
                }
                if let Some(target) = root.pointer(pointer) {
                    chain.push(pointer);
                    let found = same_place(root, target, chain);
                    chain.pop();
                    if found.is_some() {
                        return found;
                    }
                }
            }
            members.values().find_map(|member| endless(root, member, &mut Vec::new()))
        }
        Value::Array(items) => items.iter().find_map(|item| endless(root, item, &mut Vec::new())),
        _ => None,
    }
}

/// Follows what is applied to the same place of the data: `$ref` and the combinations of schemas.
fn same_place<'s>(root: &'s Value, at: &'s Value, chain: &mut Vec<&'s str>) -> Option<String> {
    let members = at.as_object()?;
    if let Some(pointer) = members.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#')) {
        if chain.contains(&pointer) {
            return Some(format!("#{pointer}"));
        }
        let target = root.pointer(pointer)?;
        chain.push(pointer);
        let found = same_place(root, target, chain);
        chain.pop();
        if found.is_some() {
            return found;
        }
    }
    let single = ["not", "if", "then", "else"].into_iter().filter_map(|key| members.get(key));
    let lists = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|key| members.get(key)?.as_array()).flatten();
    single.chain(lists).find_map(|schema| same_place(root, schema, chain))
}

#[cfg(test)]
mod tests;
