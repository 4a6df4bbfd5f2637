//! The parts of `metadata` that every service needs, read without building the rest of the object.
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// `metav1.ObjectMeta` without what nobody filters by. Absent strings are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub uid: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub owner_references: Vec<OwnerReference>,
    #[serde(default)]
    pub finalizers: Vec<String>,
    #[serde(default)]
    pub creation_timestamp: Option<String>,
    #[serde(default)]
    pub deletion_timestamp: Option<String>,
    #[serde(default)]
    pub deletion_grace_period_seconds: Option<i64>,
    #[serde(default)]
    pub generation: i64,
    #[serde(default)]
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
    pub controller: bool,
    pub block_owner_deletion: bool,
}

impl Metadata {
    /// From an object's JSON.
    pub fn from_json(_object: &[u8]) -> Result<Metadata, serde_json::Error> {
        unimplemented!()
    }
    /// From an object.
    pub fn of(_object: &Value) -> Result<Metadata, serde_json::Error> {
        unimplemented!()
    }
    /// The owner with `controller: true`.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|o| o.controller)
    }
}
