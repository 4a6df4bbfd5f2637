//! What to do next for one ReplicaSet, and what its status is.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::pod::{self, KnownPod, Phase};
use crate::pods::Failure;

/// One reconcile asks for no more than this, so that a typing error in `replicas` does not take the server with it.
const BURST: usize = 500;

pub(crate) struct Snapshot<'a> {
    pub(crate) rs: &'a ReplicaSet,
    /// The pods that it controls, ended ones too.
    pub(crate) pods: &'a [Arc<KnownPod>],
    /// How many active pods of the same family (all ReplicaSets of one Deployment) each node runs.
    pub(crate) family_by_node: &'a BTreeMap<String, usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Nothing,
    Create(usize),
    /// In the order in which to delete.
    Delete(Vec<Arc<KnownPod>>),
}

pub(crate) fn plan(snapshot: &Snapshot<'_>) -> Action {
    if snapshot.rs.metadata.deletion_timestamp.is_some() {
        return Action::Nothing;
    }
    let goal = usize::try_from(replicas(snapshot.rs)).unwrap_or(0);
    let active: Vec<_> = snapshot.pods.iter().filter(|pod| pod::is_active(pod)).cloned().collect();
    if active.len() < goal {
        Action::Create((goal - active.len()).min(BURST))
    } else if active.len() > goal {
        let surplus = (active.len() - goal).min(BURST);
        Action::Delete(victims(active, snapshot.family_by_node, surplus))
    } else {
        Action::Nothing
    }
}

pub(super) fn replicas(rs: &ReplicaSet) -> i32 {
    rs.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// The pods whose loss hurts least: not placed before placed, pending before unknown before running, not ready before
/// ready, cheap before dear, doubled up on a node before alone, ready for a short time before long, often restarted
/// before stable, young before old.
pub(super) fn victims(
    mut pods: Vec<Arc<KnownPod>>,
    family_by_node: &BTreeMap<String, usize>,
    count: usize,
) -> Vec<Arc<KnownPod>> {
    pods.sort_by_cached_key(|pod| {
        let phase = match pod::phase(pod) {
            Phase::Running => 2,
            Phase::Unknown => 1,
            Phase::Pending | Phase::Succeeded | Phase::Failed => 0,
        };
        let doubled = pod.node.as_ref().and_then(|node| family_by_node.get(&**node)).copied().unwrap_or(0);
        (
            (pod.node.is_some(), phase, pod::is_ready(pod), pod.deletion_cost),
            (Reverse(doubled), Reverse(pod::ready_since(pod)), Reverse(pod.restarts)),
            // The name only makes the order total.
            (Reverse(pod.created), pod.id.name.clone()),
        )
    });
    pods.truncate(count);
    pods
}

/// The status, and when a pod becomes available only because time passes.
pub(crate) fn status(
    rs: &ReplicaSet,
    pods: &[Arc<KnownPod>],
    failure: Option<Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let spec = rs.spec.as_ref();
    let min_ready = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let template_labels = spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
    let is_fully_labelled =
        |pod: &KnownPod| template_labels.into_iter().flatten().all(|(key, value)| pod.labels.get(key) == Some(value));
    let active: Vec<_> = pods.iter().filter(|pod| pod::is_active(pod)).collect();
    let waits: Vec<_> = active.iter().filter_map(|pod| pod::until_available(pod, min_ready, now)).collect();
    let positive = |count: usize| i32::try_from(count).ok().filter(|count| *count > 0);
    let before = rs.status.as_ref();
    let status = ReplicaSetStatus {
        replicas: i32::try_from(active.len()).unwrap_or(i32::MAX),
        fully_labeled_replicas: positive(active.iter().filter(|pod| is_fully_labelled(pod)).count()),
        ready_replicas: positive(waits.len()),
        available_replicas: positive(waits.iter().filter(|wait| wait.is_zero()).count()),
        observed_generation: rs.metadata.generation,
        conditions: conditions(before.and_then(|status| status.conditions.clone()).unwrap_or_default(), failure, now),
        terminating_replicas: None,
    };
    let next = waits.iter().filter(|wait| !wait.is_zero()).min().map(|wait| wait.unsigned_abs());
    (status, next)
}

fn conditions(
    mut conditions: Vec<ReplicaSetCondition>,
    failure: Option<Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let position = conditions.iter().position(|condition| condition.type_ == "ReplicaFailure");
    let before = position.map(|i| conditions.remove(i));
    if let Some(failure) = failure {
        let same = before.filter(|before| before.status == "True" && before.reason.as_deref() == Some(failure.reason));
        conditions.push(same.unwrap_or_else(|| ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message),
            last_transition_time: Some(Time(now)),
        }));
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// Whether two statuses say the same, whichever way they write "none".
pub(crate) fn is_same(a: Option<&ReplicaSetStatus>, b: &ReplicaSetStatus) -> bool {
    let Some(a) = a else { return false };
    let counts = |s: &ReplicaSetStatus| {
        let some = |count: Option<i32>| count.unwrap_or(0);
        (s.replicas, some(s.fully_labeled_replicas), some(s.ready_replicas), some(s.available_replicas))
    };
    let conditions = |s: &ReplicaSetStatus| s.conditions.clone().unwrap_or_default();
    counts(a) == counts(b) && a.observed_generation == b.observed_generation && conditions(a) == conditions(b)
}
