//! What clients learn about the server before they use it.

use http::Method;
use serde_json::{Value, json};

use crate::support::Api;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

#[tokio::test]
async fn kube_discovers_every_kind() {
    let api = Api::start().await;
    let discovery = kube::discovery::Discovery::new(api.client()).run().await.unwrap();
    let kinds: Vec<String> = discovery.groups().flat_map(|g| g.recommended_resources()).map(|(r, _)| r.kind).collect();
    for row in kapell_api::kinds::KINDS {
        assert!(kinds.iter().any(|kind| kind == row.kind), "{} is missing in {kinds:?}", row.kind);
    }
    let version = api.client().apiserver_version().await.unwrap();
    assert!(version.git_version.starts_with("v1.33."), "{}", version.git_version);
}

#[tokio::test]
async fn aggregated_discovery_is_negotiated_and_cached() {
    let api = Api::start().await;
    for path in ["/api", "/apis"] {
        let first = api.request(Method::GET, path, &[("accept", AGGREGATED)], "").await;
        assert_eq!(first.expect(200)["kind"], "APIGroupDiscoveryList");
        let content_type = first.headers["content-type"].to_str().unwrap();
        assert_eq!(content_type, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
        assert_eq!(first.headers["vary"], "Accept");
        let tag = first.headers["etag"].to_str().unwrap();
        let again = api.request(Method::GET, path, &[("accept", AGGREGATED), ("if-none-match", tag)], "").await;
        assert_eq!(again.code, 304);
        assert!(again.bytes.is_empty());
    }
    let apps = api.request(Method::GET, "/apis", &[("accept", AGGREGATED)], "").await.json();
    let apps = apps["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "apps").unwrap();
    let deployments =
        apps["versions"][0]["resources"].as_array().unwrap().iter().find(|r| r["resource"] == "deployments");
    let deployments = deployments.unwrap();
    assert_eq!((&deployments["scope"], &deployments["singularResource"]), (&json!("Namespaced"), &json!("deployment")));
    let scale = deployments["subresources"].as_array().unwrap().iter().find(|s| s["subresource"] == "scale").unwrap();
    assert_eq!(scale["responseKind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
}

#[tokio::test]
async fn openapi_documents_are_complete_and_immutable_by_hash() {
    let api = Api::start().await;
    let index = api.get("/openapi/v3").await.expect(200);
    for (path, entry) in index["paths"].as_object().unwrap() {
        let answer = api.get(entry["serverRelativeURL"].as_str().unwrap()).await;
        assert_eq!(answer.headers["cache-control"], "public, immutable");
        let document = answer.expect(200);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for reference in references(&document) {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.get(name).is_some_and(Value::is_object), "{path}: {reference} leads nowhere");
        }
    }
    let apps = api.get("/openapi/v3/apis/apps/v1").await.expect(200);
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    assert!(patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation"));
    let containers = &apps["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    let own = &apps["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(own["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");

    let gnostic = [("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")];
    assert_eq!(api.request(Method::GET, "/openapi/v2", &gnostic, "").await.bytes.len(), 16);
    assert!(api.get("/openapi/v2").await.expect(200)["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn what_does_not_exist_is_a_status() {
    let api = Api::start().await;
    for path in [
        "/apis/nothing.example",
        "/apis/apps/v9",
        "/api/v1/namespaces/default/deployments",
        "/elsewhere",
        "/api/v1/pods/p",
    ] {
        let status = api.get(path).await.expect(404);
        assert_eq!((&status["kind"], &status["reason"]), (&json!("Status"), &json!("NotFound")), "{path}");
    }
    for path in ["/livez", "/readyz/ping", "/healthz"] {
        assert_eq!(api.get(path).await.bytes, "ok");
    }
}
