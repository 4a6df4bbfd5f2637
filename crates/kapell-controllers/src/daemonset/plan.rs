//! Which nodes one DaemonSet should run on, what to do about the difference, and what its status is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint,
    Toleration,
};
use kapell_api::placement::{is_tolerated, term_matches};
use kube::ResourceExt as _;

use crate::deployment::size::scaled;
use crate::pod::KnownPod;
use crate::revision::HASH_LABEL;
use crate::{pod, pods};

/// How long a pod that has ended stays to be looked at before the next takes its place: a pod that ends at once must not
/// turn in a tight loop.
const ENDED_STAYS: Duration = Duration::from_secs(10);

/// Taints that its pods bear whatever the template says: they belong to the node, in good days and bad.
const BORNE: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

pub(super) struct Snapshot<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) nodes: &'a [Arc<Node>],
    /// The pods that it controls.
    pub(super) pods: &'a [Arc<KnownPod>],
    /// The revision of the template as it is.
    pub(super) hash: &'a str,
    pub(super) now: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Nothing,
    /// One pod on each of these nodes.
    Create(Vec<String>),
    Delete(Vec<Arc<KnownPod>>),
}

/// The pods of one node, and whether it should have one.
struct Place<'a> {
    node: &'a str,
    /// A new pod may be put there.
    wanted: bool,
    /// A pod that is there may stay.
    may_stay: bool,
    pods: Vec<&'a Arc<KnownPod>>,
}

impl Snapshot<'_> {
    fn spec(&self) -> DaemonSetSpec {
        self.set.spec.clone().unwrap_or_default()
    }

    fn is_available(&self, pod: &KnownPod) -> bool {
        let least = self.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        pod::is_active(pod) && pod::until_available(pod, least, self.now).is_some_and(|wait| wait.is_zero())
    }

    fn is_new(&self, pod: &KnownPod) -> bool {
        pod.labels.get(HASH_LABEL).is_some_and(|hash| hash == self.hash)
    }

    /// Every node, and every node that only a pod remembers.
    fn places(&self) -> Vec<Place<'_>> {
        let mut by_node: BTreeMap<&str, Vec<&Arc<KnownPod>>> = BTreeMap::new();
        for pod in self.pods {
            by_node.entry(node_of(pod).unwrap_or_default()).or_default().push(pod);
        }
        let template = self.set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let mut places: Vec<Place<'_>> = self
            .nodes
            .iter()
            .map(|node| {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                let (wanted, may_stay) = template.map_or((false, false), |spec| fits(spec, node));
                Place { node: name, wanted, may_stay, pods: by_node.remove(name).unwrap_or_default() }
            })
            .collect();
        let forgotten = by_node.into_iter().filter(|(node, _)| !node.is_empty());
        places.extend(forgotten.map(|(node, pods)| Place { node, wanted: false, may_stay: false, pods }));
        places
    }
}

/// The node that a pod is on, or is meant for.
fn node_of(pod: &KnownPod) -> Option<&str> {
    pod.node.as_deref().or(pod.meant_for.as_deref())
}

/// Whether a new pod may go to the node, and whether one that is there may stay.
fn fits(spec: &PodSpec, node: &Node) -> (bool, bool) {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let labels = node.labels();
    let named = spec.node_name.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == name);
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let near = required.is_none_or(|r| r.node_selector_terms.iter().any(|term| term_matches(term, name, labels)));
    if !(named && selected && near) {
        return (false, false);
    }
    let mut tolerations = spec.tolerations.clone().unwrap_or_default();
    tolerations.extend(borne());
    let taints = || node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let bears = |effects: &[&str]| {
        taints()
            .filter(|taint| effects.contains(&taint.effect.as_str()))
            .all(|taint: &Taint| is_tolerated(taint, &tolerations))
    };
    (bears(&["NoSchedule", "NoExecute"]), bears(&["NoExecute"]))
}

fn borne() -> impl Iterator<Item = Toleration> {
    BORNE.into_iter().map(|(key, effect)| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some(effect.to_owned()),
        ..Toleration::default()
    })
}

/// What to do now, and when to look again although nothing has changed. Missing pods come before surplus ones, and both
/// before the update.
pub(super) fn plan(snapshot: &Snapshot<'_>) -> (Action, Option<Duration>) {
    if snapshot.set.metadata.deletion_timestamp.is_some() {
        return (Action::Nothing, None);
    }
    let (mut missing, mut surplus, mut due) = (Vec::new(), Vec::new(), None);
    let places = snapshot.places();
    for place in &places {
        let (ended, living): (Vec<_>, Vec<_>) =
            place.pods.iter().filter(|pod| !pod::is_terminating(pod)).partition(|pod| pod::is_terminal(pod));
        if !place.may_stay {
            surplus.extend(living.into_iter().chain(ended).map(Arc::clone));
            continue;
        }
        for pod in ended {
            match wait_for(pod, snapshot.now) {
                None => surplus.push(Arc::clone(pod)),
                Some(wait) => due = Some(due.map_or(wait, |due: Duration| due.min(wait))),
            }
        }
        // The oldest stays.
        let mut living: Vec<_> = living;
        living.sort_by_key(|pod| (pod.created, pod.id.name.clone()));
        surplus.extend(living.iter().skip(1).map(|pod| Arc::clone(pod)));
        if place.wanted && place.pods.is_empty() {
            missing.push(place.node.to_owned());
        }
    }
    let action = if !missing.is_empty() {
        Action::Create(missing)
    } else if !surplus.is_empty() {
        Action::Delete(surplus)
    } else {
        roll(snapshot, &places)
    };
    (action, due)
}

/// How much longer an ended pod stays.
fn wait_for(pod: &KnownPod, now: Timestamp) -> Option<Duration> {
    let created = pod.created?;
    let age = Duration::try_from(now.duration_since(created)).unwrap_or_default();
    ENDED_STAYS.checked_sub(age).filter(|wait| !wait.is_zero())
}

/// Old pods that may go now: those that are of no use anyway, and as many others as may be missing.
fn roll(snapshot: &Snapshot<'_>, places: &[Place<'_>]) -> Action {
    let spec = snapshot.spec();
    let strategy = spec.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return Action::Nothing;
    }
    let wanted: Vec<_> = places.iter().filter(|place| place.wanted).collect();
    let total = i32::try_from(wanted.len()).unwrap_or(i32::MAX);
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    // Rounded up, as upstream: a percentage of few nodes must not be none.
    let budget = rolling.and_then(|r| r.max_unavailable.as_ref()).map_or(1, |share| scaled(Some(share), total, true));
    let mut budget = usize::try_from(budget).unwrap_or(0);
    let (mut useless, mut useful) = (Vec::new(), Vec::new());
    for place in wanted {
        let available = place.pods.iter().any(|pod| snapshot.is_available(pod));
        if !available {
            budget = budget.saturating_sub(1);
        }
        for pod in place.pods.iter().filter(|pod| pod::is_active(pod) && !snapshot.is_new(pod)) {
            if available { useful.push(Arc::clone(pod)) } else { useless.push(Arc::clone(pod)) }
        }
    }
    useless.extend(useful.into_iter().take(budget));
    if useless.is_empty() { Action::Nothing } else { Action::Delete(useless) }
}

/// The status, and when a pod becomes available only because time passes.
pub(super) fn status(snapshot: &Snapshot<'_>) -> (DaemonSetStatus, Option<Duration>) {
    let places = snapshot.places();
    let count = |is: &dyn Fn(&Place<'_>) -> bool| {
        i32::try_from(places.iter().filter(|place| is(place)).count()).unwrap_or(i32::MAX)
    };
    let runs = |place: &Place<'_>| place.pods.iter().any(|pod| !pod::is_terminal(pod));
    let has = |place: &Place<'_>, is: &dyn Fn(&KnownPod) -> bool| place.wanted && place.pods.iter().any(|pod| is(pod));
    let desired = count(&|place| place.wanted);
    let available = count(&|place| has(place, &|pod| snapshot.is_available(pod)));
    let some = |count: i32| (count != 0).then_some(count);
    let before = snapshot.set.status.as_ref();
    let status = DaemonSetStatus {
        collision_count: before.and_then(|status| status.collision_count),
        conditions: before.and_then(|status| status.conditions.clone()),
        current_number_scheduled: count(&|place| place.wanted && runs(place)),
        desired_number_scheduled: desired,
        number_available: some(available),
        number_misscheduled: count(&|place| !place.wanted && runs(place)),
        number_ready: count(&|place| has(place, &|pod| pod::is_active(pod) && pod::is_ready(pod))),
        number_unavailable: some(desired - available),
        observed_generation: snapshot.set.metadata.generation,
        updated_number_scheduled: some(count(&|place| has(place, &|pod| pod::is_active(pod) && snapshot.is_new(pod)))),
    };
    let least = snapshot.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let waits = snapshot.pods.iter().filter_map(|pod| pod::until_available(pod, least, snapshot.now));
    (status, waits.filter(|wait| !wait.is_zero()).map(|wait| wait.unsigned_abs()).min())
}

/// The pod for a node. What the template requires of nodes has been looked at; the name of the node takes its place.
pub(super) fn pod_for(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let spec = set.spec.clone().unwrap_or_default();
    let mut pod = pods::of_template(set, spec.template);
    pod.metadata.labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.to_owned());
    if let Some(spec) = &mut pod.spec {
        let named = NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.to_owned()]),
        };
        let term = NodeSelectorTerm { match_fields: Some(vec![named]), ..NodeSelectorTerm::default() };
        let affinity = spec.affinity.get_or_insert_with(Affinity::default);
        let affinity = affinity.node_affinity.get_or_insert_with(NodeAffinity::default);
        affinity.required_during_scheduling_ignored_during_execution =
            Some(NodeSelector { node_selector_terms: vec![term] });
        spec.tolerations.get_or_insert_default().extend(borne());
    }
    pod
}
