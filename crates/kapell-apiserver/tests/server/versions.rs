//! One object, several versions: what is written in one is read in the others.

use http::Method;
use serde_json::json;

use crate::support::{Api, deployment};

const V1: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
const V2: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");

#[tokio::test]
async fn an_autoscaler_is_one_object_in_two_versions() {
    let api = Api::start().await;
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let old = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 5, "targetCPUUtilizationPercentage": 60},
    });
    let mut watch = api.watch(&format!("{V1}?watch=true")).await;
    let created = api.post(V1, &old).await;
    assert_eq!(created.warnings(), [""; 0], "this version is alive");
    let created = created.expect(201);
    assert_eq!((&created["apiVersion"], &created["spec"]["minReplicas"]), (&json!("autoscaling/v1"), &json!(1)));
    assert_eq!(created["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));
    assert_eq!(watch.next().await.unwrap()["object"], created);

    let new = api.get(&format!("{V2}/web")).await.expect(200);
    assert_eq!(new["apiVersion"], "autoscaling/v2");
    assert_eq!(new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 60);

    let patch = json!({"spec": {"targetCPUUtilizationPercentage": 70}});
    let patched = api.patch(&format!("{V1}/web"), "strategic-merge", &patch).await.expect(200);
    assert_eq!(patched["spec"]["targetCPUUtilizationPercentage"], 70);
    let listed = api.get(V1).await.expect(200);
    assert_eq!((&listed["apiVersion"], &listed["items"][0]), (&json!("autoscaling/v1"), &patched));
    let new = api.get(&format!("{V2}/web")).await.expect(200);
    assert_eq!(new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    // A PUT of what was read moves nothing.
    let again = api.put(&format!("{V1}/web"), &patched).await.expect(200);
    assert_eq!(again["metadata"]["resourceVersion"], patched["metadata"]["resourceVersion"]);
    let mut unknown = old;
    unknown["spec"]["metrics"] = json!([]);
    let refused = api.post(&format!("{V1}?fieldValidation=Strict"), &unknown).await.expect(400);
    assert!(refused["message"].as_str().unwrap().contains("unknown field \"spec.metrics\""), "{refused}");
}

#[tokio::test]
async fn removed_versions_are_taken_and_named() {
    let api = Api::start().await;
    let path = "/apis/extensions/v1beta1/namespaces/default/ingresses";
    let old = json!({
        "apiVersion": "extensions/v1beta1", "kind": "Ingress", "metadata": {"name": "web"},
        "spec": {"backend": {"serviceName": "web", "servicePort": 80}},
    });
    let created = api.post(path, &old).await;
    assert!(
        created.warnings().iter().any(|warning| warning
            .contains("extensions/v1beta1 Ingress is gone since Kubernetes 1.22; use networking.k8s.io/v1 Ingress")),
        "{:?}",
        created.warnings()
    );
    assert_eq!(created.expect(201)["spec"], old["spec"]);
    let new = api.get("/apis/networking.k8s.io/v1/namespaces/default/ingresses/web").await.expect(200);
    assert_eq!(new["spec"]["defaultBackend"], json!({"service": {"name": "web", "port": {"number": 80}}}));

    let mut applied = deployment("web");
    applied["apiVersion"] = json!("apps/v1beta2");
    let path = "/apis/apps/v1beta2/namespaces/default/deployments/web?fieldManager=me";
    let made = api.request(Method::PATCH, path, &[APPLY], applied.to_string()).await.expect(201);
    assert_eq!(made["apiVersion"], "apps/v1beta2");
    applied["spec"]["replicas"] = json!(5);
    api.request(Method::PATCH, path, &[APPLY], applied.to_string()).await.expect(200);
    let new = api.get("/apis/apps/v1/namespaces/default/deployments/web").await.expect(200);
    assert_eq!((&new["apiVersion"], &new["spec"]["replicas"]), (&json!("apps/v1"), &json!(5)));
    let gone = api.delete("/apis/apps/v1beta2/namespaces/default/deployments/web", &json!(null)).await;
    assert_eq!(gone.expect(200)["status"], "Success");
}

#[tokio::test]
async fn events_have_two_faces_and_one_store() {
    let api = Api::start().await;
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "reason": "Seen", "action": "Look",
        "note": "hello", "reportingController": "test.example/x", "reportingInstance": "x-1",
        "regarding": {"kind": "Pod", "name": "web", "namespace": "default"},
    });
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let created = api.post(path, &event).await.expect(201);
    assert_eq!((&created["note"], &created["regarding"]["name"]), (&json!("hello"), &json!("web")));
    let core = api.get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=web").await.expect(200);
    assert_eq!(core["items"][0]["message"], "hello");
    let selected = api.get(&format!("{path}?fieldSelector=regarding.name=web")).await.expect(200);
    assert_eq!(selected["items"], json!([created]));
    let table = api.request(Method::GET, path, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")], "").await;
    let table = table.expect(200);
    assert!(table["rows"][0]["cells"].as_array().unwrap().contains(&json!("hello")), "{table}");
}

#[tokio::test]
async fn the_scale_of_a_replication_controller_has_its_labels() {
    let api = Api::start().await;
    let path = "/api/v1/namespaces/default/replicationcontrollers";
    let rc = json!({"metadata": {"name": "rc"}, "spec": {"template": deployment("rc")["spec"]["template"]}});
    api.post(path, &rc).await.expect(201);
    let scale = api.get(&format!("{path}/rc/scale")).await.expect(200);
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(1), &json!("app=rc")));
}
