//! The arithmetic of disruption budgets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Selector, SelectorExt as _};

use crate::deployment::size::scaled;
use crate::pod::{self, KnownPod};

/// How long an eviction that was granted counts although the pod is still there; then it failed somewhere, as upstream.
const EVICTION_TAKES: Duration = Duration::from_secs(2 * 60);

/// Whether the budget is about a pod: no selector selects nothing, an empty one everything.
pub(super) fn selects(budget: &PodDisruptionBudget, pod: &KnownPod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
    let selector = selector.and_then(|selector| Selector::try_from(selector).ok());
    selector.is_some_and(|selector| selector.matches(&pod.labels)) && !pod::is_terminal(pod)
}

/// The status, and when an eviction that was granted no longer counts. `expected` is how many pods their controllers want.
pub(super) fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<KnownPod>],
    expected: &Result<i32, String>,
    now: Timestamp,
) -> (PodDisruptionBudgetStatus, Option<Duration>) {
    let before = budget.status.clone().unwrap_or_default();
    let (evicted, next) = still_evicted(&before, pods, now);
    let is_healthy =
        |pod: &Arc<KnownPod>| pod::is_ready(pod) && !pod::is_terminating(pod) && !evicted.contains_key(&*pod.id.name);
    let healthy = count(pods.iter().filter(|pod| is_healthy(pod)));
    let counted = bounds(budget, count(pods.iter()), expected);
    let (expected, desired) = counted.clone().unwrap_or((count(pods.iter()), healthy));
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let condition = match &counted {
        Err(why) => ("False", "SyncFailed", why.clone()),
        Ok(_) if allowed > 0 => ("True", "SufficientPods", String::new()),
        Ok(_) => ("False", "InsufficientPods", String::new()),
    };
    let status = PodDisruptionBudgetStatus {
        conditions: Some(vec![settle(&before, condition, budget.metadata.generation, now)]),
        current_healthy: healthy,
        desired_healthy: if counted.is_ok() { desired } else { before.desired_healthy },
        disrupted_pods: (!evicted.is_empty()).then_some(evicted),
        disruptions_allowed: if counted.is_ok() { allowed } else { 0 },
        expected_pods: expected,
        observed_generation: budget.metadata.generation,
    };
    (status, next)
}

fn count<'a>(pods: impl Iterator<Item = &'a Arc<KnownPod>>) -> i32 {
    i32::try_from(pods.count()).unwrap_or(i32::MAX)
}

/// How many pods there should be, and how many of them have to be healthy.
fn bounds(budget: &PodDisruptionBudget, present: i32, expected: &Result<i32, String>) -> Result<(i32, i32), String> {
    let spec = budget.spec.clone().unwrap_or_default();
    match (spec.min_available, spec.max_unavailable) {
        (Some(IntOrString::Int(least)), _) => Ok((present, least)),
        (Some(share), _) => {
            let expected = expected.clone()?;
            Ok((expected, scaled(Some(&share), expected, true)))
        }
        (None, Some(share)) => {
            let expected = expected.clone()?;
            Ok((expected, (expected - scaled(Some(&share), expected, true)).max(0)))
        }
        // Neither is set: nothing is asked for.
        (None, None) => Ok((present, 0)),
    }
}

/// Evictions that were granted and whose pods have not begun to go.
fn still_evicted(
    before: &PodDisruptionBudgetStatus,
    pods: &[Arc<KnownPod>],
    now: Timestamp,
) -> (BTreeMap<String, Time>, Option<Duration>) {
    let mut kept = BTreeMap::new();
    let mut next: Option<Duration> = None;
    for (name, since) in before.disrupted_pods.iter().flatten() {
        let stays = pods.iter().any(|pod| *pod.id.name == **name && !pod::is_terminating(pod));
        let age = Duration::try_from(now.duration_since(since.0)).unwrap_or_default();
        if let Some(left) = EVICTION_TAKES.checked_sub(age).filter(|left| stays && !left.is_zero()) {
            kept.insert(name.clone(), since.clone());
            next = Some(next.map_or(left, |next| next.min(left)));
        }
    }
    (kept, next)
}

fn settle(
    before: &PodDisruptionBudgetStatus,
    (value, reason, message): (&str, &str, String),
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let before = before.conditions.iter().flatten().find(|condition| condition.type_ == "DisruptionAllowed");
    let since = before.filter(|before| before.status == value).map(|before| before.last_transition_time.clone());
    Condition {
        last_transition_time: since.unwrap_or(Time(now)),
        message,
        observed_generation: generation,
        reason: reason.to_owned(),
        status: value.to_owned(),
        type_: "DisruptionAllowed".to_owned(),
    }
}
