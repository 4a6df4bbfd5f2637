//! `metrics.k8s.io/v1beta1`: what pods and nodes use, as objects that are made when somebody asks.
//!
//! Which pods there are, and which of them are meant, comes from the store; what they use from whoever looks after them.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use http::{Method, Response, StatusCode};
use kapell_api::quantity::Quantity;
use kapell_api::status::Status;
use serde_json::{Value, json};

use super::selection::Selection;
use super::{Call, Engine, decode};
use crate::reply;

pub(crate) const GROUP: &str = "metrics.k8s.io";
pub(crate) const VERSION: &str = "v1beta1";

/// What something uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumption {
    /// Billionths of a processor, on average over `window`.
    pub cpu_nano: u64,
    pub memory_bytes: u64,
    pub window: std::time::Duration,
    pub timestamp: jiff::Timestamp,
}

/// Knows what runs and what it uses.
#[async_trait]
pub trait UsageSource: Send + Sync + 'static {
    /// For each pod, by UID and in order, its running containers.
    async fn pods(&self, uids: &[String]) -> Vec<Vec<(String, Consumption)>>;

    /// `None` for nodes that it knows nothing of.
    async fn node(&self, name: &str) -> Option<Consumption>;
}

impl Engine {
    pub(crate) fn register_usage(&self, source: Arc<dyn UsageSource>) {
        *self.usage.write() = Some(source);
    }

    pub(super) async fn usage(&self, call: &Call) -> Result<Response<Body>, Status> {
        let path = &call.path;
        let pods = match (path.version.as_str(), path.plural.as_str(), &path.namespace, &path.name) {
            (VERSION, "pods", _, None) | (VERSION, "pods", Some(_), Some(_)) => true,
            (VERSION, "nodes", None, _) => false,
            _ => return Err(Status::no_such_resource()),
        };
        if path.subresource.is_some() {
            return Err(Status::no_such_resource());
        }
        if !matches!(call.method, Method::GET | Method::HEAD) || call.query.flag("watch") {
            return Err(Status { code: 405, ..Status::bad_request("metrics can only be read, and not watched") });
        }
        let source = self.usage.read().clone();
        let source = source.ok_or_else(|| Status::service_unavailable("nothing in this server measures usage"))?;
        let resource =
            self.resources.find("", "v1", if pods { "pods" } else { "nodes" }).ok_or_else(Status::no_such_resource)?;
        let selection = Selection::from_query(resource.kind, &call.query, path.name.as_deref())?;
        let prefix = selection.prefix(resource.kind, path.namespace.as_deref());
        let entries = self.select_all(&prefix, &selection).await?.entries;
        let objects: Vec<Value> =
            entries.iter().map(|entry| decode(resource.kind, entry)).collect::<Result<_, Status>>()?;
        let items = if pods { pod_metrics(&*source, &objects).await } else { node_metrics(&*source, &objects).await };
        let kind = if pods { "PodMetrics" } else { "NodeMetrics" };
        let api_version = format!("{GROUP}/{VERSION}");
        match &path.name {
            None => {
                let list = json!({
                    "kind": format!("{kind}List"), "apiVersion": api_version, "metadata": {}, "items": items,
                });
                Ok(reply::value(StatusCode::OK, &list, &[]))
            }
            Some(name) => {
                let missing = || {
                    let place = path.namespace.as_ref().map_or(String::new(), |namespace| format!("{namespace}/"));
                    let what = kind.to_lowercase();
                    Status::failure(404, "NotFound", format!("{what}.{GROUP} \"{place}{name}\" not found"))
                };
                let mut item = items.into_iter().next().ok_or_else(missing)?;
                item["kind"] = json!(kind);
                item["apiVersion"] = json!(api_version);
                Ok(reply::value(StatusCode::OK, &item, &[]))
            }
        }
    }
}

/// Pods of which nothing runs are left out, as upstream does.
async fn pod_metrics(source: &dyn UsageSource, pods: &[Value]) -> Vec<Value> {
    let uids: Vec<String> =
        pods.iter().map(|pod| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()).collect();
    let used = source.pods(&uids).await;
    let measured = pods.iter().zip(used).filter_map(|(pod, containers)| {
        let oldest = containers.iter().map(|(_, used)| used).min_by_key(|used| used.timestamp)?.clone();
        let containers: Vec<Value> =
            containers.iter().map(|(name, used)| json!({"name": name, "usage": amounts(used)})).collect();
        let mut item = header(pod, &oldest);
        item["containers"] = json!(containers);
        Some(item)
    });
    measured.collect()
}

async fn node_metrics(source: &dyn UsageSource, nodes: &[Value]) -> Vec<Value> {
    let mut items = Vec::new();
    for node in nodes {
        if let Some(used) = source.node(node["metadata"]["name"].as_str().unwrap_or_default()).await {
            let mut item = header(node, &used);
            item["usage"] = amounts(&used);
            items.push(item);
        }
    }
    items
}

fn header(object: &Value, used: &Consumption) -> Value {
    let mut metadata = json!({"name": object["metadata"]["name"]});
    for field in ["namespace", "labels"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let second = jiff::Timestamp::from_second(used.timestamp.as_second()).unwrap_or(used.timestamp);
    metadata["creationTimestamp"] = json!(second.to_string());
    json!({
        "metadata": metadata, "timestamp": second.to_string(),
        "window": format!("{}s", used.window.as_millis() as f64 / 1000.0),
    })
}

fn amounts(used: &Consumption) -> Value {
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    // In the units in which metrics-server answers.
    json!({
        "cpu": if used.cpu_nano == 0 { "0".to_owned() } else { format!("{}n", used.cpu_nano) },
        "memory": Quantity::from_bytes(whole(used.memory_bytes / 1024 * 1024)).to_string(),
    })
}

/// Plural, kind and whether it is in a namespace.
const ROWS: [(&str, &str, bool); 2] = [("nodes", "NodeMetrics", false), ("pods", "PodMetrics", true)];

/// What discovery tells of the group: the aggregated form, `APIGroup`, `APIResourceList`.
pub(crate) fn discovery() -> [Value; 3] {
    const VERBS: [&str; 2] = ["get", "list"];
    let aggregated: Vec<Value> = ROWS
        .iter()
        .map(|(plural, kind, namespaced)| {
            json!({
                "resource": plural, "responseKind": {"group": GROUP, "version": VERSION, "kind": kind},
                "scope": if *namespaced { "Namespaced" } else { "Cluster" }, "singularResource": "", "verbs": VERBS,
            })
        })
        .collect();
    let legacy: Vec<Value> = ROWS
        .iter()
        .map(|(plural, kind, namespaced)| {
            json!({"name": plural, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": VERBS})
        })
        .collect();
    let group_version = format!("{GROUP}/{VERSION}");
    let entry = json!({"groupVersion": group_version, "version": VERSION});
    [
        json!({
            "metadata": {"name": GROUP, "creationTimestamp": null},
            "versions": [{"version": VERSION, "freshness": "Current", "resources": aggregated}],
        }),
        json!({"name": GROUP, "versions": [entry], "preferredVersion": entry}),
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": legacy}),
    ]
}

/// The paths of the group's OpenAPI document, and the schemas of its kinds by name. `object_meta` refers to the schema of metadata.
pub(crate) fn openapi(object_meta: &Value) -> (Value, Value) {
    let text = |description: &str| json!({"type": "string", "description": description});
    let usage = json!({
        "type": "object", "additionalProperties": {"type": "string"},
        "description": "What is used, by resource: `cpu` in processors, `memory` in bytes, as quantities.",
    });
    let container = json!({
        "type": "object", "required": ["name", "usage"],
        "properties": {"name": text("Name of the container."), "usage": usage},
    });
    let mut paths = json!({});
    let mut schemas = json!({});
    for (plural, kind, namespaced) in ROWS {
        let mut properties = json!({
            "apiVersion": text("Version of this schema."), "kind": text("Kind of the object."),
            "metadata": object_meta, "timestamp": text("When the span that was measured ended."),
            "window": text("How long the span was, e.g. `15s`."),
        });
        if namespaced {
            properties["containers"] = json!({
                "type": "array", "items": container, "description": "Usage of each container that runs.",
            });
        } else {
            properties["usage"] = usage.clone();
        }
        let of_kind = json!({"group": GROUP, "version": VERSION, "kind": kind});
        let name = format!("io.k8s.metrics.pkg.apis.metrics.{VERSION}.{kind}");
        schemas[&name] = json!({
            "type": "object", "properties": properties, "x-kubernetes-group-version-kind": [of_kind],
        });
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        let scope = if namespaced { "/namespaces/{namespace}" } else { "" };
        for (object, action) in [("", "list"), ("/{name}", "get")] {
            paths[format!("/apis/{GROUP}/{VERSION}{scope}/{plural}{object}")] = json!({"get": {
                "x-kubernetes-action": action, "x-kubernetes-group-version-kind": of_kind,
                "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}},
            }});
        }
    }
    (paths, schemas)
}
