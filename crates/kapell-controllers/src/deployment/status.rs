//! The status of a Deployment: counters, and conditions with upstream's reasons and messages.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::size;

pub(super) const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const PAUSED: &str = "DeploymentPaused";

/// `progressDeadlineSeconds`; the largest number means none, as it does upstream.
fn progress_deadline(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref()?.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
}

fn find<'a>(conditions: &'a Option<Vec<DeploymentCondition>>, type_: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

fn progressing(deployment: &Deployment) -> Option<&DeploymentCondition> {
    find(&deployment.status.as_ref()?.conditions, PROGRESSING)
}

fn remove(status: &mut DeploymentStatus, type_: &str) {
    status.conditions.get_or_insert_default().retain(|condition| condition.type_ != type_);
}

/// Sets a condition. Nothing changes when it has the status and reason already; the transition time moves only with the
/// status.
fn set(status: &mut DeploymentStatus, now: Timestamp, type_: &str, value: &str, reason: &str, message: String) {
    let before = find(&status.conditions, type_);
    if before.is_some_and(|before| before.status == value && before.reason.as_deref() == Some(reason)) {
        return;
    }
    let since = before.filter(|before| before.status == value).and_then(|before| before.last_transition_time.clone());
    remove(status, type_);
    status.conditions.get_or_insert_default().push(DeploymentCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(since.unwrap_or(Time(now))),
    });
}

/// What the plan found or did about the ReplicaSet of the current template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NewSet {
    Found(String),
    Created(String),
    CreateFailed { name: String, cause: String },
    Absent,
}

/// Counters and the Available condition.
pub(super) fn counted(
    deployment: &Deployment,
    old: &[Arc<ReplicaSet>],
    new: Option<&Arc<ReplicaSet>>,
    now: Timestamp,
) -> DeploymentStatus {
    let all = || old.iter().chain(new);
    let before = deployment.status.clone().unwrap_or_default();
    let (replicas, available) = (size::total(all(), size::actual), size::total(all(), size::available));
    let ready = size::total(all(), |rs| rs.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0));
    let positive = |count: i32| (count > 0).then_some(count);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: positive(replicas),
        updated_replicas: positive(new.map_or(0, |rs| size::actual(rs))),
        ready_replicas: positive(ready),
        available_replicas: positive(available),
        unavailable_replicas: positive(replicas - available),
        collision_count: before.collision_count,
        conditions: before.conditions,
        terminating_replicas: None,
    };
    let floor = size::replicas(deployment) - size::fenceposts(deployment).max_unavailable;
    if available >= floor {
        let message = "Deployment has minimum availability.".to_owned();
        set(&mut status, now, AVAILABLE, "True", "MinimumReplicasAvailable", message);
    } else {
        let message = "Deployment does not have minimum availability.".to_owned();
        set(&mut status, now, AVAILABLE, "False", "MinimumReplicasUnavailable", message);
    }
    status
}

/// Whether the rollout has arrived: all replicas are of the current template and available, and no others exist.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let goal = size::replicas(deployment);
    let all = [status.updated_replicas, status.replicas, status.available_replicas];
    all.iter().all(|count| count.unwrap_or(0) == goal) && status.observed_generation >= deployment.metadata.generation
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let old = |s: &DeploymentStatus| s.replicas.unwrap_or(0) - s.updated_replicas.unwrap_or(0);
    after.updated_replicas > before.updated_replicas
        || old(after) < old(before)
        || after.ready_replicas > before.ready_replicas
        || after.available_replicas > before.available_replicas
}

fn has_timed_out(deployment: &Deployment, now: Timestamp) -> bool {
    let (Some(deadline), Some(condition)) = (progress_deadline(deployment), progressing(deployment)) else {
        return false;
    };
    match condition.reason.as_deref() {
        Some(NEW_AVAILABLE) => false,
        Some(DEADLINE_EXCEEDED) => true,
        _ => condition
            .last_update_time
            .as_ref()
            .is_some_and(|from| now.duration_since(from.0) > SignedDuration::from_secs(deadline.into())),
    }
}

/// Adds what a rollout in progress says beyond the counters: Progressing and ReplicaFailure.
pub(super) fn with_progress(
    deployment: &Deployment,
    mut status: DeploymentStatus,
    new: &NewSet,
    sets: &[&Arc<ReplicaSet>],
    now: Timestamp,
) -> DeploymentStatus {
    if progress_deadline(deployment).is_none() {
        remove(&mut status, PROGRESSING);
    } else if let Some((value, reason, message)) = progress(deployment, &status, new, now) {
        if reason == "ReplicaSetUpdated" {
            // Each step forward starts the deadline anew, so the update time has to move.
            let since = progressing(deployment).filter(|before| before.status == value).cloned();
            remove(&mut status, PROGRESSING);
            set(&mut status, now, PROGRESSING, value, reason, message);
            if let (Some(since), Some(condition)) = (since, status.conditions.iter_mut().flatten().last()) {
                condition.last_transition_time = since.last_transition_time;
            }
        } else {
            set(&mut status, now, PROGRESSING, value, reason, message);
        }
    }
    let failure = sets.iter().find_map(|rs| {
        let conditions = rs.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE)
    });
    match failure {
        Some(failure) => {
            let reason = failure.reason.clone().unwrap_or_default();
            let message = failure.message.clone().unwrap_or_default();
            set(&mut status, now, REPLICA_FAILURE, &failure.status, &reason, message);
        }
        None => remove(&mut status, REPLICA_FAILURE),
    }
    status
}

/// What there is to say about progress, if anything new.
fn progress(
    deployment: &Deployment,
    status: &DeploymentStatus,
    new: &NewSet,
    now: Timestamp,
) -> Option<(&'static str, &'static str, String)> {
    let subject = match new {
        NewSet::Found(name) => format!("ReplicaSet \"{name}\""),
        NewSet::Created(name) => {
            return Some(("True", "NewReplicaSetCreated", format!("Created new replica set \"{name}\"")));
        }
        NewSet::CreateFailed { name, cause } => {
            let message = format!("Failed to create new replica set \"{name}\": {cause}");
            return Some(("False", "ReplicaSetCreateError", message));
        }
        NewSet::Absent => format!("Deployment \"{}\"", deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    let none = DeploymentStatus::default();
    let before = deployment.status.as_ref().unwrap_or(&none);
    let current = progressing(deployment);
    let arrived = current.is_some_and(|condition| condition.reason.as_deref() == Some(NEW_AVAILABLE));
    if arrived && status.replicas == status.updated_replicas {
        None
    } else if is_complete(deployment, status) {
        Some(("True", NEW_AVAILABLE, format!("{subject} has successfully progressed.")))
    } else if has_progressed(before, status) {
        Some(("True", "ReplicaSetUpdated", format!("{subject} is progressing.")))
    } else if has_timed_out(deployment, now) {
        Some(("False", DEADLINE_EXCEEDED, format!("{subject} has timed out progressing.")))
    } else if current.is_none() {
        match new {
            NewSet::Found(name) => Some(("True", "FoundNewReplicaSet", format!("Found new replica set \"{name}\""))),
            _ => None,
        }
    } else {
        None
    }
}

/// Notes that the Deployment was paused or resumed; nothing when that is known, or the deadline has passed already.
pub(super) fn with_pause(deployment: &Deployment, mut status: DeploymentStatus, now: Timestamp) -> DeploymentStatus {
    let reason = progressing(deployment).and_then(|condition| condition.reason.as_deref());
    if progress_deadline(deployment).is_none() || reason == Some(DEADLINE_EXCEEDED) {
        return status;
    }
    match (is_paused(deployment), reason == Some(PAUSED)) {
        (true, false) => set(&mut status, now, PROGRESSING, "Unknown", PAUSED, "Deployment is paused".to_owned()),
        (false, true) => {
            set(&mut status, now, PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed".to_owned());
        }
        _ => {}
    }
    status
}

pub(super) fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false)
}

/// When the deadline has to be looked at although nothing will have changed by then.
pub(super) fn until_deadline(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<std::time::Duration> {
    let deadline = progress_deadline(deployment)?;
    let condition = find(&status.conditions, PROGRESSING)?;
    if is_complete(deployment, status) || condition.reason.as_deref() == Some(DEADLINE_EXCEEDED) {
        return None;
    }
    // A second more: timestamps carry whole seconds.
    let end = condition.last_update_time.as_ref()?.0 + SignedDuration::from_secs(i64::from(deadline) + 1);
    Some(end.duration_since(now).max(SignedDuration::from_secs(1)).unsigned_abs())
}
