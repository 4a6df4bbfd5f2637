//! Endpoints that somebody has written for a Service without a selector, told as EndpointSlices: whoever routes reads those only.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::endpointslice::plan::{Action, MANAGED_BY, SERVICE_NAME};
use crate::ownership::controller_reference;

const OURSELVES: &str = "endpointslicemirroring-controller.k8s.io";
/// Its author does not want a mirror.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints that serve an old way to elect a leader lead nowhere.
const ELECTION: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Of one subset, as upstream.
const MOST_ENDPOINTS: usize = 1000;

pub(super) fn is_mirror(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|manager| manager == OURSELVES)
}

/// `slices` are the mirrors that are there, `endpoints` what its author wrote.
pub(super) fn plan(
    service: Option<&Service>,
    endpoints: Option<&Endpoints>,
    slices: &[Arc<EndpointSlice>],
) -> Vec<Action> {
    let mirrored = service.and(endpoints).filter(|endpoints| is_wanted(endpoints));
    let mut wanted: BTreeMap<String, EndpointSlice> = mirrored
        .into_iter()
        .flat_map(mirrors)
        .map(|slice| (slice.metadata.name.clone().unwrap_or_default(), slice))
        .collect();
    let mut actions = Vec::new();
    for present in slices {
        match wanted.remove(present.metadata.name.as_deref().unwrap_or_default()) {
            None => actions.push(Action::Delete(present.clone())),
            Some(slice) => {
                let mut after = present.as_ref().clone();
                after.endpoints = slice.endpoints;
                after.ports = slice.ports;
                after.metadata.labels = slice.metadata.labels;
                after.metadata.annotations = slice.metadata.annotations;
                if after != **present {
                    actions.push(Action::Update(Box::new(after)));
                }
            }
        }
    }
    actions.extend(wanted.into_values().map(|slice| Action::Create(Box::new(slice))));
    actions
}

fn is_wanted(endpoints: &Endpoints) -> bool {
    let (labels, annotations) = (&endpoints.metadata.labels, &endpoints.metadata.annotations);
    let skipped = labels.as_ref().and_then(|labels| labels.get(SKIP)).is_some_and(|value| value == "true");
    let elects = annotations.as_ref().is_some_and(|annotations| annotations.contains_key(ELECTION));
    !skipped && !elects && endpoints.metadata.deletion_timestamp.is_none()
}

/// One slice for each subset and address family.
fn mirrors(endpoints: &Endpoints) -> Vec<EndpointSlice> {
    let mut slices = Vec::new();
    for (index, subset) in endpoints.subsets.iter().flatten().enumerate() {
        for family in ["IPv4", "IPv6"] {
            let found = members(subset, family);
            if !found.is_empty() {
                slices.push(mirror(endpoints, subset, family, index, found));
            }
        }
    }
    slices
}

fn members(subset: &EndpointSubset, family: &str) -> Vec<Endpoint> {
    let is_ours = |address: &&EndpointAddress| {
        let v4 = address.ip.parse::<IpAddr>().map(|ip| ip.is_ipv4());
        v4.is_ok_and(|v4| v4 == (family == "IPv4"))
    };
    let member = |address: &EndpointAddress, ready: bool| Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    };
    let ready = subset.addresses.iter().flatten().filter(is_ours).map(|address| member(address, true));
    let waiting = subset.not_ready_addresses.iter().flatten().filter(is_ours).map(|address| member(address, false));
    ready.chain(waiting).take(MOST_ENDPOINTS).collect()
}

fn mirror(
    endpoints: &Endpoints,
    subset: &EndpointSubset,
    family: &str,
    index: usize,
    members: Vec<Endpoint>,
) -> EndpointSlice {
    let name = endpoints.metadata.name.clone().unwrap_or_default();
    // Endpoints that were deleted and made again must not meet the mirrors of their predecessor.
    let uid = endpoints.metadata.uid.as_deref().unwrap_or_default();
    let tail: String = uid.chars().filter(char::is_ascii_alphanumeric).take(5).collect();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), OURSELVES.to_owned());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(LAST_APPLIED);
    let ports = subset.ports.iter().flatten().map(|port| EndpointPort {
        app_protocol: port.app_protocol.clone(),
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
    });
    EndpointSlice {
        address_type: family.to_owned(),
        endpoints: members,
        metadata: ObjectMeta {
            name: Some(format!("{name}-{}-{}{index}", tail.to_ascii_lowercase(), family.to_ascii_lowercase())),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(vec![controller_reference(endpoints)]),
            ..ObjectMeta::default()
        },
        ports: Some(ports.collect::<Vec<_>>()).filter(|ports| !ports.is_empty()),
    }
}

#[cfg(test)]
mod tests;
