//! Walking through JSON objects: reads that treat `null` as absent, fills that never overwrite, and [`Field`], a
//! value that knows its own path so that a complaint about it can name it.
//!
//! Everything here is total: a value of an unexpected type reads as absent, because types were checked against the
//! schema before.

use serde_json::{Map, Value};

use crate::problem::{Problem, Reason};

static ABSENT: Value = Value::Null;

/// What the JSON pointer points at, else `null`.
pub(crate) fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&ABSENT)
}

/// The string there, else the empty one.
pub(crate) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    at(value, pointer).as_str().unwrap_or_default()
}

/// The whole number there.
pub(crate) fn int(value: &Value, pointer: &str) -> Option<i64> {
    at(value, pointer).as_i64()
}

/// The truth there, else false.
pub(crate) fn truth(value: &Value, pointer: &str) -> bool {
    at(value, pointer).as_bool().unwrap_or_default()
}

/// The list there, else the empty one.
pub(crate) fn items<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    at(value, pointer).as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The entries of the map there, else none.
pub(crate) fn entries<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = (&'v str, &'v Value)> {
    at(value, pointer).as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

/// Whether something other than `null` is there.
pub(crate) fn is_set(value: &Value, pointer: &str) -> bool {
    !at(value, pointer).is_null()
}

/// Sets `key` if it is absent; does nothing to what is not a map.
pub(crate) fn fill(value: &mut Value, key: &str, default: impl Into<Value>) {
    if let Value::Object(map) = value
        && map.get(key).is_none_or(Value::is_null)
    {
        map.insert(key.to_owned(), default.into());
    }
}

/// Sets `key` if it is absent or the empty string, which Go's defaulting cannot tell apart.
pub(crate) fn fill_text(value: &mut Value, key: &str, default: &str) {
    if let Value::Object(map) = value
        && map.get(key).is_none_or(|old| old.is_null() || old == "")
    {
        map.insert(key.to_owned(), default.into());
    }
}

/// Sets `key` if it is absent or zero, which Go's defaulting cannot tell apart for fields that are not pointers.
pub(crate) fn fill_number(value: &mut Value, key: &str, default: i64) {
    if let Value::Object(map) = value
        && map.get(key).is_none_or(|old| old.is_null() || old == 0)
    {
        map.insert(key.to_owned(), default.into());
    }
}

/// The map at `key`, if there is one.
pub(crate) fn part<'v>(value: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    value.get_mut(key).filter(|part| part.is_object())
}

/// The map at `key`, created if absent; `None` where something else is.
pub(crate) fn part_or_new<'v>(value: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    fill(value, key, Value::Object(Map::new()));
    part(value, key)
}

/// The elements at `key`.
pub(crate) fn each<'v>(value: &'v mut Value, key: &str) -> impl Iterator<Item = &'v mut Value> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Removes `key`.
pub(crate) fn drop_key(value: &mut Value, key: &str) {
    if let Value::Object(map) = value {
        map.shift_remove(key);
    }
}

/// Makes `key` of `new` what it is in `old`: equal, or absent.
pub(crate) fn carry_over(new: &mut Value, old: &Value, key: &str) {
    match (new, old.get(key)) {
        (Value::Object(new), Some(kept)) => {
            new.insert(key.to_owned(), kept.clone());
        }
        (new, None) => drop_key(new, key),
        _ => {}
    }
}

/// Whether two values mean the same: `null` and absent are equal, and so are empty maps or lists and absent ones,
/// which Go writes as it likes.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| same(value, b.get(key).unwrap_or(&ABSENT)))
                && b.iter().all(|(key, value)| a.contains_key(key) || same(&ABSENT, value))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Null, other) | (other, Value::Null) => is_empty(other),
        (a, b) => a == b,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// A value together with the way to it. The path is only spelled out when somebody complains.
#[derive(Clone, Copy)]
pub(crate) struct Field<'v, 'p> {
    pub(crate) value: &'v Value,
    parent: Option<&'p Field<'v, 'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Name(&'p str),
    Index(usize),
    Key(&'p str),
}

impl<'v, 'p> Field<'v, 'p> {
    /// The object itself, whose path is empty.
    pub(crate) fn root(value: &'v Value) -> Self {
        Self { value, parent: None, step: Step::Name("") }
    }

    /// A member, `null` if absent.
    pub(crate) fn field<'s>(&'s self, name: &'s str) -> Field<'v, 's> {
        Field { value: self.value.get(name).unwrap_or(&ABSENT), parent: Some(self), step: Step::Name(name) }
    }

    /// The elements of a list.
    pub(crate) fn items<'s>(&'s self) -> impl Iterator<Item = Field<'v, 's>> {
        let list = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().enumerate().map(|(index, value)| Field { value, parent: Some(self), step: Step::Index(index) })
    }

    /// The entries of a map, whose paths read `labels[key]`.
    pub(crate) fn entries<'s>(&'s self) -> impl Iterator<Item = (&'v str, Field<'v, 's>)>
    where
        'v: 's,
    {
        let map = self.value.as_object().into_iter().flatten();
        map.map(|(key, value)| (key.as_str(), Field { value, parent: Some(self), step: Step::Key(key) }))
    }

    pub(crate) fn len(&self) -> usize {
        match self.value {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// The string, else the empty one.
    pub(crate) fn text(&self) -> &'v str {
        self.value.as_str().unwrap_or_default()
    }

    pub(crate) fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    pub(crate) fn truth(&self) -> bool {
        self.value.as_bool().unwrap_or_default()
    }

    /// The path as Kubernetes writes it: `spec.containers[0].name`.
    pub(crate) fn path(&self) -> String {
        let mut path = self.parent.map(Field::path).unwrap_or_default();
        match self.step {
            Step::Name(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
            Step::Index(index) => path.push_str(&format!("[{index}]")),
            Step::Key(key) => path.push_str(&format!("[{key}]")),
        }
        path
    }

    pub(crate) fn required(&self, detail: &str) -> Problem {
        Problem::required(self.path(), detail)
    }

    pub(crate) fn invalid(&self, detail: &str) -> Problem {
        Problem::new(self.path(), Reason::Invalid, format!("Invalid value: {}: {detail}", self.shown()))
    }

    /// The complaint about a field that has to stay what it was.
    pub(crate) fn immutable(&self) -> Problem {
        self.invalid("field is immutable")
    }

    pub(crate) fn forbidden(&self, detail: &str) -> Problem {
        Problem::forbidden(self.path(), detail)
    }

    /// The complaint about something that Kubernetes has and Kapell would have to ignore at the user's peril.
    pub(crate) fn unsupported_yet(&self, detail: &str) -> Problem {
        Problem::forbidden(self.path(), &format!("not supported yet: {detail}"))
    }

    pub(crate) fn not_supported(&self, supported: &[&str]) -> Problem {
        let quoted: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let message = format!("Unsupported value: {}: supported values: {}", self.shown(), quoted.join(", "));
        Problem::new(self.path(), Reason::NotSupported, message)
    }

    pub(crate) fn duplicate(&self) -> Problem {
        Problem::new(self.path(), Reason::Duplicate, format!("Duplicate value: {}", self.shown()))
    }

    pub(crate) fn not_found(&self) -> Problem {
        Problem::new(self.path(), Reason::NotFound, format!("Not found: {}", self.shown()))
    }

    pub(crate) fn too_long(&self, bytes: usize) -> Problem {
        Problem::new(self.path(), Reason::TooLong, format!("Too long: may not be more than {bytes} bytes"))
    }

    pub(crate) fn too_many(&self, most: usize) -> Problem {
        let message = format!("Too many: {}: must have at most {most} items", self.len());
        Problem::new(self.path(), Reason::TooMany, message)
    }

    /// Requires one of `supported`.
    pub(crate) fn one_of(&self, supported: &[&str], problems: &mut Vec<Problem>) {
        if !supported.contains(&self.text()) {
            problems.push(self.not_supported(supported));
        }
    }

    /// Requires that a number which is there is not negative.
    pub(crate) fn not_negative(&self, problems: &mut Vec<Problem>) {
        if self.int().is_some_and(|number| number < 0) {
            problems.push(self.invalid("must be greater than or equal to 0"));
        }
    }

    /// The value as messages show it: strings quoted, all else as JSON.
    fn shown(&self) -> String {
        if self.value.is_null() { "null".to_owned() } else { self.value.to_string() }
    }
}
