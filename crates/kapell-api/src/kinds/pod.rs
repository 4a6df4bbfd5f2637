//! Pods, and the pod templates inside other kinds.
//!
//! [`template`](self::template) is what Deployments and ReplicaSets call; everything else concerns the pod itself.

mod affinity;
mod columns;
mod container;
mod default;
mod env;
mod ephemeral;
mod probe;
mod qos;
pub(crate) mod template;
mod update;
mod validate;
mod volume;
mod warnings;

use serde_json::{Value, json};

use super::field::{carry_over, text, truth};
use super::{PLAIN, schema_of};
use crate::kind::{Kind, SelectableField, Subresource};

pub use self::ephemeral::validate_update as validate_ephemeral_containers_update;
pub use self::qos::qos_class;

/// The runtime class whose pods run as ordinary processes of the host.
pub const PROCESS: &str = "process";

/// Whether a pod's (or a template's) `spec` asks for the process runtime.
pub fn is_process(spec: &Value) -> bool {
    text(spec, "/runtimeClassName") == PROCESS
}

pub(super) const POD: Kind = Kind {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    subresources: &[
        Subresource::Status,
        Subresource::Binding,
        Subresource::Eviction,
        Subresource::EphemeralContainers,
        Subresource::Connect("log"),
        Subresource::Connect("exec"),
        Subresource::Connect("attach"),
        Subresource::Connect("portforward"),
        Subresource::Connect("proxy"),
    ],
    columns: columns::COLUMNS,
    selectable_fields: SELECTABLE_FIELDS,
    schema: || schema_of("io.k8s.api.core.v1.Pod"),
    has_generation: true,
    prepare_create: |pod| {
        let class = qos_class(pod);
        if let Value::Object(pod) = pod {
            pod.insert("status".to_owned(), json!({ "phase": "Pending", "qosClass": class }));
        }
    },
    prepare_update: |new, old| carry_over(new, old, "status"),
    default: default::default_pod,
    validate: validate::validate_pod,
    validate_create: ephemeral::refuse_on_create,
    validate_update: update::validate_update,
    warnings: warnings::warn_about_pod,
    ..PLAIN
};

const SELECTABLE_FIELDS: &[SelectableField] = &[
    SelectableField { path: "spec.nodeName", value: |pod| text(pod, "/spec/nodeName").to_owned() },
    SelectableField { path: "spec.restartPolicy", value: |pod| text(pod, "/spec/restartPolicy").to_owned() },
    SelectableField { path: "spec.schedulerName", value: |pod| text(pod, "/spec/schedulerName").to_owned() },
    SelectableField { path: "spec.serviceAccountName", value: |pod| text(pod, "/spec/serviceAccountName").to_owned() },
    SelectableField { path: "spec.hostNetwork", value: |pod| truth(pod, "/spec/hostNetwork").to_string() },
    SelectableField { path: "status.phase", value: |pod| text(pod, "/status/phase").to_owned() },
    SelectableField { path: "status.podIP", value: |pod| columns::pod_ip(pod).to_owned() },
    SelectableField {
        path: "status.nominatedNodeName",
        value: |pod| text(pod, "/status/nominatedNodeName").to_owned(),
    },
];

#[cfg(test)]
mod tests;
