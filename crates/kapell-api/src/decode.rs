//! Bytes into values, without losing anything on the way.
//!
//! JSON and YAML parsers usually drop the first of two equal keys; here every duplicate is reported, and the last
//! value wins. YAML documents come with the place of each field, so that later findings can point into the file. Size,
//! depth and the expansion of aliases are bounded, and hostile input ends in an error, never in a panic.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::field_path;

mod json;
mod scalar;
mod yaml;

/// Upstream's bound on a request body.
pub const MAX_BODY_BYTES: usize = 3 << 20;
/// Files may hold many documents; each field's place is remembered, which costs a multiple of the text.
pub const MAX_FILE_BYTES: usize = 16 << 20;
/// How deep documents may nest. Values are dropped, cloned and compared recursively.
pub const MAX_DEPTH: usize = 128;
/// How many duplicates are reported; more help nobody.
const MOST_DUPLICATES: usize = 100;

/// Line and column of a character, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// A key that occurs twice in one object; the last value wins. Displays as `duplicate field "spec.foo"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    pub path: String,
    /// Of the second occurrence; JSON has none.
    pub position: Option<Position>,
}

/// Where each field of a YAML document stands, by field path (`spec.containers[0].name`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<String, Position>);

/// A decoded document.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub value: Value,
    pub duplicates: Vec<Duplicate>,
    /// Empty for JSON.
    pub positions: Positions,
}

/// Why bytes are not a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    #[error("{message}{}", Place(position))]
    Syntax { message: String, position: Option<Position> },
    #[error("more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("nested more than {MAX_DEPTH} levels deep{}", Place(position))]
    TooDeep { position: Option<Position> },
    #[error("not UTF-8{}", Place(position))]
    NotUtf8 { position: Option<Position> },
    #[error("there is no document")]
    Empty,
    #[error("expected one document, found {count}")]
    NotOne { count: usize },
    #[error("the key {key} is not a string; write it in quotes{}", Place(position))]
    NonStringKey { key: String, position: Option<Position> },
    #[error("aliases expand to more than {limit} bytes{}", Place(position))]
    AliasBomb { limit: usize, position: Option<Position> },
    /// Something that YAML has and JSON cannot express.
    #[error("{what} is not supported{}", Place(position))]
    Unsupported { what: String, position: Option<Position> },
}

/// ` at line 3, column 7`, if known.
struct Place<'a>(&'a Option<Position>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |p| write!(f, " at {p}"))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "duplicate field \"{}\"", self.path)
    }
}

impl DecodeError {
    /// Where, if known.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Syntax { position, .. }
            | Self::TooDeep { position }
            | Self::NotUtf8 { position }
            | Self::NonStringKey { position, .. }
            | Self::AliasBomb { position, .. }
            | Self::Unsupported { position, .. } => *position,
            Self::TooLarge { .. } | Self::Empty | Self::NotOne { .. } => None,
        }
    }
}

impl Positions {
    /// The places of what stands below `path`, by paths that start there: for the items of a `List`.
    pub fn below(&self, path: &str) -> Positions {
        let inner = |(field, position): (&String, &Position)| {
            let rest = field.strip_prefix(path)?;
            Some((rest.strip_prefix('.').unwrap_or(rest).to_owned(), *position))
        };
        Positions(self.0.iter().filter_map(inner).collect())
    }

    /// Of exactly this field.
    pub fn get(&self, path: &str) -> Option<Position> {
        self.0.get(path).copied()
    }

    /// Of this field or, where it does not exist, of the nearest one that encloses it. Both `labels.app` and
    /// `labels[app]` are understood.
    pub fn nearest(&self, path: &str) -> Option<Position> {
        let mut path = path;
        loop {
            if let Some(position) = self.get(path) {
                return Some(position);
            }
            let parent = field_path::parent(path)?;
            let key = path[parent.len()..].strip_prefix('[').and_then(|key| key.strip_suffix(']'));
            if let Some(position) = key.and_then(|key| self.get(&format!("{parent}.{key}"))) {
                return Some(position);
            }
            path = parent;
        }
    }
}

/// One JSON document of at most [`MAX_BODY_BYTES`].
pub fn from_json(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    within(bytes, MAX_BODY_BYTES)?;
    json::decode(bytes)
}

/// Exactly one YAML document of at most [`MAX_BODY_BYTES`].
pub fn from_yaml(bytes: impl AsRef<[u8]>) -> Result<Decoded, DecodeError> {
    within(bytes.as_ref(), MAX_BODY_BYTES)?;
    let mut documents = yaml::decode(bytes.as_ref())?;
    match (documents.pop(), documents.len()) {
        (None, _) => Err(DecodeError::Empty),
        (Some(only), 0) => Ok(only),
        (Some(_), others) => Err(DecodeError::NotOne { count: others + 1 }),
    }
}

/// All documents of a YAML stream of at most [`MAX_FILE_BYTES`]; empty ones are left out.
pub fn documents(bytes: impl AsRef<[u8]>) -> Result<Vec<Decoded>, DecodeError> {
    within(bytes.as_ref(), MAX_FILE_BYTES)?;
    yaml::decode(bytes.as_ref())
}

fn within(bytes: &[u8], limit: usize) -> Result<(), DecodeError> {
    if bytes.len() > limit { Err(DecodeError::TooLarge { limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
