//! The table of kinds: everything by which one kind of object differs from another.
//!
//! Each row is data and pure functions: names, columns, defaults, validation, what a change may not touch, and what
//! deserves a warning. The engine in `kapell-apiserver` is written once over these rows. A kind is added by adding a
//! row; nothing here performs I/O, allocates addresses or tells the time.
//!
//! The functions of a row expect values whose types were checked against its schema; where a type is off all the
//! same, the field reads as absent.

mod account;
mod apps;
mod cells;
mod config;
mod coordination;
mod discovery;
mod event;
mod field;
mod limits;
mod meta;
mod namespace;
mod node;
pub mod pod;
mod policy;
mod quantities;
mod rbac;
mod review;
mod scheduling;
mod service;
mod share;
mod workflow;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use crate::kind::{ALL_VERBS, Kind, ScalePaths};

pub use self::review::REVIEWS;

/// All kinds, in the order in which discovery lists them.
pub static KINDS: &[Kind] = &[
    config::CONFIG_MAP,
    event::EVENT,
    limits::LIMIT_RANGE,
    namespace::NAMESPACE,
    node::NODE,
    pod::POD,
    limits::RESOURCE_QUOTA,
    config::SECRET,
    account::SERVICE_ACCOUNT,
    service::SERVICE,
    apps::DEPLOYMENT,
    apps::REPLICA_SET,
    coordination::LEASE,
    discovery::ENDPOINT_SLICE,
    policy::POD_DISRUPTION_BUDGET,
    rbac::CLUSTER_ROLE,
    rbac::CLUSTER_ROLE_BINDING,
    rbac::ROLE,
    rbac::ROLE_BINDING,
    scheduling::PRIORITY_CLASS,
    workflow::WORKFLOW,
    workflow::WORKFLOW_RUN,
];

/// The row of a resource by what its URL says; `group` is empty for the core group.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.plural == plural && kind.group == group && kind.version == version)
}

/// The row of a kind by what its objects say; `group` is empty for the core group.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|row| row.kind == kind && row.group == group && row.version == version)
}

/// A row without anything special, from which the others take what they don't say.
const PLAIN: Kind = Kind {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    columns: &[cells::NAME, cells::AGE],
    selectable_fields: &[],
    schema: || Value::Bool(true),
    has_generation: false,
    unconditional_update: true,
    prepare_create: |_| {},
    prepare_update: |_, _| {},
    default: |_| {},
    validate: |_| Vec::new(),
    validate_update: |_, _| Vec::new(),
    warnings: |_| Vec::new(),
};

/// Where kinds with `spec.replicas` keep what `Scale` shows.
const REPLICAS: ScalePaths =
    ScalePaths { spec_replicas: "/spec/replicas", status_replicas: "/status/replicas", selector: "/spec/selector" };

/// The JSON Schema of a type, as `schemars` writes it.
fn schema_of<T: JsonSchema>() -> Value {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

/// `prepare_create` of kinds whose status is somebody else's to write.
fn drop_status(object: &mut Value) {
    field::drop_key(object, "status");
}

/// `prepare_update` of the same kinds.
fn keep_status(new: &mut Value, old: &Value) {
    field::carry_over(new, old, "status");
}

#[cfg(test)]
mod tests;
