//! Deployments: each revision of a template is a ReplicaSet, and a rollout moves replicas from old sets to the new one.
//!
//! [`plan`] decides the next step; this module carries it out and says which changes call for one. It never touches
//! pods: those are the ReplicaSets' business.

mod plan;
pub(crate) mod revision;
pub(crate) mod size;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use kapell_client::reconcile::Next;
use kapell_client::{ObjectKey, Recorder, Severity};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use self::plan::{Action, Plan, Snapshot, Update};
use crate::caches::Caches;
use crate::ownership;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DeploymentError {
    #[error("ReplicaSet {name} is another's, or not of the template whose hash it bears")]
    Collision { name: String },
    #[error(transparent)]
    Api(#[from] kube::Error),
}

#[derive(Clone)]
pub(crate) struct DeploymentController {
    pub(crate) client: Client,
    pub(crate) caches: Caches,
    pub(crate) events: Recorder,
}

impl DeploymentController {
    pub(crate) async fn reconcile(self, key: ObjectKey) -> Result<Next, DeploymentError> {
        let Some(deployment) = self.caches.deployments.get(&key) else { return Ok(Next::OnChange) };
        let Some(selector) = deployment.spec.as_ref().and_then(|spec| ownership::selector(&spec.selector)) else {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.events.record(deployment.as_ref(), Severity::Warning, "SelectingAll", message);
            return Ok(Next::OnChange);
        };
        let sets = self.caches.replica_sets.list_in(&key.namespace);
        let claim = ownership::claim(&deployment.metadata, &selector, sets);
        ownership::settle(&self.client, deployment.as_ref(), &claim).await?;
        if !claim.adopt.is_empty() {
            // What is adopted may be the newest revision, or the one that is asked for; its change brings us back.
            return Ok(Next::OnChange);
        }
        let pods = self.caches.pods.list_in(&key.namespace).into_iter().filter_map(|pod| {
            let owner = pod.controller()?;
            let owned = claim.owned.iter().any(|rs| rs.metadata.uid.as_deref() == Some(owner.uid.as_str()));
            owned.then(|| (owner.name.clone(), pod.clone()))
        });
        let snapshot = Snapshot { deployment: deployment.clone(), pods: pods.collect(), replica_sets: claim.owned };
        let Plan { actions, look_again } = plan::plan(&snapshot, Timestamp::now());
        Box::pin(self.apply(&deployment, actions)).await?;
        Ok(look_again.map_or(Next::OnChange, Next::After))
    }

    async fn apply(&self, deployment: &Arc<Deployment>, actions: Vec<Action>) -> Result<(), DeploymentError> {
        let namespace = deployment.namespace().unwrap_or_default();
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &namespace);
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &namespace);
        // Our own writes move the version; anybody else's write in between makes the next one fail, as it should.
        let mut current = deployment.as_ref().clone();
        for action in actions {
            match action {
                Action::CreateReplicaSet(rs) => self.create(&deployments, &sets, deployment, *rs).await?,
                Action::UpdateReplicaSet(update) => self.update(&sets, deployment, *update).await?,
                Action::DeleteReplicaSet(rs) => {
                    let only = Preconditions { uid: rs.uid(), resource_version: rs.resource_version() };
                    match sets.delete(&rs.name_any(), &DeleteParams::background().preconditions(only)).await {
                        Err(kube::Error::Api(status)) if status.code == 404 => {}
                        other => drop(other?),
                    }
                }
                Action::SetRevision(revision) => {
                    let patch = json!({"metadata": {
                        "resourceVersion": current.metadata.resource_version,
                        "annotations": {revision::REVISION: revision},
                    }});
                    let params = PatchParams::default();
                    current = deployments.patch(&current.name_any(), &params, &Patch::Merge(&patch)).await?;
                }
                Action::SetStatus(status) => {
                    current.status = Some(*status);
                    current = deployments.replace_status(&current.name_any(), &PostParams::default(), &current).await?;
                }
            }
        }
        Ok(())
    }

    async fn create(
        &self,
        deployments: &Api<Deployment>,
        sets: &Api<ReplicaSet>,
        deployment: &Deployment,
        rs: ReplicaSet,
    ) -> Result<(), DeploymentError> {
        let name = rs.name_any();
        match sets.create(&PostParams::default(), &rs).await {
            Ok(created) => {
                let replicas = size::wanted(&created);
                if replicas > 0 {
                    let message = format!("Scaled up replica set {name} from 0 to {replicas}");
                    self.events.record(deployment, Severity::Normal, "ScalingReplicaSet", message);
                }
                Ok(())
            }
            Err(kube::Error::Api(answer)) if answer.code == 409 => {
                let Some(present) = sets.get_opt(&name).await? else {
                    return Err(kube::Error::Api(answer).into());
                };
                let template = |rs: &ReplicaSet| rs.spec.clone().and_then(|spec| spec.template).unwrap_or_default();
                let ours = ownership::is_controlled_by(&present.metadata, &deployment.uid().unwrap_or_default());
                if ours && revision::same_template(&template(&present), &template(&rs)) {
                    // Made by an earlier step that the cache does not show yet.
                    return Ok(());
                }
                let mut status = deployment.status.clone().unwrap_or_default();
                status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
                replace_status(deployments, deployment, status).await?;
                Err(DeploymentError::Collision { name })
            }
            Err(error) => {
                let failed = status::NewSet::CreateFailed { name, cause: error.to_string() };
                let before = deployment.status.clone().unwrap_or_default();
                let status = status::with_progress(deployment, before, &failed, &[], Timestamp::now());
                if Some(&status) != deployment.status.as_ref() {
                    replace_status(deployments, deployment, status).await?;
                }
                Err(error.into())
            }
        }
    }

    async fn update(&self, sets: &Api<ReplicaSet>, deployment: &Deployment, update: Update) -> Result<(), kube::Error> {
        let rs = &update.replica_set;
        let mut patch = json!({"metadata": {"resourceVersion": rs.metadata.resource_version}});
        if !update.annotations.is_empty() {
            patch["metadata"]["annotations"] = json!(update.annotations);
        }
        if let Some(replicas) = update.replicas {
            patch["spec"]["replicas"] = replicas.into();
        }
        if let Some(seconds) = update.min_ready_seconds {
            patch["spec"]["minReadySeconds"] = seconds.into();
        }
        let name = rs.name_any();
        sets.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        if let Some(replicas) = update.replicas {
            let before = size::wanted(rs);
            let direction = if replicas > before { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {name} from {before} to {replicas}");
            self.events.record(deployment, Severity::Normal, "ScalingReplicaSet", message);
        }
        Ok(())
    }
}

async fn replace_status(
    deployments: &Api<Deployment>,
    deployment: &Deployment,
    status: DeploymentStatus,
) -> Result<(), kube::Error> {
    let changed = Deployment { status: Some(status), ..deployment.clone() };
    deployments.replace_status(&deployment.name_any(), &PostParams::default(), &changed).await?;
    Ok(())
}
