//! JSON schemas that data of a workflow must fit: `input.schema`, `output.schema` and `export.schema`.
//!
//! A [`Schema`] is compiled with its document. It never fetches anything: references stay inside of the schema. Its
//! patterns run in linear time, so a schema cannot make a check endless.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::expression::Datum;

/// What of a misfit is shown.
const LONGEST_DETAIL: usize = 300;

/// What may be asked of one place of the data: hundreds of alternatives of a few conditions each; a millisecond or so.
const MOST_QUESTIONS: u64 = 10_000;

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
        Questions::of(schema).check(schema)?;
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

/// Counts what is asked of one place of the data: the schema itself, and those that it applies to the same place by `$ref`
/// and by combining schemas. The checker asks each as often as there are ways to it, so a few that name each other twice
/// would keep it busy for ever.
struct Questions<'s> {
    root: &'s Value,
    /// By where the schema is in memory; `None` while it is being counted.
    counted: HashMap<*const Value, Option<u64>>,
}

impl<'s> Questions<'s> {
    fn of(root: &'s Value) -> Self {
        Self { root, counted: HashMap::new() }
    }

    /// Every schema in the document, whether or not it is used.
    fn check(&mut self, at: &'s Value) -> Result<(), String> {
        if at.is_object() && self.count(at)? > MOST_QUESTIONS {
            return Err(format!("asks more than {MOST_QUESTIONS} questions of the same data, by `$ref`s of `$ref`s"));
        }
        match at {
            Value::Object(members) => members.values().try_for_each(|member| self.check(member)),
            Value::Array(items) => items.iter().try_for_each(|item| self.check(item)),
            _ => Ok(()),
        }
    }

    fn count(&mut self, at: &'s Value) -> Result<u64, String> {
        let Some(members) = at.as_object() else { return Ok(1) };
        match self.counted.get(&std::ptr::from_ref(at)) {
            Some(Some(count)) => return Ok(*count),
            Some(None) => return Err("has a `$ref` that leads back to itself".to_owned()),
            None => {}
        }
        self.counted.insert(at, None);
        let mut count = 1u64;
        if let Some(pointer) = members.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'))
            && let Some(target) = self.root.pointer(pointer)
        {
            let through = self.count(target);
            count = count.saturating_add(through.map_err(|error| match error.contains(" at ") {
                true => error,
                false => error.replacen("`$ref`", &format!("`$ref` at `#{pointer}`"), 1),
            })?);
        }
        let single = ["not", "if", "then", "else"].into_iter().filter_map(|key| members.get(key));
        let lists = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|key| members.get(key)?.as_array()).flatten();
        let named = members.get("dependentSchemas").and_then(Value::as_object).into_iter().flat_map(Map::values);
        for schema in single.chain(lists).chain(named) {
            count = count.saturating_add(self.count(schema)?);
        }
        self.counted.insert(at, Some(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
