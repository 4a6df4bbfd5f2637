//! ReplicaSets: keep as many pods of one template as `replicas` says.
//!
//! [`plan`] counts and chooses; this module creates and deletes, in batches that grow while they succeed so that a
//! refusal (a quota, a webhook) is met by one request and not by five hundred. [`expectations`] keep it from acting on
//! a cache that has not caught up with its own doings.

pub(crate) mod expectations;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kapell_client::reconcile::Next;
use kapell_client::{Change, ObjectKey, Recorder, Severity};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};

use self::expectations::Expectations;
use self::plan::{Action, Failure, Snapshot};
use crate::caches::Caches;
use crate::{ownership, pod};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicaSetError {
    /// Written to the status as well; the retry comes with back-off.
    #[error("{reason}: {message}")]
    Replicas { reason: &'static str, message: String },
    #[error(transparent)]
    Api(#[from] kube::Error),
}

#[derive(Clone)]
pub(crate) struct ReplicaSetController {
    pub(crate) client: Client,
    pub(crate) caches: Caches,
    pub(crate) events: Recorder,
    pub(crate) expectations: Expectations,
}

/// Ticks off what was expected of a pod's controller.
pub(crate) fn observe(expectations: &Expectations, change: &Change<Pod>) {
    let pod = change.object();
    let Some(owner) = ownership::controller_of(&pod.metadata) else { return };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    match change {
        Change::Applied { old, new } => {
            if old.is_none() {
                expectations.created(&owner.uid, 1);
            }
            if pod::is_terminating(new) {
                expectations.deleted(&owner.uid, uid);
            }
        }
        Change::Deleted(_) => expectations.deleted(&owner.uid, uid),
    }
}

impl ReplicaSetController {
    pub(crate) async fn reconcile(self, key: ObjectKey) -> Result<Next, ReplicaSetError> {
        let Some(rs) = self.caches.replica_sets.get(&key) else { return Ok(Next::OnChange) };
        let uid = rs.uid().unwrap_or_default();
        let Some(selector) = rs.spec.as_ref().and_then(|spec| ownership::selector(&spec.selector)) else {
            return Ok(Next::OnChange);
        };
        // Before the pods are listed: what is seen in between may only make the plan more cautious.
        let pending = self.expectations.pending(&uid);
        let in_namespace = self.caches.pods.list_in(&key.namespace);
        let candidates = in_namespace.iter().filter(|pod| !pod::is_terminal(pod) || is_of(pod, &uid)).cloned();
        let claim = ownership::claim(&rs.metadata, &selector, candidates.collect());
        ownership::settle(&self.client, rs.as_ref(), &claim).await?;
        let mut pods = claim.owned;
        pods.extend(claim.adopt);

        let failure = if pending.is_some() {
            None
        } else {
            let family_by_node = self.family_by_node(&rs, &in_namespace);
            let action = plan::plan(&Snapshot { rs: &rs, pods: &pods, family_by_node: &family_by_node });
            self.apply(&rs, action).await
        };
        let (status, next) = plan::status(&rs, &pods, failure.clone(), Timestamp::now());
        if !plan::is_same(rs.status.as_ref(), &status) {
            let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &key.namespace);
            let changed = ReplicaSet { status: Some(status), ..rs.as_ref().clone() };
            api.replace_status(&key.name, &PostParams::default(), &changed).await?;
        }
        if let Some(Failure { reason, message }) = failure {
            return Err(ReplicaSetError::Replicas { reason, message });
        }
        Ok([pending, next].into_iter().flatten().min().map_or(Next::OnChange, Next::After))
    }

    /// Active pods per node of all ReplicaSets that have the same controller as this one.
    fn family_by_node(&self, rs: &ReplicaSet, pods: &[Arc<Pod>]) -> BTreeMap<String, usize> {
        let mut family: HashSet<String> = rs.uid().into_iter().collect();
        if let Some(parent) = ownership::controller_of(&rs.metadata) {
            let siblings = self.caches.replica_sets.list_in(rs.metadata.namespace.as_deref().unwrap_or_default());
            let siblings = siblings.iter().filter(|other| ownership::is_controlled_by(&other.metadata, &parent.uid));
            family.extend(siblings.filter_map(|other| other.uid()));
        }
        let mut by_node = BTreeMap::new();
        for pod in pods.iter().filter(|pod| pod::is_active(pod)) {
            let owner = ownership::controller_of(&pod.metadata);
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            if let Some(node) = node.filter(|_| owner.is_some_and(|owner| family.contains(&owner.uid))) {
                *by_node.entry(node).or_insert(0) += 1;
            }
        }
        by_node
    }

    async fn apply(&self, rs: &ReplicaSet, action: Action) -> Option<Failure> {
        match action {
            Action::Nothing => None,
            Action::Create(count) => self.create(rs, count).await,
            Action::Delete(pods) => self.delete(rs, pods).await,
        }
    }

    /// Creates in batches of 1, 2, 4, … and stops after the first that fails.
    async fn create(&self, rs: &ReplicaSet, count: usize) -> Option<Failure> {
        let owner = rs.uid().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &rs.namespace().unwrap_or_default());
        let pod = pod_of(rs)?;
        let params = PostParams::default();
        self.expectations.expect(&owner, count, HashSet::new());
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let size = batch.min(left);
            let results = join_all((0..size).map(|_| api.create(&params, &pod))).await;
            left -= size;
            let mut failed = None;
            for result in results {
                match result {
                    Ok(pod) => {
                        let message = format!("Created pod: {}", pod.name_any());
                        self.events.record(rs, Severity::Normal, "SuccessfulCreate", message);
                    }
                    Err(error) => {
                        self.expectations.created(&owner, 1);
                        failed = Some(error);
                    }
                }
            }
            if let Some(error) = failed {
                self.expectations.created(&owner, left);
                let message = explain(&error);
                self.events.record(rs, Severity::Warning, "FailedCreate", format!("Error creating: {message}"));
                return Some(Failure { reason: "FailedCreate", message });
            }
            batch *= 2;
        }
        None
    }

    async fn delete(&self, rs: &ReplicaSet, pods: Vec<Arc<Pod>>) -> Option<Failure> {
        let owner = rs.uid().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &rs.namespace().unwrap_or_default());
        self.expectations.expect(&owner, 0, pods.iter().filter_map(|pod| pod.uid()).collect());
        let results = join_all(pods.iter().map(|pod| {
            let only = Preconditions { uid: pod.uid(), resource_version: None };
            let (api, name) = (&api, pod.name_any());
            async move { api.delete(&name, &DeleteParams::default().preconditions(only)).await }
        }))
        .await;
        let mut failure = None;
        for (pod, result) in pods.iter().zip(results) {
            match result {
                Ok(_) => {
                    let message = format!("Deleted pod: {}", pod.name_any());
                    self.events.record(rs, Severity::Normal, "SuccessfulDelete", message);
                }
                Err(error) => {
                    self.expectations.deleted(&owner, &pod.uid().unwrap_or_default());
                    // Gone or replaced already: the cache will say so.
                    if !matches!(&error, kube::Error::Api(status) if status.code == 404 || status.code == 409) {
                        let message = explain(&error);
                        self.events.record(rs, Severity::Warning, "FailedDelete", format!("Error deleting: {message}"));
                        failure = Some(Failure { reason: "FailedDelete", message });
                    }
                }
            }
        }
        failure
    }
}

fn is_of(pod: &Pod, uid: &str) -> bool {
    ownership::is_controlled_by(&pod.metadata, uid)
}

/// The server's own words where there are any.
fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// The pod that the template describes, owned by the ReplicaSet; the server finds the end of its name.
fn pod_of(rs: &ReplicaSet) -> Option<Pod> {
    let template = rs.spec.as_ref()?.template.clone()?;
    let meta = template.metadata.unwrap_or_default();
    Some(Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", rs.name_any())),
            namespace: rs.namespace(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![ownership::controller_reference(rs)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    })
}
