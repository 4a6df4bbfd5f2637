//! What distinguishes two values, as sets of paths.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element::Element;
use super::set::Set;
use super::typed::{Form, Place, items};

/// The paths in which a new value differs from an old one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

impl Comparison {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Forgets a field of the object and everything below it.
    pub(super) fn forget(&mut self, element: &Element) {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            set.forget(element);
        }
    }

    /// Forgets a field of the metadata.
    pub(super) fn forget_metadata(&mut self, field: &str) {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            set.forget_below(&Element::field("metadata"), &Element::field(field));
        }
    }

    /// Everything that has a new value.
    pub(super) fn touched(&self) -> Set {
        let mut touched = self.added.clone();
        touched.union(&self.modified);
        touched
    }
}

pub(super) fn compare(place: Place<'_>, old: &Value, new: &Value) -> Comparison {
    let mut compared = Comparison::default();
    walk(place, Some(old), Some(new), &mut Vec::new(), &mut compared);
    compared
}

fn walk(place: Place<'_>, old: Option<&Value>, new: Option<&Value>, path: &mut Vec<Element>, out: &mut Comparison) {
    if old == new {
        return;
    }
    let form = match (old, new) {
        (Some(old), Some(new)) => match (place.form(old), place.form(new)) {
            (Form::Leaf, _) | (_, Form::Leaf) => Form::Leaf,
            (_, form) => form,
        },
        (Some(only), None) | (None, Some(only)) => place.form(only),
        (None, None) => return,
    };
    // An empty value has no parts that could tell it from an absent one.
    if matches!(form, Form::Leaf) || (is_empty(old) && is_empty(new)) {
        let set = match (old, new) {
            (None, _) => &mut out.added,
            (_, None) => &mut out.removed,
            (Some(_), Some(_)) => &mut out.modified,
        };
        set.insert(path);
        return;
    }
    if matches!(form, Form::Object) {
        fields(place, old, new, path, out);
    } else {
        list(place, form, old, new, path, out);
    }
    match (old, new) {
        (None, _) => out.added.insert(path),
        (_, None) => out.removed.insert(path),
        (Some(_), Some(_)) => {}
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

fn fields(place: Place<'_>, old: Option<&Value>, new: Option<&Value>, path: &mut Vec<Element>, out: &mut Comparison) {
    let nothing = Map::new();
    let old = old.and_then(Value::as_object).unwrap_or(&nothing);
    let new = new.and_then(Value::as_object).unwrap_or(&nothing);
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    for name in new.keys().chain(gone) {
        let (before, after) = (old.get(name), new.get(name));
        if before != after {
            path.push(Element::field(name));
            walk(place.field(name).0, before, after, path, out);
            path.pop();
        }
    }
}

/// Items are compared by their identity; their order is nobody's. Where an identity occurs more than once, all its
/// items are one value.
fn list(
    place: Place<'_>,
    form: Form,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<Element>,
    out: &mut Comparison,
) {
    let mut pairs: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for (element, item) in old.into_iter().flat_map(|list| items(form, list)) {
        pairs.entry(element).or_default().0.push(item);
    }
    for (element, item) in new.into_iter().flat_map(|list| items(form, list)) {
        pairs.entry(element).or_default().1.push(item);
    }
    for (element, (old, new)) in pairs {
        path.push(element);
        match (old.as_slice(), new.as_slice()) {
            ([], [new]) => walk(place.item(), None, Some(new), path, out),
            ([old], []) => walk(place.item(), Some(old), None, path, out),
            ([old], [new]) => walk(place.item(), Some(old), Some(new), path, out),
            (old, new) if old == new => {}
            ([], _) => out.added.insert(path),
            (_, []) => out.removed.insert(path),
            _ => out.modified.insert(path),
        }
        path.pop();
    }
}
