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
mod autoscaling;
mod batch;
mod cells;
mod certificates;
mod claims;
mod config;
mod coordination;
mod discovery;
mod endpoints;
mod event;
mod event_sink;
mod event_v1;
mod field;
mod flow_control;
mod limits;
mod meta;
mod namespace;
mod networking;
mod node;
pub mod pod;
mod policy;
mod quantities;
mod rbac;
mod removed;
mod replication;
mod review;
mod runtime_class;
mod scheduling;
mod service;
mod share;
mod storage;
mod workflow;

use serde_json::Value;

use crate::kind::{ALL_VERBS, Kind, ScalePaths};
use crate::schema::{own_schema, schema_of};

pub use self::review::REVIEWS;

/// All kinds in the form in which their objects are kept, in the order in which discovery lists them.
pub static KINDS: &[Kind] = &[
    config::CONFIG_MAP,
    endpoints::ENDPOINTS,
    event::EVENT,
    limits::LIMIT_RANGE,
    namespace::NAMESPACE,
    node::NODE,
    claims::PERSISTENT_VOLUME_CLAIM,
    claims::PERSISTENT_VOLUME,
    pod::POD,
    replication::POD_TEMPLATE,
    replication::REPLICATION_CONTROLLER,
    limits::RESOURCE_QUOTA,
    config::SECRET,
    account::SERVICE_ACCOUNT,
    service::SERVICE,
    apps::CONTROLLER_REVISION,
    apps::DAEMON_SET,
    apps::DEPLOYMENT,
    apps::REPLICA_SET,
    apps::STATEFUL_SET,
    autoscaling::HORIZONTAL_POD_AUTOSCALER,
    batch::CRON_JOB,
    batch::JOB,
    certificates::CERTIFICATE_SIGNING_REQUEST,
    coordination::LEASE,
    discovery::ENDPOINT_SLICE,
    flow_control::FLOW_SCHEMA,
    flow_control::PRIORITY_LEVEL_CONFIGURATION,
    networking::INGRESS,
    networking::INGRESS_CLASS,
    networking::NETWORK_POLICY,
    runtime_class::RUNTIME_CLASS,
    policy::POD_DISRUPTION_BUDGET,
    rbac::CLUSTER_ROLE,
    rbac::CLUSTER_ROLE_BINDING,
    rbac::ROLE,
    rbac::ROLE_BINDING,
    scheduling::PRIORITY_CLASS,
    storage::CSI_DRIVER,
    storage::CSI_NODE,
    storage::CSI_STORAGE_CAPACITY,
    storage::STORAGE_CLASS,
    storage::VOLUME_ATTACHMENT,
    event_sink::EVENT_SINK,
    workflow::WORKFLOW,
    workflow::WORKFLOW_RUN,
];

/// Other versions of the same kinds, each a [`crate::kind::View`] of a row above. Discovery lists them last.
pub static VIEWS: &[Kind] = &{
    let mut views = [autoscaling::versions::V1; 2 + removed::REMOVED.len()];
    views[1] = event_v1::EVENT_V1;
    let mut i = 0;
    while i < removed::REMOVED.len() {
        views[2 + i] = removed::REMOVED[i];
        i += 1;
    }
    views
};

/// Everything that is served: the kinds, then their views.
pub fn all() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().chain(VIEWS)
}

/// The row of a resource by what its URL says; `group` is empty for the core group.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    all().find(|kind| kind.plural == plural && kind.group == group && kind.version == version)
}

/// The row of a kind by what its objects say; `group` is empty for the core group.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    all().find(|row| row.kind == kind && row.group == group && row.version == version)
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
    validate_create: |_| Vec::new(),
    validate_update: |_, _| Vec::new(),
    warnings: |_| Vec::new(),
    view: None,
};

/// Where kinds with `spec.replicas` keep what `Scale` shows.
const REPLICAS: ScalePaths =
    ScalePaths { spec_replicas: "/spec/replicas", status_replicas: "/status/replicas", selector: "/spec/selector" };

/// `prepare_create` of kinds whose status is somebody else's to write.
fn empty_status(object: &mut Value) {
    zero_status(object, &[]);
}

/// As [`empty_status`], with the counts that a status always shows.
fn zero_status(object: &mut Value, counts: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        let zeros = counts.iter().map(|&count| (count.to_owned(), Value::from(0))).collect();
        object.insert("status".to_owned(), Value::Object(zeros));
    }
}

/// `prepare_update` of the same kinds.
fn keep_status(new: &mut Value, old: &Value) {
    field::carry_over(new, old, "status");
}

#[cfg(test)]
mod tests;
