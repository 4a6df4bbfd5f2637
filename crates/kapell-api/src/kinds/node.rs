//! Nodes.

use serde_json::Value;

use super::cells::{AGE, NAME, NONE, or_none};
use super::field::{Field, at, entries, items, part, text, truth};
use super::meta::{self, Names};
use super::{PLAIN, keep_status, quantities, schema_of};
use crate::kind::{Column, Kind, SelectableField, Subresource};
use crate::names;
use crate::problem::Problem;

pub(super) const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) const NODE: Kind = Kind {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    namespaced: false,
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("Status", "string", "Whether it takes and runs pods.", |node, _| status(node).into()),
        Column::new("Roles", "string", "Roles, from labels.", |node, _| roles(node)),
        AGE,
        Column::new("Version", "string", "Version of the node's agent.", |node, _| {
            text(node, "/status/nodeInfo/kubeletVersion").into()
        }),
        Column::new("Internal-IP", "string", "Address inside the cluster.", |node, _| address(node, "InternalIP"))
            .wide(),
        Column::new("External-IP", "string", "Address from outside.", |node, _| address(node, "ExternalIP")).wide(),
        Column::new("OS-Image", "string", "Operating system.", |node, _| info(node, "/status/nodeInfo/osImage")).wide(),
        Column::new("Kernel-Version", "string", "Kernel.", |node, _| info(node, "/status/nodeInfo/kernelVersion"))
            .wide(),
        Column::new("Container-Runtime", "string", "What runs the pods.", |node, _| {
            info(node, "/status/nodeInfo/containerRuntimeVersion")
        })
        .wide(),
    ],
    selectable_fields: &[SelectableField {
        path: "spec.unschedulable",
        value: |node| truth(node, "/spec/unschedulable").to_string(),
    }],
    schema: || schema_of("io.k8s.api.core.v1.Node"),
    // An agent registers its node together with its status, so creation keeps it.
    prepare_update: keep_status,
    default: default_node,
    validate: validate_node,
    validate_update: validate_node_update,
    ..PLAIN
};

fn status(node: &Value) -> String {
    let ready = items(node, "/status/conditions").iter().find(|condition| text(condition, "/type") == "Ready");
    let mut status = match ready.map(|condition| text(condition, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if truth(node, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> Value {
    let mut roles: Vec<&str> = entries(node, "/metadata/labels")
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            None if key == "kubernetes.io/role" => value.as_str(),
            role => role,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    or_none(&roles.join(","))
}

fn address(node: &Value, type_: &str) -> Value {
    let found = items(node, "/status/addresses").iter().find(|address| text(address, "/type") == type_);
    found.map_or(NONE.into(), |address| text(address, "/address").into())
}

fn info(node: &Value, pointer: &str) -> Value {
    match text(node, pointer) {
        "" => "<unknown>".into(),
        info => info.into(),
    }
}

fn default_node(node: &mut Value) {
    let capacity = at(node, "/status/capacity").clone();
    if let Some(status) = part(node, "status")
        && capacity.is_object()
    {
        super::field::fill(status, "allocatable", capacity);
    }
}

fn validate_node(node: &Value) -> Vec<Problem> {
    let root = Field::root(node);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    let mut seen = Vec::new();
    for taint in spec.field("taints").items() {
        let (key, effect) = (taint.field("key"), taint.field("effect"));
        meta::check_required(&key, names::qualified_name, &mut problems);
        meta::check(&taint.field("value"), names::label_value, &mut problems);
        effect.one_of(EFFECTS, &mut problems);
        if seen.contains(&(key.text(), effect.text())) {
            problems.push(taint.duplicate());
        }
        seen.push((key.text(), effect.text()));
    }
    let status = root.field("status");
    for list in [status.field("capacity"), status.field("allocatable")] {
        for (_, amount) in list.entries() {
            quantities::check(&amount, &mut problems);
        }
    }
    problems
}

fn validate_node_update(new: &Value, old: &Value) -> Vec<Problem> {
    let root = Field::root(new);
    let spec = root.field("spec");
    let mut problems = Vec::new();
    for name in ["podCIDR", "podCIDRs", "providerID"] {
        let before = at(old, "/spec").get(name).unwrap_or(&Value::Null);
        // These are assigned once.
        if !before.is_null() && !super::field::same(spec.field(name).value, before) {
            problems.push(spec.field(name).forbidden("node updates may not change it once it is set"));
        }
    }
    problems
}
