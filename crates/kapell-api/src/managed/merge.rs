//! Laying an applied configuration over an object, and taking items out of one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::ApplyError;
use super::element::Element;
use super::set::Set;
use super::typed::{Form, Place, identity, items};

/// `live` with everything that `config` says.
///
/// Items of a list keep the place that they have; those of the configuration come in the configuration's order.
pub(super) fn merge(place: Place<'_>, live: &Value, config: &Value) -> Result<Value, ApplyError> {
    walk(place, Some(live), config, &mut Vec::new())
}

fn walk(place: Place<'_>, live: Option<&Value>, config: &Value, path: &mut Vec<Element>) -> Result<Value, ApplyError> {
    let form = place.form(config);
    match (form, config) {
        // A null says nothing about the parts of what is there.
        (Form::Object | Form::Set | Form::Keyed(_), Value::Null) => Ok(live.cloned().unwrap_or(Value::Null)),
        (Form::Object, Value::Object(config)) => {
            let mut merged = live.and_then(Value::as_object).cloned().unwrap_or_default();
            for (name, value) in config {
                path.push(Element::field(name));
                let value = walk(place.field(name).0, merged.get(name), value, path)?;
                path.pop();
                merged.insert(name.clone(), value);
            }
            Ok(Value::Object(merged))
        }
        (Form::Set | Form::Keyed(_), Value::Array(config)) => list(place, form, live, config, path),
        (_, config) => Ok(config.clone()),
    }
}

fn list(
    place: Place<'_>,
    form: Form,
    live: Option<&Value>,
    config: &[Value],
    path: &mut Vec<Element>,
) -> Result<Value, ApplyError> {
    let at = |path: &[Element]| path.iter().map(ToString::to_string).collect::<String>();
    let live = live.map(|live| items(form, live)).unwrap_or_default();
    let mut present = BTreeMap::new();
    for (element, item) in &live {
        present.entry(element).or_insert(*item);
    }
    let mut wanted: Vec<(Element, Value)> = Vec::with_capacity(config.len());
    let mut names = BTreeSet::new();
    for item in config {
        let Some(element) = identity(form, item) else {
            let why = "an item of a list that is merged by keys has none of them";
            return Err(ApplyError::Malformed(format!("{}: {why}", at(path))));
        };
        path.push(element.clone());
        if !names.insert(element.clone()) {
            return Err(ApplyError::Malformed(format!("duplicate entries for key {}", at(path))));
        }
        let merged = walk(place.item(), present.get(&element).copied(), item, path)?;
        path.pop();
        wanted.push((element, merged));
    }
    let mut merged = Vec::with_capacity(live.len() + wanted.len());
    let mut wanted = wanted.into_iter();
    let mut placed = BTreeSet::new();
    for (element, item) in &live {
        if !names.contains(element) {
            merged.push((*item).clone());
            continue;
        }
        // The configuration's own items up to this one come first, in its order.
        while !placed.contains(element) {
            let Some((next, item)) = wanted.next() else { break };
            merged.push(item);
            placed.insert(next);
        }
    }
    merged.extend(wanted.map(|(_, item)| item));
    Ok(Value::Array(merged))
}

/// `value` without the members of a set; what loses all its parts goes too.
pub(super) fn remove(place: Place<'_>, value: &Value, set: &Set) -> Value {
    remove_below(place, value, set).unwrap_or_else(|| Value::Object(Map::new()))
}

/// `None` when nothing is left.
fn remove_below(place: Place<'_>, value: &Value, set: &Set) -> Option<Value> {
    // What becomes of one part: `None` when it goes.
    let part = |place: Place<'_>, element: &Element, value: &Value| match set.below(element) {
        _ if set.has(element) => None,
        Some(below) => remove_below(place, value, below),
        None => Some(value.clone()),
    };
    match (place.form(value), value) {
        (Form::Object, Value::Object(map)) => {
            let rest: Map<String, Value> = map
                .iter()
                .filter_map(|(name, value)| {
                    Some((name.clone(), part(place.field(name).0, &Element::field(name), value)?))
                })
                .collect();
            (!rest.is_empty()).then_some(Value::Object(rest))
        }
        (form @ (Form::Set | Form::Keyed(_)), Value::Array(_)) => {
            let rest: Vec<Value> = items(form, value)
                .into_iter()
                .filter_map(|(element, item)| part(place.item(), &element, item))
                .collect();
            (!rest.is_empty()).then_some(Value::Array(rest))
        }
        // Owned as a whole: nothing below it can be taken out.
        _ => Some(value.clone()),
    }
}
