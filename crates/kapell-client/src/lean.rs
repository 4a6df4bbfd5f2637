//! Objects as followers of thousands of them read them: the fields that decisions are made of, decoded into Kubernetes' own
//! types, and the rest skipped. Decoding everything, owners of fields above all, costs several times as much, and a
//! start with a hundred thousand pods does it for each follower.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerPort, ContainerStatus, Pod, PodCondition, PodSchedulingGate, PodSpec, PodStatus,
    ResourceRequirements, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use kube::core::{ApiResource, DynamicResourceScope, NamespaceResourceScope};
use serde::{Deserialize, Deserializer};

/// A pod with its metadata (without owners of fields), and with what placing it and counting it takes.
#[derive(Clone, Debug, Default)]
pub struct LeanPod(pub Pod);

/// The metadata of an object of any kind, without the owners of its fields.
#[derive(Clone, Debug, Default)]
pub struct LeanMetadata(pub ObjectMeta);

#[derive(Deserialize)]
struct WireObject {
    metadata: WireMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    finalizers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct WirePod {
    metadata: WireMetadata,
    spec: Option<WireSpec>,
    status: Option<WireStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSpec {
    node_name: Option<String>,
    node_selector: Option<BTreeMap<String, String>>,
    affinity: Option<Affinity>,
    tolerations: Option<Vec<Toleration>>,
    hostname: Option<String>,
    subdomain: Option<String>,
    priority: Option<i32>,
    scheduler_name: Option<String>,
    scheduling_gates: Option<Vec<PodSchedulingGate>>,
    overhead: Option<BTreeMap<String, Quantity>>,
    containers: Option<Vec<WireContainer>>,
    init_containers: Option<Vec<WireContainer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireContainer {
    name: String,
    ports: Option<Vec<ContainerPort>>,
    resources: Option<ResourceRequirements>,
    restart_policy: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    conditions: Option<Vec<PodCondition>>,
    container_statuses: Option<Vec<WireContainerStatus>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireContainerStatus {
    restart_count: Option<i32>,
}

impl From<WireMetadata> for ObjectMeta {
    fn from(wire: WireMetadata) -> Self {
        Self {
            name: wire.name,
            namespace: wire.namespace,
            uid: wire.uid,
            resource_version: wire.resource_version,
            creation_timestamp: wire.creation_timestamp,
            deletion_timestamp: wire.deletion_timestamp,
            labels: wire.labels,
            annotations: wire.annotations,
            owner_references: wire.owner_references,
            finalizers: wire.finalizers,
            ..Self::default()
        }
    }
}

impl From<WireContainer> for Container {
    fn from(wire: WireContainer) -> Self {
        let WireContainer { name, ports, resources, restart_policy } = wire;
        Self { name, ports, resources, restart_policy, ..Self::default() }
    }
}

impl From<WireSpec> for PodSpec {
    fn from(wire: WireSpec) -> Self {
        let containers = |list: Vec<WireContainer>| list.into_iter().map(Container::from).collect::<Vec<_>>();
        Self {
            node_name: wire.node_name,
            node_selector: wire.node_selector,
            affinity: wire.affinity,
            tolerations: wire.tolerations,
            hostname: wire.hostname,
            subdomain: wire.subdomain,
            priority: wire.priority,
            scheduler_name: wire.scheduler_name,
            scheduling_gates: wire.scheduling_gates,
            overhead: wire.overhead,
            containers: wire.containers.map(containers).unwrap_or_default(),
            init_containers: wire.init_containers.map(containers),
            ..Self::default()
        }
    }
}

impl From<WireStatus> for PodStatus {
    fn from(wire: WireStatus) -> Self {
        let restarts = |status: WireContainerStatus| ContainerStatus {
            restart_count: status.restart_count.unwrap_or(0),
            ..ContainerStatus::default()
        };
        let statuses = wire.container_statuses.map(|list| list.into_iter().map(restarts).collect());
        Self {
            phase: wire.phase,
            pod_ip: wire.pod_ip,
            conditions: wire.conditions,
            container_statuses: statuses,
            ..Self::default()
        }
    }
}

impl<'de> Deserialize<'de> for LeanPod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WirePod { metadata, spec, status } = WirePod::deserialize(deserializer)?;
        Ok(Self(Pod { metadata: metadata.into(), spec: spec.map(Into::into), status: status.map(Into::into) }))
    }
}

impl<'de> Deserialize<'de> for LeanMetadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(WireObject::deserialize(deserializer)?.metadata.into()))
    }
}

impl Resource for LeanPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

impl Resource for LeanMetadata {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0
    }
}

#[cfg(test)]
mod tests;
