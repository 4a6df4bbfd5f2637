//! Workloads that run for as long as they exist: Deployments, ReplicaSets, StatefulSets, DaemonSets.

mod controller_revision;
mod daemon_set;
mod default;
mod stateful_set;
mod validate;

pub(super) use controller_revision::CONTROLLER_REVISION;
pub(super) use daemon_set::DAEMON_SET;
pub(super) use stateful_set::STATEFUL_SET;
pub(super) use validate::check_match;

use serde_json::Value;

use super::cells::{AGE, NAME, joined, label_selector, number};
use super::field::{at, items, text};
use super::{PLAIN, REPLICAS, empty_status, keep_status, pod, schema_of, zero_status};
use crate::kind::{Column, Kind, SelectableField, Subresource};

pub(super) const DEPLOYMENT: Kind = Kind {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    subresources: &[Subresource::Status, Subresource::Scale(REPLICAS)],
    columns: &[
        NAME,
        Column::new("Ready", "string", "Replicas that are ready, of all that should be.", |deployment, _| {
            let ready = number(deployment, "/status/readyReplicas");
            format!("{ready}/{}", number(deployment, "/spec/replicas")).into()
        }),
        Column::new("Up-to-date", "string", "Replicas made from the current template.", |deployment, _| {
            number(deployment, "/status/updatedReplicas").into()
        }),
        Column::new("Available", "string", "Replicas that have been ready for long enough.", |deployment, _| {
            number(deployment, "/status/availableReplicas").into()
        }),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    schema: || schema_of("io.k8s.api.apps.v1.Deployment"),
    has_generation: true,
    prepare_create: empty_status,
    prepare_update: keep_status,
    default: default::default_deployment,
    validate: validate::validate_deployment,
    validate_update: validate::selector_is_kept,
    warnings: warn_about_template,
    ..PLAIN
};

pub(super) const REPLICA_SET: Kind = Kind {
    group: "apps",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    subresources: &[Subresource::Status, Subresource::Scale(REPLICAS)],
    columns: &[
        NAME,
        Column::new("Desired", "integer", "Replicas that should be there.", |set, _| {
            number(set, "/spec/replicas").into()
        }),
        Column::new("Current", "integer", "Replicas that are there.", |set, _| number(set, "/status/replicas").into()),
        Column::new("Ready", "integer", "Replicas that are ready.", |set, _| {
            number(set, "/status/readyReplicas").into()
        }),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    selectable_fields: &[SelectableField {
        path: "status.replicas",
        value: |set| number(set, "/status/replicas").to_string(),
    }],
    schema: || schema_of("io.k8s.api.apps.v1.ReplicaSet"),
    has_generation: true,
    prepare_create: |object| zero_status(object, &["replicas"]),
    prepare_update: keep_status,
    default: default::default_replica_set,
    validate: validate::validate_replica_set,
    validate_update: validate::selector_is_kept,
    warnings: warn_about_template,
    ..PLAIN
};

pub(super) const CONTAINERS: Column =
    Column::new("Containers", "string", "Names of the template's containers.", |object, _| {
        joined(containers(object).map(|container| text(container, "/name")))
    })
    .wide();

pub(super) const IMAGES: Column =
    Column::new("Images", "string", "Images of the template's containers.", |object, _| {
        joined(containers(object).map(|container| text(container, "/image")).filter(|image| !image.is_empty()))
    })
    .wide();

pub(super) const SELECTOR: Column = Column::new("Selector", "string", "Selector of the pods.", |object, _| {
    label_selector(at(object, "/spec/selector"))
})
.wide();

pub(super) fn containers(object: &Value) -> impl Iterator<Item = &Value> {
    items(object, "/spec/template/spec/containers").iter()
}

pub(super) fn warn_about_template(object: &Value) -> Vec<String> {
    pod::template::warnings(object)
}

#[cfg(test)]
mod tests;
