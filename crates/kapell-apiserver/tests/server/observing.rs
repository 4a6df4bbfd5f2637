//! What can be seen of a server from outside: its metrics and its audit log.

use std::sync::Arc;

use http::Method;
use kapell_apiserver::{AuditConfig, Config, Identity};
use kapell_store::memory::MemoryStore;
use serde_json::{Value, json};

use crate::support::{Api, CONFIG_MAPS, PODS, pod};

fn ann() -> Identity {
    let groups = vec!["system:authenticated".to_owned()];
    Identity { user: "ann".to_owned(), groups, ..Identity::default() }
}

#[tokio::test]
async fn metrics_count_requests_by_what_they_ask_for() {
    let api = Api::start().await;
    api.post(PODS, &pod("web")).await.expect(201);
    api.get(&format!("{PODS}/absent")).await.expect(404);
    api.get("/api/v1/namespaces/default/inventions/x").await.expect(404);
    api.request_as(ann(), Method::GET, PODS, &[], "").await.expect(403);
    let watch = api.watch(&format!("{PODS}?watch=true")).await;
    let text = async || String::from_utf8(api.get("/metrics").await.bytes.to_vec()).unwrap();
    let watched = "apiserver_registered_watchers{group=\"\",version=\"v1\",kind=\"Pod\"}";
    let during = text().await;
    for line in [
        r#"apiserver_request_total{verb="POST",group="",version="v1",resource="pods",subresource="",scope="namespace",code="201"} 1"#,
        r#"apiserver_request_total{verb="GET",group="",version="v1",resource="pods",subresource="",scope="resource",code="404"} 1"#,
        r#"apiserver_request_total{verb="LIST",group="",version="v1",resource="pods",subresource="",scope="namespace",code="403"} 1"#,
        r#"apiserver_storage_objects{resource="pods"} 1"#,
        r#"apiserver_current_inflight_requests{request_kind="mutating"} 0"#,
        "kapell_apiserver_forbidden_total 1",
        &format!("{watched} 1"),
    ] {
        assert!(during.lines().any(|have| have == line), "{line} is missing in\n{during}");
    }
    assert!(!during.contains("inventions"), "clients do not make up series");
    drop(watch);
    assert!(text().await.contains(&format!("{watched} 0")));
}

#[tokio::test]
async fn mutations_are_recorded_with_who_what_and_outcome_and_without_content() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::new("secret");
    config.audit = Some(AuditConfig::new(directory.path()));
    let api = Api::with(config, Arc::new(MemoryStore::new())).await;
    let secret = json!({"metadata": {"generateName": "s-"}, "stringData": {"password": "hunter2"}});
    let made = api.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    let headers = [("user-agent", "test/1"), ("content-type", "application/merge-patch+json")];
    let patch = "{\"data\": {\"k\": \"hunter2\"}}";
    let refused = api.request_as(ann(), Method::PATCH, &format!("{CONFIG_MAPS}/m"), &headers, patch).await;
    refused.expect(403);
    let as_ann = [("impersonate-user", "ann")];
    let delete =
        api.request_as(Identity::internal("root"), Method::DELETE, &format!("{CONFIG_MAPS}/m"), &as_ann, "").await;
    delete.expect(403);
    api.get(PODS).await.expect(200);
    let review = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/"}}});
    api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await.expect(201);
    api.server.stop();

    let text = std::fs::read_to_string(directory.path().join("audit.log")).unwrap();
    assert!(!text.contains("hunter2"), "bodies are not recorded");
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 3, "{text}");
    assert_eq!(
        events[0]["objectRef"],
        json!({"resource": "secrets", "namespace": "default", "apiVersion": "v1", "name": made["metadata"]["name"]})
    );
    assert_eq!((&events[0]["verb"], &events[0]["responseStatus"]["code"]), (&json!("create"), &json!(201)));
    assert_eq!(events[1]["user"], json!({"username": "ann", "groups": ["system:authenticated"]}));
    assert_eq!((&events[1]["verb"], &events[1]["responseStatus"]["code"]), (&json!("patch"), &json!(403)));
    assert_eq!((&events[1]["userAgent"], &events[1]["annotations"]), (&json!("test/1"), &Value::Null));
    assert_eq!(refused.headers["audit-id"], events[1]["auditID"].as_str().unwrap());
    assert_eq!(
        (&events[2]["user"]["username"], &events[2]["impersonatedUser"]["username"]),
        (&json!("root"), &json!("ann"))
    );
}

#[tokio::test]
#[ignore = "prints figures: cargo test --release -p kapell-apiserver --test server cost_of_audit -- --ignored --nocapture"]
async fn cost_of_audit() {
    for round in 0..3 {
        for audited in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let mut config = Config::new("secret");
            config.audit = audited.then(|| AuditConfig::new(directory.path()));
            let api = Api::with(config, Arc::new(MemoryStore::new())).await;
            let begun = std::time::Instant::now();
            const TIMES: u32 = 3_000;
            for i in 0..TIMES {
                let object = json!({"metadata": {"name": format!("m{i}")}, "data": {"k": "v"}});
                api.post(CONFIG_MAPS, &object).await.expect(201);
            }
            eprintln!("round {round}, audit {audited}: {:?} for each create", begun.elapsed() / TIMES);
        }
    }
}
