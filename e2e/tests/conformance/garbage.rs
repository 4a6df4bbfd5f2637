//! SIG API Machinery: what goes with its owners, and what stays. The pods of these cases need not start.

use kapell_e2e::conformance::{Case, QUIET, idle_pod_spec, replication_controller, workload};
use kapell_e2e::eventually_async;
use serde_json::{Value, json};

async fn count(case: &Case, path: &str, count: usize) {
    eventually_async(&format!("{count} in {path}"), || async { (case.list(path).await.len() == count).then_some(()) })
        .await;
}

fn policy(policy: &str) -> Value {
    json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy})
}

/// A ReplicationController of two pods, which are there.
async fn controller(case: &Case, name: &str) -> (String, String) {
    let (rcs, pods) = (case.path("v1", "replicationcontrollers"), case.path("v1", "pods"));
    case.post(&rcs, &replication_controller(name, 2, idle_pod_spec())).await.expect(201);
    let own = format!("{pods}?labelSelector=app%3D{name}");
    count(case, &own, 2).await;
    (format!("{rcs}/{name}"), own)
}

/// Conformance: [sig-api-machinery] Garbage collector should delete pods created by rc when not orphaning
#[tokio::test]
async fn pods_go_after_their_controller() {
    let case = Case::new().await;
    let (rc, pods) = controller(&case, "rc").await;
    case.delete_with(&rc, &policy("Background")).await.ok();
    count(&case, &pods, 0).await;
}

/// Conformance: [sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so [Serial]
#[tokio::test]
async fn orphaned_pods_stay() {
    let case = Case::new().await;
    let (rc, pods) = controller(&case, "rc").await;
    case.delete_with(&rc, &policy("Orphan")).await.ok();
    case.until_gone(&rc).await;
    tokio::time::sleep(QUIET).await;
    let left = case.list(&pods).await;
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|pod| pod["metadata"]["ownerReferences"].is_null()), "{left:?}");
}

/// A Deployment whose ReplicaSet is there.
async fn deployment(case: &Case) -> (String, String) {
    let (deployments, sets) = (case.path("apps/v1", "deployments"), case.path("apps/v1", "replicasets"));
    case.post(&deployments, &workload("web", 2, idle_pod_spec())).await.expect(201);
    count(case, &sets, 1).await;
    (format!("{deployments}/web"), sets)
}

/// Conformance: [sig-api-machinery] Garbage collector should delete RS created by deployment when not orphaning
#[tokio::test]
async fn a_replica_set_goes_after_its_deployment() {
    let case = Case::new().await;
    let (deployment, sets) = deployment(&case).await;
    case.delete_with(&deployment, &policy("Background")).await.ok();
    count(&case, &sets, 0).await;
    count(&case, &case.path("v1", "pods"), 0).await;
}

/// Conformance: [sig-api-machinery] Garbage collector should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan
#[tokio::test]
async fn an_orphaned_replica_set_stays() {
    let case = Case::new().await;
    let (deployment, sets) = deployment(&case).await;
    case.delete_with(&deployment, &policy("Orphan")).await.ok();
    case.until_gone(&deployment).await;
    tokio::time::sleep(QUIET).await;
    let left = case.list(&sets).await;
    assert_eq!(left.len(), 1);
    assert!(left[0]["metadata"]["ownerReferences"].is_null(), "{left:?}");
}

/// Conformance: [sig-api-machinery] Garbage collector should keep the rc around until all its pods are deleted if the deleteOptions says so [Serial]
#[tokio::test]
async fn in_the_foreground_the_owner_goes_last() {
    let case = Case::new().await;
    let (rc, pods) = controller(&case, "rc").await;
    // One of the pods is held, so that the moment before the end can be looked at.
    let held = case.list(&pods).await[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let held = format!("{}/{held}", case.path("v1", "pods"));
    case.merge(&held, &json!({"metadata": {"finalizers": ["e2e.example.com/hold"]}})).await.expect(200);
    case.delete_with(&rc, &policy("Foreground")).await.ok();
    count(&case, &pods, 1).await;
    tokio::time::sleep(QUIET).await;
    let waiting = case.get(&rc).await.expect(200);
    assert_eq!(waiting["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    case.merge(&held, &json!({"metadata": {"finalizers": null}})).await.expect(200);
    case.until_gone(&rc).await;
    count(&case, &pods, 0).await;
}

/// Conformance: [sig-api-machinery] Garbage collector should not delete dependents that have both valid owner and owner that's waiting for dependents to be deleted [Serial]
#[tokio::test]
async fn who_has_another_owner_stays() {
    let case = Case::new().await;
    let (going, pods) = controller(&case, "going").await;
    let staying = replication_controller("staying", 0, idle_pod_spec());
    let staying = case.post(&case.path("v1", "replicationcontrollers"), &staying).await.expect(201);
    let shared = case.list(&pods).await[0].clone();
    let path = format!("{}/{}", case.path("v1", "pods"), shared["metadata"]["name"].as_str().unwrap());
    let mut owners = shared["metadata"]["ownerReferences"].as_array().unwrap().clone();
    owners.push(json!({
        "apiVersion": "v1", "kind": "ReplicationController", "name": "staying", "uid": staying["metadata"]["uid"],
    }));
    case.merge(&path, &json!({"metadata": {"ownerReferences": owners}})).await.expect(200);
    case.delete_with(&going, &policy("Foreground")).await.ok();
    case.until_gone(&going).await;
    count(&case, &pods, 1).await;
    let left = case.get(&path).await.expect(200);
    assert!(left["metadata"]["deletionTimestamp"].is_null(), "{left}");
}

/// Conformance: [sig-api-machinery] Garbage collector should not be blocked by dependency circle
#[tokio::test]
async fn a_circle_of_owners_goes() {
    let case = Case::new().await;
    let pods = case.path("v1", "pods");
    let mut made = Vec::new();
    for name in ["a", "b", "c"] {
        let pod = json!({"metadata": {"name": name}, "spec": idle_pod_spec()});
        made.push(case.post(&pods, &pod).await.expect(201));
    }
    for (owned, owner) in [(0, 2), (1, 0), (2, 1)] {
        let owner = &made[owner]["metadata"];
        let reference = json!({
            "apiVersion": "v1", "kind": "Pod", "name": owner["name"], "uid": owner["uid"],
            "controller": true, "blockOwnerDeletion": true,
        });
        let path = format!("{pods}/{}", made[owned]["metadata"]["name"].as_str().unwrap());
        case.merge(&path, &json!({"metadata": {"ownerReferences": [reference]}})).await.expect(200);
    }
    case.delete_with(&format!("{pods}/a"), &policy("Foreground")).await.ok();
    count(&case, &pods, 0).await;
}
