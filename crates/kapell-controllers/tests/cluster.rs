//! The controllers against the real API server in process, over the model store; only the node's agent is played.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, Node, Pod, ReplicationController, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
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
        let config = ControllersConfig { root_certificate: Some("PEM".to_owned()), ..ControllersConfig::default() };
        let controllers = tokio::spawn(run(config, client.clone(), shutdown.clone()));
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

fn workload(extra: Value) -> Value {
    let mut spec =
        json!({"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": web()["spec"]["template"]});
    json_patch::merge(&mut spec, &extra);
    json!({"metadata": {"name": "db"}, "spec": spec})
}

fn command(pod: &Pod) -> &str {
    &pod.spec.as_ref().unwrap().containers[0].command.as_ref().unwrap()[0]
}

#[tokio::test]
async fn a_stateful_set_keeps_its_names_through_an_update_and_goes_back() {
    let cluster = Cluster::start().await;
    cluster.create::<StatefulSet>(workload(json!({"serviceName": "db"}))).await;
    let sets = || cluster.api::<StatefulSet>();
    let complete = |replicas: i32| {
        move |sets: &[Arc<StatefulSet>]| {
            sets.iter().any(|set| {
                let status = set.status.clone().unwrap_or_default();
                status.observed_generation == set.metadata.generation
                    && status.ready_replicas == Some(replicas)
                    && status.replicas == replicas
                    && status.current_revision == status.update_revision
                    && status.updated_replicas == Some(replicas)
            })
        }
    };
    until(sets(), "three are ready", complete(3)).await;
    let pods = async || cluster.api::<Pod>().list(&Default::default()).await.unwrap().items;
    let names = |pods: &[Pod]| pods.iter().map(|pod| pod.name_any()).collect::<Vec<_>>();
    let first = pods().await;
    assert_eq!(names(&first), ["db-0", "db-1", "db-2"]);
    let mut made: Vec<_> = first.iter().map(|pod| pod.resource_version().unwrap().parse::<u64>().unwrap()).collect();
    made.sort_unstable();
    assert_eq!(first[2].spec.as_ref().unwrap().hostname.as_deref(), Some("db-2"));

    let v2 =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "none", "command": ["v2"]}]}}}});
    sets().patch("db", &PatchParams::default(), &Patch::Merge(&v2)).await.unwrap();
    until(sets(), "all run the new template", complete(3)).await;
    let second = pods().await;
    assert_eq!(names(&second), ["db-0", "db-1", "db-2"]);
    assert!(second.iter().all(|pod| command(pod) == "v2"), "{second:?}");

    let revisions = cluster.api::<ControllerRevision>().list(&Default::default()).await.unwrap().items;
    assert_eq!(revisions.len(), 2);
    let old = revisions.iter().find(|revision| revision.revision == 1).unwrap();
    let undo = Patch::Strategic(&old.data.as_ref().unwrap().0);
    sets().patch("db", &PatchParams::default(), &undo).await.unwrap();
    until(sets(), "all run the old template", complete(3)).await;
    assert!(pods().await.iter().all(|pod| command(pod) == "v1"));
    let revisions = cluster.api::<ControllerRevision>().list(&Default::default()).await.unwrap().items;
    let mut numbers: Vec<_> = revisions.iter().map(|revision| revision.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3], "the old revision is the newest again");

    let scale = json!({"spec": {"replicas": 1}});
    sets().patch("db", &PatchParams::default(), &Patch::Merge(&scale)).await.unwrap();
    until(sets(), "one is left", complete(1)).await;
    assert_eq!(names(&pods().await), ["db-0"]);
    cluster.stop().await;
}

#[tokio::test]
async fn a_daemon_set_follows_the_nodes_and_rolls() {
    let cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    for name in ["a", "b"] {
        let node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        nodes.create(&PostParams::default(), &node).await.unwrap();
    }
    // Nobody plays the nodes' heartbeats, so they count as not ready.
    let anywhere = json!({"replicas": null, "template": {"spec": {"tolerations": [{"operator": "Exists"}]}}});
    cluster.create::<DaemonSet>(workload(anywhere)).await;
    let sets = || cluster.api::<DaemonSet>();
    let complete = |count: i32| {
        move |sets: &[Arc<DaemonSet>]| {
            sets.iter().any(|set| {
                let status = set.status.clone().unwrap_or_default();
                status.observed_generation == set.metadata.generation
                    && status.desired_number_scheduled == count
                    && status.number_available == Some(count)
                    && status.updated_number_scheduled == Some(count)
            })
        }
    };
    until(sets(), "both nodes have one", complete(2)).await;
    let node = serde_json::from_value(json!({"metadata": {"name": "c"}})).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    until(sets(), "the new node has one", complete(3)).await;
    let v2 =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "none", "command": ["v2"]}]}}}});
    sets().patch("db", &PatchParams::default(), &Patch::Merge(&v2)).await.unwrap();
    until(sets(), "all run the new template", complete(3)).await;
    let pods = cluster.api::<Pod>().list(&Default::default()).await.unwrap().items;
    let living: Vec<_> = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    assert!(living.len() == 3 && living.iter().all(|pod| command(pod) == "v2"), "{living:?}");
    nodes.delete("c", &DeleteParams::default()).await.unwrap();
    until(sets(), "two are left", complete(2)).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_replication_controller_is_counted_by_a_budget_and_seen_by_endpoints() {
    let cluster = Cluster::start().await;
    let rc = workload(json!({"selector": null}));
    cluster.create::<ReplicationController>(rc).await;
    until(cluster.api::<ReplicationController>(), "three are ready", |all| {
        all.iter().any(|rc| rc.status.as_ref().is_some_and(|status| status.ready_replicas == Some(3)))
    })
    .await;
    let budget = json!({"metadata": {"name": "db"}, "spec": {"maxUnavailable": "34%", "selector": {"matchLabels": {"app": "web"}}}});
    cluster.create::<PodDisruptionBudget>(budget).await;
    until(cluster.api::<PodDisruptionBudget>(), "two may go", |all| {
        all.iter()
            .any(|budget| budget.status.as_ref().is_some_and(|s| s.disruptions_allowed == 2 && s.expected_pods == 3))
    })
    .await;
    let ports = json!([{"name": "http", "port": 80, "targetPort": "http"}]);
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}});
    cluster.create::<Service>(service).await;
    until(cluster.api::<Endpoints>(), "three addresses are ready", |all| {
        let web = all.iter().find(|endpoints| endpoints.name_any() == "web");
        let subsets = web.and_then(|web| web.subsets.as_ref()).into_iter().flatten();
        subsets.flat_map(|subset| subset.addresses.iter().flatten()).count() == 3
    })
    .await;
    cluster.api::<Service>().delete("web", &DeleteParams::default()).await.unwrap();
    until(cluster.api::<Endpoints>(), "they go with their Service", |all| all.iter().all(|e| e.name_any() != "web"))
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn every_namespace_has_the_certificate_also_after_somebody_changed_it() {
    let cluster = Cluster::start().await;
    let maps = || cluster.api::<ConfigMap>();
    let is_right = |all: &[Arc<ConfigMap>]| {
        let map = all.iter().find(|map| map.name_any() == "kube-root-ca.crt");
        map.and_then(|map| map.data.as_ref()).is_some_and(|data| data["ca.crt"] == "PEM")
    };
    until(maps(), "it is there", is_right).await;
    let spoilt = json!({"data": {"ca.crt": "x"}});
    maps().patch("kube-root-ca.crt", &PatchParams::default(), &Patch::Merge(&spoilt)).await.unwrap();
    until(maps(), "it is put right", is_right).await;
    maps().delete("kube-root-ca.crt", &DeleteParams::default()).await.unwrap();
    until(maps(), "it is there again", is_right).await;
    cluster.stop().await;
}

#[tokio::test]
async fn an_autoscaler_keeps_its_bounds_and_says_what_it_cannot_measure() {
    let cluster = Cluster::start().await;
    cluster.create::<Deployment>(web()).await;
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let hpa =
        json!({"metadata": {"name": "web"}, "spec": {"scaleTargetRef": target, "minReplicas": 5, "maxReplicas": 6}});
    cluster.create::<HorizontalPodAutoscaler>(hpa).await;
    until(cluster.api::<Deployment>(), "it has the fewest that it may have", |all| {
        all.iter().any(|d| is_complete(d, 5))
    })
    .await;
    // Looked at again: now there is nothing to do but to measure, and nobody serves metrics here.
    let touch = json!({"spec": {"maxReplicas": 7}});
    let api = cluster.api::<HorizontalPodAutoscaler>();
    api.patch("web", &PatchParams::default(), &Patch::Merge(&touch)).await.unwrap();
    until(api, "it says that metrics are missing", |all| {
        let conditions =
            all.iter().flat_map(|hpa| hpa.status.iter().flat_map(|status| status.conditions.iter().flatten()));
        conditions.filter(|c| c.type_ == "ScalingActive" && c.status == "False").count() == 1
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn old_events_are_removed_and_young_ones_stay() {
    let server = ApiServer::new(Config::new("secret"), Arc::new(MemoryStore::new())).await.unwrap();
    let client = Client::new(server.service(Identity::internal("test")), "default");
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    let about = json!({"kind": "Pod", "name": "p", "namespace": "default"});
    for name in ["first", "second"] {
        let event = json!({"metadata": {"name": name}, "involvedObject": about});
        events.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap();
    }
    // Nothing lives for no time at all, but what is told for the future stays.
    let later = json!({"lastTimestamp": "2999-01-01T00:00:00Z"});
    events.patch("second", &PatchParams::default(), &Patch::Merge(&later)).await.unwrap();
    let shutdown = CancellationToken::new();
    let config = ControllersConfig { event_ttl: Duration::from_millis(1), ..ControllersConfig::default() };
    let controllers = tokio::spawn(run(config, client, shutdown.clone()));
    until(events, "the first is gone", |all| all.len() == 1 && all[0].name_any() == "second").await;
    shutdown.cancel();
    controllers.await.unwrap();
}
