//! The downward API: fields of the pod and of its containers' resources as text.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use kapell_api::quantity::Quantity;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    #[error("fieldRef: field \"{0}\" is not supported")]
    Unsupported(String),
    #[error("resourceFieldRef: resource \"{0}\" is not supported")]
    UnsupportedResource(String),
    #[error("resourceFieldRef: container \"{0}\" not found")]
    NoSuchContainer(String),
    #[error("resourceFieldRef: \"{0}\" is not a quantity")]
    BadQuantity(String),
}

/// A field of the pod, as `fieldRef.fieldPath` names it.
pub(crate) fn field(pod: &Pod, path: &str, pod_ip: Ipv4Addr, host_ip: Ipv4Addr) -> Result<String, FieldError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let unsupported = || FieldError::Unsupported(path.to_owned());
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(unsupported()),
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    let lines = |map: &Option<std::collections::BTreeMap<String, String>>| {
        let line = |(key, value): (&String, &String)| format!("{key}={value:?}");
        map.iter().flatten().map(line).collect::<Vec<_>>().join("\n")
    };
    let value = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => Some(lines(&meta.labels)),
        "metadata.annotations" => Some(lines(&meta.annotations)),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.hostIP" | "status.hostIPs" => Some(host_ip.to_string()),
        "status.podIP" | "status.podIPs" => Some(pod_ip.to_string()),
        _ => return Err(unsupported()),
    };
    Ok(value.unwrap_or_default())
}

/// A limit or request, divided by `divisor` and rounded up. `container` is the default one.
pub(crate) fn resource_field(
    pod: &Pod,
    container: Option<&Container>,
    selector: &ResourceFieldSelector,
) -> Result<String, FieldError> {
    let wanted = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match wanted {
        None => container,
        Some(name) => crate::observed::containers(pod)
            .iter()
            .chain(crate::observed::init_containers(pod))
            .find(|container| container.name == name),
    };
    let container = container.ok_or_else(|| FieldError::NoSuchContainer(wanted.unwrap_or_default().to_owned()))?;
    let unsupported = || FieldError::UnsupportedResource(selector.resource.clone());
    let (list, resource) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    if !matches!(resource, "cpu" | "memory" | "ephemeral-storage") {
        return Err(unsupported());
    }
    let resources = container.resources.clone().unwrap_or_default();
    let given = match list {
        "limits" => resources.limits.and_then(|limits| limits.get(resource).cloned()),
        // A request that is not given is as large as the limit.
        "requests" => resources
            .requests
            .and_then(|requests| requests.get(resource).cloned())
            .or_else(|| resources.limits.and_then(|limits| limits.get(resource).cloned())),
        _ => return Err(unsupported()),
    };
    let parse = |text: &str| Quantity::parse(text).map_err(|_| FieldError::BadQuantity(text.to_owned()));
    let amount = match (given, resource) {
        (Some(quantity), _) => parse(&quantity.0)?,
        (None, "cpu") => Quantity::from_value(crate::node::cpus()),
        (None, "memory") => Quantity::from_bytes(crate::node::memory_bytes()),
        (None, _) => Quantity::ZERO,
    };
    let divisor = match &selector.divisor {
        Some(divisor) if divisor.0 != "0" && !divisor.0.is_empty() => parse(&divisor.0)?,
        _ => Quantity::from_value(1),
    };
    // Thousandths are exact for cpu; whole units are for bytes, where thousandths could overflow.
    let (amount, divisor) = match resource {
        "cpu" => (amount.milli(), divisor.milli()),
        _ => (amount.value(), divisor.value()),
    };
    let divisor = divisor.max(1);
    Ok((amount / divisor + i64::from(amount % divisor > 0)).to_string())
}
