//! Service accounts: a pod that may know its account's token gets a volume with it, unless the account or the pod says otherwise.

use kapell_api::service_account::{MOUNT_PATH, NAMESPACE, ROOT_CERTIFICATE, ROOT_CERTIFICATE_MAP, TOKEN};
use serde_json::{Value, json};

/// As upstream: an hour and a little, by which servers tell that nobody has asked for it.
const TOKEN_SECONDS: i64 = 3607;

/// Adds the volume `name` and mounts it into each container that has nothing at its place. `account` is the pod's account, if it is
/// there; what the pod says counts more.
pub(crate) fn mount_token(pod: &mut Value, account: Option<&Value>, name: impl FnOnce() -> String) {
    const SWITCH: &str = "automountServiceAccountToken";
    let pods_own = pod["spec"][SWITCH].as_bool();
    let said = pods_own.or_else(|| account?[SWITCH].as_bool());
    if said == Some(false) {
        return;
    }
    let has_place = |container: &Value| {
        let mut mounts = container["volumeMounts"].as_array().into_iter().flatten();
        !mounts.any(|mount| mount["mountPath"] == MOUNT_PATH)
    };
    let lists = ["initContainers", "containers"];
    let wanting = |container: &Value| container.is_object() && has_place(container);
    let spec = &mut pod["spec"];
    if !lists.iter().any(|list| spec.get(*list).and_then(Value::as_array).into_iter().flatten().any(wanting)) {
        return;
    }
    let name = name();
    for list in lists {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter(|container| wanting(container)) {
            let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
            append(&mut container["volumeMounts"], mount);
        }
    }
    append(&mut spec["volumes"], volume(&name));
}

/// With all defaults filled in.
fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {"sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": TOKEN}},
        {"configMap": {
            "name": ROOT_CERTIFICATE_MAP, "items": [{"key": ROOT_CERTIFICATE, "path": ROOT_CERTIFICATE}],
        }},
        {"downwardAPI": {"items": [
            {"path": NAMESPACE, "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ], "defaultMode": 0o644}})
}

/// What is no list is left for validation to refuse.
fn append(list: &mut Value, item: Value) {
    if list.is_null() {
        *list = json!([]);
    }
    if let Value::Array(items) = list {
        items.push(item);
    }
}

#[cfg(test)]
mod tests;
