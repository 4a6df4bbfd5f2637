//! Defaults of pods. Those of the specification are shared with pod templates; requests, the service account and the
//! tolerations are filled in on pods alone, so that a template stays as its author wrote it.

use serde_json::{Map, Value, json};

use super::is_process;
use crate::kinds::field::{each, entries, fill, fill_number, fill_text, int, items, part, part_or_new, text, truth};

/// Permissions of files from volumes: `0644`.
const FILE_MODE: i64 = 420;
/// How long a pod stays on a node that went away, unless it says otherwise.
const EVICTION_SECONDS: i64 = 300;
/// How long a projected token lives.
const TOKEN_SECONDS: i64 = 3600;

pub(super) fn default_pod(pod: &mut Value) {
    let Some(spec) = part(pod, "spec") else { return };
    default_spec(spec);
    fill(spec, "enableServiceLinks", true);
    fill_text(spec, "serviceAccountName", "default");
    mirror_service_account(spec);
    for list in ["initContainers", "containers"] {
        for container in each(spec, list) {
            default_requests(container);
        }
    }
    tolerate(spec, "node.kubernetes.io/not-ready");
    tolerate(spec, "node.kubernetes.io/unreachable");
}

pub(super) fn default_spec(spec: &mut Value) {
    fill_text(spec, "restartPolicy", "Always");
    fill_text(spec, "dnsPolicy", "ClusterFirst");
    fill_text(spec, "schedulerName", "default-scheduler");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "securityContext", json!({}));
    mirror_service_account(spec);
    let host_network = truth(spec, "/hostNetwork");
    let process = is_process(spec);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in each(spec, list) {
            default_container(container, host_network, process);
        }
    }
    for volume in each(spec, "volumes") {
        default_volume(volume);
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are shown.
fn mirror_service_account(spec: &mut Value) {
    let old_name = text(spec, "/serviceAccount").to_owned();
    if !old_name.is_empty() {
        fill_text(spec, "serviceAccountName", &old_name);
    }
    let name = text(spec, "/serviceAccountName").to_owned();
    if let Value::Object(spec) = spec
        && !name.is_empty()
    {
        spec.insert("serviceAccount".to_owned(), name.into());
    }
}

fn default_container(container: &mut Value, host_network: bool, process: bool) {
    let image = text(container, "/image").to_owned();
    // A process has no image to pull.
    if !(process && image.is_empty()) {
        fill_text(container, "imagePullPolicy", pull_policy(&image));
    }
    fill_text(container, "terminationMessagePath", "/dev/termination-log");
    fill_text(container, "terminationMessagePolicy", "File");
    fill(container, "resources", json!({}));
    for port in each(container, "ports") {
        fill_text(port, "protocol", "TCP");
        let number = int(port, "/containerPort").unwrap_or_default();
        if host_network && number != 0 {
            fill_number(port, "hostPort", number);
        }
    }
    for variable in each(container, "env") {
        if let Some(reference) = part(variable, "valueFrom").and_then(|source| part(source, "fieldRef")) {
            fill_text(reference, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = part(container, name) {
            default_probe(probe);
        }
    }
    for name in ["postStart", "preStop"] {
        if let Some(handler) = part(container, "lifecycle").and_then(|lifecycle| part(lifecycle, name)) {
            default_http_get(handler);
        }
    }
}

fn default_probe(probe: &mut Value) {
    fill_number(probe, "timeoutSeconds", 1);
    fill_number(probe, "periodSeconds", 10);
    fill_number(probe, "successThreshold", 1);
    fill_number(probe, "failureThreshold", 3);
    default_http_get(probe);
    if let Some(grpc) = part(probe, "grpc") {
        fill(grpc, "service", "");
    }
}

fn default_http_get(handler: &mut Value) {
    if let Some(get) = part(handler, "httpGet") {
        fill_text(get, "path", "/");
        fill_text(get, "scheme", "HTTP");
    }
}

/// A tag that moves has to be looked up each time.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let moving = match (image.contains('@'), name.split_once(':')) {
        (true, _) => false,
        (false, None) => true,
        (false, Some((_, tag))) => tag == "latest",
    };
    if moving { "Always" } else { "IfNotPresent" }
}

fn default_volume(volume: &mut Value) {
    if let Value::Object(map) = volume
        && map.iter().all(|(key, value)| key == "name" || value.is_null())
    {
        map.insert("emptyDir".to_owned(), json!({}));
    }
    for name in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = part(volume, name) {
            fill(source, "defaultMode", FILE_MODE);
            default_items(source);
        }
    }
    if let Some(host_path) = part(volume, "hostPath") {
        fill(host_path, "type", "");
    }
    if let Some(projected) = part(volume, "projected") {
        for source in each(projected, "sources") {
            if let Some(downward) = part(source, "downwardAPI") {
                default_items(downward);
            }
            if let Some(token) = part(source, "serviceAccountToken") {
                fill(token, "expirationSeconds", TOKEN_SECONDS);
            }
        }
    }
}

fn default_items(source: &mut Value) {
    for item in each(source, "items") {
        if let Some(reference) = part(item, "fieldRef") {
            fill_text(reference, "apiVersion", "v1");
        }
    }
}

/// What has a limit and no request requests its limit.
fn default_requests(container: &mut Value) {
    let limits: Map<String, Value> =
        entries(container, "/resources/limits").map(|(name, amount)| (name.to_owned(), amount.clone())).collect();
    if limits.is_empty() {
        return;
    }
    let Some(requests) = part(container, "resources").and_then(|resources| part_or_new(resources, "requests")) else {
        return;
    };
    for (name, amount) in limits {
        fill(requests, &name, amount);
    }
}

fn tolerate(spec: &mut Value, taint: &str) {
    let tolerated = items(spec, "/tolerations").iter().any(|toleration| {
        matches!(text(toleration, "/effect"), "" | "NoExecute")
            && (text(toleration, "/key") == taint || text(toleration, "/key").is_empty())
    });
    if tolerated {
        return;
    }
    fill(spec, "tolerations", json!([]));
    if let Some(Value::Array(tolerations)) = spec.get_mut("tolerations") {
        tolerations.push(json!({
            "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": EVICTION_SECONDS,
        }));
    }
}
