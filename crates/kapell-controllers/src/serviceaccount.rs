//! Each namespace has a ServiceAccount `default`, also after somebody has deleted it.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kapell_client::ObjectKey;
use kapell_client::reconcile::Next;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::caches::Caches;

pub(crate) const NAME: &str = "default";

/// Keys are namespaces.
pub(crate) async fn reconcile(client: Client, caches: Caches, key: ObjectKey) -> Result<Next, kube::Error> {
    let namespace = caches.namespaces.get(&key).filter(|ns| ns.metadata.deletion_timestamp.is_none());
    let present = caches.service_accounts.get(&ObjectKey::new(&key.name, NAME));
    if namespace.is_none() || present.is_some() {
        return Ok(Next::OnChange);
    }
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(key.name.clone()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(client, &key.name);
    match api.create(&PostParams::default(), &account).await {
        // Made meanwhile, or the namespace has gone or is going.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 409) => Ok(Next::OnChange),
        other => other.map(|_| Next::OnChange),
    }
}
