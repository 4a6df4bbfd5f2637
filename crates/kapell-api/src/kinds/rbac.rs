//! Roles and their bindings. What they allow is decided by the API server's authorization; here they are objects.

mod validate;

use serde_json::Value;

use super::cells::{AGE, CREATED_AT, NAME};
use super::field::{each, fill_text, items, part, text};
use super::{PLAIN, schema_of};
use crate::kind::{Column, Kind};

pub(super) const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) const ROLE: Kind = Kind {
    group: GROUP,
    kind: "Role",
    plural: "roles",
    singular: "role",
    columns: &[NAME, CREATED_AT],
    schema: || schema_of("io.k8s.api.rbac.v1.Role"),
    validate: validate::validate_role,
    ..PLAIN
};

pub(super) const CLUSTER_ROLE: Kind = Kind {
    group: GROUP,
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    namespaced: false,
    columns: &[NAME, CREATED_AT],
    schema: || schema_of("io.k8s.api.rbac.v1.ClusterRole"),
    validate: validate::validate_cluster_role,
    ..PLAIN
};

pub(super) const ROLE_BINDING: Kind = Kind {
    group: GROUP,
    kind: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    columns: BINDING_COLUMNS,
    schema: || schema_of("io.k8s.api.rbac.v1.RoleBinding"),
    default: default_binding,
    validate: validate::validate_role_binding,
    validate_update: validate::role_is_kept,
    ..PLAIN
};

pub(super) const CLUSTER_ROLE_BINDING: Kind = Kind {
    group: GROUP,
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    namespaced: false,
    columns: BINDING_COLUMNS,
    schema: || schema_of("io.k8s.api.rbac.v1.ClusterRoleBinding"),
    default: default_binding,
    validate: validate::validate_cluster_role_binding,
    validate_update: validate::role_is_kept,
    ..PLAIN
};

const BINDING_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Role", "string", "The role that is granted.", |binding, _| {
        format!("{}/{}", text(binding, "/roleRef/kind"), text(binding, "/roleRef/name")).into()
    }),
    AGE,
    Column::new("Users", "string", "Users that it is granted to.", |binding, _| subjects(binding, "User")).wide(),
    Column::new("Groups", "string", "Groups that it is granted to.", |binding, _| subjects(binding, "Group")).wide(),
    Column::new("ServiceAccounts", "string", "Service accounts that it is granted to.", |binding, _| {
        subjects(binding, "ServiceAccount")
    })
    .wide(),
];

fn subjects(binding: &Value, kind: &str) -> Value {
    let of_kind = items(binding, "/subjects").iter().filter(|subject| text(subject, "/kind") == kind);
    let names: Vec<String> = of_kind
        .map(|subject| match text(subject, "/namespace") {
            "" => text(subject, "/name").to_owned(),
            namespace => format!("{namespace}/{}", text(subject, "/name")),
        })
        .collect();
    names.join(", ").into()
}

fn default_binding(binding: &mut Value) {
    if let Some(role) = part(binding, "roleRef") {
        fill_text(role, "apiGroup", GROUP);
    }
    for subject in each(binding, "subjects") {
        if matches!(text(subject, "/kind"), "User" | "Group") {
            fill_text(subject, "apiGroup", GROUP);
        }
    }
}

#[cfg(test)]
mod tests;
