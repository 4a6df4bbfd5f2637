//! EndpointSlices: where the pods behind a Service can be reached, and which of them take new connections.
//!
//! [`plan`] compares; this module writes. Slices that somebody else manages, and Services without a selector, are none
//! of its business.

pub(crate) mod plan;
#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kapell_client::reconcile::Next;
use kapell_client::{Change, Informer, ObjectKey, Queue};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};

use self::plan::Action;
use crate::caches::Caches;
use crate::pod::KnownPod;

#[derive(Clone)]
pub(crate) struct EndpointSliceController {
    pub(crate) client: Client,
    pub(crate) caches: Caches,
}

/// Queues the Services that the pod belongs to or has just left.
pub(crate) fn on_pod(services: &Informer<Service>, queue: &Queue<ObjectKey>, change: &Change<KnownPod>) {
    let (new, old) = match change {
        Change::Applied { old, new } => (new, old.as_ref()),
        Change::Deleted(pod) => (pod, None),
    };
    for service in services.list_in(&new.id.namespace) {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let Some(selector) = selector.filter(|selector| !selector.is_empty()) else { continue };
        if [Some(new), old].into_iter().flatten().any(|pod| plan::is_selected(pod, selector)) {
            queue.add(ObjectKey::of(service.as_ref()));
        }
    }
}

/// Queues the Service of a slice of ours, so that a slice that somebody has changed or deleted is put right.
pub(crate) fn on_slice(queue: &Queue<ObjectKey>, change: &Change<EndpointSlice>) {
    let slice = change.object();
    if let Some(service) = service_of(slice) {
        queue.add(ObjectKey::new(slice.metadata.namespace.clone().unwrap_or_default(), service));
    }
}

fn service_of(slice: &EndpointSlice) -> Option<&String> {
    let labels = slice.metadata.labels.as_ref()?;
    let ours = labels.get(plan::MANAGED_BY).is_some_and(|manager| manager == plan::OURSELVES);
    labels.get(plan::SERVICE_NAME).filter(|_| ours)
}

impl EndpointSliceController {
    pub(crate) async fn reconcile(self, key: ObjectKey) -> Result<Next, kube::Error> {
        // The slices of a Service that is gone go with it by their owner reference.
        let Some(service) = self.caches.services.get(&key) else { return Ok(Next::OnChange) };
        let pods = self.caches.pods.list_in(&key.namespace);
        let mut slices = self.caches.endpoint_slices.list_in(&key.namespace);
        slices.retain(|slice| service_of(slice) == Some(&key.name));
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        write(&api, plan::plan(&service, &pods, &slices)).await?;
        Ok(Next::OnChange)
    }
}

/// Carries out a plan.
pub(crate) async fn write(api: &Api<EndpointSlice>, actions: Vec<Action>) -> Result<(), kube::Error> {
    for action in actions {
        match action {
            Action::Create(slice) => drop(api.create(&PostParams::default(), &slice).await?),
            Action::Update(slice) => drop(api.replace(&slice.name_any(), &PostParams::default(), &slice).await?),
            Action::Delete(slice) => {
                let only = Preconditions { uid: slice.uid(), resource_version: None };
                match api.delete(&slice.name_any(), &DeleteParams::default().preconditions(only)).await {
                    Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
                    other => drop(other?),
                }
            }
        }
    }
    Ok(())
}
