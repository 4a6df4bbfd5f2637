//! Which objects a pod's volumes and environments are made of. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use kapell_client::ObjectKey;

use crate::ephemeral::{as_container, ephemeral_containers};
use crate::observed::{containers, init_containers};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Dependency {
    ConfigMap(ObjectKey),
    Secret(ObjectKey),
    /// All Services of a namespace: their addresses are in every environment.
    ServicesOf(String),
}

/// The ConfigMaps and Secrets that the pod names, whether or not they exist.
pub(crate) fn dependencies(pod: &Pod) -> BTreeSet<Dependency> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut found = Found { namespace, dependencies: BTreeSet::new() };
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        found.volume(volume);
    }
    for container in init_containers(pod).iter().chain(containers(pod)) {
        found.container(container);
    }
    for container in ephemeral_containers(pod) {
        found.container(&as_container(container));
    }
    found.dependencies
}

struct Found<'a> {
    namespace: &'a str,
    dependencies: BTreeSet<Dependency>,
}

impl Found<'_> {
    fn map(&mut self, name: &str) {
        self.dependencies.insert(Dependency::ConfigMap(ObjectKey::new(self.namespace, name)));
    }

    fn secret(&mut self, name: &str) {
        self.dependencies.insert(Dependency::Secret(ObjectKey::new(self.namespace, name)));
    }

    fn volume(&mut self, volume: &Volume) {
        if let Some(map) = &volume.config_map {
            self.map(&map.name);
        }
        if let Some(name) = volume.secret.as_ref().and_then(|secret| secret.secret_name.as_deref()) {
            self.secret(name);
        }
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            if let Some(map) = &source.config_map {
                self.map(&map.name);
            }
            if let Some(secret) = &source.secret {
                self.secret(&secret.name);
            }
        }
    }

    fn container(&mut self, container: &Container) {
        for source in container.env_from.iter().flatten() {
            if let Some(map) = &source.config_map_ref {
                self.map(&map.name);
            }
            if let Some(secret) = &source.secret_ref {
                self.secret(&secret.name);
            }
        }
        for from in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            if let Some(map) = &from.config_map_key_ref {
                self.map(&map.name);
            }
            if let Some(secret) = &from.secret_key_ref {
                self.secret(&secret.name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
