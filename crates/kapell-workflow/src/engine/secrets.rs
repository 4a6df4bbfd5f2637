//! Where the values of secrets come from.

use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

/// Reads Secrets. Each call that needs one reads it anew, so that a changed one is used at once.
#[async_trait]
pub(crate) trait Secrets: Send + Sync {
    /// The decoded data of a Secret; `None` when there is no such Secret.
    ///
    /// # Errors
    /// When it cannot be read, in a few words.
    async fn read(&self, namespace: &str, name: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, String>;
}

/// Those of the cluster.
pub(super) struct Cluster(pub(super) kube::Client);

#[async_trait]
impl Secrets for Cluster {
    async fn read(&self, namespace: &str, name: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, String> {
        let api: Api<Secret> = Api::namespaced(self.0.clone(), namespace);
        let secret = api.get_opt(name).await.map_err(|error| error.to_string())?;
        let data = |secret: Secret| secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        Ok(secret.map(|secret| data(secret).collect()))
    }
}

/// For engines without a cluster: these, in every namespace.
#[derive(Default)]
pub(crate) struct Given(pub(crate) BTreeMap<String, BTreeMap<String, String>>);

#[async_trait]
impl Secrets for Given {
    async fn read(&self, _namespace: &str, name: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, String> {
        let data = |data: &BTreeMap<String, String>| {
            data.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes())).collect()
        };
        Ok(self.0.get(name).map(data))
    }
}
