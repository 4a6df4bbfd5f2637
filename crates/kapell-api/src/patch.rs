//! One value changed by another: JSON Patch, JSON Merge Patch, strategic merge patch. (Bodies follow.)
use crate::schema::Schema;
use serde_json::Value;

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is wrong: 400 BadRequest.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the current object: 422 Invalid.
    #[error("{0}")]
    Inapplicable(String),
}

/// RFC 6902.
pub fn json_patch(_current: &Value, _patch: &Value) -> Result<Value, PatchError> {
    unimplemented!()
}
/// RFC 7386.
pub fn merge_patch(_current: &Value, _patch: &Value) -> Value {
    unimplemented!()
}
/// Kubernetes' strategic merge patch.
pub fn strategic_merge(_schema: &Schema, _current: &Value, _patch: &Value) -> Result<Value, PatchError> {
    unimplemented!()
}
