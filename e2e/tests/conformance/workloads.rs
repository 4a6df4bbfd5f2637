//! SIG Apps: how Deployments, ReplicaSets and DaemonSets bring about what they say. Their pods are processes; where upstream
//! takes an image that does not exist, a container that no node can run stands for it.

use std::collections::{BTreeMap, BTreeSet};

use kapell_e2e::conformance::{Case, STRATEGIC, Watch, idle_pod_spec, running_pod_spec, workload};
use kapell_e2e::eventually_async;
use serde_json::{Value, json};

const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";

/// Pods that run, and differ by template from those of another `version`.
fn running(version: &str) -> Value {
    let mut spec = running_pod_spec();
    spec["containers"][0]["env"] = json!([{"name": "VERSION", "value": version}]);
    spec
}

fn is_rolled_out(deployment: &Value) -> bool {
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let wanted = &spec["replicas"];
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && [&status["replicas"], &status["updatedReplicas"], &status["availableReplicas"]] == [wanted; 3]
}

async fn roll(case: &Case, deployment: &str, pods: Value) {
    let patch = json!([{"op": "replace", "path": "/spec/template/spec", "value": pods}]);
    case.patch(deployment, kapell_e2e::conformance::JSON_PATCH, &patch).await.expect(200);
}

/// The sizes of the ReplicaSets that a selector finds, the oldest revision first.
async fn sizes(case: &Case, selector: &str) -> Vec<i64> {
    let sets = case.list(&format!("{}?labelSelector={selector}", case.path("apps/v1", "replicasets"))).await;
    let revision = |set: &Value| set["metadata"]["annotations"][REVISION].as_str().and_then(|text| text.parse().ok());
    let mut sizes: Vec<(i64, i64)> =
        sets.iter().map(|set| (revision(set).unwrap_or(0), set["spec"]["replicas"].as_i64().unwrap())).collect();
    sizes.sort_unstable();
    sizes.into_iter().map(|(_, size)| size).collect()
}

/// Reads the watch until a pod of another template has come; nobody may be left of the first one then.
async fn no_overlap(watch: &mut Watch) {
    let mut living = BTreeMap::<String, String>::new();
    let mut templates = BTreeSet::new();
    while templates.len() < 2 {
        let event = watch.next().await;
        let meta = &event["object"]["metadata"];
        let name = meta["name"].as_str().unwrap().to_owned();
        // What has ended does not run beside anybody, as upstream; its object goes a moment later.
        let ended = matches!(event["object"]["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        match event["type"].as_str() {
            Some("DELETED") => drop(living.remove(&name)),
            _ if ended => drop(living.remove(&name)),
            _ => {
                let hash = meta["labels"][HASH].as_str().unwrap().to_owned();
                assert!(living.values().all(|other| *other == hash), "{name} beside {living:?}");
                templates.insert(hash.clone());
                living.insert(name, hash);
            }
        }
    }
}

/// Conformance: [sig-apps] Deployment RecreateDeployment should delete old pods and create new ones
#[tokio::test]
async fn recreating_ends_all_old_pods_first() {
    let case = Case::new().await;
    let deployments = case.path("apps/v1", "deployments");
    let mut object = workload("web", 2, running("one"));
    object["spec"]["strategy"] = json!({"type": "Recreate"});
    let mut watch = case.watch(&case.path("v1", "pods"), "").await;
    case.post(&deployments, &object).await.expect(201);
    let path = format!("{deployments}/web");
    case.until("the first revision is there", &path, is_rolled_out).await;
    roll(&case, &path, running("two")).await;
    no_overlap(&mut watch).await;
    case.until("the second revision is there", &path, is_rolled_out).await;
}

/// A ReplicaSet `found` that is up before the Deployment `web` that selects its pod; gives its path.
async fn found(case: &Case, annotations: Value) -> String {
    let sets = case.path("apps/v1", "replicasets");
    let mut set = workload("web", 1, running("old"));
    set["metadata"]["name"] = json!("found");
    set["metadata"]["annotations"] = annotations;
    case.post(&sets, &set).await.expect(201);
    let path = format!("{sets}/found");
    case.until("its pod is ready", &path, |set| set["status"]["readyReplicas"] == 1).await;
    path
}

/// Conformance: [sig-apps] Deployment RollingUpdateDeployment should delete old pods and create new ones
#[tokio::test]
async fn rolling_goes_on_from_the_replica_set_that_is_there() {
    let case = Case::new().await;
    let found = found(&case, json!({REVISION: "3546343826724305832"})).await;

    let deployments = case.path("apps/v1", "deployments");
    case.post(&deployments, &workload("web", 1, running("new"))).await.expect(201);
    let path = format!("{deployments}/web");
    let done = case.until("the update is done", &path, is_rolled_out).await;
    assert_eq!(done["metadata"]["annotations"][REVISION], "3546343826724305833");
    let old = case.get(&found).await.expect(200);
    assert_eq!((&old["spec"]["replicas"], &old["metadata"]["ownerReferences"][0]["name"]), (&json!(0), &json!("web")));
    assert_eq!(sizes(&case, "app%3Dweb").await, [0, 1]);
}

/// Conformance: [sig-apps] Deployment deployment should delete old replica sets
#[tokio::test]
async fn no_more_revisions_are_kept_than_asked_for() {
    let case = Case::new().await;
    let found = found(&case, json!({})).await;
    let mut object = workload("web", 1, running("new"));
    object["spec"]["revisionHistoryLimit"] = json!(0);
    case.post(&case.path("apps/v1", "deployments"), &object).await.expect(201);
    case.until_gone(&found).await;
    eventually_async("one is left", || async { (sizes(&case, "app%3Dweb").await == [1]).then_some(()) }).await;
}

/// Conformance: [sig-apps] Deployment deployment should support rollover
#[tokio::test]
async fn an_update_overtakes_one_that_does_not_get_on() {
    let case = Case::new().await;
    found(&case, json!({})).await;

    let deployments = case.path("apps/v1", "deployments");
    let mut object = workload("web", 1, idle_pod_spec());
    object["spec"]["strategy"] = json!({"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
    case.post(&deployments, &object).await.expect(201);
    let stuck = || async { (sizes(&case, "app%3Dweb").await == [1, 1]).then_some(()) };
    eventually_async("the update is under way and does not get on", stuck).await;
    let path = format!("{deployments}/web");
    roll(&case, &path, running("new")).await;
    case.until("the last revision is there", &path, is_rolled_out).await;
    assert_eq!(sizes(&case, "app%3Dweb").await, [0, 0, 1]);
}

/// Conformance: [sig-apps] Deployment deployment should support proportional scaling
#[tokio::test]
async fn what_is_added_in_an_update_is_shared_out() {
    let case = Case::new().await;
    let deployments = case.path("apps/v1", "deployments");
    let mut object = workload("web", 10, running("one"));
    object["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}});
    case.post(&deployments, &object).await.expect(201);
    let path = format!("{deployments}/web");
    case.until("ten are available", &path, is_rolled_out).await;
    roll(&case, &path, idle_pod_spec()).await;
    let shared = |wanted: [i64; 2]| {
        let case = &case;
        async move { (sizes(case, "app%3Dweb").await == wanted).then_some(()) }
    };
    eventually_async("two of the old are gone, five of the new made", || shared([8, 5])).await;
    case.until("eight are left", &path, |web| web["status"]["availableReplicas"] == 8).await;
    case.merge(&path, &json!({"spec": {"replicas": 30}})).await.expect(200);
    eventually_async("both have grown alike", || shared([20, 13])).await;
    // What need not run need not run on.
    case.merge(&path, &json!({"spec": {"replicas": 0}})).await.expect(200);
}

/// Conformance: [sig-apps] ReplicaSet Replace and Patch tests
#[tokio::test]
async fn a_replica_set_is_scaled_replaced_and_patched() {
    let case = Case::new().await;
    let sets = case.path("apps/v1", "replicasets");
    let mut watch = case.watch(&sets, "").await;
    case.post(&sets, &workload("web", 1, running("one"))).await.expect(201);
    watch.until("ADDED web").await;
    let path = format!("{sets}/web");
    case.until("one is ready", &path, |set| set["status"]["readyReplicas"] == 1).await;
    let mut scale = case.get(&format!("{path}/scale")).await.expect(200);
    scale["spec"]["replicas"] = json!(2);
    scale["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    case.put(&format!("{path}/scale"), &scale).await.expect(200);
    case.until("two are ready", &path, |set| set["status"]["readyReplicas"] == 2).await;

    let patch = json!({
        "metadata": {"labels": {"test-rs": "patched"}},
        "spec": {"replicas": 3, "template": {"spec": {"terminationGracePeriodSeconds": 0}}},
    });
    let patched = case.patch(&path, STRATEGIC, &patch).await.expect(200);
    let patched_spec = &patched["spec"]["template"]["spec"];
    assert_eq!(patched["metadata"]["labels"], json!({"app": "web", "test-rs": "patched"}));
    assert_eq!(patched_spec["terminationGracePeriodSeconds"], 0);
    assert_eq!(patched_spec["containers"][0]["command"], json!(["sleep", "1000"]), "what is not named stays");
    case.until("three are ready", &path, |set| set["status"]["readyReplicas"] == 3).await;
}

fn daemon(name: &str, pods: Value) -> Value {
    let mut set = workload(name, 0, pods);
    set["spec"].as_object_mut().unwrap().remove("replicas");
    set
}

/// The one pod of a selector that is on its node and ready, if it is another than `not`.
async fn ready_pod(case: &Case, app: &str, not: &Value) -> Value {
    let pods = format!("{}?labelSelector=app%3D{app}", case.path("v1", "pods"));
    let ready = |pod: &Value| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    eventually_async("a pod is ready", || async {
        let pods = case.list(&pods).await;
        match pods.as_slice() {
            [pod] if ready(pod) && pod["metadata"]["uid"] != not["metadata"]["uid"] => Some(pod.clone()),
            _ => None,
        }
    })
    .await
}

/// Conformance: [sig-apps] Daemon set [Serial] should run and stop simple daemon
/// Conformance: [sig-apps] Daemon set [Serial] should retry creating failed daemon pods
#[tokio::test]
async fn each_node_has_its_daemon_again_and_again() {
    let case = Case::new().await;
    let (sets, pods) = (case.path("apps/v1", "daemonsets"), case.path("v1", "pods"));
    case.post(&sets, &daemon("log", running("one"))).await.expect(201);
    let first = ready_pod(&case, "log", &Value::Null).await;
    assert_eq!(case.list("/api/v1/nodes").await[0]["metadata"]["name"], first["spec"]["nodeName"]);
    let path = |pod: &Value| format!("{pods}/{}", pod["metadata"]["name"].as_str().unwrap());
    case.delete(&path(&first)).await.ok();
    let second = ready_pod(&case, "log", &first).await;
    // Somebody says that it has failed: it is replaced, whatever it does.
    case.merge(&format!("{}/status", path(&second)), &json!({"status": {"phase": "Failed"}})).await.expect(200);
    let third = ready_pod(&case, "log", &second).await;
    case.until_gone(&path(&second)).await;
    case.delete(&format!("{sets}/log")).await.ok();
    case.until_gone(&path(&third)).await;
}

/// Conformance: [sig-apps] Daemon set [Serial] should run and stop complex daemon
#[tokio::test]
async fn a_daemon_follows_the_labels_of_nodes() {
    let case = Case::new().await;
    let sets = case.path("apps/v1", "daemonsets");
    let nodes = case.list("/api/v1/nodes").await;
    let node = format!("/api/v1/nodes/{}", nodes[0]["metadata"]["name"].as_str().unwrap());
    let key = format!("color-of-{}", case.namespace);
    let mut pods = running("one");
    pods["nodeSelector"] = json!({&key: "blue"});
    case.post(&sets, &daemon("log", pods)).await.expect(201);
    let path = format!("{sets}/log");
    let seen = |wanted: i64| {
        move |set: &Value| {
            set["status"]["observedGeneration"] == set["metadata"]["generation"]
                && set["status"]["desiredNumberScheduled"] == wanted
                && set["status"]["currentNumberScheduled"] == wanted
        }
    };
    case.until("nobody wants it", &path, seen(0)).await;
    let paint = |color: Value| json!({"metadata": {"labels": {&key: color}}});
    case.merge(&node, &paint(json!("blue"))).await.expect(200);
    let blue = ready_pod(&case, "log", &Value::Null).await;
    case.until("it runs", &path, seen(1)).await;
    case.merge(&node, &paint(json!("green"))).await.expect(200);
    case.until_gone(&format!("{}/{}", case.path("v1", "pods"), blue["metadata"]["name"].as_str().unwrap())).await;

    let change = json!({"spec": {
        "updateStrategy": {"type": "RollingUpdate"}, "template": {"spec": {"nodeSelector": {&key: "green"}}},
    }});
    case.patch(&path, STRATEGIC, &change).await.expect(200);
    ready_pod(&case, "log", &blue).await;
    case.until("it runs again", &path, seen(1)).await;
    case.merge(&node, &paint(Value::Null)).await.expect(200);
    case.until("nobody wants it any more", &path, seen(0)).await;
}

/// Conformance: [sig-apps] Daemon set [Serial] should update pod when spec was updated and update strategy is RollingUpdate
#[tokio::test]
async fn a_new_template_replaces_the_daemons() {
    let case = Case::new().await;
    let sets = case.path("apps/v1", "daemonsets");
    case.post(&sets, &daemon("log", running("one"))).await.expect(201);
    let old = ready_pod(&case, "log", &Value::Null).await;
    let revisions = format!("{}?labelSelector=app%3Dlog", case.path("apps/v1", "controllerrevisions"));
    assert_eq!(case.list(&revisions).await.len(), 1);
    let patch = json!({"spec": {"template": {"spec": running("two")}}});
    case.merge(&format!("{sets}/log"), &patch).await.expect(200);
    let new = ready_pod(&case, "log", &old).await;
    assert_eq!(new["spec"]["containers"][0]["env"][0]["value"], "two");
    let hash = |pod: &Value| pod["metadata"]["labels"]["controller-revision-hash"].as_str().unwrap().to_owned();
    assert_ne!(hash(&old), hash(&new));
    let found: BTreeSet<String> = case.list(&revisions).await.iter().map(hash).collect();
    assert_eq!(found, BTreeSet::from([hash(&old), hash(&new)]));
}
