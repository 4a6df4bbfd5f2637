//! The controllers against the real API server in process, over the model store; only the node's agent is played.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kapell_apiserver::{ApiServer, Config, Identity};
use kapell_client::{Change, Informer};
use kapell_controllers::{ControllersConfig, run};
use kapell_store::memory::MemoryStore;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Long enough for the slowest machine; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

struct Cluster {
    client: Client,
    shutdown: CancellationToken,
    controllers: JoinHandle<()>,
}

impl Cluster {
    async fn start() -> Self {
        let server = ApiServer::new(Config::new("secret"), Arc::new(MemoryStore::new())).await.unwrap();
        let client = Client::new(server.service(Identity::internal("test")), "default");
        let shutdown = CancellationToken::new();
        play_agent(client.clone(), shutdown.clone());
        let controllers = tokio::spawn(run(ControllersConfig::default(), client.clone(), shutdown.clone()));
        Self { client, shutdown, controllers }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + DeserializeOwned
            + serde::Serialize
            + Clone
            + Debug,
    {
        self.api().create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.controllers).await.expect("the controllers end").unwrap();
    }
}

/// Waits until the objects of one kind satisfy `enough`, woken by changes.
async fn until<K>(api: Api<K>, what: &str, enough: impl Fn(&[Arc<K>]) -> bool) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (changed, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let _stop = stop.clone().drop_guard();
    let notify = changed.clone();
    let informer = Informer::start(api, watcher::Config::default(), stop, move |_| notify.notify_one());
    informer.synced().await;
    let wait = async {
        while !enough(&informer.list()) {
            changed.notified().await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!("waited in vain until {what}: {:#?}", informer.list());
    }
    informer.list()
}

/// Every pod runs and is ready at once.
fn play_agent(client: Client, shutdown: CancellationToken) {
    let (seen, mut pods) = mpsc::channel::<Arc<Pod>>(1024);
    let all: Api<Pod> = Api::all(client.clone());
    Informer::start(all, watcher::Config::default(), shutdown, move |change| {
        if let Change::Applied { old: None, new } = change {
            seen.try_send(new).expect("fewer pods than that");
        }
    });
    tokio::spawn(async move {
        let mut next = 0;
        while let Some(pod) = pods.recv().await {
            next += 1;
            let now = jiff::Timestamp::now().to_string();
            let status = json!({"status": {"phase": "Running", "podIP": format!("127.9.128.{next}"),
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]}});
            let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
            // A pod that was deleted meanwhile needs no status.
            let _ = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&status)).await;
        }
    });
}

fn web() -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"runtimeClassName": "process", "containers": [
                    {"name": "c", "image": "none", "command": ["v1"], "ports": [{"name": "http", "containerPort": 8080}]}]},
            },
        },
    })
}

fn is_complete(deployment: &Deployment, replicas: i32) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    let counts = [status.replicas, status.updated_replicas, status.available_replicas];
    status.observed_generation == deployment.metadata.generation && counts.iter().all(|c| *c == Some(replicas))
}

#[tokio::test]
async fn a_deployment_rolls_is_reached_scales_and_goes_with_all_that_it_owns() {
    let cluster = Cluster::start().await;
    let ports = json!([{"name": "http", "port": 80, "targetPort": "http"}]);
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}});
    cluster.create::<Service>(service).await;
    cluster.create::<Deployment>(web()).await;
    let deployments = || cluster.api::<Deployment>();
    until(deployments(), "three replicas are available", |all| all.iter().any(|d| is_complete(d, 3))).await;
    until(cluster.api::<EndpointSlice>(), "three endpoints are ready", |slices| {
        let endpoints = slices.iter().filter(|s| s.name_any().starts_with("web-")).flat_map(|slice| &slice.endpoints);
        endpoints.filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(true)).count() == 3
    })
    .await;
    assert_eq!(cluster.api::<Pod>().list(&Default::default()).await.unwrap().items.len(), 3, "none was created twice");

    let change = json!({"spec": {"replicas": 5, "template": {"spec": {"containers": [
        {"name": "c", "image": "none", "command": ["v2"], "ports": [{"name": "http", "containerPort": 8080}]}]}}}});
    deployments().patch("web", &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
    until(deployments(), "five new replicas are available", |all| all.iter().any(|d| is_complete(d, 5))).await;
    let sets = cluster.api::<ReplicaSet>().list(&Default::default()).await.unwrap().items;
    let mut told: Vec<_> = sets
        .iter()
        .map(|rs| (rs.annotations()["deployment.kubernetes.io/revision"].clone(), rs.spec.clone().unwrap().replicas))
        .collect();
    told.sort();
    assert_eq!(told, [("1".to_owned(), Some(0)), ("2".to_owned(), Some(5))]);

    deployments().delete("web", &DeleteParams::foreground()).await.unwrap();
    until(cluster.api::<Pod>(), "its pods are gone", <[_]>::is_empty).await;
    until(cluster.api::<ReplicaSet>(), "its ReplicaSets are gone", <[_]>::is_empty).await;
    until(deployments(), "it is gone itself", <[_]>::is_empty).await;
    cluster.stop().await;
}

#[tokio::test]
async fn orphaned_pods_stay_and_are_adopted_by_the_next_set_that_selects_them() {
    let cluster = Cluster::start().await;
    let set = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": web()["spec"]["template"]}})
    };
    let has_two = |sets: &[Arc<ReplicaSet>]| {
        sets.iter().any(|rs| rs.status.as_ref().is_some_and(|status| status.ready_replicas == Some(2)))
    };
    cluster.create::<ReplicaSet>(set("first")).await;
    until(cluster.api::<ReplicaSet>(), "two are ready", has_two).await;
    let names = async || {
        let pods = cluster.api::<Pod>().list(&Default::default()).await.unwrap().items;
        pods.iter().map(|pod| pod.name_any()).collect::<Vec<_>>()
    };
    let before = names().await;
    cluster.api::<ReplicaSet>().delete("first", &DeleteParams::orphan()).await.unwrap();
    until(cluster.api::<ReplicaSet>(), "the set is gone", <[_]>::is_empty).await;
    assert_eq!(names().await, before);
    cluster.create::<ReplicaSet>(set("second")).await;
    until(cluster.api::<ReplicaSet>(), "the second has two", has_two).await;
    assert_eq!(names().await, before);
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_goes_when_everything_in_it_has_gone() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "team");
    until(accounts, "it has its account", |all| all.iter().any(|account| account.name_any() == "default")).await;
    let held: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "team");
    let object = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    held.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();

    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    until(namespaces.clone(), "it says what remains", |all| {
        let team = all.iter().find(|namespace| namespace.name_any() == "team");
        let status = team.and_then(|team| team.status.as_ref());
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == "NamespaceFinalizersRemaining" && c.status == "True")
    })
    .await;
    let release = json!({"metadata": {"finalizers": null}});
    held.patch("held", &PatchParams::default(), &Patch::Merge(&release)).await.unwrap();
    until(namespaces, "it is gone", |all| all.iter().all(|namespace| namespace.name_any() != "team")).await;
    cluster.stop().await;
}
