//! Making and deleting the pods of a workload: in batches that grow while they succeed, so that a refusal (a quota, a
//! webhook) is met by one request and not by five hundred. [`expectations`] keep an owner from acting on a cache that has
//! not caught up with its own doings.

pub(crate) mod expectations;

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kapell_client::{Change, Recorder, Severity};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};

use self::expectations::Expectations;
use crate::ownership::{self, Namespaced};
use crate::pod::{self, KnownPod};

/// Why pods could not be made or deleted, as a condition says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

#[derive(Clone)]
pub(crate) struct PodControl {
    pub(crate) client: Client,
    pub(crate) events: Recorder,
    pub(crate) expectations: Expectations,
}

/// Ticks off what was expected of a pod's controller.
pub(crate) fn observe(expectations: &Expectations, change: &Change<KnownPod>) {
    let pod = change.object();
    let Some(owner) = pod.controller() else { return };
    let uid = &*pod.id.uid;
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

impl PodControl {
    /// Creates in batches of 1, 2, 4, … and stops after the first that fails.
    pub(crate) async fn create<O: Namespaced>(&self, owner: &O, pods: Vec<Pod>) -> Option<Failure> {
        let uid = owner.uid().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &owner.namespace().unwrap_or_default());
        let params = PostParams::default();
        self.expectations.expect(&uid, pods.len(), HashSet::new());
        let (mut left, mut batch) = (pods.as_slice(), 1);
        while !left.is_empty() {
            let (now, later) = left.split_at(batch.min(left.len()));
            let results = join_all(now.iter().map(|pod| api.create(&params, pod))).await;
            left = later;
            let mut failed = None;
            for result in results {
                match result {
                    Ok(pod) => {
                        let message = format!("Created pod: {}", pod.name_any());
                        self.events.record(owner, Severity::Normal, "SuccessfulCreate", message);
                    }
                    Err(error) => {
                        self.expectations.created(&uid, 1);
                        failed = Some(error);
                    }
                }
            }
            if let Some(error) = failed {
                self.expectations.created(&uid, left.len());
                let message = explain(&error);
                self.events.record(owner, Severity::Warning, "FailedCreate", format!("Error creating: {message}"));
                return Some(Failure { reason: "FailedCreate", message });
            }
            batch *= 2;
        }
        None
    }

    pub(crate) async fn delete<O: Namespaced>(&self, owner: &O, pods: Vec<Arc<KnownPod>>) -> Option<Failure> {
        let uid = owner.uid().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &owner.namespace().unwrap_or_default());
        self.expectations.expect(&uid, 0, pods.iter().map(|pod| pod.id.uid.to_string()).collect());
        let results = join_all(pods.iter().map(|pod| delete_pod(&api, pod))).await;
        let mut failure = None;
        for (pod, result) in pods.iter().zip(results) {
            match result {
                Ok(()) => {
                    let message = format!("Deleted pod: {}", pod.id.name);
                    self.events.record(owner, Severity::Normal, "SuccessfulDelete", message);
                }
                Err(error) => {
                    self.expectations.deleted(&uid, &pod.id.uid);
                    // Gone or replaced already: the cache will say so.
                    if !is_gone(&error) {
                        let message = explain(&error);
                        let told = format!("Error deleting: {message}");
                        self.events.record(owner, Severity::Warning, "FailedDelete", told);
                        failure = Some(Failure { reason: "FailedDelete", message });
                    }
                }
            }
        }
        failure
    }
}

/// Deletes this pod, and no other of its name.
pub(crate) async fn delete_pod(api: &Api<Pod>, pod: &KnownPod) -> Result<(), kube::Error> {
    let only = Preconditions { uid: Some(pod.id.uid.to_string()), resource_version: None };
    api.delete(&pod.id.name, &DeleteParams::default().preconditions(only)).await.map(drop)
}

/// Whether a deletion failed because its object is gone or is another one by now.
pub(crate) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}

/// The server's own words where there are any.
pub(crate) fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// The pod that a template describes, owned by `owner`; the server finds the end of its name.
pub(crate) fn of_template<O: Namespaced>(owner: &O, template: PodTemplateSpec) -> Pod {
    let meta = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", owner.name_any())),
            namespace: owner.namespace(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![ownership::controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}
