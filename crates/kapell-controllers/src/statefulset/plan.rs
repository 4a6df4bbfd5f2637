//! What to do next for one StatefulSet, and what its status is.
//!
//! In order means: a pod is made when all before it are available; it is taken away when all after it are gone; a new
//! template reaches the pods from the last to the partition, one at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::ResourceExt as _;

use crate::pod::KnownPod;
use crate::revision::HASH_LABEL;
use crate::{pod, pods};

pub(super) struct Snapshot<'a> {
    pub(super) set: &'a StatefulSet,
    /// The pods that it controls, each with a number in its name.
    pub(super) pods: &'a [Arc<KnownPod>],
    /// The revision that pods below the partition are made from.
    pub(super) current: &'a str,
    /// The revision of the template as it is.
    pub(super) update: &'a str,
    pub(super) now: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Create { ordinal: i32, revision: String },
    Delete(Arc<KnownPod>),
}

/// The number in a pod's name, if it is one of this set.
pub(super) fn ordinal(set: &str, pod: &str) -> Option<i32> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    let number: i32 = digits.parse().ok()?;
    (number >= 0 && number.to_string() == digits).then_some(number)
}

impl Snapshot<'_> {
    fn spec(&self) -> StatefulSetSpec {
        self.set.spec.clone().unwrap_or_default()
    }

    fn is_available(&self, pod: &KnownPod) -> bool {
        let least = self.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        pod::is_active(pod) && pod::until_available(pod, least, self.now).is_some_and(|wait| wait.is_zero())
    }

    /// By number.
    fn by_ordinal(&self) -> BTreeMap<i32, &Arc<KnownPod>> {
        let name = self.set.name_any();
        self.pods.iter().filter_map(|pod| Some((ordinal(&name, &pod.id.name)?, pod))).collect()
    }
}

fn start(spec: &StatefulSetSpec) -> i32 {
    spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0)
}

/// The first number that a rolling update reaches; nothing for `OnDelete`.
fn partition(spec: &StatefulSetSpec) -> Option<i32> {
    let strategy = spec.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return None;
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    Some(start(spec).saturating_add(rolling.and_then(|rolling| rolling.partition).unwrap_or(0)))
}

fn revision_of(pod: &KnownPod) -> &str {
    pod.labels.get(HASH_LABEL).map_or("", String::as_str)
}

/// What to do now; the rest follows when that has happened.
pub(super) fn plan(snapshot: &Snapshot<'_>) -> Vec<Action> {
    if snapshot.set.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let spec = snapshot.spec();
    let in_order = spec.pod_management_policy.as_deref() != Some("Parallel");
    let first = start(&spec);
    let wanted = first..first.saturating_add(spec.replicas.unwrap_or(1));
    let (present, surplus): (BTreeMap<_, _>, BTreeMap<_, _>) =
        snapshot.by_ordinal().into_iter().partition(|(ordinal, _)| wanted.contains(ordinal));
    let mut actions = Vec::new();
    let mut all_available = true;
    for ordinal in wanted.clone() {
        match present.get(&ordinal) {
            None => {
                let old = partition(&spec).is_some_and(|partition| ordinal < partition);
                let revision = if old { snapshot.current } else { snapshot.update };
                actions.push(Action::Create { ordinal, revision: revision.to_owned() });
            }
            // A pod that has ended makes room for its successor.
            Some(pod) if pod::is_terminal(pod) && !pod::is_terminating(pod) => {
                actions.push(Action::Delete(Arc::clone(pod)));
            }
            Some(pod) if snapshot.is_available(pod) => continue,
            Some(_) => {}
        }
        all_available = false;
        if in_order {
            return actions;
        }
    }
    // The first that is unwell, of all that there are: to take somebody away behind its back could cost a quorum.
    let unwell = snapshot.by_ordinal().into_iter().find(|(_, pod)| !snapshot.is_available(pod));
    for (ordinal, pod) in surplus.iter().rev() {
        let first_unwell = unwell.as_ref().is_none_or(|(first, _)| first == ordinal);
        if in_order && !pod::is_terminating(pod) && !snapshot.is_available(pod) && !first_unwell {
            return actions;
        }
        if !pod::is_terminating(pod) {
            actions.push(Action::Delete(Arc::clone(pod)));
        }
        if in_order {
            return actions;
        }
    }
    if all_available && actions.is_empty() {
        actions.extend(replace(snapshot, &spec, &present));
    }
    actions
}

/// The next pod that has to be made anew from the template as it is.
fn replace(snapshot: &Snapshot<'_>, spec: &StatefulSetSpec, present: &BTreeMap<i32, &Arc<KnownPod>>) -> Option<Action> {
    let partition = partition(spec)?;
    let outdated = present.range(partition..).rev().find(|(_, pod)| revision_of(pod) != snapshot.update);
    outdated.map(|(_, pod)| Action::Delete(Arc::clone(pod)))
}

/// The status, and when a pod becomes available only because time passes.
pub(super) fn status(snapshot: &Snapshot<'_>) -> (StatefulSetStatus, Option<Duration>) {
    let spec = snapshot.spec();
    let living: Vec<_> = snapshot.pods.iter().filter(|pod| !pod::is_terminal(pod)).collect();
    let count =
        |is: &dyn Fn(&KnownPod) -> bool| i32::try_from(living.iter().filter(|pod| is(pod)).count()).unwrap_or(i32::MAX);
    let ready = count(&|pod| pod::is_active(pod) && pod::is_ready(pod));
    let of = |revision: &str| count(&|pod| !pod::is_terminating(pod) && revision_of(pod) == revision);
    let (replicas, updated) = (count(&|_| true), of(snapshot.update));
    let wanted = spec.replicas.unwrap_or(1);
    // Everything runs the new revision: it is the current one from now on.
    let rolls = partition(&spec).is_some();
    let arrived = rolls && updated == replicas && ready == replicas && replicas == wanted;
    let current = if arrived { snapshot.update } else { snapshot.current };
    let before = snapshot.set.status.as_ref();
    let status = StatefulSetStatus {
        available_replicas: Some(count(&|pod| snapshot.is_available(pod))),
        collision_count: before.and_then(|status| status.collision_count).or(Some(0)),
        conditions: before.and_then(|status| status.conditions.clone()),
        current_replicas: some(of(current)),
        current_revision: Some(current.to_owned()),
        observed_generation: snapshot.set.metadata.generation,
        ready_replicas: some(ready),
        replicas,
        update_revision: Some(snapshot.update.to_owned()),
        updated_replicas: some(updated),
    };
    let least = spec.min_ready_seconds.unwrap_or(0);
    let waits = living.iter().filter_map(|pod| pod::until_available(pod, least, snapshot.now));
    (status, waits.filter(|wait| !wait.is_zero()).map(|wait| wait.unsigned_abs()).min())
}

/// Go leaves zeros out.
fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// The pod with a number, from the template as it is or as it was.
pub(super) fn pod_of(set: &StatefulSet, ordinal: i32, revision: &str, old: Option<&PodTemplateSpec>) -> Pod {
    let spec = set.spec.clone().unwrap_or_default();
    let mut pod = pods::of_template(set, old.cloned().unwrap_or(spec.template));
    let name = format!("{}-{ordinal}", set.name_any());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), name.clone());
    labels.insert("apps.kubernetes.io/pod-index".to_owned(), ordinal.to_string());
    labels.insert(HASH_LABEL.to_owned(), revision.to_owned());
    if let Some(pod_spec) = &mut pod.spec {
        pod_spec.hostname = Some(name.clone());
        pod_spec.subdomain = spec.service_name.filter(|service| !service.is_empty());
    }
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name);
    pod
}
