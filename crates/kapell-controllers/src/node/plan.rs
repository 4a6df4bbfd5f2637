//! What the silence of a node, or what it says about itself, means for it and for its pods.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::pod::{self, KnownPod};

pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// How long a pod that says nothing about these two taints stays: what Kubernetes' admission writes into each pod.
const DEFAULT_TOLERATION: SignedDuration = SignedDuration::from_secs(300);

/// A node and how long it has been silent, as this controller has observed (never counted from before it started).
pub(super) struct Snapshot<'a> {
    pub(super) node: &'a Node,
    pub(super) pods: &'a [Arc<KnownPod>],
    pub(super) silent_for: Duration,
    pub(super) grace: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// The node's conditions as they should be.
    SetConditions(Vec<NodeCondition>),
    /// All taints of the node as they should be.
    SetTaints(Vec<Taint>),
    Evict(Arc<KnownPod>),
}

pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) look_again: Option<Duration>,
}

pub(super) fn plan(snapshot: &Snapshot<'_>, now: Timestamp) -> Plan {
    let node = snapshot.node;
    let silent = snapshot.silent_for >= snapshot.grace;
    let mut actions = Vec::new();
    let conditions = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let unknown = if silent { unknown(&conditions, now) } else { conditions.clone() };
    let ready = unknown.iter().find(|condition| condition.type_ == "Ready").map(|ready| ready.status.clone());
    if unknown != conditions {
        actions.push(Action::SetConditions(unknown));
    }
    let key = match ready.as_deref() {
        Some("True") => None,
        Some("False") => Some(NOT_READY),
        // A node that has not said anything yet is not ready; one that has fallen silent cannot be reached.
        Some(_) => Some(UNREACHABLE),
        None => Some(if silent { UNREACHABLE } else { NOT_READY }),
    };
    let present = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let wanted = taints(&present, key, now);
    let mut look_again = (!silent).then(|| snapshot.grace - snapshot.silent_for);
    // A node whose silence is not proven keeps its pods, whatever taints an earlier server has left on it. One that
    // speaks and says that it is not ready loses them like a silent one.
    let may_evict = silent || ready.as_deref() == Some("False");
    for pod in snapshot.pods.iter().filter(|pod| may_evict && !pod::is_terminating(pod)) {
        match until_eviction(pod, &wanted, now) {
            Some(left) if left.is_zero() => actions.push(Action::Evict(pod.clone())),
            Some(left) => look_again = Some(look_again.map_or(left, |before| before.min(left))),
            None => {}
        }
    }
    if wanted != present {
        actions.insert(0, Action::SetTaints(wanted));
    }
    Plan { actions, look_again }
}

/// Every condition that the node's agent reports, as unknown.
fn unknown(conditions: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let mut conditions = conditions.to_vec();
    if !conditions.iter().any(|condition| condition.type_ == "Ready") {
        conditions.push(NodeCondition { type_: "Ready".to_owned(), ..NodeCondition::default() });
    }
    for condition in conditions.iter_mut().filter(|condition| is_reported(condition) && condition.status != "Unknown") {
        condition.status = "Unknown".to_owned();
        condition.reason = Some("NodeStatusUnknown".to_owned());
        condition.message = Some("Kubelet stopped posting node status.".to_owned());
        condition.last_transition_time = Some(Time(now));
    }
    conditions
}

fn is_reported(condition: &NodeCondition) -> bool {
    matches!(condition.type_.as_str(), "Ready" | "MemoryPressure" | "DiskPressure" | "PIDPressure")
}

/// The present taints with ours replaced: those of `key`, if any, keep the time at which they were added.
fn taints(present: &[Taint], key: Option<&str>, now: Timestamp) -> Vec<Taint> {
    let ours = |taint: &&Taint| taint.key == UNREACHABLE || taint.key == NOT_READY;
    let mut taints: Vec<_> =
        present.iter().filter(|taint| !ours(taint) || Some(taint.key.as_str()) == key).cloned().collect();
    for effect in ["NoSchedule", "NoExecute"] {
        let Some(key) = key else { break };
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            let time_added = Some(Time(now));
            taints.push(Taint { key: key.to_owned(), effect: effect.to_owned(), value: None, time_added });
        }
    }
    taints
}

/// How much longer the pod may stay on a node with these taints; nothing means for ever.
fn until_eviction(pod: &KnownPod, taints: &[Taint], now: Timestamp) -> Option<Duration> {
    let tolerations = &pod.template.tolerations;
    let ends = taints.iter().filter(|taint| taint.effect == "NoExecute").filter_map(|taint| {
        let ours = taint.key == UNREACHABLE || taint.key == NOT_READY;
        let mut matching = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).peekable();
        let stays = if matching.peek().is_none() {
            if ours { DEFAULT_TOLERATION } else { SignedDuration::ZERO }
        } else {
            // The shortest that is stated; one that states none tolerates for ever.
            let seconds = matching.filter_map(|toleration| toleration.toleration_seconds).min()?;
            SignedDuration::from_secs(seconds.max(0))
        };
        let since = taint.time_added.as_ref().map_or(now, |time| time.0);
        Some((stays - now.duration_since(since)).max(SignedDuration::ZERO))
    });
    ends.min().map(SignedDuration::unsigned_abs)
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let same = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|w| w.is_empty() || w == has);
    let exists = toleration.operator.as_deref() == Some("Exists");
    let value = || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    same(&toleration.effect, &taint.effect) && same(&toleration.key, &taint.key) && (exists || value())
}
