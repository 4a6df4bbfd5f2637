//! One module a verb.

use serde_json::Value;

use crate::cluster::{Cluster, kind_called, query};
use crate::error::Outcome;

pub(crate) mod apply;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod get;
pub(crate) mod logs;
pub(crate) mod rollout;
pub(crate) mod scale;
pub(crate) mod server;
pub(crate) mod settle;
pub(crate) mod streams;
pub(crate) mod up;
pub(crate) mod version;
pub(crate) mod why;
pub(crate) mod workflow;

/// The pods that an object's `spec.selector` selects (a `LabelSelector`, or a Service's plain map), in name order.
async fn pods_selected_by(cluster: &Cluster, object: &Value) -> Outcome<Vec<Value>> {
    let selector = &object["spec"]["selector"];
    let labels = selector.get("matchLabels").unwrap_or(selector);
    let Some(labels) = labels.as_object().filter(|labels| !labels.is_empty()) else {
        return Ok(Vec::new());
    };
    let pairs: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    list(cluster, "pods", &[("labelSelector", &pairs.join(","))]).await
}

/// The objects of a kind in the cluster's namespace.
async fn list(cluster: &Cluster, kind: &str, selection: &[(&str, &str)]) -> Outcome<Vec<Value>> {
    let path = cluster.path(kind_called(kind)?, None, None) + &query(selection);
    Ok(cluster.get(&path).await?["items"].as_array().cloned().unwrap_or_default())
}

/// The events about one object, oldest first.
async fn events_of(cluster: &Cluster, object: &Value) -> Outcome<Vec<Value>> {
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    events(cluster, &format!("involvedObject.uid={uid}")).await
}

/// The events that a field selector finds in the cluster's namespace, oldest first.
async fn events(cluster: &Cluster, fields: &str) -> Outcome<Vec<Value>> {
    let mut events = list(cluster, "events", &[("fieldSelector", fields)]).await?;
    events.sort_by_key(|event| event["lastTimestamp"].as_str().unwrap_or_default().to_owned());
    Ok(events)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
