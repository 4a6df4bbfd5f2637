//! What the columns of several kinds have in common: names, ages, and the text forms of labels and lists.

use serde_json::Value;

use super::field::{at, entries, int, items, text};
use crate::kind::{Column, Now};
use crate::time;

/// The first column of nearly every kind.
pub(crate) const NAME: Column =
    Column::new("Name", "string", "Name of the object, unique among its kind in a namespace.", |object, _| {
        text(object, "/metadata/name").into()
    })
    .naming();

/// The last column that is always shown.
pub(crate) const AGE: Column = Column::new("Age", "string", "Time since the object was created.", |object, now| {
    age(at(object, "/metadata/creationTimestamp"), now).into()
});

/// Shown instead of the age by kinds that change seldom.
pub(crate) const CREATED_AT: Column = Column::new("Created At", "date", "When the object was created.", |object, _| {
    text(object, "/metadata/creationTimestamp").into()
});

/// Shown where a list or an optional value is absent.
pub(crate) const NONE: &str = "<none>";

/// `text`, else `<none>`.
pub(crate) fn or_none(text: &str) -> Value {
    if text.is_empty() { NONE.into() } else { text.into() }
}

/// The parts joined with commas, else `<none>`.
pub(crate) fn joined<'v>(parts: impl Iterator<Item = &'v str>) -> Value {
    or_none(&parts.collect::<Vec<_>>().join(","))
}

/// How long ago `timestamp` was, as `kubectl` shows it, else `<unknown>`.
pub(crate) fn age(timestamp: &Value, now: Now) -> String {
    time::age(timestamp.as_str().unwrap_or_default(), now.0)
}

/// A timestamp of the API in seconds since the epoch.
pub(crate) fn seconds(timestamp: &Value) -> Option<i64> {
    time::parse(timestamp.as_str()?).ok().map(|parsed| parsed.as_second())
}

/// A number at `pointer`, 0 if absent.
pub(crate) fn number(object: &Value, pointer: &str) -> i64 {
    int(object, pointer).unwrap_or_default()
}

/// A map of labels as a selector: `a=b,c=d`, sorted, else `<none>`.
pub(crate) fn labels(object: &Value, pointer: &str) -> Value {
    let mut pairs: Vec<String> =
        entries(object, pointer).map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.sort();
    joined(pairs.iter().map(String::as_str))
}

/// A `LabelSelector` in its string form: `a=b,c in (d,e),!f`, else `<none>`.
pub(crate) fn label_selector(selector: &Value) -> Value {
    let mut terms: Vec<(String, String)> = entries(selector, "/matchLabels")
        .map(|(key, value)| (key.to_owned(), format!("{key}={}", value.as_str().unwrap_or_default())))
        .collect();
    for expression in items(selector, "/matchExpressions") {
        let key = text(expression, "/key");
        let mut values: Vec<&str> = items(expression, "/values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let term = match text(expression, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<error>".into(),
        };
        terms.push((key.to_owned(), term));
    }
    terms.sort_by(|a, b| a.0.cmp(&b.0));
    joined(terms.iter().map(|(_, term)| term.as_str()))
}
