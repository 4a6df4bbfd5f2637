//! Validation of a container's environment.

use crate::kinds::field::Field;
use crate::kinds::meta;
use crate::names;
use crate::problem::Problem;

const SOURCES: &[&str] = &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"];

/// Fields that a variable can take its value from, besides single labels and annotations.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Resources that a variable or file can show.
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn validate(container: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    for variable in container.field("env").items() {
        meta::check_required(&variable.field("name"), names::env_var_name, problems);
        let source = variable.field("valueFrom");
        if source.is_set() {
            check_source(&source, !variable.field("value").text().is_empty(), problems);
        }
    }
    for source in container.field("envFrom").items() {
        meta::check_if_set(&source.field("prefix"), names::env_var_name, problems);
        let (map, secret) = (source.field("configMapRef"), source.field("secretRef"));
        match (map.is_set(), secret.is_set()) {
            (false, false) => problems.push(source.invalid("must specify one of: `configMapRef` or `secretRef`")),
            (true, true) => problems.push(source.invalid("may not have more than one field specified at a time")),
            (true, false) => meta::check_required(&map.field("name"), names::dns1123_subdomain, problems),
            (false, true) => meta::check_required(&secret.field("name"), names::dns1123_subdomain, problems),
        }
    }
}

fn check_source(source: &Field<'_, '_>, has_value: bool, problems: &mut Vec<Problem>) {
    match SOURCES.iter().filter(|name| source.field(name).is_set()).count() {
        0 => problems.push(
            source.invalid("must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"),
        ),
        1 if has_value => problems.push(source.invalid("may not be specified when `value` is not empty")),
        1 => {}
        _ => problems.push(source.invalid("may not have more than one field specified at a time")),
    }
    let field = source.field("fieldRef");
    if field.is_set() {
        check_field_ref(&field, ENV_FIELDS, problems);
    }
    let resource = source.field("resourceFieldRef");
    if resource.is_set() {
        check_resource_ref(&resource, problems);
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        let reference = source.field(name);
        if reference.is_set() {
            meta::check_required(&reference.field("name"), names::dns1123_subdomain, problems);
            meta::check_required(&reference.field("key"), names::config_key, problems);
        }
    }
}

/// A reference to one of the pod's own `fields`, or to one of its labels or annotations.
pub(super) fn check_field_ref(reference: &Field<'_, '_>, fields: &[&str], problems: &mut Vec<Problem>) {
    let path = reference.field("fieldPath");
    match path.text() {
        "" => problems.push(path.required("")),
        text if subscripted(text) => {}
        _ => path.one_of(fields, problems),
    }
}

/// `metadata.labels['key']` or `metadata.annotations['key']`.
fn subscripted(path: &str) -> bool {
    let rest = path.strip_prefix("metadata.labels['").or_else(|| path.strip_prefix("metadata.annotations['"));
    rest.and_then(|rest| rest.strip_suffix("']"))
        .is_some_and(|key| names::qualified_name(&key.to_lowercase()).is_empty())
}

/// A reference to a container's limits or requests.
pub(super) fn check_resource_ref(reference: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let resource = reference.field("resource");
    if resource.text().is_empty() {
        problems.push(resource.required(""));
    } else {
        resource.one_of(RESOURCES, problems);
    }
}
