//! What a Service's status and annotation should say about its listeners. Pure: the differences come out as patches, and
//! nothing comes out when all is said already.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, PortStatus, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use crate::core::{PortReport, Report};
use crate::table::{LISTEN_ANNOTATION, NODE_LISTEN_ANNOTATION, port_label};

/// The condition that tells whether all ports listen where they belong.
pub const LISTENING_CONDITION: &str = "kapell.dev/Listening";

/// `status.loadBalancer.ingress[].ports[].error` of a port that had to move.
const PORT_UNAVAILABLE: &str = "kapell.dev/PortUnavailable";

/// JSON merge patches for one Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Patches {
    pub(crate) object: Option<Value>,
    pub(crate) status: Option<Value>,
}

/// The patches that bring `service` up to date with `report`.
pub(crate) fn compute_patches(service: &Service, report: &Report, now: Time) -> Patches {
    Patches { object: annotation_patch(service, report), status: status_patch(service, report, now) }
}

fn annotation_patch(service: &Service, report: &Report) -> Option<Value> {
    let listening = |port: &PortReport| Some(announcement(port, port.listening?));
    // Where node ports are where they belong the spec says it all.
    let moved = |port: &PortReport| {
        let node = port.node.as_ref().filter(|node| node.cause.is_some())?;
        Some(announcement(port, node.listening?))
    };
    let wanted = [
        (LISTEN_ANNOTATION, report.ports.iter().filter_map(listening).collect::<Vec<_>>().join(",")),
        (NODE_LISTEN_ANNOTATION, report.ports.iter().filter_map(moved).collect::<Vec<_>>().join(",")),
    ];
    let current = |name: &str| {
        let annotations = service.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(name)).map(String::as_str).unwrap_or_default()
    };
    let changed = wanted.into_iter().filter(|(name, value)| value != current(name));
    let values: serde_json::Map<String, Value> = changed
        .map(|(name, value)| (name.to_owned(), if value.is_empty() { Value::Null } else { Value::String(value) }))
        .collect();
    (!values.is_empty()).then(|| json!({"metadata": {"annotations": values}}))
}

fn announcement(port: &PortReport, address: SocketAddr) -> String {
    format!("{}={address}", port_label(&port.name, port.number))
}

fn status_patch(service: &Service, report: &Report, now: Time) -> Option<Value> {
    let status = service.status.clone().unwrap_or_default();
    let mut patch = serde_json::Map::new();

    let mut conditions = status.conditions.clone().unwrap_or_default();
    let current = conditions.iter().position(|condition| condition.type_ == LISTENING_CONDITION);
    let wanted = condition(service, report, now, current.map(|index| &conditions[index]));
    if current.map(|index| &conditions[index]) != wanted.as_ref() {
        conditions.retain(|condition| condition.type_ != LISTENING_CONDITION);
        conditions.extend(wanted);
        patch.insert("conditions".to_owned(), json!(conditions));
    }

    let ingress = ingress(service, report);
    let before = status.load_balancer.and_then(|load_balancer| load_balancer.ingress).unwrap_or_default();
    if before != ingress {
        patch.insert("loadBalancer".to_owned(), json!(LoadBalancerStatus { ingress: Some(ingress) }));
    }
    // The list of conditions is replaced as a whole, so another writer's must not be lost in between.
    let metadata = json!({"resourceVersion": service.metadata.resource_version});
    (!patch.is_empty()).then(|| json!({"metadata": metadata, "status": patch}))
}

/// `None` for a Service without listeners (headless).
fn condition(service: &Service, report: &Report, now: Time, current: Option<&Condition>) -> Option<Condition> {
    if report.ports.iter().all(|port| port.listening.is_none() && port.cause.is_none()) {
        return None;
    }
    let problems: Vec<String> = report.ports.iter().flat_map(problems).collect();
    let silent = report.ports.iter().any(is_silent);
    let (status, reason) = match () {
        () if problems.is_empty() => ("True", "AllPorts"),
        () if silent => ("False", "PortUnavailable"),
        () => ("True", "FallbackPort"),
    };
    let since = current.filter(|current| current.status == status).map(|current| current.last_transition_time.clone());
    Some(Condition {
        type_: LISTENING_CONDITION.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: if problems.is_empty() { "all ports listen".to_owned() } else { problems.join("; ") },
        observed_generation: service.metadata.generation,
        last_transition_time: since.unwrap_or(now),
    })
}

fn is_silent(port: &PortReport) -> bool {
    port.listening.is_none() || port.node.as_ref().is_some_and(|node| node.listening.is_none())
}

fn problems(port: &PortReport) -> Vec<String> {
    let problem = |cause: &Option<String>, listening: Option<SocketAddr>| match (cause, listening) {
        (Some(cause), Some(listening)) => Some(format!("{cause}; listening on {listening} instead")),
        (Some(cause), None) => Some(cause.clone()),
        (None, _) => None,
    };
    let node = port.node.as_ref().and_then(|node| problem(&node.cause, node.listening));
    problem(&port.cause, port.listening).into_iter().chain(node.map(|node| format!("node port: {node}"))).collect()
}

/// A LoadBalancer is reachable at its cluster IP. Ports are listed only when one of them is not where it belongs.
fn ingress(service: &Service, report: &Report) -> Vec<LoadBalancerIngress> {
    let Some(spec) = service.spec.as_ref().filter(|spec| spec.type_.as_deref() == Some("LoadBalancer")) else {
        return Vec::new();
    };
    let Some(ip) = spec.cluster_ip.clone().filter(|ip| ip != "None" && !ip.is_empty()) else { return Vec::new() };
    let protocol = |number: u16| {
        let port = spec.ports.iter().flatten().find(|port| port.port == i32::from(number));
        port.and_then(|port| port.protocol.clone()).unwrap_or_else(|| "TCP".to_owned())
    };
    let ports: Vec<PortStatus> = report
        .ports
        .iter()
        .map(|port| PortStatus {
            port: i32::from(port.number),
            protocol: protocol(port.number),
            error: port.cause.as_ref().map(|_| PORT_UNAVAILABLE.to_owned()),
        })
        .collect();
    let moved = ports.iter().any(|port| port.error.is_some());
    vec![LoadBalancerIngress { ip: Some(ip), ports: moved.then_some(ports), ..LoadBalancerIngress::default() }]
}

#[cfg(test)]
mod tests;
