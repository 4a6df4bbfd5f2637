//! Each namespace has a ConfigMap `kube-root-ca.crt` with the certificate by which its pods recognise this server.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kapell_client::ObjectKey;
use kapell_client::reconcile::Next;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::caches::Caches;

pub(crate) const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const ABOUT: (&str, &str) =
    ("kubernetes.io/description", "The certificate of the API server's authority, for verifying connections to it.");

/// Keys are namespaces.
pub(crate) async fn reconcile(
    client: Client,
    caches: Caches,
    certificate: String,
    key: ObjectKey,
) -> Result<Next, kube::Error> {
    let namespace = caches.namespaces.get(&key).filter(|ns| ns.metadata.deletion_timestamp.is_none());
    if namespace.is_none() {
        return Ok(Next::OnChange);
    }
    let data = BTreeMap::from([(KEY.to_owned(), certificate)]);
    let api: Api<ConfigMap> = Api::namespaced(client, &key.name);
    let result = match caches.workloads.root_certificates.get(&ObjectKey::new(&key.name, NAME)) {
        Some(present) if present.data.as_ref() == Some(&data) => return Ok(Next::OnChange),
        Some(present) => {
            let changed = ConfigMap { data: Some(data), ..present.as_ref().clone() };
            api.replace(NAME, &PostParams::default(), &changed).await
        }
        None => {
            let metadata = ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(key.name.clone()),
                annotations: Some(BTreeMap::from([(ABOUT.0.to_owned(), ABOUT.1.to_owned())])),
                ..ObjectMeta::default()
            };
            api.create(&PostParams::default(), &ConfigMap { data: Some(data), metadata, ..ConfigMap::default() }).await
        }
    };
    match result {
        // Made or deleted meanwhile, or the namespace has gone or is going.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 409) => Ok(Next::OnChange),
        other => other.map(|_| Next::OnChange),
    }
}
