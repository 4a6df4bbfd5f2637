//! DaemonSets: one pod on every node that fits.
//!
//! [`plan`] compares nodes and pods; [`pods`] creates and deletes. A pod is meant for its node by a required node affinity,
//! and the scheduler binds it, so that a full node says so like for any other pod.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kapell_client::reconcile::Next;
use kapell_client::{Change, Informer, ObjectKey, Queue};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};

use self::plan::{Action, Snapshot};
use crate::caches::Caches;
use crate::pods::{Failure, PodControl};
use crate::{ownership, revision};

#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonSetError {
    /// Told by an event as well; the retry comes with back-off.
    #[error("{reason}: {message}")]
    Pods { reason: &'static str, message: String },
    #[error(transparent)]
    Api(#[from] kube::Error),
}

#[derive(Clone)]
pub(crate) struct DaemonSetController {
    pub(crate) client: Client,
    pub(crate) caches: Caches,
    pub(crate) pods: PodControl,
}

/// Every set has to look at a node that is new, gone, or another one as far as placing goes. Heartbeats are none of it.
pub(crate) fn on_node(sets: &Informer<DaemonSet>, queue: &Queue<ObjectKey>, change: &Change<Node>) {
    let placing = |node: &Node| (node.metadata.labels.clone(), node.spec.clone());
    if let Change::Applied { old: Some(old), new } = change
        && placing(old) == placing(new)
    {
        return;
    }
    for set in sets.list() {
        queue.add(ObjectKey::of(set.as_ref()));
    }
}

impl DaemonSetController {
    pub(crate) async fn reconcile(self, key: ObjectKey) -> Result<Next, DaemonSetError> {
        let Some(set) = self.caches.workloads.daemon_sets.get(&key) else { return Ok(Next::OnChange) };
        let Some(spec) = &set.spec else { return Ok(Next::OnChange) };
        let Some(selector) = ownership::selector(&spec.selector) else { return Ok(Next::OnChange) };
        let uid = set.uid().unwrap_or_default();
        // Before the pods are listed: what is seen in between may only make the plan more cautious.
        let pending = self.pods.expectations.pending(&uid);
        let claim = ownership::claim(&set.metadata, &selector, self.caches.pods.list_in(&key.namespace));
        ownership::settle(&self.client, set.as_ref(), &claim).await?;
        let mut pods = claim.owned;
        pods.extend(claim.adopt);

        let mut revisions = self.caches.workloads.revisions.list_in(&key.namespace);
        revisions.retain(|revision| ownership::is_controlled_by(&revision.metadata, &uid));
        let hashes: BTreeSet<_> = pods.iter().filter_map(|pod| pod.labels.get(revision::HASH_LABEL)).collect();
        let used =
            revisions.iter().filter(|r| r.labels().get(revision::HASH_LABEL).is_some_and(|h| hashes.contains(h)));
        let in_use = used.map(|revision| revision.name_any()).collect();
        let limit = usize::try_from(spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
        let planned = revision::plan(set.as_ref(), &spec.template, &revisions, limit, &in_use);
        if set.metadata.deletion_timestamp.is_none() {
            revision::carry_out(&self.client, &key.namespace, &planned).await?;
        }

        let nodes = self.caches.nodes.list();
        let snapshot = Snapshot { set: &set, nodes: &nodes, pods: &pods, hash: &planned.hash, now: Timestamp::now() };
        let (action, due) = plan::plan(&snapshot);
        let failure = match action {
            _ if pending.is_some() => None,
            Action::Nothing => None,
            Action::Create(on) => {
                let new = on.iter().map(|node| plan::pod_for(&set, node, &planned.hash)).collect();
                self.pods.create(set.as_ref(), new).await
            }
            Action::Delete(pods) => self.pods.delete(set.as_ref(), pods).await,
        };
        let (status, next) = plan::status(&snapshot);
        if set.status.as_ref() != Some(&status) {
            let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), &key.namespace);
            let changed = DaemonSet { status: Some(status), ..set.as_ref().clone() };
            api.replace_status(&key.name, &PostParams::default(), &changed).await?;
        }
        if let Some(Failure { reason, message }) = failure {
            return Err(DaemonSetError::Pods { reason, message });
        }
        Ok([pending, due, next].into_iter().flatten().min().map_or(Next::OnChange, Next::After))
    }
}
