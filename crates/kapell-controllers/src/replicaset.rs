//! ReplicaSets: keep as many pods of one template as `replicas` says.
//!
//! [`plan`] counts and chooses; [`pods`] creates and deletes.

pub(crate) mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kapell_client::ObjectKey;
use kapell_client::reconcile::Next;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};

use self::plan::{Action, Snapshot};
use crate::caches::Caches;
use crate::pod::KnownPod;
use crate::pods::{self, Failure, PodControl};
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
    pub(crate) pods: PodControl,
}

impl ReplicaSetController {
    pub(crate) async fn reconcile(self, key: ObjectKey) -> Result<Next, ReplicaSetError> {
        let Some(rs) = self.caches.replica_sets.get(&key) else { return Ok(Next::OnChange) };
        let uid = rs.uid().unwrap_or_default();
        let Some(selector) = rs.spec.as_ref().and_then(|spec| ownership::selector(&spec.selector)) else {
            return Ok(Next::OnChange);
        };
        // Before the pods are listed: what is seen in between may only make the plan more cautious.
        let pending = self.pods.expectations.pending(&uid);
        let in_namespace = self.caches.pods.list_in(&key.namespace);
        let candidates =
            in_namespace.iter().filter(|pod| !pod::is_terminal(pod) || pod.is_controlled_by(&uid)).cloned();
        let claim = ownership::claim(&rs.metadata, &selector, candidates.collect());
        ownership::settle(&self.client, rs.as_ref(), &claim).await?;
        let mut pods = claim.owned;
        pods.extend(claim.adopt);

        let failure = if pending.is_some() {
            None
        } else {
            let family_by_node = self.family_by_node(&rs, &in_namespace);
            let action = plan::plan(&Snapshot { rs: &rs, pods: &pods, family_by_node: &family_by_node });
            match action {
                Action::Nothing => None,
                Action::Create(count) => {
                    let pod = rs.spec.as_ref().and_then(|spec| spec.template.clone());
                    let pod = pod.map(|template| pods::of_template(rs.as_ref(), template));
                    self.pods.create(rs.as_ref(), pod.into_iter().cycle().take(count).collect()).await
                }
                Action::Delete(pods) => self.pods.delete(rs.as_ref(), pods).await,
            }
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
    fn family_by_node(&self, rs: &ReplicaSet, pods: &[Arc<KnownPod>]) -> BTreeMap<String, usize> {
        let mut family: HashSet<String> = rs.uid().into_iter().collect();
        if let Some(parent) = ownership::controller_of(&rs.metadata) {
            let siblings = self.caches.replica_sets.list_in(rs.metadata.namespace.as_deref().unwrap_or_default());
            let siblings = siblings.iter().filter(|other| ownership::is_controlled_by(&other.metadata, &parent.uid));
            family.extend(siblings.filter_map(|other| other.uid()));
        }
        let mut by_node = BTreeMap::new();
        for pod in pods.iter().filter(|pod| pod::is_active(pod)) {
            let is_family = pod.controller().is_some_and(|owner| family.contains(&owner.uid));
            if let Some(node) = pod.node.as_ref().filter(|_| is_family) {
                *by_node.entry(node.to_string()).or_insert(0) += 1;
            }
        }
        by_node
    }
}
