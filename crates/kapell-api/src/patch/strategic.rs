//! Strategic merge patch.
//!
//! Objects merge field by field; a list merges as its field's [`PatchStrategy`] says. Directives stand beside the
//! fields that they concern (`$setElementOrder/ports`) or inside the value (`$patch`, `$retainKeys`). A value that is
//! new to the current object is merged into an empty one of its type, so that directives never leak into the result.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::PatchError;
use crate::schema::{Field, Node, NodeId, PatchStrategy, Schema};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList/";

type Object = Map<String, Value>;

pub(super) fn merge(schema: &Schema, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Object(patch) = patch else {
        return Err(PatchError::Malformed("a strategic merge patch must be an object".to_owned()));
    };
    let mut result = match current {
        Value::Object(current) => current.clone(),
        _ => Object::new(),
    };
    Merge { schema }.object(Some(schema.root()), &mut result, patch)?;
    Ok(Value::Object(result))
}

fn malformed<T>(message: String) -> Result<T, PatchError> {
    Err(PatchError::Malformed(message))
}

struct Merge<'a> {
    schema: &'a Schema,
}

impl Merge<'_> {
    /// `id` is `None` below what the schema knows.
    fn object(&self, id: Option<NodeId>, current: &mut Object, patch: &Object) -> Result<(), PatchError> {
        match patch.get(PATCH) {
            None => {}
            Some(Value::String(directive)) if directive == "merge" => {}
            Some(Value::String(directive)) if directive == "delete" => {
                current.clear();
                return Ok(());
            }
            Some(Value::String(directive)) if directive == "replace" => current.clear(),
            Some(other) => return malformed(format!("unexpected value of $patch: {other}")),
        }
        if let Some(keys) = patch.get(RETAIN_KEYS) {
            retain_keys(current, patch, keys)?;
        }
        for (key, value) in patch {
            if let Some(name) = key.strip_prefix(DELETE_FROM_PRIMITIVE_LIST) {
                delete_from_primitive_list(current, name, value)?;
            }
        }
        for (key, value) in patch.iter().filter(|(key, _)| !is_directive(key)) {
            let field = id.and_then(|id| self.schema.field(id, key));
            let order = patch.get(&format!("{SET_ELEMENT_ORDER}{key}"));
            self.field(field, key, current, value, order)?;
        }
        for (key, order) in patch {
            // Where the list itself is not patched, its elements only change places.
            if let Some(name) = key.strip_prefix(SET_ELEMENT_ORDER).filter(|name| !patch.contains_key(*name)) {
                let strategy = strategy(id.and_then(|id| self.schema.field(id, name)));
                let wanted = identities(strategy, name, list(order, key)?)?;
                if let Some(Value::Array(elements)) = current.get_mut(name) {
                    let before = elements.clone();
                    reorder(strategy, elements, &wanted, &before);
                }
            }
        }
        Ok(())
    }

    fn field(
        &self,
        field: Option<Field>,
        key: &str,
        current: &mut Object,
        patch: &Value,
        order: Option<&Value>,
    ) -> Result<(), PatchError> {
        let node = field.map(|f| f.node);
        match patch {
            Value::Null => {
                // Order matters to people who read the object, so the other fields keep their places.
                current.shift_remove(key);
            }
            Value::Object(patch) => match current.get_mut(key) {
                Some(Value::Object(existing)) => self.object(node, existing, patch)?,
                _ => {
                    let mut fresh = Object::new();
                    self.object(node, &mut fresh, patch)?;
                    // Deleting what is not there does not make it.
                    if patch.get(PATCH).is_none_or(|d| d != "delete") {
                        current.insert(key.to_owned(), Value::Object(fresh));
                    }
                }
            },
            Value::Array(patch) => {
                let existing = match current.get_mut(key) {
                    Some(Value::Array(existing)) => std::mem::take(existing),
                    _ => Vec::new(),
                };
                let merged = self.list(field, key, existing, patch, order)?;
                current.insert(key.to_owned(), Value::Array(merged));
            }
            scalar => {
                current.insert(key.to_owned(), scalar.clone());
            }
        }
        Ok(())
    }

    fn list(
        &self,
        field: Option<Field>,
        name: &str,
        current: Vec<Value>,
        patch: &[Value],
        order: Option<&Value>,
    ) -> Result<Vec<Value>, PatchError> {
        let strategy = strategy(field);
        let before = current.clone();
        let mut merged = current;
        match strategy {
            PatchStrategy::Replace => return Ok(patch.to_vec()),
            PatchStrategy::MergeSet => {
                for value in patch {
                    if value.is_object() || value.is_array() {
                        return malformed(format!("{name} is a list of scalars, but the patch has {value} in it"));
                    }
                    if !merged.contains(value) {
                        merged.push(value.clone());
                    }
                }
            }
            PatchStrategy::MergeByKey(key) => {
                let items = field.and_then(|f| match self.schema.node(f.node) {
                    Node::Array(items) => Some(*items),
                    _ => None,
                });
                let replace = patch.iter().any(|e| e.get(PATCH).is_some_and(|d| d == "replace"));
                if replace {
                    merged.clear();
                }
                for element in patch {
                    self.element(items, name, key, &mut merged, element, replace)?;
                }
            }
        }
        let present: Vec<Value> = patch.iter().filter(|e| e.get(PATCH).is_none()).cloned().collect();
        let present = identities(strategy, name, &present)?;
        let wanted = match order {
            None => present,
            Some(order) => {
                let wanted = identities(strategy, name, list(order, SET_ELEMENT_ORDER)?)?;
                check_order(name, &present, &wanted)?;
                wanted
            }
        };
        reorder(strategy, &mut merged, &wanted, &before);
        Ok(merged)
    }

    /// Merges one element of a patch into a list whose elements are told apart by `key`.
    fn element(
        &self,
        items: Option<NodeId>,
        name: &str,
        key: &str,
        merged: &mut Vec<Value>,
        element: &Value,
        replace: bool,
    ) -> Result<(), PatchError> {
        let Value::Object(patch) = element else {
            return malformed(format!("{name} is a list of objects, but the patch has {element} in it"));
        };
        let directive = patch.get(PATCH).map(|d| d.as_str().unwrap_or_default());
        // The bare directive says only that the list is replaced.
        if directive == Some("replace") && patch.len() == 1 {
            return Ok(());
        }
        let Some(identity) = patch.get(key).filter(|v| !v.is_null()) else {
            return malformed(format!("an element of {name} in the patch lacks its merge key {key}: {element}"));
        };
        let found = merged.iter().position(|e| e.get(key) == Some(identity));
        if directive == Some("delete") {
            merged.retain(|e| e.get(key) != Some(identity));
            return Ok(());
        }
        match found {
            Some(index) if !replace => match &mut merged[index] {
                Value::Object(existing) => self.object(items, existing, patch)?,
                other => *other = element.clone(),
            },
            _ => {
                let mut fresh = Object::new();
                self.object(items, &mut fresh, patch)?;
                merged.push(Value::Object(fresh));
            }
        }
        Ok(())
    }
}

/// What is known of a field's merging: nothing special where the schema ends.
fn strategy(field: Option<Field>) -> PatchStrategy {
    field.map_or(PatchStrategy::Replace, |f| f.merge.patch)
}

fn is_directive(key: &str) -> bool {
    key == PATCH
        || key == RETAIN_KEYS
        || key.starts_with(SET_ELEMENT_ORDER)
        || key.starts_with(DELETE_FROM_PRIMITIVE_LIST)
}

fn list<'v>(value: &'v Value, what: &str) -> Result<&'v [Value], PatchError> {
    match value {
        Value::Array(list) => Ok(list),
        other => malformed(format!("{what} must be a list, not {other}")),
    }
}

/// `$retainKeys` names every field that may remain, so the patch may not set another.
fn retain_keys(current: &mut Object, patch: &Object, keys: &Value) -> Result<(), PatchError> {
    let keys = list(keys, RETAIN_KEYS)?;
    let retained = |key: &str| keys.iter().any(|k| k == key);
    if let Some((key, _)) = patch.iter().find(|(key, v)| !is_directive(key) && !v.is_null() && !retained(key)) {
        return malformed(format!("the patch sets {key}, which its $retainKeys does not name"));
    }
    current.retain(|key, _| retained(key));
    Ok(())
}

fn delete_from_primitive_list(current: &mut Object, name: &str, values: &Value) -> Result<(), PatchError> {
    let values = list(values, DELETE_FROM_PRIMITIVE_LIST)?;
    if values.iter().any(|v| v.is_object() || v.is_array()) {
        return malformed(format!("{DELETE_FROM_PRIMITIVE_LIST}{name} must contain only scalars"));
    }
    if let Some(Value::Array(existing)) = current.get_mut(name) {
        existing.retain(|v| !values.contains(v));
    }
    Ok(())
}

/// What elements are told apart by: their merge key, or they themselves.
fn identity(strategy: PatchStrategy, element: &Value) -> Option<&Value> {
    match strategy {
        PatchStrategy::MergeByKey(key) => element.get(key),
        _ => Some(element),
    }
}

fn identities(strategy: PatchStrategy, name: &str, elements: &[Value]) -> Result<Vec<Value>, PatchError> {
    let each = elements.iter().map(|e| match identity(strategy, e) {
        Some(identity) => Ok(identity.clone()),
        None => malformed(format!("an element of {name} in the patch lacks its merge key: {e}")),
    });
    each.collect()
}

/// The patched elements must be in the wanted order, in the same sequence: anything else is a confused client.
fn check_order(name: &str, present: &[Value], wanted: &[Value]) -> Result<(), PatchError> {
    let mut rest = wanted.iter();
    for element in present {
        if !rest.any(|w| w == element) {
            return malformed(format!("the order of {name} in the patch does not agree with its $setElementOrder"));
        }
    }
    Ok(())
}

/// Puts the elements that `wanted` names into its order. The others keep the order that they had in `before`, each ahead
/// of the wanted element that it was ahead of.
fn reorder(strategy: PatchStrategy, elements: &mut Vec<Value>, wanted: &[Value], before: &[Value]) {
    let ranks = places(wanted.iter());
    let old_places = places(before.iter().filter_map(|e| identity(strategy, e)));
    // Each element with its rank among the wanted and its old place.
    let placed = std::mem::take(elements).into_iter().map(|e| {
        let id = identity(strategy, &e).map(Value::to_string);
        let place_in = |places: &HashMap<String, usize>| places.get(id.as_ref()?).copied();
        (place_in(&ranks), place_in(&old_places), e)
    });
    let (mut named, mut others): (Vec<_>, Vec<_>) = placed.partition(|(rank, ..)| rank.is_some());
    named.sort_by_key(|(rank, ..)| *rank);
    others.sort_by_key(|(_, old, _)| *old);
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some((_, named_old, _)), Some((_, other_old, _))) = (named.peek(), others.peek()) {
        let other_first = matches!((other_old, named_old), (Some(other), Some(named)) if other < named);
        elements.extend(if other_first { others.next() } else { named.next() }.map(|(.., e)| e));
    }
    elements.extend(named.chain(others).map(|(.., e)| e));
}

/// Where each identity first stands, by its JSON text.
fn places<'v>(identities: impl Iterator<Item = &'v Value>) -> HashMap<String, usize> {
    let mut places = HashMap::new();
    for (index, identity) in identities.enumerate() {
        places.entry(identity.to_string()).or_insert(index);
    }
    places
}
