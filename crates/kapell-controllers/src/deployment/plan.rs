//! What to do next for one Deployment: one step of a rollout, decided from what the caches show.
//!
//! A step changes sizes in one direction only and then waits for what the ReplicaSets make of it, so no step can
//! overshoot because of another one that has not been seen yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};

use super::status::{self, NewSet};
use super::{revision, size};
use crate::pod::{self, KnownPod};

/// One Deployment and everything that its next step depends on.
pub(super) struct Snapshot {
    pub(super) deployment: Arc<Deployment>,
    /// The ReplicaSets that it controls.
    pub(super) replica_sets: Vec<Arc<ReplicaSet>>,
    /// The pods of those, each with the name of its ReplicaSet.
    pub(super) pods: Vec<(String, Arc<KnownPod>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    CreateReplicaSet(Box<ReplicaSet>),
    /// Changes sizes and annotations, unless somebody else has changed the set meanwhile.
    UpdateReplicaSet(Box<Update>),
    DeleteReplicaSet(Arc<ReplicaSet>),
    /// Sets `deployment.kubernetes.io/revision`.
    SetRevision(String),
    SetStatus(Box<DeploymentStatus>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Update {
    pub(super) replica_set: Arc<ReplicaSet>,
    pub(super) replicas: Option<i32>,
    pub(super) min_ready_seconds: Option<i32>,
    pub(super) annotations: BTreeMap<String, String>,
}

pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// When to look again although nothing has changed.
    pub(super) look_again: Option<Duration>,
}

/// The Deployment with its ReplicaSets told apart, and the actions so far.
struct Step {
    deployment: Arc<Deployment>,
    new: Option<Arc<ReplicaSet>>,
    /// Oldest first.
    old: Vec<Arc<ReplicaSet>>,
    actions: Vec<Action>,
}

pub(super) fn plan(snapshot: &Snapshot, now: Timestamp) -> Plan {
    let mut step = Step::new(snapshot);
    if snapshot.deployment.metadata.deletion_timestamp.is_some() {
        let counted = step.counted(now);
        return step.finish(counted, now);
    }
    if status::is_paused(&step.deployment) {
        step.scale();
        step.clean_up();
        let status = status::with_pause(&step.deployment, step.counted(now), now);
        return step.finish(status, now);
    }
    // Recreate sizes its sets anew in each step.
    if !size::is_recreate(&step.deployment) && step.is_scaling() {
        step.scale();
        let status = status::with_pause(&step.deployment, step.counted(now), now);
        return step.finish(status, now);
    }
    let new = if size::is_recreate(&step.deployment) { step.recreate(&snapshot.pods) } else { step.roll() };
    let counted = status::with_pause(&step.deployment, step.counted(now), now);
    let sets: Vec<_> = step.new.iter().chain(&step.old).collect();
    let status = status::with_progress(&step.deployment, counted, &new, &sets, now);
    if status::is_complete(&step.deployment, &status) {
        step.clean_up();
    }
    step.finish(status, now)
}

impl Step {
    fn new(snapshot: &Snapshot) -> Self {
        let mut sets = snapshot.replica_sets.clone();
        sets.sort_by_key(|rs| (revision::created(rs), rs.metadata.name.clone()));
        let template = snapshot.deployment.spec.as_ref().map(|spec| &spec.template);
        let is_current = |rs: &Arc<ReplicaSet>| {
            let its = rs.spec.as_ref().and_then(|spec| spec.template.as_ref());
            its.zip(template).is_some_and(|(a, b)| revision::same_template(a, b))
        };
        let position = sets.iter().position(is_current);
        let new = position.map(|i| sets.remove(i));
        Self { deployment: snapshot.deployment.clone(), new, old: sets, actions: Vec::new() }
    }

    fn counted(&self, now: Timestamp) -> DeploymentStatus {
        status::counted(&self.deployment, &self.old, self.new.as_ref(), now)
    }

    fn finish(mut self, status: DeploymentStatus, now: Timestamp) -> Plan {
        let look_again = status::until_deadline(&self.deployment, &status, now);
        if normal(Some(&status)) != normal(self.deployment.status.as_ref()) {
            self.actions.push(Action::SetStatus(Box::new(status)));
        }
        Plan { actions: self.actions, look_again }
    }

    /// The Deployment's wanted count has changed since the sizes of its ReplicaSets were chosen.
    fn is_scaling(&self) -> bool {
        let goal = i64::from(size::replicas(&self.deployment));
        let active = self.new.iter().chain(&self.old).filter(|rs| size::wanted(rs) > 0);
        active
            .filter_map(|rs| revision::number(&rs.metadata, revision::DESIRED_REPLICAS))
            .any(|desired| desired != goal)
    }

    /// Creates the ReplicaSet of the current template or brings the annotations of the present one up to date.
    fn provide_new(&mut self) -> NewSet {
        let next = revision::next_revision(&self.old);
        let Some(new) = self.new.clone() else {
            let replicas = size::new_size(&self.deployment, size::total(&self.old, size::wanted), 0);
            let Some(created) = revision::new_replica_set(&self.deployment, next, replicas) else {
                return NewSet::Absent;
            };
            let name = created.metadata.name.clone().unwrap_or_default();
            self.actions.push(Action::CreateReplicaSet(Box::new(created)));
            self.set_revision(next);
            return NewSet::Created(name);
        };
        let annotations = revision::missing_annotations(&self.deployment, &new, next);
        let wanted_seconds = self.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        let has_seconds = new.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        let min_ready_seconds = (wanted_seconds != has_seconds).then_some(wanted_seconds);
        if !annotations.is_empty() || min_ready_seconds.is_some() {
            self.update(Update { replica_set: new.clone(), replicas: None, min_ready_seconds, annotations });
        }
        self.set_revision(next.max(revision::revision(&new)));
        NewSet::Found(new.metadata.name.clone().unwrap_or_default())
    }

    fn set_revision(&mut self, revision: i64) {
        if revision::number(&self.deployment.metadata, revision::REVISION) != Some(revision) {
            self.actions.push(Action::SetRevision(revision.to_string()));
        }
    }

    /// Two changes of one set become one, as the second would be refused for its outdated version.
    fn update(&mut self, update: Update) {
        let same = |action: &mut Action| match action {
            Action::UpdateReplicaSet(before) if before.replica_set.metadata.uid == update.replica_set.metadata.uid => {
                before.replicas = update.replicas.or(before.replicas);
                before.annotations.extend(update.annotations.clone());
                true
            }
            _ => false,
        };
        if !self.actions.iter_mut().any(same) {
            self.actions.push(Action::UpdateReplicaSet(Box::new(update)));
        }
    }

    /// Whether anything had to change.
    fn resize(&mut self, rs: &Arc<ReplicaSet>, replicas: i32) -> bool {
        let has = |key: &str| rs.metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
        let annotations: BTreeMap<String, String> = revision::size_annotations(&self.deployment)
            .into_iter()
            .filter(|(key, value)| has(key) != Some(value))
            .collect();
        let resized = size::wanted(rs) != replicas;
        if resized || (replicas > 0 && !annotations.is_empty()) {
            let replicas = resized.then_some(replicas);
            self.update(Update { replica_set: rs.clone(), replicas, min_ready_seconds: None, annotations });
        }
        resized
    }

    /// One step of a rolling update: the new set grows as far as the surge permits, else old ones shrink.
    fn roll(&mut self) -> NewSet {
        let found = self.provide_new();
        if let Some(new) = self.new.clone() {
            let all = size::total(self.old.iter().chain([&new]), size::wanted);
            if self.resize(&new, size::new_size(&self.deployment, all, size::wanted(&new))) {
                return found;
            }
            let old = self.old.clone();
            for (i, replicas) in size::old_sizes(&self.deployment, &old, &new) {
                self.resize(&old[i], replicas);
            }
        }
        found
    }

    /// One step of Recreate: nothing of the new template starts before everything old has ended.
    fn recreate(&mut self, pods: &[(String, Arc<KnownPod>)]) -> NewSet {
        let found = || match &self.new {
            Some(new) => NewSet::Found(new.metadata.name.clone().unwrap_or_default()),
            None => NewSet::Absent,
        };
        let found = found();
        let mut shrunk = false;
        for rs in self.old.clone() {
            shrunk |= self.resize(&rs, 0);
        }
        let new_name = self.new.as_ref().and_then(|rs| rs.metadata.name.clone());
        let old_runs = size::total(&self.old, size::actual) > 0
            || pods.iter().any(|(owner, pod)| Some(owner) != new_name.as_ref() && !pod::is_terminal(pod));
        if shrunk || old_runs {
            return found;
        }
        let found = self.provide_new();
        if let Some(new) = self.new.clone() {
            self.resize(&new, size::replicas(&self.deployment));
        }
        found
    }

    /// Follows a change of the wanted count without advancing the rollout.
    fn scale(&mut self) {
        let goal = size::replicas(&self.deployment);
        let active: Vec<_> =
            self.new.iter().chain(self.old.iter().rev()).filter(|rs| size::wanted(rs) > 0).cloned().collect();
        let only = match active.as_slice() {
            [] => self.new.clone().or_else(|| self.old.last().cloned()),
            [only] => Some(only.clone()),
            _ => None,
        };
        if let Some(only) = only {
            self.resize(&only, goal);
            return;
        }
        if self.new.as_ref().is_some_and(|new| self.is_saturated(new)) {
            for rs in self.old.clone() {
                self.resize(&rs, 0);
            }
        } else {
            for (rs, replicas) in active.iter().zip(size::proportional(&self.deployment, &active)) {
                self.resize(rs, replicas);
            }
        }
    }

    /// The new set carries the whole Deployment already.
    fn is_saturated(&self, new: &ReplicaSet) -> bool {
        let goal = size::replicas(&self.deployment);
        let desired = revision::number(&new.metadata, revision::DESIRED_REPLICAS);
        desired == Some(goal.into()) && size::wanted(new) == goal && size::available(new) == goal
    }

    /// Deletes what `revisionHistoryLimit` leaves no room for, of the sets that run nothing.
    fn clean_up(&mut self) {
        let limit = self.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
        let mut alive: Vec<_> =
            self.old.iter().filter(|rs| rs.metadata.deletion_timestamp.is_none()).cloned().collect();
        alive.sort_by_key(|rs| revision::revision(rs));
        let surplus = alive.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for rs in alive.into_iter().take(surplus) {
            let observed = rs.status.as_ref().and_then(|status| status.observed_generation);
            let settled = rs.metadata.generation <= observed;
            if size::wanted(&rs) == 0 && size::actual(&rs) == 0 && settled {
                self.actions.push(Action::DeleteReplicaSet(rs));
            }
        }
    }
}

/// A status with one way of writing "none".
fn normal(status: Option<&DeploymentStatus>) -> DeploymentStatus {
    let mut status = status.cloned().unwrap_or_default();
    let counts = [
        &mut status.replicas,
        &mut status.updated_replicas,
        &mut status.ready_replicas,
        &mut status.available_replicas,
        &mut status.unavailable_replicas,
        &mut status.terminating_replicas,
    ];
    for count in counts {
        *count = count.filter(|count| *count != 0);
    }
    let conditions = status.conditions.get_or_insert_default();
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    status
}
