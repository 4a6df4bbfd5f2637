//! SIG API Machinery: the life of namespaces.

use kapell_e2e::conformance::{Case, idle_pod_spec};
use serde_json::{Value, json};

fn one(case: &Case) -> String {
    format!("/api/v1/namespaces/{}", case.namespace)
}

/// Conformance: [sig-api-machinery] Namespaces [Serial] should patch a Namespace
#[tokio::test]
async fn a_namespace_is_patched() {
    let case = Case::new().await;
    let patched =
        case.merge(&one(&case), &json!({"metadata": {"labels": {"testLabel": "testValue"}}})).await.expect(200);
    assert_eq!(patched["metadata"]["labels"]["testLabel"], "testValue");
    assert_eq!(patched["metadata"]["labels"]["kubernetes.io/metadata.name"], json!(case.namespace));
    assert_eq!(case.get(&one(&case)).await.expect(200)["metadata"]["labels"]["testLabel"], "testValue");
}

/// Conformance: [sig-api-machinery] Namespaces [Serial] should apply an update to a Namespace
#[tokio::test]
async fn a_namespace_is_updated() {
    let case = Case::new().await;
    let mut namespace = case.get(&one(&case)).await.expect(200);
    namespace["metadata"]["labels"]["updated"] = json!("yes");
    assert_eq!(case.put(&one(&case), &namespace).await.expect(200)["metadata"]["labels"]["updated"], "yes");
    namespace["metadata"]["labels"]["updated"] = json!("late");
    case.put(&one(&case), &namespace).await.expect(409);
}

/// Conformance: [sig-api-machinery] Namespaces [Serial] should apply changes to a namespace status
#[tokio::test]
async fn the_status_of_a_namespace_is_patched_and_updated() {
    let case = Case::new().await;
    let status = format!("{}/status", one(&case));
    let condition = |type_: &str| json!({"type": type_, "status": "True", "reason": "E2E", "message": "from a test"});
    assert_eq!(case.get(&status).await.expect(200)["status"]["phase"], "Active");
    let patch = json!({
        "metadata": {"annotations": {"e2e": "patched"}}, "status": {"conditions": [condition("StatusPatch")]},
    });
    let patched = case.merge(&status, &patch).await.expect(200);
    assert_eq!(patched["status"]["conditions"][0]["type"], "StatusPatch");
    assert_eq!(patched["metadata"]["annotations"]["e2e"], "patched");
    let mut namespace = case.get(&status).await.expect(200);
    namespace["status"]["conditions"].as_array_mut().unwrap().push(condition("StatusUpdate"));
    let updated = case.put(&status, &namespace).await.expect(200);
    assert_eq!(updated["status"]["conditions"].as_array().unwrap().len(), 2);
    assert_eq!(updated["status"]["phase"], "Active");
}

/// Conformance: [sig-api-machinery] Namespaces [Serial] should apply a finalizer to a Namespace
#[tokio::test]
async fn a_finalizer_holds_a_namespace() {
    let case = Case::new().await;
    let mut namespace = case.get(&one(&case)).await.expect(200);
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    namespace["spec"]["finalizers"] = json!(["kubernetes", "e2e.example.com/fake"]);
    let finalize = format!("{}/finalize", one(&case));
    let held = case.put(&finalize, &namespace).await.expect(200);
    assert_eq!(held["spec"]["finalizers"].as_array().unwrap().len(), 2);

    case.delete(&one(&case)).await.expect(200);
    let ours_is_left = |namespace: &Value| namespace["spec"]["finalizers"] == json!(["e2e.example.com/fake"]);
    let mut terminating = case.until("only the test's finalizer is left", &one(&case), ours_is_left).await;
    assert_eq!(terminating["status"]["phase"], "Terminating");
    terminating["spec"]["finalizers"] = json!([]);
    case.put(&finalize, &terminating).await.ok();
    case.until_gone(&one(&case)).await;
}

/// Conformance: [sig-api-machinery] Namespaces [Serial] should ensure that all services are removed when a namespace is deleted
/// Conformance: [sig-api-machinery] Namespaces [Serial] should ensure that all pods are removed when a namespace is deleted
#[tokio::test]
async fn a_namespace_takes_its_content_along() {
    let case = Case::new().await;
    let service = json!({"metadata": {"name": "s"}, "spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}});
    case.post(&case.path("v1", "services"), &service).await.expect(201);
    let pod = json!({"metadata": {"name": "p"}, "spec": idle_pod_spec()});
    case.post(&case.path("v1", "pods"), &pod).await.expect(201);
    let running = json!({"metadata": {"name": "r"}, "spec": kapell_e2e::conformance::running_pod_spec()});
    case.post(&case.path("v1", "pods"), &running).await.expect(201);
    let is_running = |pod: &Value| pod["status"]["phase"] == "Running";
    case.until("the pod runs", &format!("{}/r", case.path("v1", "pods")), is_running).await;

    case.delete(&one(&case)).await.expect(200);
    case.until_gone(&one(&case)).await;
    case.post("/api/v1/namespaces", &json!({"metadata": {"name": case.namespace}})).await.expect(201);
    for plural in ["pods", "services"] {
        assert_eq!(case.list(&case.path("v1", plural)).await, Vec::<Value>::new());
    }
}
