//! Bytes into values. (Bodies follow.)
use serde_json::Value;
use std::collections::BTreeMap;

/// Line and column of a character, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// A key that occurs twice in one object; the last value wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    pub path: String,
    /// Of the second occurrence; JSON has none.
    pub position: Option<Position>,
}

/// Where each field of a YAML document stands, by field path (`spec.containers[0].name`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(pub(crate) BTreeMap<String, Position>);

impl Positions {
    /// Of exactly this field.
    pub fn get(&self, path: &str) -> Option<Position> {
        self.0.get(path).copied()
    }
    /// Of this field or, where it does not exist, of the nearest one that encloses it.
    pub fn nearest(&self, _path: &str) -> Option<Position> {
        unimplemented!()
    }
}

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
    #[error("{message}")]
    Syntax { message: String, position: Option<Position> },
}

impl DecodeError {
    /// Where, if known.
    pub fn position(&self) -> Option<Position> {
        unimplemented!()
    }
}

/// One JSON document.
pub fn from_json(_bytes: &[u8]) -> Result<Decoded, DecodeError> {
    unimplemented!()
}
/// Exactly one YAML document.
pub fn from_yaml(_bytes: impl AsRef<[u8]>) -> Result<Decoded, DecodeError> {
    unimplemented!()
}
/// All documents of a YAML stream; empty ones are left out.
pub fn documents(_bytes: impl AsRef<[u8]>) -> Result<Vec<Decoded>, DecodeError> {
    unimplemented!()
}
