//! ReplicationControllers: what a ReplicaSet does, asked for in an older form. The plan is that of ReplicaSets, over a
//! ReplicaSet that says the same.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kapell_client::ObjectKey;
use kapell_client::reconcile::Next;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};

use crate::caches::Caches;
use crate::pods::{self, Failure, PodControl};
use crate::replicaset::plan::{self, Action, Snapshot};
use crate::{ownership, pod};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicationControllerError {
    /// Written to the status as well; the retry comes with back-off.
    #[error("{reason}: {message}")]
    Replicas { reason: &'static str, message: String },
    #[error(transparent)]
    Api(#[from] kube::Error),
}

#[derive(Clone)]
pub(crate) struct ReplicationControllers {
    pub(crate) client: Client,
    pub(crate) caches: Caches,
    pub(crate) pods: PodControl,
}

impl ReplicationControllers {
    pub(crate) async fn reconcile(self, key: ObjectKey) -> Result<Next, ReplicationControllerError> {
        let Some(rc) = self.caches.workloads.replication_controllers.get(&key) else { return Ok(Next::OnChange) };
        let uid = rc.uid().unwrap_or_default();
        let Some(same) = as_replica_set(&rc) else { return Ok(Next::OnChange) };
        let Some(selector) = same.spec.as_ref().and_then(|spec| ownership::selector(&spec.selector)) else {
            return Ok(Next::OnChange);
        };
        // Before the pods are listed: what is seen in between may only make the plan more cautious.
        let pending = self.pods.expectations.pending(&uid);
        let mut candidates = self.caches.pods.list_in(&key.namespace);
        candidates.retain(|pod| !pod::is_terminal(pod) || pod.is_controlled_by(&uid));
        let claim = ownership::claim(&rc.metadata, &selector, candidates);
        ownership::settle(&self.client, rc.as_ref(), &claim).await?;
        let mut pods = claim.owned;
        pods.extend(claim.adopt);

        let action = plan::plan(&Snapshot { rs: &same, pods: &pods, family_by_node: &BTreeMap::new() });
        let failure = match action {
            _ if pending.is_some() => None,
            Action::Nothing => None,
            Action::Create(count) => {
                let template = rc.spec.as_ref().and_then(|spec| spec.template.clone());
                let pod = template.map(|template| pods::of_template(rc.as_ref(), template));
                self.pods.create(rc.as_ref(), pod.into_iter().cycle().take(count).collect()).await
            }
            Action::Delete(pods) => self.pods.delete(rc.as_ref(), pods).await,
        };
        let (status, next) = plan::status(&same, &pods, failure.clone(), Timestamp::now());
        if !plan::is_same(same.status.as_ref(), &status) {
            let api: Api<ReplicationController> = Api::namespaced(self.client.clone(), &key.namespace);
            let changed = ReplicationController { status: Some(from_replica_set(status)), ..rc.as_ref().clone() };
            api.replace_status(&key.name, &PostParams::default(), &changed).await?;
        }
        if let Some(Failure { reason, message }) = failure {
            return Err(ReplicationControllerError::Replicas { reason, message });
        }
        Ok([pending, next].into_iter().flatten().min().map_or(Next::OnChange, Next::After))
    }
}

/// The ReplicaSet that asks for the same pods.
fn as_replica_set(rc: &ReplicationController) -> Option<ReplicaSet> {
    let spec = rc.spec.as_ref()?;
    Some(ReplicaSet {
        metadata: rc.metadata.clone(),
        spec: Some(ReplicaSetSpec {
            min_ready_seconds: spec.min_ready_seconds,
            replicas: spec.replicas,
            selector: LabelSelector { match_labels: spec.selector.clone(), ..LabelSelector::default() },
            template: spec.template.clone(),
        }),
        status: rc.status.as_ref().map(|status| ReplicaSetStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.as_ref().map(|list| list.iter().cloned().map(condition_of_set).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
            terminating_replicas: None,
        }),
    })
}

fn from_replica_set(status: ReplicaSetStatus) -> ReplicationControllerStatus {
    ReplicationControllerStatus {
        available_replicas: status.available_replicas,
        conditions: status.conditions.map(|list| list.into_iter().map(condition_of_controller).collect()),
        fully_labeled_replicas: status.fully_labeled_replicas,
        observed_generation: status.observed_generation,
        ready_replicas: status.ready_replicas,
        replicas: status.replicas,
    }
}

fn condition_of_set(condition: ReplicationControllerCondition) -> ReplicaSetCondition {
    let ReplicationControllerCondition { last_transition_time, message, reason, status, type_ } = condition;
    ReplicaSetCondition { last_transition_time, message, reason, status, type_ }
}

fn condition_of_controller(condition: ReplicaSetCondition) -> ReplicationControllerCondition {
    let ReplicaSetCondition { last_transition_time, message, reason, status, type_ } = condition;
    ReplicationControllerCondition { last_transition_time, message, reason, status, type_ }
}
