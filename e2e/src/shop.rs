//! The example shop as tests use it: brought up, ordered from, and audited.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{Kapell, Ran, binary, run};

/// `examples/shop` of this checkout.
pub fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/shop")
}

/// `kapell up examples/shop` on a running server; returns when everything is ready.
pub fn up(kapell: &Kapell) -> Ran {
    let directory = manifests();
    kapell.cli(&["up", directory.to_str().expect("a UTF-8 path")]).ok()
}

/// What the services have on record: totals, and calls and effects of each idempotency key.
pub fn audit(kapell: &Kapell) -> Value {
    let mut command = Command::new(binary("shop"));
    command.arg("audit").arg("--data").arg(kapell.data().join("volumes/shop"));
    run(command, None).ok().json()
}

pub fn order_input(order: &str, user: &str, item: &str, quantity: u32) -> Value {
    json!({"order": order, "user": user, "item": item, "quantity": quantity})
}

/// Starts runs and tells of their ends, over one watch however many there are.
pub struct Runs {
    api: Api<DynamicObject>,
    waiting: Arc<Mutex<HashMap<String, oneshot::Sender<Value>>>>,
}

impl Runs {
    pub fn new(client: kube::Client, namespace: &str) -> Self {
        let kind = GroupVersionKind::gvk("kapell.dev", "v1alpha1", "WorkflowRun");
        let api = Api::namespaced_with(client, namespace, &ApiResource::from_gvk(&kind));
        let waiting: Arc<Mutex<HashMap<String, oneshot::Sender<Value>>>> = Arc::default();
        tokio::spawn(follow(api.clone(), waiting.clone()));
        Self { api, waiting }
    }

    /// Starts a run and returns its status at its end.
    pub async fn finish(&self, workflow: &str, name: &str, input: Value) -> anyhow::Result<Value> {
        let (end, ended) = oneshot::channel();
        self.waiting.lock().expect("no panic while locked").insert(name.to_owned(), end);
        self.start(workflow, name, input).await?;
        ended.await.context("the watch has ended")
    }

    /// Only starts it.
    pub async fn start(&self, workflow: &str, name: &str, input: Value) -> Result<(), kube::Error> {
        let mut run = DynamicObject::new(
            name,
            &ApiResource::from_gvk(&GroupVersionKind::gvk("kapell.dev", "v1alpha1", "WorkflowRun")),
        );
        run.data = json!({"spec": {"workflow": workflow, "input": input}});
        self.api.create(&PostParams::default(), &run).await.map(|_| ())
    }
}

async fn follow(api: Api<DynamicObject>, waiting: Arc<Mutex<HashMap<String, oneshot::Sender<Value>>>>) {
    // A pause after each failure: a runtime that stops fails everything at once, and waits for tasks that never pause.
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        let Ok(watcher::Event::Apply(run) | watcher::Event::InitApply(run)) = event else { continue };
        let status = &run.data["status"];
        if matches!(status["phase"].as_str(), Some("Completed" | "Faulted" | "Cancelled")) {
            let name = run.metadata.name.as_deref().unwrap_or_default();
            if let Some(end) = waiting.lock().expect("no panic while locked").remove(name) {
                // Nobody listens any more when the test has given up.
                let _ = end.send(status.clone());
            }
        }
    }
}

/// The sums that no order may change: per item and per account.
pub fn invariants(audit: &Value) -> Vec<(String, i64)> {
    let mut sums = Vec::new();
    for service in ["inventory", "payment"] {
        for (name, parts) in audit[service]["totals"].as_object().into_iter().flatten() {
            let sum = parts.as_object().into_iter().flatten().filter_map(|(_, part)| part.as_i64()).sum();
            sums.push((format!("{service}/{name}"), sum));
        }
    }
    sums
}

/// Idempotency keys under which a service did something more than once. Must be empty, always.
pub fn repeated(audit: &Value) -> Vec<String> {
    let services = audit.as_object().into_iter().flatten();
    let keys = services.flat_map(|(service, book)| {
        let keys = book["keys"].as_object().into_iter().flatten();
        keys.filter(|(_, call)| call["effects"].as_i64().unwrap_or(0) > 1)
            .map(move |(key, call)| format!("{service} {key}: {call}"))
    });
    keys.collect()
}
