//! Bringing a value into the form in which it is stored.

use serde_json::Value;

use super::{MAX_DEPTH, Node, NodeId, Schema, check};
use crate::time;

pub(super) fn prune(schema: &Schema, id: NodeId, value: &mut Value, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    match (schema.node(id), value) {
        (Node::Object { fields, .. }, Value::Object(map)) => {
            map.retain(|key, _| fields.contains_key(key));
            for (key, value) in map {
                prune(schema, fields[key].node, value, depth + 1);
            }
        }
        (Node::Map(values), Value::Object(map)) => {
            map.values_mut().for_each(|value| prune(schema, *values, value, depth + 1));
        }
        (Node::Array(items), Value::Array(list)) => {
            list.iter_mut().for_each(|value| prune(schema, *items, value, depth + 1));
        }
        _ => {}
    }
}

pub(super) fn normalise(schema: &Schema, id: NodeId, value: &mut Value, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    match (schema.node(id), &mut *value) {
        (Node::Object { fields, .. }, Value::Object(map)) => {
            map.retain(|key, value| !(value.is_null() && fields.contains_key(key)));
            for (key, value) in map {
                if let Some(field) = fields.get(key) {
                    normalise(schema, field.node, value, depth + 1);
                }
            }
        }
        (Node::Map(values), Value::Object(map)) => {
            let null_is_empty = matches!(schema.node(*values), Node::String | Node::Bytes);
            for value in map.values_mut() {
                if null_is_empty && value.is_null() {
                    *value = Value::String(String::new());
                }
                normalise(schema, *values, value, depth + 1);
            }
        }
        (Node::Array(items), Value::Array(list)) => {
            list.iter_mut().for_each(|value| normalise(schema, *items, value, depth + 1));
        }
        (Node::Time, Value::String(text)) => {
            if let Ok(t) = time::parse(text) {
                *text = time::format_time(t);
            }
        }
        (Node::MicroTime, Value::String(text)) => {
            if let Ok(t) = time::parse(text) {
                *text = time::format_micro_time(t);
            }
        }
        (Node::Quantity, _) => {
            if let Some(quantity) = check::quantity(value) {
                *value = Value::String(quantity.to_string());
            }
        }
        _ => {}
    }
}
