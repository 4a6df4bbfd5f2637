//! The ConfigMaps, Secrets and Services that pods refer to, and a signal when one of them changes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kapell_client::{Change, Informer, ObjectKey};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::environment::Sources;

pub(crate) struct Objects {
    config_maps: Informer<ConfigMap>,
    secrets: Informer<Secret>,
    services: Informer<Service>,
    /// Counts the changes of ConfigMaps and Secrets. Services are not among them: environments do not follow.
    changes: watch::Receiver<u64>,
}

impl Objects {
    pub(crate) fn start(client: &Client, shutdown: &CancellationToken) -> Self {
        let (sender, changes) = watch::channel(0);
        let sender = Arc::new(sender);
        let (map_sender, secret_sender) = (sender.clone(), sender);
        let on_map = move |_: Change<ConfigMap>| map_sender.send_modify(|count| *count += 1);
        let on_secret = move |_: Change<Secret>| secret_sender.send_modify(|count| *count += 1);
        Self {
            config_maps: Informer::start(Api::all(client.clone()), Default::default(), shutdown.clone(), on_map),
            secrets: Informer::start(Api::all(client.clone()), Default::default(), shutdown.clone(), on_secret),
            services: Informer::start(Api::all(client.clone()), Default::default(), shutdown.clone(), |_| {}),
            changes,
        }
    }

    pub(crate) async fn synced(&self) {
        tokio::join!(self.config_maps.synced(), self.secrets.synced(), self.services.synced());
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}

impl Sources for Objects {
    fn config_map(&self, namespace: &str, name: &str) -> Option<Arc<ConfigMap>> {
        self.config_maps.get(&ObjectKey::new(namespace, name))
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Secret>> {
        self.secrets.get(&ObjectKey::new(namespace, name))
    }

    fn services(&self, namespace: &str) -> Vec<Arc<Service>> {
        self.services.list_in(namespace)
    }
}
