//! Secrets: expressions pass them on without ever seeing them.
//!
//! `$secrets.NAME.KEY` is a **token**, a text that stands for the value. Tokens can be stored, joined with other text,
//! put into requests and credentials; they are what the journal, the timeline and the status hold. Only when a
//! request leaves the engine is each token replaced by the value ([`Disclosure`]), and should an answer contain the
//! value, it is blotted out before it comes in. An expression that wants to look into a token (compare it, cut it,
//! encode it) fails: its result would be wrong, and could give the value away.
//!
//! A token carries a number that the run draws when it begins and that is never shown, so nobody can write one into
//! a run's input or answer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::expression::Datum;

/// What tokens begin with. Only letters, digits and `-`, so that they survive in URLs, headers and JSON.
const BEGINNING: &str = "kapell-secret-";
const END: &str = "-s";
/// Hexadecimal digits of the number.
const NONCE: usize = 24;
/// A text that is shorter holds no token.
const SHORTEST: usize = BEGINNING.len() + NONCE + 1 + END.len();
/// Name and key of the token for `$authorization.parameter`.
const AUTHORIZATION: (&str, &str) = ("", "authorization");

/// Values shorter than this are not searched for in answers: they would be found everywhere.
const SHORTEST_VALUE: usize = 6;
/// What stands in an answer in place of a value.
const BLOT: &str = "[redacted]";

/// The secrets of a run: names and keys, as they were when it began, and the number in its tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    pub(crate) nonce: String,
    pub(crate) keys: BTreeMap<String, Vec<String>>,
}

impl Sealed {
    /// With a number of its own.
    pub(crate) fn new(keys: BTreeMap<String, Vec<String>>) -> Self {
        let nonce = hex::encode(rand::random::<[u8; NONCE / 2]>());
        Self { nonce, keys }
    }

    /// `$secrets`.
    pub(crate) fn argument(&self) -> Datum {
        let secrets = self.keys.iter().map(|(name, keys)| {
            let members = keys.iter().map(|key| (key.as_str(), Datum::string(token(&self.nonce, name, key))));
            (name.as_str(), Datum::object(members).unwrap_or_default())
        });
        // Kubernetes bounds a Secret to 1 MiB, far below the bounds on data.
        Datum::object(secrets).unwrap_or_default()
    }

    /// `$authorization.parameter`.
    pub(crate) fn authorization(nonce: &str) -> String {
        token(nonce, AUTHORIZATION.0, AUTHORIZATION.1)
    }
}

fn token(nonce: &str, name: &str, key: &str) -> String {
    format!("{BEGINNING}{nonce}-{}{END}", hex::encode(format!("{name}/{key}")))
}

/// Whether the text may hold a token.
pub(crate) fn is_sealed(text: &[u8]) -> bool {
    text.len() >= SHORTEST && memchr::memmem::find(text, BEGINNING.as_bytes()).is_some()
}

/// One token in a text.
struct Found {
    start: usize,
    end: usize,
    nonce: String,
    name: String,
    key: String,
}

/// The next token from a position on.
fn find(text: &str, from: usize) -> Option<Found> {
    let mut from = from;
    loop {
        let start = from + text.get(from..)?.find(BEGINNING)?;
        let rest = &text[start + BEGINNING.len()..];
        let parsed = rest.split_at_checked(NONCE).and_then(|(nonce, rest)| {
            let rest = rest.strip_prefix('-')?;
            let (named, _) = rest.split_once(END)?;
            let name = String::from_utf8(hex::decode(named).ok()?).ok()?;
            let (name, key) = name.split_once('/')?;
            let end = start + BEGINNING.len() + NONCE + 1 + named.len() + END.len();
            let nonce = nonce.chars().all(|c| c.is_ascii_hexdigit()).then(|| nonce.to_owned())?;
            Some(Found { start, end, nonce, name: name.to_owned(), key: key.to_owned() })
        });
        match parsed {
            Some(found) => return Some(found),
            None => from = start + BEGINNING.len(),
        }
    }
}

fn tokens(text: &str) -> impl Iterator<Item = Found> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let found = find(text, from)?;
        from = found.end;
        Some(found)
    })
}

/// A piece of a text that may hold tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    Text(&'t str),
    /// Stands for a value.
    Secret {
        name: String,
        key: String,
    },
}

/// The text in pieces; tokens of other runs are text.
pub(crate) fn pieces<'t>(text: &'t str, nonce: &str) -> Vec<Piece<'t>> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for found in tokens(text).filter(|found| found.nonce == nonce) {
        pieces.extend((found.start > from).then(|| Piece::Text(&text[from..found.start])));
        pieces.push(Piece::Secret { name: found.name, key: found.key });
        from = found.end;
    }
    pieces.extend((from < text.len()).then(|| Piece::Text(&text[from..])));
    pieces
}

/// The text as it may be shown: each token by its name.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !is_sealed(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for found in tokens(text) {
        shown.push_str(&text[from..found.start]);
        match (found.name.as_str(), found.key.as_str()) {
            AUTHORIZATION => shown.push_str("[authorization]"),
            (name, key) => shown.push_str(&format!("[secret {name} {key}]")),
        }
        from = found.end;
    }
    shown.push_str(&text[from..]);
    Cow::Owned(shown)
}

/// The value as it may be shown.
pub(crate) fn show(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = shown(text) {
                *text = shown;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(show),
        Value::Object(members) => {
            members.values_mut().for_each(show);
            if members.keys().any(|key| is_sealed(key.as_bytes())) {
                *members = std::mem::take(members).into_iter().map(|(k, v)| (shown(&k).into_owned(), v)).collect();
            }
        }
        _ => {}
    }
}

/// The datum as it may be shown.
pub(crate) fn shown_datum(datum: &Datum) -> Datum {
    let mut value = datum.to_value();
    show(&mut value);
    // Names are no deeper than tokens, and shorter than most.
    Datum::from_json(&value).unwrap_or_default()
}

/// The values that one request needs; lives only while it is made.
#[derive(Default)]
pub(crate) struct Disclosure {
    nonce: String,
    values: BTreeMap<(String, String), String>,
}

/// A token whose value is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undisclosed {
    #[error("there is no Secret `{name}` with a key `{key}` in this namespace")]
    Missing { name: String, key: String },
    #[error("key `{key}` of Secret `{name}` is not text")]
    NotText { name: String, key: String },
}

impl Disclosure {
    pub(crate) fn new(nonce: &str) -> Self {
        Self { nonce: nonce.to_owned(), values: BTreeMap::new() }
    }

    /// The names of Secrets that the texts have tokens of.
    pub(crate) fn names(&self, texts: &[&str]) -> Vec<String> {
        let found = texts.iter().flat_map(|text| tokens(text)).filter(|found| found.nonce == self.nonce);
        let mut names: Vec<String> = found.map(|found| found.name).filter(|name| !name.is_empty()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Takes a Secret's data in.
    ///
    /// # Errors
    /// When a value is not UTF-8.
    pub(crate) fn learn(&mut self, name: &str, data: BTreeMap<String, Vec<u8>>) -> Result<(), Undisclosed> {
        for (key, value) in data {
            let not_text = |_| Undisclosed::NotText { name: name.to_owned(), key: key.clone() };
            let value = String::from_utf8(value).map_err(not_text)?;
            self.values.insert((name.to_owned(), key), value);
        }
        Ok(())
    }

    /// What `$authorization.parameter` stands for; also anything else that answers must not carry.
    pub(crate) fn learn_authorization(&mut self, parameter: &str) {
        self.values.insert((AUTHORIZATION.0.to_owned(), AUTHORIZATION.1.to_owned()), parameter.to_owned());
    }

    /// The text with its tokens replaced by their values, each made fit for its place by `escape`. Tokens of other
    /// runs stay what they are.
    ///
    /// # Errors
    /// When a value is not there.
    pub(crate) fn disclosed(&self, text: &str, escape: impl Fn(&str) -> String) -> Result<String, Undisclosed> {
        let mut disclosed = String::with_capacity(text.len());
        let mut from = 0;
        for found in tokens(text).filter(|found| found.nonce == self.nonce) {
            disclosed.push_str(&text[from..found.start]);
            let missing = Undisclosed::Missing { name: found.name.clone(), key: found.key.clone() };
            disclosed.push_str(&escape(self.values.get(&(found.name, found.key)).ok_or(missing)?));
            from = found.end;
        }
        disclosed.push_str(&text[from..]);
        Ok(disclosed)
    }

    /// The value with the tokens in its texts replaced.
    ///
    /// # Errors
    /// When a value is not there.
    pub(crate) fn disclosed_value(&self, value: &Value) -> Result<Value, Undisclosed> {
        Ok(match value {
            Value::String(text) => Value::String(self.disclosed(text, str::to_owned)?),
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.disclosed_value(item)).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let members = members.iter().map(|(key, value)| Ok((key.clone(), self.disclosed_value(value)?)));
                Value::Object(members.collect::<Result<_, _>>()?)
            }
            other => other.clone(),
        })
    }

    /// Everything that must not come back, as it is and as JSON writes it; the longest first.
    fn forbidden(&self) -> Vec<String> {
        let long = self.values.values().filter(|value| value.len() >= SHORTEST_VALUE);
        let mut forbidden: Vec<String> = long.flat_map(|value| [value.clone(), escaped_json(value)]).collect();
        forbidden.sort_by_key(|value| std::cmp::Reverse(value.len()));
        forbidden.dedup();
        forbidden
    }

    /// Whether the bytes hold a value.
    pub(crate) fn betrayed_by(&self, bytes: &[u8]) -> bool {
        let holds = |value: &String| memchr::memmem::find(bytes, value.as_bytes()).is_some();
        self.forbidden().iter().any(holds)
    }

    /// The text with the values in it blotted out.
    pub(crate) fn blotted(&self, text: &str) -> String {
        self.forbidden().iter().fold(text.to_owned(), |text, value| {
            if text.contains(value.as_str()) { text.replace(value.as_str(), BLOT) } else { text }
        })
    }
}

/// The value as it stands between the quotes of a JSON text.
pub(crate) fn escaped_json(value: &str) -> String {
    let quoted = Value::String(value.to_owned()).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests;
