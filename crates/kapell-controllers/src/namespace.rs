//! Namespace deletion: everything in it goes first, then the namespace itself.
//!
//! Woken by the end of each object in a namespace that is Terminating, so it never asks again by the clock.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kapell_client::reconcile::Next;
use kapell_client::{Change, Informer, ObjectKey, Queue};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use self::plan::Rest;
use crate::caches::Caches;
use crate::garbage::graph::Node;
use crate::metadata::Kind;

#[derive(Clone)]
pub(crate) struct NamespaceController {
    pub(crate) client: Client,
    pub(crate) caches: Caches,
    pub(crate) kinds: Arc<Vec<Kind>>,
}

/// Queues a Terminating namespace when something in it has changed or gone.
pub(crate) fn on_content(namespaces: &Informer<Namespace>, queue: &Queue<ObjectKey>, change: &Change<Node>) {
    let namespace = &*change.object().id.namespace;
    if namespace.is_empty() {
        return;
    }
    let key = ObjectKey::new("", namespace);
    if namespaces.get(&key).is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
        queue.add(key);
    }
}

impl NamespaceController {
    pub(crate) async fn reconcile(self, key: ObjectKey) -> Result<Next, kube::Error> {
        let namespace = self.caches.namespaces.get(&key).filter(|ns| ns.metadata.deletion_timestamp.is_some());
        let Some(namespace) = namespace else { return Ok(Next::OnChange) };
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
            return Ok(Next::OnChange);
        }
        let mut rests = Vec::new();
        for kind in self.kinds.iter().filter(|kind| kind.namespaced) {
            rests.push(self.empty(kind, &key.name).await?);
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let before = namespace.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let conditions = plan::conditions(&rests, &before, Timestamp::now());
        let mut current = namespace.as_ref().clone();
        if conditions != before {
            current.status.get_or_insert_default().conditions = Some(conditions);
            current = match api.replace_status(&key.name, &PostParams::default(), &current).await {
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Next::OnChange),
                other => other?,
            };
        }
        if rests.iter().all(|rest| rest.objects == 0) {
            self.finalize(current).await?;
        }
        Ok(Next::OnChange)
    }

    /// Deletes the objects of one kind that are not going already; says what is left.
    async fn empty(&self, kind: &Kind, namespace: &str) -> Result<Rest, kube::Error> {
        let api = kind.api(&self.client, namespace);
        let left = api.list(&ListParams::default()).await?.items;
        let alive = left.iter().any(|object| object.metadata.deletion_timestamp.is_none());
        let left = if alive {
            api.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
            api.list(&ListParams::default()).await?.items
        } else {
            left
        };
        let finalizers = left.iter().flat_map(|object| object.finalizers().iter().cloned()).collect();
        let resource = format!("{}.{}", kind.resource.plural, kind.resource.group);
        Ok(Rest { resource, objects: left.len(), finalizers })
    }

    async fn finalize(&self, namespace: Namespace) -> Result<(), kube::Error> {
        let name = namespace.name_any();
        let finalizers = namespace.spec.and_then(|spec| spec.finalizers).unwrap_or_default();
        let kept: Vec<_> = finalizers.into_iter().filter(|finalizer| finalizer != "kubernetes").collect();
        let body = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": namespace.metadata, "spec": {"finalizers": kept},
        });
        let body = serde_json::to_vec(&body).map_err(kube::Error::SerdeError)?;
        let request = http::Request::put(format!("/api/v1/namespaces/{name}/finalize"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(kube::Error::HttpError)?;
        match self.client.request::<serde_json::Value>(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    }
}
