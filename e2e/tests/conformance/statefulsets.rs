//! SIG Apps: StatefulSets, whose pods come, go and change in order. Where upstream breaks a web server's probe, a file that the
//! probe looks for goes away.

use kapell_e2e::conformance::{Case, QUIET, running_pod_spec, workload};
use kapell_e2e::eventually_async;
use serde_json::{Value, json};

const HASH: &str = "controller-revision-hash";

/// Pods that are ready as long as there is a file.
fn with_probe() -> Value {
    let mut spec = running_pod_spec();
    spec["containers"][0]["command"] = json!(["sh", "-c", "touch well; exec sleep 1000"]);
    spec["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["test", "-e", "well"]}, "periodSeconds": 1, "failureThreshold": 1});
    spec
}

fn versioned(version: &str) -> Value {
    let mut spec = running_pod_spec();
    spec["containers"][0]["env"] = json!([{"name": "VERSION", "value": version}]);
    spec
}

async fn create(case: &Case, replicas: u32, pods: Value, more: Value) -> String {
    let mut set = workload("ss", replicas, pods);
    set["spec"]["serviceName"] = json!("test");
    for (field, value) in more.as_object().into_iter().flatten() {
        set["spec"][field] = value.clone();
    }
    let sets = case.path("apps/v1", "statefulsets");
    case.post(&sets, &set).await.expect(201);
    format!("{sets}/ss")
}

async fn ready(case: &Case, path: &str, count: u32) {
    // A count of nothing is left out.
    let holds = |set: &Value| set["status"]["readyReplicas"].as_u64().unwrap_or(0) == u64::from(count);
    case.until(&format!("{count} are ready"), path, holds).await;
}

async fn scale(case: &Case, path: &str, replicas: u32) {
    case.merge(path, &json!({"spec": {"replicas": replicas}})).await.expect(200);
}

/// The pods' names, or another fact, in the order of their numbers.
async fn pods(case: &Case, fact: impl Fn(&Value) -> String) -> Vec<String> {
    case.list(&case.path("v1", "pods")).await.iter().map(fact).collect()
}

fn name(pod: &Value) -> String {
    pod["metadata"]["name"].as_str().unwrap().to_owned()
}

fn version(pod: &Value) -> String {
    pod["spec"]["containers"][0]["env"][0]["value"].as_str().unwrap().to_owned()
}

fn hash(pod: &Value) -> String {
    pod["metadata"]["labels"][HASH].as_str().unwrap().to_owned()
}

async fn stays(case: &Case, expected: &[&str]) {
    tokio::time::sleep(QUIET).await;
    let living = |pod: &Value| if pod["metadata"]["deletionTimestamp"].is_null() { name(pod) } else { "going".into() };
    assert_eq!(pods(case, living).await, expected);
}

fn spoil(case: &Case, pods: &[&str]) {
    pods.iter().for_each(|pod| drop(case.shell(&[pod], "rm well")));
}

fn mend(case: &Case, pods: &[&str]) {
    // From the last: the first that is unwell may be taken away when all behind it are gone.
    pods.iter().rev().for_each(|pod| drop(case.shell(&[pod], "touch well")));
}

const THREE: [&str; 3] = ["ss-0", "ss-1", "ss-2"];

/// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Scaling should happen in predictable order and halt if any stateful pod is unhealthy [Slow]
#[tokio::test]
async fn in_order_nothing_happens_while_somebody_is_unwell() {
    let case = Case::new().await;
    let mut watch = case.watch(&case.path("v1", "pods"), "").await;
    let path = create(&case, 1, with_probe(), json!({})).await;
    ready(&case, &path, 1).await;
    watch.until("ADDED ss-0").await;
    spoil(&case, &["ss-0"]);
    ready(&case, &path, 0).await;
    scale(&case, &path, 3).await;
    stays(&case, &["ss-0"]).await;
    mend(&case, &["ss-0"]);
    ready(&case, &path, 3).await;
    watch.until("ADDED ss-1").await;
    watch.until("ADDED ss-2").await;

    spoil(&case, &THREE);
    ready(&case, &path, 0).await;
    scale(&case, &path, 0).await;
    stays(&case, &THREE).await;
    mend(&case, &THREE);
    for pod in THREE.iter().rev() {
        watch.until(&format!("DELETED {pod}")).await;
    }
    case.until("nobody is left", &path, |set| set["status"]["replicas"] == 0).await;
}

/// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Burst scaling should run to completion even with unhealthy pods [Slow]
#[tokio::test]
async fn in_parallel_nobody_waits_for_the_unwell() {
    let case = Case::new().await;
    let path = create(&case, 1, with_probe(), json!({"podManagementPolicy": "Parallel"})).await;
    ready(&case, &path, 1).await;
    spoil(&case, &["ss-0"]);
    ready(&case, &path, 0).await;
    scale(&case, &path, 3).await;
    ready(&case, &path, 2).await;
    assert_eq!(pods(&case, name).await, THREE);
    spoil(&case, &["ss-1", "ss-2"]);
    ready(&case, &path, 0).await;
    scale(&case, &path, 0).await;
    eventually_async("nobody is left", || async { pods(&case, name).await.is_empty().then_some(()) }).await;
}

/// All pods are ready and of these versions.
async fn versions(case: &Case, path: &str, expected: [&str; 3]) {
    eventually_async(&format!("the pods are {expected:?}"), || async {
        (pods(case, version).await == expected).then_some(())
    })
    .await;
    ready(case, path, 3).await;
}

async fn update(case: &Case, path: &str, version: &str) {
    case.merge(path, &json!({"spec": {"template": {"spec": versioned(version)}}})).await.expect(200);
}

fn from(partition: u32) -> Value {
    json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}})
}

/// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform canary updates and phased rolling updates of template modifications
#[tokio::test]
async fn an_update_reaches_as_far_as_its_partition() {
    let case = Case::new().await;
    let path = create(&case, 3, versioned("one"), from(3)).await;
    versions(&case, &path, ["one"; 3]).await;
    update(&case, &path, "two").await;
    let seen = |set: &Value| set["status"]["updateRevision"] != set["status"]["currentRevision"];
    case.until("the new revision is known", &path, seen).await;
    stays(&case, &THREE).await;
    versions(&case, &path, ["one"; 3]).await;

    case.merge(&path, &json!({"spec": from(2)})).await.expect(200);
    versions(&case, &path, ["one", "one", "two"]).await;
    // Who is made anew is made from what his number stands for.
    let before = pods(&case, |pod| pod["metadata"]["uid"].to_string()).await;
    for pod in ["ss-0", "ss-2"] {
        case.delete(&format!("{}/{pod}", case.path("v1", "pods"))).await.ok();
    }
    eventually_async("both are other pods", || async {
        let now = pods(&case, |pod| pod["metadata"]["uid"].to_string()).await;
        (now.len() == 3 && now[0] != before[0] && now[1] == before[1] && now[2] != before[2]).then_some(())
    })
    .await;
    versions(&case, &path, ["one", "one", "two"]).await;

    case.merge(&path, &json!({"spec": from(1)})).await.expect(200);
    versions(&case, &path, ["one", "two", "two"]).await;
    case.merge(&path, &json!({"spec": from(0)})).await.expect(200);
    versions(&case, &path, ["two"; 3]).await;
    let arrived = |set: &Value| set["status"]["updateRevision"] == set["status"]["currentRevision"];
    case.until("the new revision is the current one", &path, arrived).await;
}

/// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform rolling updates and roll backs of template modifications
#[tokio::test]
async fn an_update_goes_from_the_last_to_the_first_and_back() {
    let case = Case::new().await;
    let path = create(&case, 3, versioned("one"), json!({})).await;
    versions(&case, &path, ["one"; 3]).await;
    let old = pods(&case, hash).await;
    let list = case.get(&case.path("v1", "pods")).await.expect(200);
    let from = format!("&resourceVersion={}", list["metadata"]["resourceVersion"].as_str().unwrap());
    let mut watch = case.watch(&case.path("v1", "pods"), &from).await;
    update(&case, &path, "two").await;
    for pod in THREE.iter().rev() {
        watch.until(&format!("DELETED {pod}")).await;
        watch.until(&format!("ADDED {pod}")).await;
    }
    versions(&case, &path, ["two"; 3]).await;
    assert_ne!(pods(&case, hash).await, old);
    update(&case, &path, "one").await;
    for pod in THREE.iter().rev() {
        watch.until(&format!("DELETED {pod}")).await;
    }
    versions(&case, &path, ["one"; 3]).await;
    assert_eq!(pods(&case, hash).await, old, "it is the revision of old");
}
