//! Versions that Kubernetes has removed and that tutorials still print. Each is a view of the version that took its
//! place: what is sent in the old form is converted, kept in the new one, and answered with a warning that names it.
//!
//! Most differ from their successors in nothing but defaults; those of Ingresses are converted field by field.

use serde_json::{Map, Value, json};

use super::apps::{CONTROLLER_REVISION, DAEMON_SET, DEPLOYMENT, REPLICA_SET, STATEFUL_SET};
use super::autoscaling::HORIZONTAL_POD_AUTOSCALER;
use super::batch::CRON_JOB;
use super::field::{at, drop_key, each, fill, int, is_set, items, part, part_or_new, text};
use super::networking::{INGRESS, INGRESS_CLASS, NETWORK_POLICY};
use super::policy::POD_DISRUPTION_BUDGET;
use crate::kind::{Kind, View};

/// The view of `row` under another group and version, `gone` since that release.
const fn once(
    row: Kind,
    group: &'static str,
    version: &'static str,
    gone: &'static str,
    to_stored: fn(&mut Value),
    from_stored: fn(&mut Value),
) -> Kind {
    let of = (row.group, row.version);
    // Not in `all`: the same objects would be listed twice.
    Kind { group, version, categories: &[], view: Some(View { of, to_stored, from_stored, gone: Some(gone) }), ..row }
}

fn unchanged(_: &mut Value) {}

pub(super) const REMOVED: [Kind; 14] = [
    once(HORIZONTAL_POD_AUTOSCALER, "autoscaling", "v2beta2", "1.26", unchanged, unchanged),
    once(DEPLOYMENT, "apps", "v1beta2", "1.16", unchanged, unchanged),
    once(REPLICA_SET, "apps", "v1beta2", "1.16", unchanged, unchanged),
    once(STATEFUL_SET, "apps", "v1beta2", "1.16", unchanged, unchanged),
    once(DAEMON_SET, "apps", "v1beta2", "1.16", unchanged, unchanged),
    once(CONTROLLER_REVISION, "apps", "v1beta2", "1.16", unchanged, unchanged),
    once(CRON_JOB, "batch", "v1beta1", "1.25", unchanged, unchanged),
    Kind { schema: ingress_schema, ..once(INGRESS, "networking.k8s.io", "v1beta1", "1.22", new_ingress, old_ingress) },
    once(INGRESS_CLASS, "networking.k8s.io", "v1beta1", "1.22", unchanged, unchanged),
    once(POD_DISRUPTION_BUDGET, "policy", "v1beta1", "1.25", nobody_is_everybody_now, unchanged),
    Kind { schema: ingress_schema, ..once(INGRESS, "extensions", "v1beta1", "1.22", new_ingress, old_ingress) },
    Kind { schema: deployment_schema, ..once(DEPLOYMENT, "extensions", "v1beta1", "1.16", new_deployment, unchanged) },
    Kind { schema: daemon_set_schema, ..once(DAEMON_SET, "extensions", "v1beta1", "1.16", new_daemon_set, unchanged) },
    once(NETWORK_POLICY, "extensions", "v1beta1", "1.16", unchanged, unchanged),
];

/// In `policy/v1beta1` an empty selector selected no pod; in `policy/v1` it selects every pod, and none at all selects none.
fn nobody_is_everybody_now(budget: &mut Value) {
    let Some(spec) = part(budget, "spec") else { return };
    let selects =
        |name: &str| !items(spec, name).is_empty() || at(spec, name).as_object().is_some_and(|m| !m.is_empty());
    if is_set(spec, "/selector") && !selects("/selector/matchLabels") && !selects("/selector/matchExpressions") {
        drop_key(spec, "selector");
    }
}

/// The selector was optional: the template's labels stood in for it.
fn select_by_template(object: &mut Value) {
    let labels = at(object, "/spec/template/metadata/labels").clone();
    if let Some(spec) = part(object, "spec")
        && labels.is_object()
    {
        fill(spec, "selector", json!({ "matchLabels": labels }));
    }
}

fn new_deployment(deployment: &mut Value) {
    select_by_template(deployment);
    let Some(spec) = part(deployment, "spec") else { return };
    drop_key(spec, "rollbackTo");
    // The old version waited for ever and kept every revision.
    fill(spec, "progressDeadlineSeconds", i64::from(i32::MAX));
    fill(spec, "revisionHistoryLimit", i64::from(i32::MAX));
    let Some(strategy) = part_or_new(spec, "strategy") else { return };
    fill(strategy, "type", "RollingUpdate");
    if text(strategy, "/type") == "RollingUpdate"
        && let Some(rolling_update) = part_or_new(strategy, "rollingUpdate")
    {
        fill(rolling_update, "maxUnavailable", 1);
        fill(rolling_update, "maxSurge", 1);
    }
}

fn new_daemon_set(set: &mut Value) {
    select_by_template(set);
    let Some(spec) = part(set, "spec") else { return };
    drop_key(spec, "templateGeneration");
    if let Some(strategy) = part_or_new(spec, "updateStrategy") {
        fill(strategy, "type", "OnDelete");
    }
}

fn new_ingress(ingress: &mut Value) {
    let Some(spec) = part(ingress, "spec") else { return };
    if let Some(backend) = spec.as_object_mut().and_then(|spec| spec.shift_remove("backend")) {
        spec["defaultBackend"] = new_backend(&backend);
    }
    for rule in each(spec, "rules") {
        let Some(http) = part(rule, "http") else { continue };
        for path in each(http, "paths") {
            fill(path, "pathType", "ImplementationSpecific");
            if let Some(backend) = path.get_mut("backend") {
                *backend = new_backend(backend);
            }
        }
    }
}

fn new_backend(old: &Value) -> Value {
    let mut new = Map::new();
    if is_set(old, "/serviceName") || is_set(old, "/servicePort") {
        let mut port = Map::new();
        match at(old, "/servicePort") {
            Value::Number(number) => drop(port.insert("number".to_owned(), number.clone().into())),
            Value::String(name) => match name.parse::<i64>() {
                Ok(number) => drop(port.insert("number".to_owned(), number.into())),
                Err(_) => drop(port.insert("name".to_owned(), name.as_str().into())),
            },
            _ => {}
        }
        new.insert("service".to_owned(), json!({ "name": at(old, "/serviceName"), "port": port }));
    }
    if is_set(old, "/resource") {
        new.insert("resource".to_owned(), at(old, "/resource").clone());
    }
    Value::Object(new)
}

fn old_ingress(ingress: &mut Value) {
    let Some(spec) = part(ingress, "spec") else { return };
    if let Some(backend) = spec.as_object_mut().and_then(|spec| spec.shift_remove("defaultBackend")) {
        spec["backend"] = old_backend(&backend);
    }
    for rule in each(spec, "rules") {
        let Some(http) = part(rule, "http") else { continue };
        for path in each(http, "paths") {
            if let Some(backend) = path.get_mut("backend") {
                *backend = old_backend(backend);
            }
        }
    }
}

fn old_backend(new: &Value) -> Value {
    let mut old = Map::new();
    if is_set(new, "/service") {
        let port = match int(new, "/service/port/number") {
            Some(number) => number.into(),
            None => at(new, "/service/port/name").clone(),
        };
        old.insert("serviceName".to_owned(), at(new, "/service/name").clone());
        old.insert("servicePort".to_owned(), port);
    }
    if is_set(new, "/resource") {
        old.insert("resource".to_owned(), at(new, "/resource").clone());
    }
    Value::Object(old)
}

fn definition<'s>(schema: &'s mut Value, name: &str) -> Option<&'s mut Value> {
    schema.get_mut("$defs")?.get_mut(name)
}

/// The schema of today with yesterday's backends.
fn ingress_schema() -> Value {
    let mut schema = (INGRESS.schema)();
    if let Some(spec) = definition(&mut schema, "io.k8s.api.networking.v1.IngressSpec")
        && let Some(Value::Object(properties)) = spec.get_mut("properties")
        && let Some(backend) = properties.shift_remove("defaultBackend")
    {
        properties.insert("backend".to_owned(), backend);
    }
    if let Some(path) = definition(&mut schema, "io.k8s.api.networking.v1.HTTPIngressPath") {
        path["required"] = json!(["backend"]);
    }
    if let Some(backend) = definition(&mut schema, "io.k8s.api.networking.v1.IngressBackend")
        && let Some(Value::Object(properties)) = backend.get_mut("properties")
    {
        properties.shift_remove("service");
        properties.insert("serviceName".to_owned(), json!({ "type": "string" }));
        properties.insert("servicePort".to_owned(), json!({ "x-kubernetes-int-or-string": true }));
    }
    schema
}

fn deployment_schema() -> Value {
    let mut schema = (DEPLOYMENT.schema)();
    if let Some(spec) = definition(&mut schema, "io.k8s.api.apps.v1.DeploymentSpec") {
        spec["required"] = json!(["template"]);
    }
    schema
}

fn daemon_set_schema() -> Value {
    let mut schema = (DAEMON_SET.schema)();
    if let Some(spec) = definition(&mut schema, "io.k8s.api.apps.v1.DaemonSetSpec") {
        spec["required"] = json!(["template"]);
        spec["properties"]["templateGeneration"] = json!({ "type": "integer", "format": "int64" });
    }
    schema
}

#[cfg(test)]
mod tests;
