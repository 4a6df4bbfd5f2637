//! Evictions and the budgets that hold them up.

use std::sync::{Arc, Mutex};

use kapell_store::memory::{MemoryStore, Read};
use serde_json::{Value, json};

use crate::support::{Answer, Api, PODS, pod};

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

impl Api {
    async fn running_pod(&self, name: &str) {
        let mut object = pod(name);
        object["metadata"]["labels"] = json!({"app": "web"});
        self.post(PODS, &object).await.expect(201);
        let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        self.patch(&format!("{PODS}/{name}/status"), "merge", &ready).await.expect(200);
    }

    /// A budget as its controller would leave it.
    async fn budget(&self, name: &str, status: Value) {
        let budget = json!({
            "metadata": {"name": name}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        });
        self.post(BUDGETS, &budget).await.expect(201);
        self.patch(&format!("{BUDGETS}/{name}/status"), "merge", &json!({"status": status})).await.expect(200);
    }

    async fn evict(&self, name: &str) -> Answer {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        self.post(&format!("{PODS}/{name}/eviction"), &eviction).await
    }
}

#[tokio::test]
async fn a_budget_lets_so_many_go_and_no_more() {
    let api = Api::start().await;
    for name in ["a", "b", "c"] {
        api.running_pod(name).await;
    }
    let counted = json!({"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1});
    api.budget("web", counted).await;
    assert_eq!(api.evict("a").await.expect(201)["status"], "Success");
    api.get(&format!("{PODS}/a")).await.expect(404);
    let budget = api.get(&format!("{BUDGETS}/web")).await.expect(200);
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(budget["status"]["disruptedPods"]["a"].is_string(), "{budget}");

    let refused = api.evict("b").await;
    assert!(!refused.headers.contains_key("retry-after"));
    let refused = refused.expect(429);
    assert_eq!(refused["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(
        refused["details"]["causes"],
        json!([{"reason": "DisruptionBudget", "message": "The disruption budget web needs 1 healthy pods and has 2 currently"}])
    );
    api.get(&format!("{PODS}/b")).await.expect(200);

    let unhealthy = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    api.patch(&format!("{PODS}/c/status"), "merge", &unhealthy).await.expect(200);
    api.evict("c").await.expect(201);
    api.budget("second", json!({"observedGeneration": 1, "disruptionsAllowed": 1})).await;
    api.evict("b").await.expect(500);
}

#[tokio::test]
async fn a_budget_that_was_not_counted_yet_refuses_and_without_one_everybody_may_go() {
    let api = Api::start().await;
    api.running_pod("a").await;
    api.budget("web", json!({"disruptionsAllowed": 5})).await;
    let refused = api.evict("a").await;
    assert_eq!(refused.headers["retry-after"], "10");
    refused.expect(429);
    api.delete(&format!("{BUDGETS}/web"), &Value::Null).await.expect(200);
    let other = json!({"kind": "Eviction", "metadata": {"name": "b"}});
    api.post(&format!("{PODS}/a/eviction"), &other).await.expect(400);
    api.evict("a").await.expect(201);
    api.evict("a").await.expect(404);
}

#[tokio::test]
async fn a_pod_that_becomes_ready_meanwhile_is_under_its_budget() {
    let store = Arc::new(MemoryStore::new());
    let api = Arc::new(Api::over(store.clone()).await);
    let mut late = pod("late");
    late["metadata"]["labels"] = json!({"app": "web"});
    api.post(PODS, &late).await.expect(201);
    api.budget("web", json!({"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1})).await;
    let becomes_ready = {
        let api = api.clone();
        async move {
            let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
            api.patch(&format!("{PODS}/late/status"), "merge", &ready).await.expect(200);
        }
    };
    // Between the first time that the pod is read and what is done about it.
    let once = Mutex::new(Some(becomes_ready));
    store.on_read(move |read| {
        let is_late = read == Read::Key("/registry/core/pods/default/late".into());
        let becomes_ready = if is_late { once.lock().unwrap().take() } else { None };
        Box::pin(async {
            if let Some(becomes_ready) = becomes_ready {
                becomes_ready.await;
            }
            Ok(())
        })
    });
    api.evict("late").await.expect(429);
    api.get(&format!("{PODS}/late")).await.expect(200);
}

#[tokio::test]
async fn updates_do_not_rewrite_what_the_server_owns() {
    let api = Api::start().await;
    let made = api.config_map("m", json!({})).await;
    let path = "/api/v1/namespaces/default/configmaps/m";
    for (field, value, code) in [
        ("creationTimestamp", json!("2001-01-01T00:00:00Z"), 200),
        ("deletionTimestamp", json!("2001-01-01T00:00:00Z"), 422),
        ("deletionGracePeriodSeconds", json!(5), 422),
        ("uid", json!("another"), 409),
        ("generation", json!(7), 200),
        ("selfLink", json!("/x"), 200),
    ] {
        let answer = api.patch(path, "merge", &json!({"metadata": {field: value}})).await;
        assert_eq!(answer.code, code, "{field}");
        if code == 422 {
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(
                message.contains(&format!("metadata.{field}: Invalid value: {value}: field is immutable")),
                "{message}"
            );
        }
    }
    let mut bare = made.clone();
    for field in ["creationTimestamp", "uid", "resourceVersion"] {
        bare["metadata"].as_object_mut().unwrap().shift_remove(field);
    }
    let after = api.put(path, &bare).await.expect(200);
    assert_eq!(after["metadata"]["creationTimestamp"], made["metadata"]["creationTimestamp"]);
}

/// `kubectl apply` sends what the manifest says, also of an object that is being deleted.
#[tokio::test]
async fn timestamps_that_are_there_stay_whatever_an_update_says() {
    let api = Api::start().await;
    api.config_map("m", json!({})).await;
    let path = "/api/v1/namespaces/default/configmaps/m";
    api.patch(path, "merge", &json!({"metadata": {"finalizers": ["test/hold"]}})).await.expect(200);
    let held = api.delete(path, &Value::Null).await.expect(200)["metadata"].clone();
    assert!(held["deletionTimestamp"].is_string(), "{held}");
    let long_ago = json!("2001-01-01T00:00:00Z");
    let said =
        json!({"metadata": {"creationTimestamp": long_ago, "deletionTimestamp": long_ago, "labels": {"a": "b"}}});
    let after = api.patch(path, "merge", &said).await.expect(200)["metadata"].clone();
    for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        assert_eq!(after[field], held[field], "{field}");
    }
    assert_eq!(after["labels"], json!({"a": "b"}));
}
