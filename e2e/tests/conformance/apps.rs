//! SIG Apps: workloads and disruption budgets as objects, and how they say what is wrong. Their pods need not start, or are
//! processes.

use kapell_e2e::conformance::{
    Case, Operations, STRATEGIC, add_condition, idle_pod_spec, replication_controller, running_pod_spec, workload,
};
use kapell_e2e::eventually_async;
use serde_json::{Value, json};

fn condition(type_: &str) -> Value {
    json!({"type": type_, "status": "True", "reason": "E2E", "message": "set by a test", "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

/// Conformance: [sig-apps] CronJob should support CronJob API operations
#[tokio::test]
async fn cron_jobs_live_as_other_objects_do() {
    let case = Case::new().await;
    let mut pods = idle_pod_spec();
    pods["restartPolicy"] = json!("OnFailure");
    let operations = Operations {
        group_version: "batch/v1",
        plural: "cronjobs",
        namespaced: true,
        object: json!({"spec": {
            "schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": {"spec": pods}}},
        }}),
        status: Some(json!({"lastScheduleTime": "2026-01-01T00:00:00Z"})),
    };
    operations.check(&case).await;
}

/// Conformance: [sig-apps] ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision
#[tokio::test]
async fn controller_revisions_live_as_other_objects_do() {
    let case = Case::new().await;
    let operations = Operations {
        group_version: "apps/v1",
        plural: "controllerrevisions",
        namespaced: true,
        object: json!({"data": {"spec": {"template": {}}}, "revision": 1}),
        status: None,
    };
    operations.check(&case).await;
    // And a real one: a DaemonSet's.
    let mut set = workload("log", 0, running_pod_spec());
    set["spec"].as_object_mut().unwrap().remove("replicas");
    case.post(&case.path("apps/v1", "daemonsets"), &set).await.expect(201);
    let revisions = format!("{}?labelSelector=app%3Dlog", case.path("apps/v1", "controllerrevisions"));
    let first = eventually_async("a revision", || async { case.list(&revisions).await.first().cloned() }).await;
    assert_eq!(
        (&first["revision"], &first["metadata"]["ownerReferences"][0]["kind"]),
        (&json!(1), &json!("DaemonSet"))
    );
}

fn budget(spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "x"}});
    json!({"metadata": {"name": "budget", "labels": {"case": "budget"}}, "spec": spec})
}

/// Conformance: [sig-apps] DisruptionController should create a PodDisruptionBudget
#[tokio::test]
async fn a_budget_is_created_updated_patched_and_deleted() {
    let case = Case::new().await;
    let budgets = case.path("policy/v1", "poddisruptionbudgets");
    let path = format!("{budgets}/budget");
    case.post(&budgets, &budget(json!({"minAvailable": "1%"}))).await.expect(201);
    let mut found = case.until("the controller has seen it", &path, |b| b["status"]["observedGeneration"] == 1).await;
    assert_eq!(found["spec"]["minAvailable"], "1%");
    found["spec"]["minAvailable"] = json!("2%");
    case.put(&path, &found).await.ok();
    case.until("the change is seen", &path, |b| b["status"]["observedGeneration"] == 2).await;
    let patched = case.patch(&path, STRATEGIC, &json!({"spec": {"minAvailable": "3%"}})).await.expect(200);
    assert_eq!(patched["spec"]["minAvailable"], "3%");
    case.delete(&path).await.ok();
    case.get(&path).await.expect(404);
}

/// Conformance: [sig-apps] DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a collection of PodDisruptionBudgets
#[tokio::test]
async fn budgets_of_all_namespaces_are_listed_and_deleted_as_a_collection() {
    let case = Case::new().await;
    let operations = Operations {
        group_version: "policy/v1",
        plural: "poddisruptionbudgets",
        namespaced: true,
        object: json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}),
        status: None,
    };
    operations.check(&case).await;
}

/// Conformance: [sig-apps] DisruptionController should observe PodDisruptionBudget status updated
/// Conformance: [sig-apps] DisruptionController should update/patch PodDisruptionBudget status
/// Conformance: [sig-apps] DisruptionController should block an eviction until the PDB is updated to allow it
#[tokio::test]
async fn a_budget_counts_is_written_and_blocks_evictions() {
    let case = Case::new().await;
    let (budgets, pods) = (case.path("policy/v1", "poddisruptionbudgets"), case.path("v1", "pods"));
    let path = format!("{budgets}/budget");
    case.post(&budgets, &budget(json!({"minAvailable": 3}))).await.expect(201);
    for name in ["p0", "p1", "p2"] {
        let pod = json!({"metadata": {"name": name, "labels": {"app": "x"}}, "spec": running_pod_spec()});
        case.post(&pods, &pod).await.expect(201);
    }
    let counted = case.until("three are healthy", &path, |b| b["status"]["currentHealthy"] == 3).await;
    assert_eq!((&counted["status"]["disruptionsAllowed"], &counted["status"]["expectedPods"]), (&json!(0), &json!(3)));

    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p0"}});
    let refused = case.post(&format!("{pods}/p0/eviction"), &eviction).await.expect(429);
    assert_eq!(refused["details"]["causes"][0]["reason"], "DisruptionBudget");
    case.merge(&path, &json!({"spec": {"minAvailable": 2}})).await.expect(200);
    case.until("one may go", &path, |b| b["status"]["disruptionsAllowed"] == 1).await;
    case.post(&format!("{pods}/p0/eviction"), &eviction).await.ok();
    case.until_gone(&format!("{pods}/p0")).await;
    case.until("two are left", &path, |b| b["status"]["currentHealthy"] == 2).await;

    let status = format!("{path}/status");
    let disrupted = |name: &str| json!({"status": {"disruptedPods": {name: "2026-01-01T00:00:00Z"}}});
    let patched = case.merge(&status, &disrupted("other")).await.expect(200);
    assert_eq!(patched["status"]["disruptedPods"]["other"], "2026-01-01T00:00:00Z");
    let change = |found: &mut Value| found["status"]["disruptedPods"] = json!({"more": "2026-01-01T00:00:00Z"});
    let updated = case.update(&status, change).await;
    assert!(updated["status"]["disruptedPods"]["more"].is_string(), "{updated}");
}

/// Conformance: [sig-apps] ReplicationController should surface a failure condition on a common issue like exceeded quota
#[tokio::test]
async fn a_controller_says_that_a_quota_stops_it() {
    let case = Case::new().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}});
    case.post(&case.path("v1", "resourcequotas"), &quota).await.expect(201);
    let path = format!("{}/q", case.path("v1", "resourcequotas"));
    case.until("the quota is counted", &path, |quota| quota["status"]["hard"]["pods"] == "2").await;
    let rcs = case.path("v1", "replicationcontrollers");
    case.post(&rcs, &replication_controller("rc", 3, idle_pod_spec())).await.expect(201);
    let failure = |rc: &Value| {
        let conditions = rc["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "ReplicaFailure" && c["status"] == "True")
    };
    case.until("it says so", &format!("{rcs}/rc"), failure).await;
    case.merge(&format!("{rcs}/rc"), &json!({"spec": {"replicas": 2}})).await.expect(200);
    case.until("it is content", &format!("{rcs}/rc"), |rc| !failure(rc)).await;
}

/// Conformance: [sig-apps] ReplicationController should test the lifecycle of a ReplicationController
#[tokio::test]
async fn replication_controllers_live_as_other_objects_do() {
    let case = Case::new().await;
    let mut object = replication_controller("rc", 1, idle_pod_spec());
    object.as_object_mut().unwrap().remove("metadata");
    let operations =
        Operations { group_version: "v1", plural: "replicationcontrollers", namespaced: true, object, status: None };
    operations.check(&case).await;
    let rcs = case.path("v1", "replicationcontrollers");
    case.post(&rcs, &replication_controller("live", 1, running_pod_spec())).await.expect(201);
    let path = format!("{rcs}/live");
    case.until("one is ready", &path, |rc| rc["status"]["readyReplicas"] == 1).await;
    case.merge(&path, &json!({"spec": {"replicas": 2}})).await.expect(200);
    case.until("two are ready", &path, |rc| rc["status"]["readyReplicas"] == 2).await;
    let status = case.merge(&format!("{path}/status"), &json!({"status": {"conditions": [condition("E2E")]}})).await;
    assert_eq!(status.expect(200)["status"]["conditions"][0]["type"], "E2E");
}

/// Reads the scale of a running workload, changes it by update and by patch, and sees the workload follow.
async fn scales(case: &Case, group_version: &str, plural: &str, object: Value) {
    let collection = case.path(group_version, plural);
    case.post(&collection, &object).await.expect(201);
    let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap());
    let scale_path = format!("{path}/scale");
    let mut scale = case.until("one replica", &scale_path, |scale| scale["status"]["replicas"] == 1).await;
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    scale["spec"]["replicas"] = json!(2);
    scale["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(case.put(&scale_path, &scale).await.expect(200)["spec"]["replicas"], 2);
    assert_eq!(case.get(&path).await.expect(200)["spec"]["replicas"], 2);
    case.until("two replicas", &path, |object| object["status"]["replicas"] == 2).await;
    let patched = case.merge(&scale_path, &json!({"spec": {"replicas": 4}})).await.expect(200);
    assert_eq!(patched["spec"]["replicas"], 4);
    assert_eq!(case.get(&path).await.expect(200)["spec"]["replicas"], 4);
}

/// Conformance: [sig-apps] ReplicationController should get and update a ReplicationController scale
/// Conformance: [sig-apps] ReplicaSet Replicaset should have a working scale subresource
/// Conformance: [sig-apps] Deployment Deployment should have a working scale subresource
/// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should have a working scale subresource
#[tokio::test]
async fn what_has_replicas_has_a_scale() {
    let case = Case::new().await;
    scales(&case, "v1", "replicationcontrollers", replication_controller("rc", 1, running_pod_spec())).await;
    scales(&case, "apps/v1", "replicasets", workload("rs", 1, running_pod_spec())).await;
    scales(&case, "apps/v1", "deployments", workload("web", 1, running_pod_spec())).await;
    let mut set = workload("db", 1, running_pod_spec());
    set["spec"]["serviceName"] = json!("db");
    scales(&case, "apps/v1", "statefulsets", set).await;
}

/// The status is read, updated with a condition and patched with another, and the watch tells both.
async fn keeps_conditions(case: &Case, plural: &str, object: Value) {
    let collection = case.path("apps/v1", plural);
    case.post(&collection, &object).await.expect(201);
    let status = format!("{collection}/{}/status", object["metadata"]["name"].as_str().unwrap());
    let has = |object: &Value, type_: &str| {
        object["status"]["conditions"].as_array().is_some_and(|list| list.iter().any(|c| c["type"] == type_))
    };
    let updated = case.update(&status, |found| add_condition(found, condition("StatusUpdate"))).await;
    assert!(has(&updated, "StatusUpdate"), "{updated}");
    let patch = json!({"status": {"conditions": [condition("StatusPatched")]}});
    let patched = case.patch(&status, STRATEGIC, &patch).await.expect(200);
    assert!(has(&patched, "StatusPatched"), "{patched}");
}

/// Conformance: [sig-apps] Deployment should validate Deployment Status endpoints
/// Conformance: [sig-apps] ReplicaSet should validate Replicaset Status endpoints
/// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should validate Statefulset Status endpoints
/// Conformance: [sig-apps] Daemon set [Serial] should verify changes to a daemon set status
#[tokio::test]
async fn the_status_of_workloads_is_patched_and_updated() {
    let case = Case::new().await;
    keeps_conditions(&case, "deployments", workload("web", 1, running_pod_spec())).await;
    keeps_conditions(&case, "replicasets", workload("rs", 1, running_pod_spec())).await;
    let mut set = workload("db", 1, running_pod_spec());
    set["spec"]["serviceName"] = json!("db");
    keeps_conditions(&case, "statefulsets", set).await;
    let mut set = workload("log", 0, running_pod_spec());
    set["spec"].as_object_mut().unwrap().remove("replicas");
    keeps_conditions(&case, "daemonsets", set).await;
}

/// Conformance: [sig-apps] Daemon set [Serial] should list and delete a collection of DaemonSets
/// Conformance: [sig-apps] ReplicaSet should list and delete a collection of ReplicaSets
/// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should list, patch and delete a collection of StatefulSets
/// Conformance: [sig-apps] Deployment should run the lifecycle of a Deployment
#[tokio::test]
async fn workloads_live_as_other_objects_do() {
    let case = Case::new().await;
    for plural in ["deployments", "replicasets", "statefulsets", "daemonsets"] {
        let mut object = workload(plural, 1, running_pod_spec());
        object.as_object_mut().unwrap().remove("metadata");
        match plural {
            "statefulsets" => object["spec"]["serviceName"] = json!("x"),
            "daemonsets" => drop(object["spec"].as_object_mut().unwrap().remove("replicas")),
            _ => {}
        }
        let operations = Operations { group_version: "apps/v1", plural, namespaced: true, object, status: None };
        operations.check(&case).await;
    }
}

/// Conformance: [sig-apps] ReplicaSet should adopt matching pods on creation and release no longer matching pods
/// Conformance: [sig-apps] ReplicationController should adopt matching pods on creation
/// Conformance: [sig-apps] ReplicationController should release no longer matching pods
#[tokio::test]
async fn pods_are_adopted_and_released_by_their_labels() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    for (name, group_version, plural, object) in [
        ("rs", "apps/v1", "replicasets", workload("rs", 1, running_pod_spec())),
        ("rc", "v1", "replicationcontrollers", replication_controller("rc", 1, running_pod_spec())),
    ] {
        let orphan = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": running_pod_spec()});
        case.post(&pods, &orphan).await.expect(201);
        case.post(&case.path(group_version, plural), &object).await.expect(201);
        let path = format!("{pods}/{name}");
        let owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["name"] == name;
        case.until("the pod is adopted", &path, owned).await;
        case.merge(&path, &json!({"metadata": {"labels": {"app": "not-matching"}}})).await.expect(200);
        let released = |pod: &Value| pod["metadata"]["ownerReferences"].is_null();
        case.until("the pod is released", &path, released).await;
    }
}
