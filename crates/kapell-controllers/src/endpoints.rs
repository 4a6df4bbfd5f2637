//! Endpoints: the older form of a Service's EndpointSlices, kept for clients that still read it.
//!
//! They follow the slices, not the pods, so that both forms always tell the same. Endpoints of Services without a selector
//! are their author's: there the slices follow, see [`mirror`].

mod mirror;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kapell_client::reconcile::Next;
use kapell_client::{Change, ObjectKey, Queue};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};

use crate::caches::Caches;
use crate::endpointslice;
use crate::ownership::controller_reference;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
/// The server's own Service has a slice without having a selector.
const OWN_SERVICE: (&str, &str) = ("default", "kubernetes");

pub(crate) fn on_slice(queue: &Queue<ObjectKey>, change: &Change<EndpointSlice>) {
    let slice = change.object();
    if let Some(service) = slice.labels().get(SERVICE_NAME) {
        queue.add(ObjectKey::new(slice.namespace().unwrap_or_default(), service));
    }
}

/// Keys are those of Services.
pub(crate) async fn reconcile(client: Client, caches: Caches, key: ObjectKey) -> Result<Next, kube::Error> {
    let service = caches.services.get(&key);
    let present = caches.workloads.endpoints.get(&key);
    let mut slices = caches.endpoint_slices.list_in(&key.namespace);
    slices.retain(|slice| slice.labels().get(SERVICE_NAME) == Some(&key.name));
    let (mirrors, slices): (Vec<_>, Vec<_>) = slices.into_iter().partition(|slice| mirror::is_mirror(slice));
    let selects = service.as_deref().is_some_and(|service| selects(service, &key));
    // Whose the Endpoints are decides which of the two forms follows the other.
    let original = present.as_deref().filter(|endpoints| !selects && !is_ours(endpoints));
    let api = Api::namespaced(client.clone(), &key.namespace);
    endpointslice::write(&api, mirror::plan(service.as_deref(), original, &mirrors)).await?;
    // Endpoints of a Service that is gone go with it by their owner reference.
    match service.filter(|service| selects && service.metadata.deletion_timestamp.is_none()) {
        Some(service) => follow(client, &key, present.as_deref(), plan(&service, &slices)).await,
        None => Ok(Next::OnChange),
    }
}

fn selects(service: &Service, key: &ObjectKey) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let own = (key.namespace.as_str(), key.name.as_str()) == OWN_SERVICE;
    own || selector.is_some_and(|selector| !selector.is_empty())
}

fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(MANAGED_BY.0).is_some_and(|by| by == MANAGED_BY.1)
}

/// Makes the Endpoints what they should be.
async fn follow(
    client: Client,
    key: &ObjectKey,
    present: Option<&Endpoints>,
    wanted: Endpoints,
) -> Result<Next, kube::Error> {
    let api: Api<Endpoints> = Api::namespaced(client, &key.namespace);
    let result = match present {
        None => api.create(&PostParams::default(), &wanted).await,
        Some(present) if is_same(present, &wanted) => return Ok(Next::OnChange),
        Some(present) => {
            let mut changed = present.clone();
            changed.subsets = wanted.subsets;
            changed.metadata.labels = wanted.metadata.labels;
            api.replace(&key.name, &PostParams::default(), &changed).await
        }
    };
    match result {
        // Made, changed or deleted meanwhile: the cache will say so; or the namespace is going.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 409) => Ok(Next::OnChange),
        other => other.map(|_| Next::OnChange),
    }
}

fn is_same(present: &Endpoints, wanted: &Endpoints) -> bool {
    let subsets = |endpoints: &Endpoints| endpoints.subsets.clone().unwrap_or_default();
    subsets(present) == subsets(wanted) && present.metadata.labels == wanted.metadata.labels
}

/// A port in an order that can be sorted: name, number, protocol, application protocol.
type PortKey = (String, i32, String, Option<String>);

/// The Endpoints that say what the slices say: one subset for each set of ports, addresses in order.
fn plan(service: &Service, slices: &[Arc<EndpointSlice>]) -> Endpoints {
    let mut subsets: BTreeMap<Vec<PortKey>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    for slice in slices {
        let mut ports: Vec<PortKey> = slice
            .ports
            .iter()
            .flatten()
            .filter_map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                Some((port.name.clone().unwrap_or_default(), port.port?, protocol, port.app_protocol.clone()))
            })
            .collect();
        ports.sort();
        let (ready, waiting) = subsets.entry(ports).or_default();
        for endpoint in &slice.endpoints {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let address = |ip: &String| EndpointAddress {
                hostname: endpoint.hostname.clone(),
                ip: ip.clone(),
                node_name: endpoint.node_name.clone(),
                target_ref: endpoint.target_ref.clone(),
            };
            let addresses = endpoint.addresses.iter().map(address);
            if conditions.ready != Some(false) {
                ready.extend(addresses);
            } else if conditions.terminating != Some(true) {
                waiting.extend(addresses);
            }
        }
    }
    let subsets = subsets.into_iter().filter(|(_, (ready, waiting))| !(ready.is_empty() && waiting.is_empty()));
    let subsets: Vec<EndpointSubset> = subsets
        .map(|(ports, (ready, waiting))| EndpointSubset {
            addresses: in_order(ready),
            not_ready_addresses: in_order(waiting),
            ports: Some(ports.into_iter().map(port_of).collect::<Vec<_>>()).filter(|ports| !ports.is_empty()),
        })
        .collect();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(service)]),
            ..ObjectMeta::default()
        },
        subsets: (!subsets.is_empty()).then_some(subsets),
    }
}

fn in_order(mut addresses: Vec<EndpointAddress>) -> Option<Vec<EndpointAddress>> {
    addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
    (!addresses.is_empty()).then_some(addresses)
}

fn port_of((name, port, protocol, app_protocol): PortKey) -> EndpointPort {
    EndpointPort { app_protocol, name: Some(name).filter(|name| !name.is_empty()), port, protocol: Some(protocol) }
}
