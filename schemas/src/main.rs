//! Prints the JSON Schemas of the kinds that Kapell serves, and of all types that they use, as `schemars` writes them for
//! `k8s-openapi`'s types: a line each, name, tab, schema, in the order of the names. `cargo xtask schemas` keeps what it
//! prints.

#![allow(clippy::print_stdout, reason = "the lines are this program's output")]

use k8s_openapi::api::{
    apps, authentication, authorization, autoscaling, batch, certificates, coordination, core, discovery, events,
    flowcontrol, networking, node, policy, rbac, scheduling, storage,
};
use schemars::SchemaGenerator;

macro_rules! kinds {
    ($generator:ident: $($kind:ty),* $(,)?) => { $($generator.subschema_for::<$kind>();)* };
}

fn main() {
    let mut generator = SchemaGenerator::default();
    kinds!(generator:
        apps::v1::ControllerRevision, apps::v1::DaemonSet, apps::v1::Deployment, apps::v1::ReplicaSet,
        apps::v1::StatefulSet, authentication::v1::SelfSubjectReview, authentication::v1::TokenReview,
        authorization::v1::LocalSubjectAccessReview, authorization::v1::SelfSubjectAccessReview,
        authorization::v1::SelfSubjectRulesReview, authorization::v1::SubjectAccessReview,
        autoscaling::v1::HorizontalPodAutoscaler, autoscaling::v2::HorizontalPodAutoscaler, batch::v1::CronJob,
        batch::v1::Job, certificates::v1::CertificateSigningRequest, coordination::v1::Lease, core::v1::ConfigMap,
        core::v1::Endpoints, core::v1::Event, core::v1::LimitRange, core::v1::Namespace, core::v1::Node,
        core::v1::PersistentVolume, core::v1::PersistentVolumeClaim, core::v1::Pod, core::v1::PodTemplate,
        core::v1::ReplicationController, core::v1::ResourceQuota, core::v1::Secret, core::v1::Service,
        core::v1::ServiceAccount, discovery::v1::EndpointSlice, events::v1::Event, flowcontrol::v1::FlowSchema,
        flowcontrol::v1::PriorityLevelConfiguration, networking::v1::Ingress,
        networking::v1::IngressClass, networking::v1::NetworkPolicy, node::v1::RuntimeClass,
        policy::v1::PodDisruptionBudget, rbac::v1::ClusterRole, rbac::v1::ClusterRoleBinding, rbac::v1::Role,
        rbac::v1::RoleBinding, scheduling::v1::PriorityClass, storage::v1::CSIDriver, storage::v1::CSINode,
        storage::v1::CSIStorageCapacity, storage::v1::StorageClass, storage::v1::VolumeAttachment,
    );
    let definitions = generator.take_definitions(true);
    let mut lines: Vec<String> = definitions.iter().map(|(name, schema)| format!("{name}\t{schema}")).collect();
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
}
