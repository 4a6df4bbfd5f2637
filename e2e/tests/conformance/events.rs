//! SIG Instrumentation: events in both groups.

use kapell_e2e::conformance::{Case, STRATEGIC};
use serde_json::{Value, json};

fn core(case: &Case, name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"test": "events"}}, "type": "Normal", "reason": "Test", "message": "test",
        "involvedObject": {"namespace": case.namespace}, "source": {"component": "e2e"},
    })
}

fn newer(case: &Case, name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"test": "events"}}, "type": "Normal", "reason": "Test", "action": "Do",
        "note": "test", "regarding": {"namespace": case.namespace}, "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "e2e.example.com/test", "reportingInstance": "test-node",
    })
}

/// Created, listed in its namespace and in all, fetched, patched, updated, deleted.
async fn life(case: &Case, group_version: &str, event: Value, text: &str) {
    let events = case.path(group_version, "events");
    case.post(&events, &event).await.expect(201);
    let path = format!("{events}/e");
    for list in [events.clone(), format!("{}/events", kapell_e2e::conformance::base(group_version))] {
        let found = case.list(&format!("{list}?labelSelector=test%3Devents")).await;
        assert!(found.iter().any(|e| e["metadata"]["namespace"] == json!(case.namespace)), "{list}");
    }
    let selected = case.list(&format!("{events}?fieldSelector=reason%3DTest")).await;
    assert_eq!(selected.len(), 1);
    let patched = case.patch(&path, STRATEGIC, &json!({text: "patched"})).await.expect(200);
    assert_eq!(patched[text], "patched");
    let mut found = case.get(&path).await.expect(200);
    found["series"] = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"});
    assert_eq!(case.put(&path, &found).await.expect(200)["series"]["count"], 2);
    case.delete(&path).await.ok();
    case.get(&path).await.expect(404);
}

/// Conformance: [sig-instrumentation] Events should manage the lifecycle of an event
#[tokio::test]
async fn an_event_of_the_core_group_lives() {
    let case = Case::new().await;
    life(&case, "v1", core(&case, "e"), "message").await;
}

/// Conformance: [sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed
#[tokio::test]
async fn an_event_of_the_newer_group_lives() {
    let case = Case::new().await;
    life(&case, "events.k8s.io/v1", newer(&case, "e"), "note").await;
}

async fn collection(case: &Case, group_version: &str, event: impl Fn(&str) -> Value) {
    let events = case.path(group_version, "events");
    for name in ["a", "b", "c"] {
        case.post(&events, &event(name)).await.expect(201);
    }
    let selected = format!("{events}?labelSelector=test%3Devents");
    assert_eq!(case.list(&selected).await.len(), 3);
    case.delete(&selected).await.expect(200);
    assert_eq!(case.list(&selected).await, Vec::<Value>::new());
}

/// Conformance: [sig-instrumentation] Events should delete a collection of events
/// Conformance: [sig-instrumentation] Events API should delete a collection of events
#[tokio::test]
async fn collections_of_events_are_deleted() {
    let case = Case::new().await;
    collection(&case, "v1", |name| core(&case, name)).await;
    collection(&case, "events.k8s.io/v1", |name| newer(&case, name)).await;
}
