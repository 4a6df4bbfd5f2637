//! Bodies: forms, unknown and duplicate fields, wrong types, and what validators say.

use std::sync::Arc;

use http::Method;
use kapell_api::problem::Problem;
use kapell_apiserver::{ApiServer, Config, Identity};
use kapell_store::memory::MemoryStore;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{Api, CONFIG_MAPS, DEPLOYMENTS, PODS, deployment, pod};

#[tokio::test]
async fn unknown_and_duplicate_fields_are_named() {
    let api = Api::start().await;
    let body = r#"{"metadata": {"name": "NAME"}, "data": {"k": "v", "k": "w"}, "dta": {}}"#;
    let post = async |name: &str, query: &str| {
        api.request(Method::POST, &format!("{CONFIG_MAPS}{query}"), &[], body.replace("NAME", name)).await
    };
    let strict = post("a", "?fieldValidation=Strict").await.expect(400);
    let message = strict["message"].as_str().unwrap();
    for part in ["strict decoding error: ", "unknown field \"dta\"", "duplicate field \"data.k\""] {
        assert!(message.contains(part), "{message}");
    }
    let warned = post("b", "").await;
    assert!(warned.expect(201)["dta"].is_null(), "an unknown field is not stored");
    let warnings = warned.warnings();
    assert!(warnings.iter().any(|w| w.starts_with("299 - \"unknown field \\\"dta\\\"")), "{warnings:?}");
    assert_eq!(warnings.len(), 2, "{warnings:?}");

    let ignored = post("c", "?fieldValidation=Ignore").await;
    ignored.expect(201);
    assert!(ignored.warnings().is_empty());
    post("d", "?fieldValidation=Perhaps").await.expect(400);

    let patch = json!({"spec": {"replicaz": 3}});
    api.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
    let strict = api.patch(&format!("{DEPLOYMENTS}/d?fieldValidation=Strict"), "merge", &patch).await.expect(422);
    assert!(strict["message"].as_str().unwrap().contains("unknown field \"spec.replicaz\""), "{strict}");
    assert_eq!(api.patch(&format!("{DEPLOYMENTS}/d"), "merge", &patch).await.warnings().len(), 1);
}

#[tokio::test]
async fn bodies_come_as_json_yaml_or_protobuf_and_others_are_refused_by_name() {
    let api = Api::start().await;
    let yaml = "metadata: {name: a}\ndata:\n  k: v\n";
    let typed = async |media_type: &str, body: &str| {
        api.request(Method::POST, CONFIG_MAPS, &[("content-type", media_type)], body.to_owned()).await
    };
    typed("application/yaml", yaml).await.expect(201);
    let protobuf = "application/vnd.kubernetes.protobuf";
    // The envelope says `v1 ConfigMap`; in it are `metadata.name: p`, a generation that Go writes though it is zero, and `data`.
    let config_map = "k8s\0\n\x0f\n\x02v1\x12\x09ConfigMap\x12\x0f\n\x05\n\x01p8\0\x12\x06\n\x01k\x12\x01v";
    let created = typed(protobuf, config_map).await.expect(201);
    assert_eq!((&created["metadata"]["name"], &created["data"]), (&json!("p"), &json!({"k": "v"})), "{created}");
    let other_kind = typed(protobuf, "k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\0").await.expect(400);
    assert!(other_kind["message"].as_str().unwrap().contains("Secret"), "{other_kind}");
    let cut = typed(protobuf, &config_map[..20]).await.expect(400);
    assert!(cut["message"].as_str().unwrap().contains("envelope"), "{cut}");
    let options = "k8s\0\n\x13\n\x02v1\x12\rDeleteOptions\x12\x0c\"\nBackground";
    let typed_delete = [("content-type", protobuf)];
    api.request(Method::DELETE, &format!("{CONFIG_MAPS}/p"), &typed_delete, options).await.expect(200);
    let cbor = typed("application/cbor", "").await.expect(415);
    assert!(cbor["message"].as_str().unwrap().contains("application/cbor"), "{cbor}");
    typed("application/json", "{").await.expect(400);
    typed("application/json", "[]").await.expect(400);
    typed("application/json", r#"{"kind": "Secret", "metadata": {"name": "x"}}"#).await.expect(400);
    typed("application/json", r#"{"apiVersion": "v2", "metadata": {"name": "x"}}"#).await.expect(400);
    let huge = format!("{{\"data\": \"{}\"}}", "x".repeat(3 * 1024 * 1024));
    typed("application/json", &huge).await.expect(413);
    let refused = api.request(Method::GET, CONFIG_MAPS, &[("accept", "text/html")], "").await;
    assert_eq!(refused.expect(406)["reason"], "NotAcceptable");
}

#[tokio::test]
async fn invalid_objects_are_answered_with_their_causes() {
    let api = Api::start().await;
    let mut wrong = deployment("d");
    wrong["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let answer = api.post(DEPLOYMENTS, &wrong).await.expect(422);
    assert_eq!(answer["reason"], "Invalid");
    let fields: Vec<&str> =
        answer["details"]["causes"].as_array().unwrap().iter().map(|c| c["field"].as_str().unwrap()).collect();
    assert!(fields.contains(&"spec.template.metadata.labels"), "{fields:?}");

    wrong["spec"]["replicas"] = json!("two");
    api.post(DEPLOYMENTS, &wrong).await.expect(400);

    api.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
    let selector = json!({"spec": {"selector": {"matchLabels": {"app": "other"}}}});
    let immutable = api.patch(&format!("{DEPLOYMENTS}/d"), "merge", &selector).await.expect(422);
    assert!(immutable["message"].as_str().unwrap().contains("immutable"), "{immutable}");
}

#[tokio::test]
async fn a_pod_runs_as_an_account_that_exists() {
    let api = Api::start().await;
    assert_eq!(api.post(PODS, &pod("a")).await.expect(201)["spec"]["serviceAccountName"], "default");
    let mut stranger = pod("b");
    stranger["spec"]["serviceAccountName"] = json!("nobody");
    api.post(PODS, &stranger).await.expect(403);
}

#[tokio::test]
async fn configured_validators_have_a_say() {
    let mut config = Config::new("secret");
    let no_twelve = |map: &Value| match map["data"]["k"].as_str() {
        Some("12") => vec![Problem::invalid("data.k", "12", "not twelve")],
        _ => Vec::new(),
    };
    config.validators.push(((String::new(), "ConfigMap".to_owned()), Arc::new(no_twelve)));
    let server = ApiServer::new(config, Arc::new(MemoryStore::new())).await.unwrap();
    for (value, code) in [("11", 201), ("12", 422)] {
        let body = json!({"metadata": {"name": format!("m{value}")}, "data": {"k": value}}).to_string();
        let request = http::Request::post(CONFIG_MAPS).body(axum::body::Body::from(body)).unwrap();
        let response = server.service(Identity::internal("test")).oneshot(request).await.unwrap();
        assert_eq!(response.status(), code);
    }
}
