//! Which EndpointSlices a Service should have, and the fewest writes that lead there.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::ownership::controller_reference;
use crate::pod::{self, KnownPod};

pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const OURSELVES: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Keeps each write small; the same figure as upstream's default.
const MOST_ENDPOINTS: usize = 100;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Create(Box<EndpointSlice>),
    /// Carries the version of the slice that it replaces.
    Update(Box<EndpointSlice>),
    Delete(Arc<EndpointSlice>),
}

/// Endpoints that can share slices: one address family, the same numbers for all ports.
type Group = (&'static str, Vec<PortKey>);

/// A resolved port in an order that can be sorted: name, number, protocol, application protocol.
type PortKey = (String, Option<i32>, String, Option<String>);

/// `pods` are those of the Service's namespace, `slices` ours for this Service.
pub(super) fn plan(service: &Service, pods: &[Arc<KnownPod>], slices: &[Arc<EndpointSlice>]) -> Vec<Action> {
    let spec = service.spec.clone().unwrap_or_default();
    let Some(selector) = spec.selector.filter(|selector| !selector.is_empty()) else { return Vec::new() };
    if service.metadata.deletion_timestamp.is_some() || spec.type_.as_deref() == Some("ExternalName") {
        return slices.iter().cloned().map(Action::Delete).collect();
    }
    let mut desired: BTreeMap<Group, BTreeMap<String, Endpoint>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_selected(pod, &selector) && !pod::is_terminal(pod)) {
        if let Some((group, endpoint)) = endpoint_of(service, pod) {
            let uid = pod.id.uid.to_string();
            desired.entry(group).or_default().insert(uid, endpoint);
        }
    }
    if desired.is_empty() {
        // One empty slice says "nobody" where no slice would say "not looked at yet".
        desired.insert(("IPv4", Vec::new()), BTreeMap::new());
    }
    let mut left: BTreeMap<Group, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices {
        left.entry(group_of(slice)).or_default().push(slice.clone());
    }
    let mut names = Names::new(service, slices);
    let mut actions = Vec::new();
    for (group, endpoints) in desired {
        let present = left.remove(&group).unwrap_or_default();
        actions.extend(fill(service, &group, endpoints, present, &mut names));
    }
    actions.extend(left.into_values().flatten().map(Action::Delete));
    actions
}

pub(super) fn is_selected(pod: &KnownPod, selector: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
}

/// Spreads one group's endpoints over its slices: an endpoint stays where it is, a new one goes where there is room, an
/// emptied slice goes.
fn fill(
    service: &Service,
    group: &Group,
    mut endpoints: BTreeMap<String, Endpoint>,
    present: Vec<Arc<EndpointSlice>>,
    names: &mut Names,
) -> Vec<Action> {
    let mut contents: Vec<(Option<Arc<EndpointSlice>>, Vec<Endpoint>)> = present
        .into_iter()
        .filter(|slice| slice.metadata.deletion_timestamp.is_none())
        .map(|slice| {
            let uids = slice.endpoints.iter().filter_map(|e| e.target_ref.as_ref()?.uid.as_ref());
            let kept = uids.filter_map(|uid| endpoints.remove(uid)).collect();
            (Some(slice), kept)
        })
        .collect();
    let mut new = endpoints.into_values();
    for (_, content) in &mut contents {
        let room = MOST_ENDPOINTS.saturating_sub(content.len());
        content.extend(new.by_ref().take(room));
    }
    loop {
        let content: Vec<_> = new.by_ref().take(MOST_ENDPOINTS).collect();
        if content.is_empty() && !contents.is_empty() {
            break;
        }
        contents.push((None, content));
    }
    let filled = contents.iter().filter(|(_, content)| !content.is_empty()).count();
    let mut empty_to_keep = usize::from(filled == 0);
    let mut actions = Vec::new();
    for (slice, content) in contents {
        if content.is_empty() {
            if empty_to_keep == 0 {
                actions.extend(slice.map(Action::Delete));
                continue;
            }
            empty_to_keep -= 1;
        }
        match slice {
            None => actions.push(Action::Create(Box::new(slice_of(service, group, names.next(), content)))),
            Some(before) => {
                let mut after = before.as_ref().clone();
                let wanted = slice_of(service, group, before.metadata.name.clone().unwrap_or_default(), content);
                after.endpoints = wanted.endpoints;
                after.metadata.labels = wanted.metadata.labels;
                after.metadata.owner_references = wanted.metadata.owner_references;
                if after != *before {
                    actions.push(Action::Update(Box::new(after)));
                }
            }
        }
    }
    actions
}

/// Names for new slices, the same each time as long as the cache shows the same: a slice that the cache does not show
/// yet is then refused by the server instead of being made twice.
struct Names {
    prefix: String,
    taken: Vec<String>,
    next: u32,
}

impl Names {
    fn new(service: &Service, slices: &[Arc<EndpointSlice>]) -> Self {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let uid = service.metadata.uid.as_deref().unwrap_or_default();
        // A Service that was deleted and made again must not meet its predecessor's slices.
        let tail: String = uid.chars().filter(char::is_ascii_alphanumeric).take(5).collect();
        let taken = slices.iter().filter_map(|slice| slice.metadata.name.clone()).collect();
        Self { prefix: format!("{name}-{}", tail.to_ascii_lowercase()), taken, next: 0 }
    }

    fn next(&mut self) -> String {
        loop {
            let name = format!("{}{}", self.prefix, self.next);
            self.next += 1;
            if !self.taken.contains(&name) {
                return name;
            }
        }
    }
}

fn slice_of(service: &Service, (family, ports): &Group, name: String, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let mut labels: BTreeMap<String, String> = service.metadata.labels.clone().unwrap_or_default();
    labels.retain(|key, _| ![SERVICE_NAME, MANAGED_BY, HEADLESS].contains(&key.as_str()));
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), OURSELVES.to_owned());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let ports = ports.iter().map(|(name, port, protocol, app_protocol)| EndpointPort {
        name: Some(name.clone()),
        port: *port,
        protocol: Some(protocol.clone()),
        app_protocol: app_protocol.clone(),
    });
    EndpointSlice {
        address_type: (*family).to_owned(),
        endpoints,
        metadata: ObjectMeta {
            name: Some(name),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(service)]),
            ..ObjectMeta::default()
        },
        ports: Some(ports.collect::<Vec<_>>()).filter(|ports| !ports.is_empty()),
    }
}

fn group_of(slice: &EndpointSlice) -> Group {
    let family = if slice.address_type == "IPv6" { "IPv6" } else { "IPv4" };
    let protocol = |port: &EndpointPort| port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let ports = slice.ports.iter().flatten();
    let mut keys: Vec<PortKey> = ports
        .map(|port| (port.name.clone().unwrap_or_default(), port.port, protocol(port), port.app_protocol.clone()))
        .collect();
    keys.sort();
    (family, keys)
}

/// The endpoint that a pod is, once it has an address.
fn endpoint_of(service: &Service, pod: &KnownPod) -> Option<(Group, Endpoint)> {
    let spec = service.spec.as_ref()?;
    let address = pod.address?;
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut ports: Vec<PortKey> = spec.ports.iter().flatten().filter_map(|port| resolve(port, pod)).collect();
    ports.sort();
    let (serving, terminating) = (pod::is_ready(pod), pod::is_terminating(pod));
    let in_subdomain = pod.template.subdomain == service.metadata.name;
    let endpoint = Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(spec.publish_not_ready_addresses == Some(true) || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: pod.hostname.as_deref().filter(|_| in_subdomain).map(str::to_owned),
        node_name: pod.node.as_deref().map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            name: Some(pod.id.name.to_string()),
            namespace: Some(pod.id.namespace.to_string()),
            uid: Some(pod.id.uid.to_string()),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    };
    Some(((family, ports), endpoint))
}

/// The number behind a Service's port on this pod; nothing when the pod has no port of that name and protocol.
fn resolve(port: &ServicePort, pod: &KnownPod) -> Option<PortKey> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            let mut ports = pod.template.containers.iter().flat_map(|container| &container.ports);
            ports.find(|(its, of, _)| its == name && of == protocol)?.2
        }
    };
    let name = port.name.clone().unwrap_or_default();
    Some((name, Some(number), protocol.to_owned(), port.app_protocol.clone()))
}
