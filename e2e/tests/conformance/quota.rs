//! SIG API Machinery: ResourceQuotas.

use kapell_e2e::conformance::{Case, Operations, idle_pod_spec, replication_controller, workload};
use serde_json::{Value, json};

async fn quota(case: &Case, name: &str, spec: Value) -> String {
    let quotas = case.path("v1", "resourcequotas");
    case.post(&quotas, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    let path = format!("{quotas}/{name}");
    case.until("the quota is counted", &path, |quota| !quota["status"]["used"].is_null()).await;
    path
}

async fn uses(case: &Case, quota: &str, resource: &str, amount: &str) {
    let pointer = resource.replace('/', "~1");
    let holds = |quota: &Value| quota.pointer(&format!("/status/used/{pointer}")) == Some(&json!(amount));
    case.until(&format!("{amount} of {resource} is used"), quota, holds).await;
}

/// Creates one, sees it counted, and a second refused where one is the limit; deletes it and sees it given back.
async fn life(case: &Case, resource: &str, group_version: &str, plural: &str, make: impl Fn(&str) -> Value) {
    let collection = case.path(group_version, plural);
    let there = case.list(&collection).await.len();
    let hard = (there + 1).to_string();
    let quota = quota(case, "q", json!({"hard": {resource: hard}})).await;
    uses(case, &quota, resource, &there.to_string()).await;
    case.post(&collection, &make("first")).await.expect(201);
    uses(case, &quota, resource, &hard).await;
    let refused = case.post(&collection, &make("second")).await;
    let refused = refused.expect(403);
    assert!(refused["message"].as_str().unwrap().contains("exceeded quota: q"), "{refused}");
    case.delete_with(&format!("{collection}/first"), &json!({"gracePeriodSeconds": 0})).await.ok();
    uses(case, &quota, resource, &there.to_string()).await;
}

/// A case whose namespace has the one ConfigMap that every namespace is given: the certificate of the server.
async fn with_certificate() -> Case {
    let case = Case::new().await;
    let certificate = format!("{}/kube-root-ca.crt", case.path("v1", "configmaps"));
    case.until("the namespace has its certificate", &certificate, |_| true).await;
    case
}

/// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated.
#[tokio::test]
async fn a_new_quota_is_counted() {
    let case = with_certificate().await;
    let hard = json!({"pods": "5", "services": "10", "configmaps": "3", "secrets": "4", "requests.cpu": "1"});
    let path = quota(&case, "q", json!({"hard": hard})).await;
    let status = case.get(&path).await.expect(200)["status"].clone();
    assert_eq!(status["hard"], hard);
    assert_eq!((&status["used"]["pods"], &status["used"]["configmaps"]), (&json!("0"), &json!("1")));
}

/// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a configMap.
#[tokio::test]
async fn config_maps_are_counted() {
    let case = with_certificate().await;
    life(&case, "configmaps", "v1", "configmaps", |name| json!({"metadata": {"name": name}})).await;
}

/// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a secret.
#[tokio::test]
async fn secrets_are_counted() {
    let case = Case::new().await;
    life(&case, "secrets", "v1", "secrets", |name| json!({"metadata": {"name": name}})).await;
}

/// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a service.
#[tokio::test]
async fn services_are_counted_by_type() {
    let case = Case::new().await;
    let services = case.path("v1", "services");
    let hard = json!({"services": "2", "services.nodeports": "1", "services.loadbalancers": "0"});
    let quota = quota(&case, "q", json!({"hard": hard})).await;
    let service = |name: &str, type_: &str| json!({"metadata": {"name": name}, "spec": {"type": type_, "ports": [{"port": 80}], "selector": {"app": "x"}}});
    case.post(&services, &service("cluster", "ClusterIP")).await.expect(201);
    case.post(&services, &service("node", "NodePort")).await.expect(201);
    uses(&case, &quota, "services", "2").await;
    uses(&case, &quota, "services.nodeports", "1").await;
    case.post(&services, &service("load", "LoadBalancer")).await.expect(403);
    case.delete(&format!("{services}/cluster")).await.ok();
    case.delete(&format!("{services}/node")).await.ok();
    uses(&case, &quota, "services", "0").await;
    uses(&case, &quota, "services.nodeports", "0").await;
}

/// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replica set.
#[tokio::test]
async fn replica_sets_are_counted() {
    let case = Case::new().await;
    life(&case, "count/replicasets.apps", "apps/v1", "replicasets", |name| workload(name, 0, idle_pod_spec())).await;
}

/// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replication controller.
#[tokio::test]
async fn replication_controllers_are_counted() {
    let case = Case::new().await;
    let make = |name: &str| replication_controller(name, 0, idle_pod_spec());
    life(&case, "replicationcontrollers", "v1", "replicationcontrollers", make).await;
}

fn pod(name: &str, resources: Value) -> Value {
    let mut spec = idle_pod_spec();
    spec["containers"][0]["resources"] = resources;
    json!({"metadata": {"name": name}, "spec": spec})
}

/// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a pod.
#[tokio::test]
async fn pods_are_counted_with_what_they_request() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    let hard = json!({"pods": "3", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi"});
    let quota = quota(&case, "q", json!({"hard": hard})).await;
    let asks = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}});
    case.post(&pods, &pod("first", asks("500m", "252Mi"))).await.expect(201);
    uses(&case, &quota, "pods", "1").await;
    uses(&case, &quota, "requests.cpu", "500m").await;
    uses(&case, &quota, "requests.memory", "252Mi").await;
    case.post(&pods, &pod("large", asks("600m", "100Mi"))).await.expect(403);
    // With a quota on requests a pod has to say what it requests.
    case.post(&pods, &pod("silent", json!({}))).await.expect(403);
    case.merge(&format!("{pods}/first"), &json!({"metadata": {"labels": {"changed": "yes"}}})).await.expect(200);
    let more = json!([{"op": "replace", "path": "/spec/containers/0/resources/requests/cpu", "value": "100m"}]);
    let changed = case.patch(&format!("{pods}/first"), kapell_e2e::conformance::JSON_PATCH, &more).await;
    assert!(changed.code >= 400, "the requests of a pod do not change: {changed:?}");
    uses(&case, &quota, "requests.cpu", "500m").await;
    case.delete_with(&format!("{pods}/first"), &json!({"gracePeriodSeconds": 0})).await.ok();
    uses(&case, &quota, "pods", "0").await;
    uses(&case, &quota, "requests.cpu", "0").await;
}

/// Conformance: [sig-api-machinery] ResourceQuota should verify ResourceQuota with best effort scope.
#[tokio::test]
async fn quotas_are_about_best_effort_or_the_others() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    let best = quota(&case, "best", json!({"hard": {"pods": "5"}, "scopes": ["BestEffort"]})).await;
    let other = quota(&case, "other", json!({"hard": {"pods": "5"}, "scopes": ["NotBestEffort"]})).await;
    let asking = json!({"requests": {"cpu": "500m", "memory": "200Mi"}, "limits": {"cpu": "1", "memory": "400Mi"}});
    for (resources, counted, silent) in [(json!({}), &best, &other), (asking, &other, &best)] {
        case.post(&pods, &pod("p", resources)).await.expect(201);
        uses(&case, counted, "pods", "1").await;
        uses(&case, silent, "pods", "0").await;
        case.delete_with(&format!("{pods}/p"), &json!({"gracePeriodSeconds": 0})).await.ok();
        uses(&case, counted, "pods", "0").await;
    }
}

/// Conformance: [sig-api-machinery] ResourceQuota should verify ResourceQuota with terminating scopes.
#[tokio::test]
async fn quotas_are_about_pods_that_end_or_the_others() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    let ending = quota(&case, "ending", json!({"hard": {"pods": "5"}, "scopes": ["Terminating"]})).await;
    let lasting = quota(&case, "lasting", json!({"hard": {"pods": "5"}, "scopes": ["NotTerminating"]})).await;
    let mut limited = pod("p", json!({}));
    limited["spec"]["activeDeadlineSeconds"] = json!(3600);
    for (pod, counted, silent) in [(pod("p", json!({})), &lasting, &ending), (limited, &ending, &lasting)] {
        case.post(&pods, &pod).await.expect(201);
        uses(&case, counted, "pods", "1").await;
        uses(&case, silent, "pods", "0").await;
        case.delete_with(&format!("{pods}/p"), &json!({"gracePeriodSeconds": 0})).await.ok();
        uses(&case, counted, "pods", "0").await;
    }
}

/// Conformance: [sig-api-machinery] ResourceQuota should be able to update and delete ResourceQuota.
#[tokio::test]
async fn a_quota_is_updated_and_deleted() {
    let case = Case::new().await;
    let path = quota(&case, "q", json!({"hard": {"cpu": "1", "memory": "500Mi"}})).await;
    let mut found = case.get(&path).await.expect(200);
    assert_eq!(found["spec"]["hard"], json!({"cpu": "1", "memory": "500Mi"}));
    found["spec"]["hard"] = json!({"cpu": "2", "memory": "1Gi"});
    case.put(&path, &found).await.expect(200);
    case.until("the status follows", &path, |q| q["status"]["hard"] == json!({"cpu": "2", "memory": "1Gi"})).await;
    case.delete(&path).await.ok();
    case.get(&path).await.expect(404);
}

/// Conformance: [sig-api-machinery] ResourceQuota should manage the lifecycle of a ResourceQuota
#[tokio::test]
async fn quotas_live_as_other_objects_do() {
    let case = Case::new().await;
    let operations = Operations {
        group_version: "v1",
        plural: "resourcequotas",
        namespaced: true,
        object: json!({"spec": {"hard": {"cpu": "2", "memory": "500Mi"}}}),
        status: None,
    };
    operations.check(&case).await;
}

/// Conformance: [sig-api-machinery] ResourceQuota should apply changes to a resourcequota status
#[tokio::test]
async fn the_status_of_a_quota_is_written_and_set_right() {
    let case = Case::new().await;
    let path = quota(&case, "q", json!({"hard": {"cpu": "500m", "memory": "500Mi"}})).await;
    let status = format!("{path}/status");
    let mut found = case.get(&status).await.expect(200);
    found["status"]["hard"] = json!({"cpu": "250m", "memory": "250Mi"});
    case.put(&status, &found).await.ok();
    let patch = json!({"metadata": {"annotations": {"patched": "yes"}}, "status": {"hard": {"cpu": "125m"}}});
    case.merge(&status, &patch).await.expect(200);
    let right = json!({"cpu": "500m", "memory": "500Mi"});
    let restored = case.until("the status is set right", &path, |quota| quota["status"]["hard"] == right).await;
    assert_eq!(restored["spec"]["hard"], right);
}
