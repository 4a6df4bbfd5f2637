//! Services. Addresses and node ports are allocated by the engine; this says what they may be and may become.

mod default;
mod update;
mod validate;

use serde_json::Value;

use super::cells::{AGE, NAME, NONE, labels, or_none};
use super::field::{at, int, items, text};
use super::{PLAIN, empty_status, schema_of};
use crate::kind::{Column, Kind, Now, SelectableField, Subresource};

pub(super) const SERVICE: Kind = Kind {
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    subresources: &[Subresource::Status, Subresource::Connect("proxy")],
    columns: &[
        NAME,
        Column::new("Type", "string", "How the service is reached.", |service, _| text(service, "/spec/type").into()),
        Column::new("Cluster-IP", "string", "Address inside the cluster.", |service, _| {
            match text(service, "/spec/clusterIPs/0") {
                "" => or_none(text(service, "/spec/clusterIP")),
                address => address.into(),
            }
        }),
        Column::new("External-IP", "string", "Addresses from outside.", external_ip),
        Column::new("Port(s)", "string", "Ports, with node ports after a colon.", ports),
        AGE,
        Column::new("Selector", "string", "Labels of the pods behind it.", |service, _| {
            labels(service, "/spec/selector")
        })
        .wide(),
    ],
    selectable_fields: &[
        SelectableField { path: "spec.clusterIP", value: |service| text(service, "/spec/clusterIP").to_owned() },
        SelectableField { path: "spec.type", value: |service| text(service, "/spec/type").to_owned() },
    ],
    schema: || schema_of("io.k8s.api.core.v1.Service"),
    prepare_create: empty_status,
    prepare_update: update::prepare_update,
    default: default::default_service,
    validate: validate::validate_service,
    validate_update: update::validate_update,
    warnings: validate::warn_about_service,
    ..PLAIN
};

fn external_ip(service: &Value, _: Now) -> Value {
    let external: Vec<&str> = items(service, "/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    match text(service, "/spec/type") {
        "ClusterIP" | "NodePort" => or_none(&external.join(",")),
        "LoadBalancer" => {
            let mut all: Vec<&str> = items(service, "/status/loadBalancer/ingress")
                .iter()
                .map(|ingress| match text(ingress, "/ip") {
                    "" => text(ingress, "/hostname"),
                    ip => ip,
                })
                .collect();
            all.sort_unstable();
            all.dedup();
            all.extend(external);
            if all.is_empty() { "<pending>".into() } else { all.join(",").into() }
        }
        "ExternalName" => text(service, "/spec/externalName").into(),
        _ => "<unknown>".into(),
    }
}

fn ports(service: &Value, _: Now) -> Value {
    let ports: Vec<String> = items(service, "/spec/ports")
        .iter()
        .map(|port| {
            let number = at(port, "/port");
            let protocol = text(port, "/protocol");
            match int(port, "/nodePort") {
                Some(node_port) if node_port > 0 => format!("{number}:{node_port}/{protocol}"),
                _ => format!("{number}/{protocol}"),
            }
        })
        .collect();
    if ports.is_empty() { NONE.into() } else { ports.join(",").into() }
}

#[cfg(test)]
mod tests;
