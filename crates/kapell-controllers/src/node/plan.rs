//! What the silence of a node, what it says about itself, or a taint that somebody has put on it means for it and for its pods.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::pod::{self, KnownPod};

pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The effect of taints that also concern pods which run already.
const NO_EXECUTE: &str = "NoExecute";

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
    // A node whose silence is not proven keeps its pods, whatever taints of ours an earlier server has left on it. One that
    // speaks and says that it is not ready loses them like a silent one. Taints of others are always meant.
    let proven = silent || ready.as_deref() == Some("False");
    let evicting = |taint: &&Taint| taint.effect == NO_EXECUTE && (proven || !is_ours(taint));
    let evicting: Vec<&Taint> = wanted.iter().filter(evicting).collect();
    for pod in snapshot.pods.iter().filter(|pod| !evicting.is_empty() && !pod::is_terminating(pod)) {
        match until_eviction(pod, &evicting, now) {
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

/// The present taints with ours replaced: those of `key`, if any, keep the time at which they were added. One that evicts has
/// such a time.
fn taints(present: &[Taint], key: Option<&str>, now: Timestamp) -> Vec<Taint> {
    let stays = |taint: &&Taint| !is_ours(taint) || Some(taint.key.as_str()) == key;
    let mut taints: Vec<_> = present.iter().filter(stays).cloned().collect();
    // Who taints by hand does not say since when; patience is counted from when it was first seen, also after a restart.
    for taint in taints.iter_mut().filter(|taint| taint.effect == NO_EXECUTE) {
        taint.time_added.get_or_insert(Time(now));
    }
    for effect in ["NoSchedule", NO_EXECUTE] {
        let Some(key) = key else { break };
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            let time_added = Some(Time(now));
            taints.push(Taint { key: key.to_owned(), effect: effect.to_owned(), value: None, time_added });
        }
    }
    taints
}

fn is_ours(taint: &Taint) -> bool {
    taint.key == UNREACHABLE || taint.key == NOT_READY
}

/// How much longer the pod may stay on a node with these taints, all of which evict; nothing means for ever.
fn until_eviction(pod: &KnownPod, taints: &[&Taint], now: Timestamp) -> Option<Duration> {
    let tolerations = &pod.template.tolerations;
    let ends = taints.iter().filter_map(|taint| {
        // As upstream, of several the first one counts.
        let stays = match tolerations.iter().find(|toleration| tolerates(toleration, taint)) {
            None if is_ours(taint) => DEFAULT_TOLERATION,
            None => SignedDuration::ZERO,
            // One that states no time tolerates for ever.
            Some(toleration) => SignedDuration::from_secs(toleration.toleration_seconds?.max(0)),
        };
        let added = taint.time_added.as_ref().map_or(now, |time| time.0);
        // Who came later, in spite of the taint, has all of its time, too.
        let since = pod.created.map_or(added, |created| created.max(added));
        Some(stays.saturating_sub(now.duration_since(since)).max(SignedDuration::ZERO))
    });
    ends.min().map(SignedDuration::unsigned_abs)
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let same = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|w| w.is_empty() || w == has);
    let exists = toleration.operator.as_deref() == Some("Exists");
    let value = || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    same(&toleration.effect, &taint.effect) && same(&toleration.key, &taint.key) && (exists || value())
}
