//! What makes a service different from the others: tables, seed, and what its requests do.

use rusqlite::{Connection, Transaction};
use serde_json::{Value, json};

/// One row of the table in `main`.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    /// Creates the tables and their first rows; run at every start, so it must not change what is there.
    pub(crate) schema: &'static str,
    /// Answers `POST`; `None`: there is no such path. Everything it writes is in the transaction, once per key.
    pub(crate) post: fn(&Transaction<'_>, &[&str], &Value) -> rusqlite::Result<Option<Answer>>,
    /// Answers `GET`.
    pub(crate) get: fn(&Connection, &[&str]) -> rusqlite::Result<Option<Answer>>,
    /// The sums that an audit compares.
    pub(crate) totals: fn(&Connection) -> rusqlite::Result<Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    /// Whether anything was changed.
    pub(crate) effect: bool,
}

impl Answer {
    pub(crate) fn changed(body: Value) -> Self {
        Self { status: 200, body, effect: true }
    }

    pub(crate) fn same(body: Value) -> Self {
        Self { status: 200, body, effect: false }
    }

    /// An RFC 7807 problem; callers show its title and detail.
    pub(crate) fn refused(status: u16, title: &str, detail: impl Into<String>) -> Self {
        let body = json!({"title": title, "status": status, "detail": detail.into()});
        Self { status, body, effect: false }
    }
}

/// The text member `key` of a request's body.
pub(crate) fn text<'a>(body: &'a Value, key: &str) -> Result<&'a str, Answer> {
    body[key].as_str().filter(|text| !text.is_empty()).ok_or_else(|| missing(key, "a text"))
}

/// The member `key` of a request's body, a whole number above zero.
pub(crate) fn positive(body: &Value, key: &str) -> Result<i64, Answer> {
    body[key].as_i64().filter(|number| *number > 0).ok_or_else(|| missing(key, "a whole number above zero"))
}

fn missing(key: &str, what: &str) -> Answer {
    Answer::refused(400, "bad request", format!("`{key}` must be {what}"))
}

/// Unpacks a checked member or answers with the refusal.
macro_rules! checked {
    ($member:expr) => {
        match $member {
            Ok(value) => value,
            Err(refusal) => return Ok(Some(refusal)),
        }
    };
}
pub(crate) use checked;
