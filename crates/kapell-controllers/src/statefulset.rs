//! StatefulSets: pods with a number and a name that stays, made and replaced in order.
//!
//! [`plan`] looks at the numbers; this module writes. Pods are named by the set, so a plan made from a cache that lags
//! asks for a pod that is there already, which the server refuses, and nothing is made twice.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kapell_client::reconcile::Next;
use kapell_client::{ObjectKey, Recorder, Severity};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};

use self::plan::{Action, Snapshot};
use crate::caches::Caches;
use crate::pod::KnownPod;
use crate::{ownership, pods, revision};

#[derive(Debug, thiserror::Error)]
pub(crate) enum StatefulSetError {
    /// The retry comes with back-off.
    #[error("{what} pod {name} failed: {message}")]
    Pod { what: &'static str, name: String, message: String },
    #[error(transparent)]
    Api(#[from] kube::Error),
}

#[derive(Clone)]
pub(crate) struct StatefulSetController {
    pub(crate) client: Client,
    pub(crate) caches: Caches,
    pub(crate) events: Recorder,
}

impl StatefulSetController {
    pub(crate) async fn reconcile(self, key: ObjectKey) -> Result<Next, StatefulSetError> {
        let Some(set) = self.caches.workloads.stateful_sets.get(&key) else { return Ok(Next::OnChange) };
        let Some(spec) = &set.spec else { return Ok(Next::OnChange) };
        let Some(selector) = ownership::selector(&spec.selector) else { return Ok(Next::OnChange) };
        let named = self.caches.pods.list_in(&key.namespace);
        let named = named.into_iter().filter(|pod| plan::ordinal(&key.name, &pod.id.name).is_some());
        let claim = ownership::claim(&set.metadata, &selector, named.collect());
        ownership::settle(&self.client, set.as_ref(), &claim).await?;
        let mut pods = claim.owned;
        pods.extend(claim.adopt);

        let revisions = self.revisions(&set);
        let in_use = self.in_use(&set, &pods);
        let limit = usize::try_from(spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
        let planned = revision::plan(set.as_ref(), &spec.template, &revisions, limit, &in_use);
        if set.metadata.deletion_timestamp.is_none() {
            revision::carry_out(&self.client, &key.namespace, &planned).await?;
        }

        let before = set.status.as_ref().and_then(|status| status.current_revision.clone());
        let current = before.filter(|name| revisions.iter().any(|revision| revision.name_any() == *name));
        let current = current.unwrap_or_else(|| planned.update.clone());
        let snapshot =
            Snapshot { set: &set, pods: &pods, current: &current, update: &planned.update, now: Timestamp::now() };
        let old_template = revisions.iter().find(|revision| revision.name_any() == current);
        let old_template = old_template.and_then(|revision| revision::template_of(revision));
        let mut failure = None;
        for action in plan::plan(&snapshot) {
            if let Err(error) = self.act(&snapshot, old_template.as_ref(), &action).await {
                failure = Some(error);
                break;
            }
        }
        let (status, next) = plan::status(&snapshot);
        if set.status.as_ref() != Some(&status) {
            let api: Api<StatefulSet> = Api::namespaced(self.client.clone(), &key.namespace);
            let changed = StatefulSet { status: Some(status), ..set.as_ref().clone() };
            api.replace_status(&key.name, &PostParams::default(), &changed).await?;
        }
        match failure {
            Some(failure) => Err(failure),
            None => Ok(next.map_or(Next::OnChange, Next::After)),
        }
    }

    fn revisions(&self, set: &StatefulSet) -> Vec<Arc<ControllerRevision>> {
        let uid = set.uid().unwrap_or_default();
        let mut all = self.caches.workloads.revisions.list_in(&set.namespace().unwrap_or_default());
        all.retain(|revision| ownership::is_controlled_by(&revision.metadata, &uid));
        all
    }

    fn in_use(&self, set: &StatefulSet, pods: &[Arc<KnownPod>]) -> BTreeSet<String> {
        let of_pods = pods.iter().filter_map(|pod| pod.labels.get(revision::HASH_LABEL).cloned());
        let current = set.status.as_ref().and_then(|status| status.current_revision.clone());
        of_pods.chain(current).collect()
    }

    async fn act(
        &self,
        snapshot: &Snapshot<'_>,
        old_template: Option<&PodTemplateSpec>,
        action: &Action,
    ) -> Result<(), StatefulSetError> {
        let set = snapshot.set;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &set.namespace().unwrap_or_default());
        let (what, name, result) = match action {
            Action::Create { ordinal, revision } => {
                let template = old_template.filter(|_| revision != snapshot.update);
                let pod = plan::pod_of(set, *ordinal, revision, template);
                match api.create(&PostParams::default(), &pod).await {
                    // There already, unseen as yet.
                    Err(kube::Error::Api(status)) if status.code == 409 => return Ok(()),
                    result => ("create", pod.name_any(), result.map(drop)),
                }
            }
            Action::Delete(pod) => match pods::delete_pod(&api, pod).await {
                Err(error) if pods::is_gone(&error) => return Ok(()),
                result => ("delete", pod.id.name.to_string(), result),
            },
        };
        let (reason, failed) = match action {
            Action::Create { .. } => ("SuccessfulCreate", "FailedCreate"),
            Action::Delete(_) => ("SuccessfulDelete", "FailedDelete"),
        };
        match result {
            Ok(()) => {
                let message = format!("{what} Pod {name} in StatefulSet {} successful", set.name_any());
                self.events.record(set, Severity::Normal, reason, message);
                Ok(())
            }
            Err(error) => {
                let message = pods::explain(&error);
                let told = format!("{what} Pod {name} in StatefulSet {} failed error: {message}", set.name_any());
                self.events.record(set, Severity::Warning, failed, told);
                Err(StatefulSetError::Pod { what, name, message })
            }
        }
    }
}
