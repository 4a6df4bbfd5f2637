//! One value changed by another: JSON Patch, JSON Merge Patch and Kubernetes' strategic merge patch.
//!
//! Pure functions from (current, patch) to the new value. Whether the result is a valid object, whether it may be
//! changed so, and whether anything changed at all is decided by whoever stores it.

use json_patch::{Patch, PatchOperation};
use serde::Deserialize;
use serde_json::Value;

use crate::schema::Schema;

mod strategic;

/// Upstream's bound on the operations of one JSON Patch.
const MAX_OPERATIONS: usize = 10_000;
/// How much text `copy` operations may add in total: doubling a value forty times is a short patch.
const MAX_COPIED_BYTES: usize = 3 << 20;

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is wrong: 400 BadRequest.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the current object: 422 Invalid.
    #[error("{0}")]
    Inapplicable(String),
    /// The patch asks for more than it may: 413 RequestEntityTooLarge.
    #[error("{0}")]
    TooLarge(String),
}

/// RFC 6902. All operations or none.
pub fn json_patch(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let patch = Patch::deserialize(patch)
        .map_err(|error| PatchError::Malformed(format!("the body is not a JSON Patch: {error}")))?;
    if patch.0.len() > MAX_OPERATIONS {
        let message = format!("a JSON Patch may have {MAX_OPERATIONS} operations, this one has {}", patch.0.len());
        return Err(PatchError::TooLarge(message));
    }
    let mut result = current.clone();
    let mut copied = 0;
    for (index, operation) in patch.0.iter().enumerate() {
        if let PatchOperation::Copy(copy) = operation {
            copied += result.pointer(copy.from.as_str()).map_or(0, |v| v.to_string().len());
            if copied > MAX_COPIED_BYTES {
                let message = format!("the patch's copy operations exceed {MAX_COPIED_BYTES} bytes");
                return Err(PatchError::TooLarge(message));
            }
        }
        // The result is our own copy, thrown away on an error, so nothing needs to be rolled back.
        json_patch::patch_unsafe(&mut result, std::slice::from_ref(operation)).map_err(|error| {
            let at = operation.path().as_str();
            PatchError::Inapplicable(format!("operation {index} of the JSON Patch at {at:?}: {}", error.kind))
        })?;
    }
    Ok(result)
}

/// RFC 7386.
pub fn merge_patch(current: &Value, patch: &Value) -> Value {
    let mut result = current.clone();
    json_patch::merge(&mut result, patch);
    result
}

/// Kubernetes' strategic merge patch with all its directives: `$patch` (`replace`, `delete`, `merge`),
/// `$setElementOrder/<list>`, `$deleteFromPrimitiveList/<list>`, `$retainKeys`; null deletes.
///
/// Lists merge as the schema says; where it says nothing they are replaced. No directive remains in the result.
pub fn strategic_merge(schema: &Schema, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    strategic::merge(schema, current, patch)
}

#[cfg(test)]
mod tests;
