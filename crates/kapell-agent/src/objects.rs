//! The ConfigMaps, Secrets and Services that pods refer to, and a signal to those pods that use one that has changed.
//!
//! A ConfigMap or Secret is followed by itself, for as long as a pod names it: a node needs a few of the thousands that a
//! cluster has, and has no business with the others.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kapell_client::{Change, Informer, ObjectKey};
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::dependencies::Dependency;
use crate::environment::Sources;

pub(crate) struct Objects {
    services: Informer<Service>,
    register: Arc<Mutex<Register>>,
}

/// Who waits for what. Indexed by the object, so that a change costs its users something and nobody else.
#[derive(Default)]
struct Register {
    next_id: u64,
    used: HashMap<Dependency, Use>,
    /// Where objects are followed from, and until when.
    source: Option<(Client, CancellationToken)>,
}

/// One object that pods use.
struct Use {
    users: HashMap<u64, Arc<Notify>>,
    copy: Followed,
}

/// The object as it is. What is dropped is no longer followed.
enum Followed {
    ConfigMap(Informer<ConfigMap>, #[expect(dead_code, reason = "held, not read")] DropGuard),
    Secret(Informer<Secret>, #[expect(dead_code, reason = "held, not read")] DropGuard),
    /// Services have a copy of their own.
    Elsewhere,
}

impl Register {
    fn wake(&self, dependency: &Dependency) {
        for notify in self.used.get(dependency).into_iter().flat_map(|used| used.users.values()) {
            notify.notify_one();
        }
    }
}

/// Follows one object alone.
fn follow<K>(
    (client, shutdown): &(Client, CancellationToken),
    key: &ObjectKey,
    changed: impl Fn() + Send + 'static,
) -> (Informer<K>, DropGuard)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let until = shutdown.child_token();
    let only = watcher::Config::default().fields(&format!("metadata.name={}", key.name));
    let api: Api<K> = Api::namespaced(client.clone(), &key.namespace);
    (Informer::start(api, only, until.clone(), move |_: Change<K>| changed()), until.drop_guard())
}

fn copy_of(register: &Arc<Mutex<Register>>, source: &(Client, CancellationToken), dependency: &Dependency) -> Followed {
    // The copy is in the register; a reference back would keep both for ever.
    let (weak, changed) = (Arc::downgrade(register), dependency.clone());
    let wake = move || {
        if let Some(register) = weak.upgrade() {
            register.lock().wake(&changed);
        }
    };
    match dependency {
        Dependency::ConfigMap(key) => {
            let (informer, guard) = follow(source, key, wake);
            Followed::ConfigMap(informer, guard)
        }
        Dependency::Secret(key) => {
            let (informer, guard) = follow(source, key, wake);
            Followed::Secret(informer, guard)
        }
        Dependency::ServicesOf(_) => Followed::Elsewhere,
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
    /// From now on these and no others. Changes before the call are not told: look at the objects after it, and after
    /// [`Interest::known`].
    pub(crate) fn set(&mut self, dependencies: BTreeSet<Dependency>) {
        if dependencies == self.dependencies {
            return;
        }
        let mut register = self.register.lock();
        for gone in self.dependencies.difference(&dependencies) {
            if let Some(used) = register.used.get_mut(gone) {
                used.users.remove(&self.id);
                if used.users.is_empty() {
                    register.used.remove(gone);
                }
            }
        }
        let source = register.source.clone();
        for new in dependencies.difference(&self.dependencies) {
            let used = register.used.entry(new.clone()).or_insert_with(|| Use {
                users: HashMap::new(),
                copy: source.as_ref().map_or(Followed::Elsewhere, |source| copy_of(&self.register, source, new)),
            });
            used.users.insert(self.id, self.notify.clone());
        }
        drop(register);
        self.dependencies = dependencies;
    }

    /// Returns when it is known of each of them whether it exists, and what it says; at once when that was so before.
    pub(crate) async fn known(&self) {
        for dependency in &self.dependencies {
            let copy = self.register.lock().used.get(dependency).and_then(|used| match &used.copy {
                Followed::ConfigMap(informer, _) => Some(Either::ConfigMap(informer.clone())),
                Followed::Secret(informer, _) => Some(Either::Secret(informer.clone())),
                Followed::Elsewhere => None,
            });
            match copy {
                Some(Either::ConfigMap(informer)) => informer.synced().await,
                Some(Either::Secret(informer)) => informer.synced().await,
                None => {}
            }
        }
    }

    /// Returns when one of them has changed since the last time.
    pub(crate) async fn changed(&self) {
        self.notify.notified().await;
    }
}

/// What is waited for without the register.
enum Either {
    ConfigMap(Informer<ConfigMap>),
    Secret(Informer<Secret>),
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.set(BTreeSet::new());
    }
}

impl Objects {
    pub(crate) fn start(client: &Client, shutdown: &CancellationToken) -> Self {
        let source = Some((client.clone(), shutdown.clone()));
        let register = Arc::new(Mutex::new(Register { source, ..Register::default() }));
        let of_services = register.clone();
        let on_service = move |change: Change<Service>| {
            of_services.lock().wake(&Dependency::ServicesOf(change.key().namespace));
        };
        let services = Informer::start(Api::all(client.clone()), Default::default(), shutdown.clone(), on_service);
        Self { services, register }
    }

    pub(crate) async fn synced(&self) {
        self.services.synced().await;
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
        let key = ObjectKey::new(namespace, name);
        match &self.register.lock().used.get(&Dependency::ConfigMap(key.clone()))?.copy {
            Followed::ConfigMap(informer, _) => informer.get(&key),
            Followed::Secret(..) | Followed::Elsewhere => None,
        }
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Secret>> {
        let key = ObjectKey::new(namespace, name);
        match &self.register.lock().used.get(&Dependency::Secret(key.clone()))?.copy {
            Followed::Secret(informer, _) => informer.get(&key),
            Followed::ConfigMap(..) | Followed::Elsewhere => None,
        }
    }

    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.get(&ObjectKey::new(namespace, name))
    }

    fn services(&self, namespace: &str) -> Vec<Arc<Service>> {
        self.services.list_in(namespace)
    }
}

#[cfg(test)]
mod tests;
