//! The scheduler against the real API server in process, over the model store.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kapell_apiserver::{ApiServer, Config, Identity};
use kapell_client::Informer;
use kapell_scheduler::{SchedulerConfig, run};
use kapell_store::memory::MemoryStore;
use kube::api::PostParams;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Long enough for the slowest machine; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

async fn until<K>(api: Api<K>, what: &str, enough: impl Fn(&[Arc<K>]) -> bool)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    let (changed, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let _stop = stop.clone().drop_guard();
    let notify = changed.clone();
    let informer = Informer::start(api, watcher::Config::default(), stop, move |_| notify.notify_one());
    let wait = async {
        while !enough(&informer.list()) {
            changed.notified().await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!("waited in vain until {what}: {:#?}", informer.list());
    }
}

async fn add_node(client: &Client, name: &str) {
    let api: Api<Node> = Api::all(client.clone());
    let node = json!({"metadata": {"name": name}});
    api.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let mut node = api.get(name).await.unwrap();
    let status = json!({"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"},
        "conditions": [{"type": "Ready", "status": "True"}]});
    node.status = serde_json::from_value(status).unwrap();
    api.replace_status(name, &PostParams::default(), &node).await.unwrap();
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"runtimeClassName": "process", "containers": [
        {"name": "c", "image": "none", "command": ["true"], "resources": {"requests": {"cpu": "1"}}}]}})
}

#[tokio::test]
async fn pods_are_bound_or_told_why_not_and_bound_when_a_node_comes() {
    let server = ApiServer::new(Config::new("secret"), Arc::new(MemoryStore::new())).await.unwrap();
    let client = Client::new(server.service(Identity::internal("test")), "default");
    let shutdown = CancellationToken::new();
    let scheduler = tokio::spawn(run(SchedulerConfig::default(), client.clone(), shutdown.clone()));
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    add_node(&client, "one").await;
    for name in ["a", "b", "c"] {
        pods.create(&PostParams::default(), &serde_json::from_value(pod(name)).unwrap()).await.unwrap();
    }
    let bound = |pods: &[Arc<Pod>]| {
        pods.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())).count()
    };
    until(pods.clone(), "two are bound and the third says why not", |pods| {
        let conditions = pods.iter().filter_map(|pod| pod.status.as_ref()?.conditions.as_ref()).flatten();
        let mut messages = conditions.filter(|c| c.type_ == "PodScheduled").filter_map(|c| c.message.as_deref());
        bound(pods) == 2 && messages.any(|message| message == "0/1 nodes are available: 1 Insufficient cpu.")
    })
    .await;
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    until(events, "events tell of it", |events| {
        let reasons: Vec<_> = events.iter().filter_map(|event| event.reason.as_deref()).collect();
        reasons.contains(&"Scheduled") && reasons.contains(&"FailedScheduling")
    })
    .await;
    add_node(&client, "two").await;
    until(pods.clone(), "the third is bound to the new node", |pods| {
        let node = |pod: &Arc<Pod>| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        bound(pods) == 3 && pods.iter().any(|pod| node(pod).as_deref() == Some("two"))
    })
    .await;
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, scheduler).await.expect("the scheduler ends").unwrap();
}
