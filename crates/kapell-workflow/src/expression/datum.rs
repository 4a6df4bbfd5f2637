//! JSON data as the engine holds it: cheap to clone, and of bounded size and depth.
//!
//! Every container knows its weight (the number of values and, roughly, text in the tree below it) and its depth, so
//! that comparing, printing or dropping a value can be paid for beforehand, and so that sharing cannot build a small
//! value that unfolds into an endless one. [`serde_json::Value`] appears only at the edges.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;

use super::meter::{Exhausted, charge_bytes, charge_steps, guard_secret, stop};

/// No value is nested deeper: dropping and printing recurse.
pub(crate) const MAX_DEPTH: u16 = 256;

/// No tree is heavier, counting one for each value and for each 16 bytes of text (about 64 MB).
const MAX_WEIGHT: u64 = 4_000_000;

/// No text is longer, in bytes.
pub(crate) const MAX_TEXT: usize = 16 << 20;

/// One JSON value.
#[derive(Clone, Default)]
pub(crate) enum Datum {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// UTF-8 by construction.
    Text(Bytes),
    Array(Arc<Array>),
    Object(Arc<Object>),
}

/// Items with the measures of the tree below them; the depth may be overestimated after items were replaced.
#[derive(Clone, Default)]
pub(crate) struct Array {
    items: Vec<Datum>,
    weight: u64,
    depth: u16,
}

/// Members in order of insertion, with the measures of the tree below them.
#[derive(Clone, Default)]
pub(crate) struct Object {
    members: IndexMap<Arc<str>, Datum>,
    weight: u64,
    depth: u16,
}

impl Array {
    pub(crate) fn items(&self) -> &[Datum] {
        &self.items
    }

    /// # Errors
    /// When the result would exceed the bounds on depth or weight.
    pub(crate) fn push(&mut self, item: Datum) -> Result<(), Exhausted> {
        charge_bytes(size_of::<Datum>() as u64);
        (self.weight, self.depth) = grown(self.weight, self.depth, &item)?;
        self.items.push(item);
        Ok(())
    }

    pub(crate) fn take(&mut self, index: usize) -> Datum {
        let item = std::mem::take(&mut self.items[index]);
        self.weight -= item.weight().min(self.weight);
        item
    }

    pub(crate) fn put(&mut self, index: usize, item: Datum) -> Result<(), Exhausted> {
        (self.weight, self.depth) = grown(self.weight, self.depth, &item)?;
        self.items[index] = item;
        Ok(())
    }

    pub(crate) fn remove(&mut self, index: usize) {
        self.items.remove(index);
    }

    pub(crate) fn into_items(self) -> Vec<Datum> {
        self.items
    }
}

impl Object {
    pub(crate) fn members(&self) -> &IndexMap<Arc<str>, Datum> {
        &self.members
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Datum> {
        self.members.get(key)
    }

    /// # Errors
    /// When the result would exceed the bounds on depth or weight.
    pub(crate) fn insert(&mut self, key: Arc<str>, value: Datum) -> Result<(), Exhausted> {
        charge_bytes((size_of::<Datum>() + size_of::<Arc<str>>() + 16) as u64);
        (self.weight, self.depth) = grown(self.weight + text_weight(key.len()), self.depth, &value)?;
        if let Some(old) = self.members.insert(key, value) {
            self.weight -= old.weight().min(self.weight);
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Datum> {
        let old = self.members.shift_remove(key)?;
        self.weight -= old.weight().min(self.weight);
        Some(old)
    }

    pub(crate) fn into_members(self) -> IndexMap<Arc<str>, Datum> {
        self.members
    }
}

fn grown(weight: u64, depth: u16, item: &Datum) -> Result<(u64, u16), Exhausted> {
    let weight = weight + item.weight();
    if weight > MAX_WEIGHT {
        return Err(Exhausted::Size);
    }
    let depth = depth.max(item.depth());
    if depth >= MAX_DEPTH {
        return Err(Exhausted::Depth);
    }
    Ok((weight, depth))
}

fn text_weight(length: usize) -> u64 {
    length as u64 / 16
}

impl Datum {
    /// Text longer than the bound ends the evaluation; outside of one it cannot come about (requests, responses and
    /// objects are bounded far below).
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        let text = text.into();
        if text.len() > MAX_TEXT {
            stop(Exhausted::Size);
        }
        charge_bytes(text.len() as u64);
        Datum::Text(text)
    }

    pub(crate) fn string(text: impl Into<String>) -> Self {
        Datum::Text(Bytes::from(text.into().into_bytes()))
    }

    /// # Errors
    /// When the result would exceed the bounds on depth or weight.
    pub(crate) fn array(items: impl IntoIterator<Item = Datum>) -> Result<Self, Exhausted> {
        let mut array = Array::default();
        for item in items {
            array.push(item)?;
        }
        Ok(Datum::Array(Arc::new(array)))
    }

    /// # Errors
    /// When the result would exceed the bounds on depth or weight.
    pub(crate) fn object<K: Into<Arc<str>>>(members: impl IntoIterator<Item = (K, Datum)>) -> Result<Self, Exhausted> {
        let mut object = Object::default();
        for (key, value) in members {
            object.insert(key.into(), value)?;
        }
        Ok(Datum::Object(Arc::new(object)))
    }

    pub(crate) fn weight(&self) -> u64 {
        1 + match self {
            Datum::Text(text) => text_weight(text.len()),
            Datum::Array(array) => array.weight,
            Datum::Object(object) => object.weight,
            _ => 0,
        }
    }

    /// 0 for scalars; an upper bound for containers.
    pub(crate) fn depth(&self) -> u16 {
        match self {
            Datum::Array(array) => array.depth + 1,
            Datum::Object(object) => object.depth + 1,
            _ => 0,
        }
    }

    /// Inside of an evaluation, a text that holds a secret's token ends it.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Datum::Text(text) => {
                guard_secret(text);
                std::str::from_utf8(text).ok()
            }
            _ => None,
        }
    }

    pub(crate) fn as_array(&self) -> Option<&[Datum]> {
        match self {
            Datum::Array(array) => Some(&array.items),
            _ => None,
        }
    }

    pub(crate) fn as_object(&self) -> Option<&Object> {
        match self {
            Datum::Object(object) => Some(object),
            _ => None,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Datum> {
        self.as_object().and_then(|object| object.get(key))
    }

    pub(crate) fn as_i64(&self) -> Option<i64> {
        match self {
            Datum::Int(i) => Some(*i),
            Datum::Float(f) if f.fract() == 0.0 && f.abs() < 9e15 => Some(*f as i64),
            _ => None,
        }
    }

    /// jq's notion: everything but `null` and `false`.
    pub(crate) fn is_truthy(&self) -> bool {
        !matches!(self, Datum::Null | Datum::Bool(false))
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Datum::Null => "null",
            Datum::Bool(_) => "boolean",
            Datum::Int(_) | Datum::Float(_) => "number",
            Datum::Text(_) => "string",
            Datum::Array(_) => "array",
            Datum::Object(_) => "object",
        }
    }

    /// Compact JSON.
    pub(crate) fn to_json(&self) -> String {
        charge_steps(self.weight());
        let json = serde_json::to_string(self).unwrap_or_default();
        charge_bytes(json.len() as u64);
        json
    }

    fn rank(&self) -> u8 {
        match self {
            Datum::Null => 0,
            Datum::Bool(_) => 1,
            Datum::Int(_) | Datum::Float(_) => 2,
            Datum::Text(_) => 3,
            Datum::Array(_) => 4,
            Datum::Object(_) => 5,
        }
    }

    pub(crate) fn as_float(&self) -> Option<f64> {
        match self {
            Datum::Int(i) => Some(*i as f64),
            Datum::Float(f) => Some(*f),
            _ => None,
        }
    }
}

/// jq's order: null, booleans, numbers, strings, arrays, objects. NaN is the least number and equal to itself, so
/// that sorting has a total order.
impl Ord for Datum {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Datum::Bool(a), Datum::Bool(b)) => a.cmp(b),
            (Datum::Int(a), Datum::Int(b)) => a.cmp(b),
            (Datum::Int(_) | Datum::Float(_), Datum::Int(_) | Datum::Float(_)) => {
                compare_floats(self.as_float().unwrap_or(f64::NAN), other.as_float().unwrap_or(f64::NAN))
            }
            (Datum::Text(a), Datum::Text(b)) => {
                guard_secret(a);
                guard_secret(b);
                charge_steps(a.len().min(b.len()) as u64 / 256);
                a.cmp(b)
            }
            (Datum::Array(a), Datum::Array(b)) => {
                charge_steps(a.weight.min(b.weight));
                a.items.cmp(&b.items)
            }
            (Datum::Object(a), Datum::Object(b)) => {
                charge_steps((a.weight + b.weight) * 2);
                compare_objects(a, b)
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

fn compare_floats(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

/// First the sorted keys as arrays, then the values in the order of the sorted keys.
fn compare_objects(a: &Object, b: &Object) -> Ordering {
    let sorted = |object: &Object| {
        let mut keys: Vec<Arc<str>> = object.members.keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    let keys = sorted(a);
    keys.cmp(&sorted(b)).then_with(|| {
        keys.iter().map(|key| a.members[key].cmp(&b.members[key])).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    })
}

impl PartialOrd for Datum {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Datum {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            // Objects of different sizes need no sorted keys to be told apart.
            (Datum::Object(a), Datum::Object(b)) => {
                charge_steps(a.weight.min(b.weight));
                a.members == b.members
            }
            _ => self.cmp(other).is_eq(),
        }
    }
}

impl Eq for Datum {}

impl fmt::Debug for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// JSON for people: cut short, because it appears in messages.
impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 200;
        if self.weight() > LONGEST as u64 {
            return match self {
                Datum::Array(array) => write!(f, "an array of {} items", array.items.len()),
                Datum::Object(object) => write!(f, "an object of {} members", object.members.len()),
                _ => write!(f, "a long {}", self.type_name()),
            };
        }
        let json = serde_json::to_string(self).unwrap_or_default();
        match json.char_indices().nth(LONGEST) {
            None => f.write_str(&json),
            Some((cut, _)) => write!(f, "{}…", &json[..cut]),
        }
    }
}
