//! The ConfigMaps, Secrets and Services that pods refer to, and a signal to those pods that use one that has changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kapell_client::{Informer, ObjectKey};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::dependencies::Dependency;
use crate::environment::Sources;

pub(crate) struct Objects {
    config_maps: Informer<ConfigMap>,
    secrets: Informer<Secret>,
    services: Informer<Service>,
    register: Arc<Mutex<Register>>,
}

/// Who waits for what. Indexed by the object, so that a change costs its users something and nobody else.
#[derive(Default)]
struct Register {
    next_id: u64,
    waiting: HashMap<Dependency, HashMap<u64, Arc<Notify>>>,
}

impl Register {
    fn wake(&self, dependency: &Dependency) {
        for notify in self.waiting.get(dependency).into_iter().flat_map(HashMap::values) {
            notify.notify_one();
        }
    }
}

/// One pod's entries in the register; dropping it removes them.
pub(crate) struct Interest {
    id: u64,
    dependencies: BTreeSet<Dependency>,
    notify: Arc<Notify>,
    register: Arc<Mutex<Register>>,
}

impl Interest {
    /// From now on these and no others. Changes before the call are not told: look at the objects after it.
    pub(crate) fn set(&mut self, dependencies: BTreeSet<Dependency>) {
        if dependencies == self.dependencies {
            return;
        }
        let mut register = self.register.lock();
        for gone in self.dependencies.difference(&dependencies) {
            if let Some(waiting) = register.waiting.get_mut(gone) {
                waiting.remove(&self.id);
                if waiting.is_empty() {
                    register.waiting.remove(gone);
                }
            }
        }
        for new in dependencies.difference(&self.dependencies) {
            register.waiting.entry(new.clone()).or_default().insert(self.id, self.notify.clone());
        }
        drop(register);
        self.dependencies = dependencies;
    }

    /// Returns when one of them has changed since the last time.
    pub(crate) async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.set(BTreeSet::new());
    }
}

impl Objects {
    pub(crate) fn start(client: &Client, shutdown: &CancellationToken) -> Self {
        let register = Arc::new(Mutex::new(Register::default()));
        let (maps, secrets, services) = (register.clone(), register.clone(), register.clone());
        Self {
            config_maps: Informer::start(
                Api::all(client.clone()),
                Default::default(),
                shutdown.clone(),
                move |change| {
                    maps.lock().wake(&Dependency::ConfigMap(change.key()));
                },
            ),
            secrets: Informer::start(Api::all(client.clone()), Default::default(), shutdown.clone(), move |change| {
                secrets.lock().wake(&Dependency::Secret(change.key()));
            }),
            services: Informer::start(Api::all(client.clone()), Default::default(), shutdown.clone(), move |change| {
                services.lock().wake(&Dependency::ServicesOf(change.key().namespace));
            }),
            register,
        }
    }

    pub(crate) async fn synced(&self) {
        tokio::join!(self.config_maps.synced(), self.secrets.synced(), self.services.synced());
    }

    /// An interest in nothing yet.
    pub(crate) fn interest(&self) -> Interest {
        interest(&self.register)
    }
}

fn interest(register: &Arc<Mutex<Register>>) -> Interest {
    let mut locked = register.lock();
    locked.next_id += 1;
    let (id, notify) = (locked.next_id, Arc::new(Notify::new()));
    Interest { id, dependencies: BTreeSet::new(), notify, register: register.clone() }
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

#[cfg(test)]
mod tests;
