//! status, scale, binding, connect, and the table form.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use http::{Method, Response};
use kapell_api::status::Status;
use kapell_apiserver::{Connect, ConnectRequest};
use serde_json::{Value, json};

use crate::support::{Api, DEPLOYMENTS, PODS, deployment, pod, revision};

#[tokio::test]
async fn status_and_specification_do_not_touch_each_other() {
    let api = Api::start().await;
    let mut object = deployment("d");
    object["status"] = json!({"replicas": 9});
    let created = api.post(DEPLOYMENTS, &object).await.expect(201);
    assert!(created["status"]["replicas"].is_null(), "a creator does not set the status");
    let path = format!("{DEPLOYMENTS}/d");

    let both = json!({"spec": {"replicas": 7}, "status": {"replicas": 3}});
    let after = api.patch(&format!("{path}/status"), "merge", &both).await.expect(200);
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&json!(2), &json!(3)));
    assert_eq!(after["metadata"]["generation"], 1);
    let after = api.patch(&path, "merge", &json!({"spec": {"replicas": 7}, "status": null})).await.expect(200);
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&json!(7), &json!(3)));
    assert_eq!(api.get(&format!("{path}/status")).await.expect(200), after);
}

#[tokio::test]
async fn scale_shows_and_sets_replicas() {
    let api = Api::start().await;
    let created = api.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
    let path = format!("{DEPLOYMENTS}/d/scale");
    let mut scale = api.get(&path).await.expect(200);
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(2), &json!("app=d")));

    let patched = api.patch(&path, "merge", &json!({"spec": {"replicas": 4}})).await.expect(200);
    assert_eq!(patched["spec"]["replicas"], 4);
    let object = api.get(&format!("{DEPLOYMENTS}/d")).await.expect(200);
    assert_eq!((&object["spec"]["replicas"], &object["metadata"]["generation"]), (&json!(4), &json!(2)));

    scale["spec"]["replicas"] = json!(1);
    assert_eq!(revision(&scale), revision(&created));
    api.put(&path, &scale).await.expect(409);
    scale["metadata"]["resourceVersion"] = patched["metadata"]["resourceVersion"].clone();
    assert_eq!(api.put(&path, &scale).await.expect(200)["spec"]["replicas"], 1);
    api.patch(&path, "merge", &json!({"spec": {"replicas": -1}})).await.expect(422);
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let api = Api::start().await;
    api.post(PODS, &pod("p")).await.expect(201);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let path = format!("{PODS}/p/binding");
    api.post(&path, &json!({"target": {}})).await.expect(422);
    assert_eq!(api.post(&path, &binding).await.expect(201)["status"], "Success");
    let bound = api.get(&format!("{PODS}/p")).await.expect(200);
    assert_eq!((&bound["spec"]["nodeName"], &bound["metadata"]["generation"]), (&json!("n"), &json!(1)));
    let scheduled = bound["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "PodScheduled");
    assert_eq!(scheduled.unwrap()["status"], "True");
    let again = api.post(&path, &binding).await.expect(409);
    assert!(again["message"].as_str().unwrap().contains("already assigned to node"), "{again}");
}

struct Echo;

#[async_trait]
impl Connect for Echo {
    async fn connect(&self, request: ConnectRequest) -> Result<Response<Body>, Status> {
        let node = request.object["metadata"]["name"].as_str().unwrap_or_default();
        Ok(Response::new(Body::from(format!("{node} {}", request.query.get("container").unwrap_or("-")))))
    }
}

#[tokio::test]
async fn connect_subresources_are_answered_by_who_registered() {
    let api = Api::start().await;
    api.post(PODS, &pod("p")).await.expect(201);
    let path = format!("{PODS}/p/log?container=main");
    assert_eq!(api.get(&path).await.expect(503)["reason"], "ServiceUnavailable");
    api.server.register_connect("pods", "log", Arc::new(Echo));
    assert_eq!(api.get(&path).await.bytes, "p main");
    api.get(&format!("{PODS}/absent/log")).await.expect(404);
    api.get(&format!("{PODS}/p/nothing")).await.expect(404);
    assert_eq!(api.post(&format!("{PODS}/p"), &json!({})).await.code, 405);
}

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

#[tokio::test]
async fn tables_have_rows_for_kubectl() {
    let api = Api::start().await;
    api.post(PODS, &pod("p")).await.expect(201);
    let table = |path: String| {
        let api = &api;
        async move { api.request(Method::GET, &path, &[("accept", TABLE)], "").await.expect(200) }
    };
    let list = table(PODS.to_owned()).await;
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(list["columnDefinitions"][0]["name"], "Name");
    assert_eq!(list["rows"][0]["cells"][0], "p");
    assert_eq!(list["rows"][0]["cells"].as_array().unwrap().len(), list["columnDefinitions"].as_array().unwrap().len());
    let row = &list["rows"][0]["object"];
    assert_eq!((&row["kind"], &row["spec"]), (&json!("PartialObjectMetadata"), &Value::Null));

    let one = table(format!("{PODS}/p?includeObject=Object")).await;
    assert_eq!(one["rows"][0]["object"]["spec"]["containers"][0]["name"], "main");
    assert!(table(format!("{PODS}?includeObject=None")).await["rows"][0]["object"].is_null());

    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = api.request(Method::GET, PODS, &[("accept", partial)], "").await.expect(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert!(list["items"][0]["spec"].is_null() && list["items"][0]["metadata"]["name"] == "p");
}
