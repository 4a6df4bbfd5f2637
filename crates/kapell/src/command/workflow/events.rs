//! `kapell workflow emit`, `signal` and `events`: the event log of a namespace, and events for one run.

use serde_json::{Value, json};

use crate::cli::Output;
use crate::cluster::{Cluster, query};
use crate::error::Outcome;
use crate::print;

use super::text;

/// Events read at a time.
const PAGE: &str = "500";

fn path(cluster: &Cluster) -> String {
    format!("/apis/{}/namespaces/{}/cloudevents", kapell_api::workflow::API_VERSION, cluster.namespace)
}

pub(super) async fn emit(
    cluster: &Cluster,
    type_: &str,
    source: &str,
    data: Option<Value>,
    subject: Option<&str>,
    id: Option<&str>,
) -> Outcome {
    let id = id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    let mut event = envelope(type_, source, &id, data);
    if let Some(subject) = subject {
        event["subject"] = json!(subject);
    }
    cluster.post_as(&path(cluster), "application/cloudevents+json", &event).await?;
    print::out(&format!("event {id} published\n"))
}

fn envelope(type_: &str, source: &str, id: &str, data: Option<Value>) -> Value {
    let mut event = json!({
        "specversion": "1.0", "id": id, "source": source, "type": type_,
        "time": jiff::Timestamp::now().to_string(),
    });
    if let Some(data) = data {
        event["datacontenttype"] = json!("application/json");
        event["data"] = data;
    }
    event
}

/// Sends an event to one run.
pub(super) async fn signal(cluster: &Cluster, run: &str, name: &str, data: Option<Value>, id: Option<&str>) -> Outcome {
    let id = id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    let event = envelope(name, "/kapell/signal", &id, data);
    let path = path(cluster) + &query(&[("run", run)]);
    cluster.post_as(&path, "application/cloudevents+json", &event).await?;
    print::out(&format!("workflowrun/{run} signalled {name}\n"))
}

pub(super) async fn list(cluster: &Cluster, from: u64, output: Option<Output>) -> Outcome {
    let mut from = from;
    let mut items: Vec<Value> = Vec::new();
    loop {
        let position = from.to_string();
        let page = cluster.get(&(path(cluster) + &query(&[("from", &position), ("limit", PAGE)]))).await?;
        let found = page["items"].as_array().cloned().unwrap_or_default();
        from = page["next"].as_u64().unwrap_or(from);
        if found.is_empty() {
            break;
        }
        items.extend(found);
    }
    if let Some(output @ (Output::Json | Output::Yaml)) = output {
        return print::value(&json!({ "items": items, "next": from }), output);
    }
    if items.is_empty() {
        eprintln!("no events yet");
        return Ok(());
    }
    let header = ["POSITION", "TIME", "TYPE", "SOURCE", "ID", "DATA"].map(str::to_owned);
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    print::out(&print::columns(&header, &rows))
}

fn row(item: &Value) -> Vec<String> {
    let data: String = match item.pointer("/event/data") {
        None => String::new(),
        Some(data) => data.to_string().chars().take(60).collect(),
    };
    let texts = ["/time", "/event/type", "/event/source", "/event/id"].map(|pointer| text(item, pointer).to_owned());
    [item["position"].to_string()].into_iter().chain(texts).chain([data]).collect()
}
