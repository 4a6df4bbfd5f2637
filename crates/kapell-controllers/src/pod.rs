//! What controllers keep of each pod of the cluster, and the facts that several of them decide by.
//!
//! A whole `Pod` takes 6 kB in memory, and a cluster has a hundred thousand: [`KnownPod`] is what is read of it, a few
//! hundred bytes, and pods of one template share what they have in common.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kapell_api::quantity::Quantity;
use kapell_client::{Followed, Identity, IdentityRef, Interner};

/// A pod that costs less to delete goes first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KnownPod {
    pub(crate) id: Identity,
    pub(crate) labels: Arc<Labels>,
    pub(crate) owners: Arc<[OwnerReference]>,
    pub(crate) template: Arc<Template>,
    pub(crate) created: Option<Timestamp>,
    terminating: bool,
    phase: Phase,
    /// When it became ready, if it is; nothing inside where nobody has said when.
    ready: Option<Option<Timestamp>>,
    /// The most of any container.
    pub(crate) restarts: i32,
    pub(crate) deletion_cost: i32,
    /// The node that it is bound to.
    pub(crate) node: Option<Arc<str>>,
    /// The node that its affinity names, as that of a DaemonSet's pod does.
    pub(crate) meant_for: Option<Arc<str>>,
    pub(crate) hostname: Option<Box<str>>,
    pub(crate) address: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Or nobody has said yet.
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

/// What the pods of one template have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Template {
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) subdomain: Option<String>,
    pub(crate) containers: Vec<KnownContainer>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KnownContainer {
    pub(crate) name: String,
    /// Thousandths of a core.
    pub(crate) requests_cpu: Option<i64>,
    /// Thousandths of a byte.
    pub(crate) requests_memory: Option<i64>,
    /// Those that have a name: name, protocol, number.
    pub(crate) ports: Vec<(String, String, i32)>,
}

impl KnownContainer {
    fn of(container: &Container) -> Self {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let request = |resource: &str| Quantity::parse(&requests?.get(resource)?.0).ok().map(Quantity::milli);
        let named = container.ports.iter().flatten().filter_map(|port| {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            Some((port.name.clone()?, protocol, port.container_port))
        });
        Self {
            name: container.name.clone(),
            requests_cpu: request("cpu"),
            requests_memory: request("memory"),
            ports: named.collect(),
        }
    }
}

impl Template {
    fn of(spec: &PodSpec) -> Self {
        Self {
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            subdomain: spec.subdomain.clone(),
            containers: spec.containers.iter().map(KnownContainer::of).collect(),
        }
    }
}

/// Makes known pods of pods, which share what is equal.
#[derive(Default)]
pub(crate) struct PodReader {
    texts: Interner<str>,
    labels: Interner<Labels>,
    owners: Interner<[OwnerReference]>,
    templates: Interner<Template>,
}

impl PodReader {
    pub(crate) fn read(&mut self, pod: Pod) -> KnownPod {
        let Pod { metadata: meta, spec, status } = pod;
        let id = Identity::of(&meta, &mut self.texts);
        let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
        let cost = meta.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST)?.parse().ok());
        let labels = meta.labels.unwrap_or_default();
        let owners: Arc<[OwnerReference]> = meta.owner_references.unwrap_or_default().into();
        let first_owner = owners.first().map(|owner| owner.uid.clone());
        let template = Template::of(&spec);
        let first_container = template.containers.first().map(|container| container.name.clone());
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let node = filled(spec.node_name.clone());
        KnownPod {
            id,
            labels: self.labels.share(&labels.clone(), Arc::new(labels)),
            owners: self.owners.share(&first_owner, owners),
            template: self.templates.share(&first_container, Arc::new(template)),
            created: meta.creation_timestamp.map(|time| time.0),
            terminating: meta.deletion_timestamp.is_some(),
            phase: phase_of(&status),
            ready: ready_of(&status),
            restarts: status.container_statuses.iter().flatten().map(|status| status.restart_count).max().unwrap_or(0),
            deletion_cost: cost.unwrap_or(0),
            node: node.map(|node| self.texts.text(&node)),
            meant_for: named_by_affinity(&spec).map(|node| self.texts.text(node)),
            hostname: filled(spec.hostname).map(String::into_boxed_str),
            address: status.pod_ip.and_then(|address| address.parse().ok()),
        }
    }
}

fn phase_of(status: &PodStatus) -> Phase {
    match status.phase.as_deref() {
        Some("Running") => Phase::Running,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        Some("Unknown") => Phase::Unknown,
        _ => Phase::Pending,
    }
}

fn ready_of(status: &PodStatus) -> Option<Option<Timestamp>> {
    let mut conditions = status.conditions.iter().flatten();
    let ready = conditions.find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    Some(ready.last_transition_time.as_ref().map(|time| time.0))
}

fn named_by_affinity(spec: &PodSpec) -> Option<&str> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let mut named =
        fields.filter(|field| field.key == "metadata.name").filter_map(|field| field.values.as_ref()?.first());
    named.next().map(String::as_str)
}

impl Followed for KnownPod {
    fn identity(&self) -> IdentityRef<'_> {
        self.id.borrowed()
    }
}

impl KnownPod {
    /// The reference of the owner that controls the pod, if any.
    pub(crate) fn controller(&self) -> Option<&OwnerReference> {
        self.owners.iter().find(|owner| owner.controller == Some(true))
    }

    pub(crate) fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|owner| owner.uid == uid)
    }
}

pub(crate) fn phase(pod: &KnownPod) -> Phase {
    pod.phase
}

/// Ended for good, with or without success.
pub(crate) fn is_terminal(pod: &KnownPod) -> bool {
    matches!(pod.phase, Phase::Succeeded | Phase::Failed)
}

pub(crate) fn is_terminating(pod: &KnownPod) -> bool {
    pod.terminating
}

/// Counts towards the replicas of its owner.
pub(crate) fn is_active(pod: &KnownPod) -> bool {
    !is_terminal(pod) && !is_terminating(pod)
}

pub(crate) fn is_ready(pod: &KnownPod) -> bool {
    pod.ready.is_some()
}

/// When the pod became ready, if it is.
pub(crate) fn ready_since(pod: &KnownPod) -> Option<Timestamp> {
    pod.ready.flatten()
}

/// How much longer a ready pod must stay ready to count as available: zero when it already does; nothing when it is
/// not ready at all.
pub(crate) fn until_available(pod: &KnownPod, min_ready_seconds: i32, now: Timestamp) -> Option<SignedDuration> {
    let since = pod.ready?;
    if min_ready_seconds <= 0 {
        return Some(SignedDuration::ZERO);
    }
    let left = SignedDuration::from_secs(min_ready_seconds.into()) - now.duration_since(since?);
    Some(left.max(SignedDuration::ZERO))
}

/// A pod as tests write it down.
#[cfg(test)]
pub(crate) fn known(pod: serde_json::Value) -> Arc<KnownPod> {
    Arc::new(PodReader::default().read(serde_json::from_value(pod).unwrap()))
}
