//! The parts of `metadata` that every service needs, read without building the rest of the object.
//!
//! A watch that filters by label or field, or a garbage collector that looks at owners, gets stored bytes; parsing
//! them here skips `spec` and `status` instead of allocating them. It reads only: changing metadata is done on the
//! whole value.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// `metav1.ObjectMeta` without what nobody decides by. Absent and null strings are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub namespace: String,
    #[serde(deserialize_with = "null_is_default")]
    pub uid: String,
    #[serde(deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default")]
    pub owner_references: Vec<OwnerReference>,
    #[serde(deserialize_with = "null_is_default")]
    pub finalizers: Vec<String>,
    pub creation_timestamp: Option<String>,
    pub deletion_timestamp: Option<String>,
    pub deletion_grace_period_seconds: Option<i64>,
    #[serde(deserialize_with = "null_is_default")]
    pub generation: i64,
    #[serde(deserialize_with = "null_is_default")]
    pub resource_version: String,
}

/// `metav1.OwnerReference`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    #[serde(deserialize_with = "null_is_default")]
    pub controller: bool,
    #[serde(deserialize_with = "null_is_default")]
    pub block_owner_deletion: bool,
}

/// An object, of which only the metadata is kept.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    #[serde(deserialize_with = "null_is_default")]
    metadata: Metadata,
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

impl Metadata {
    /// From an object's JSON.
    pub fn from_json(object: &[u8]) -> Result<Metadata, serde_json::Error> {
        serde_json::from_slice(object).map(|o: Object| o.metadata)
    }

    /// From an object; only the metadata is copied.
    pub fn of(object: &Value) -> Result<Metadata, serde_json::Error> {
        match object.get("metadata") {
            None | Some(Value::Null) => Ok(Metadata::default()),
            Some(metadata) => Metadata::deserialize(metadata),
        }
    }

    /// The owner that manages this object (`controller: true`), if there is one.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|o| o.controller)
    }

    /// Whether the object waits for its finalizers or its grace period.
    pub fn is_terminating(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

#[cfg(test)]
mod tests;
