//! SIG Scheduling: limits, priorities, nodes that do not fit.

use kapell_e2e::conformance::{Case, Operations, running_pod_spec};
use serde_json::{Value, json};

fn limits() -> Value {
    json!({"limits": [{
        "type": "Container",
        "min": {"cpu": "50m", "memory": "100Mi"}, "max": {"cpu": "500m", "memory": "500Mi"},
        "default": {"cpu": "500m", "memory": "500Mi"}, "defaultRequest": {"cpu": "100m", "memory": "200Mi"},
    }]})
}

fn pod(name: &str, resources: Value) -> Value {
    let mut spec = kapell_e2e::conformance::idle_pod_spec();
    spec["containers"][0]["resources"] = resources;
    json!({"metadata": {"name": name}, "spec": spec})
}

/// Conformance: [sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied.
#[tokio::test]
async fn pods_get_the_defaults_of_a_limit_range() {
    let case = Case::new().await;
    let (ranges, pods) = (case.path("v1", "limitranges"), case.path("v1", "pods"));
    case.post(&ranges, &json!({"metadata": {"name": "range"}, "spec": limits()})).await.expect(201);
    let resources = |pod: Value| pod["spec"]["containers"][0]["resources"].clone();
    let silent = resources(case.post(&pods, &pod("silent", json!({}))).await.expect(201));
    assert_eq!(silent["requests"], json!({"cpu": "100m", "memory": "200Mi"}));
    assert_eq!(silent["limits"], json!({"cpu": "500m", "memory": "500Mi"}));
    let partial = json!({"requests": {"cpu": "300m"}, "limits": {"memory": "300Mi"}});
    let partial = resources(case.post(&pods, &pod("partial", partial)).await.expect(201));
    assert_eq!(partial["requests"]["cpu"], "300m");
    assert_eq!((&partial["limits"]["cpu"], &partial["limits"]["memory"]), (&json!("500m"), &json!("300Mi")));
    case.post(&pods, &pod("small", json!({"requests": {"cpu": "10m", "memory": "50Mi"}}))).await.expect(403);
    case.post(&pods, &pod("large", json!({"limits": {"cpu": "600m", "memory": "600Mi"}}))).await.expect(403);

    let lower = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "700m"}}]}});
    case.merge(&format!("{ranges}/range"), &lower).await.expect(200);
    case.post(&pods, &pod("large", json!({"limits": {"cpu": "600m", "memory": "600Mi"}}))).await.expect(201);
    case.delete(&format!("{ranges}/range")).await.ok();
    case.post(&pods, &pod("larger", json!({"limits": {"cpu": "900m"}}))).await.expect(201);
}

/// Conformance: [sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection
#[tokio::test]
async fn limit_ranges_live_as_other_objects_do() {
    let case = Case::new().await;
    let operations = Operations {
        group_version: "v1",
        plural: "limitranges",
        namespaced: true,
        object: json!({"spec": limits()}),
        status: None,
    };
    operations.check(&case).await;
}

/// Conformance: [sig-scheduling] SchedulerPreemption [Serial] PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP methods
#[tokio::test]
async fn priority_classes_live_as_other_objects_do() {
    let case = Case::new().await;
    let operations = Operations {
        group_version: "scheduling.k8s.io/v1",
        plural: "priorityclasses",
        namespaced: false,
        object: json!({"value": 10, "description": "for a test"}),
        status: None,
    };
    operations.check(&case).await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let name = format!("fixed-{}", case.namespace);
    case.post(classes, &json!({"metadata": {"name": name}, "value": 1})).await.expect(201);
    let path = format!("{classes}/{name}");
    let refused = case.merge(&path, &json!({"value": 2})).await;
    assert!(refused.expect(422)["message"].as_str().unwrap().contains("value"), "{refused:?}");
    case.merge(&path, &json!({"description": "changed"})).await.expect(200);
}

/// Conformance: [sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if not matching
#[tokio::test]
async fn a_pod_that_fits_no_node_waits_and_says_why() {
    let case = Case::new().await;
    let mut spec = running_pod_spec();
    spec["nodeSelector"] = json!({"label": "nonempty"});
    case.post(&case.path("v1", "pods"), &json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    let path = format!("{}/p", case.path("v1", "pods"));
    let unschedulable = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "PodScheduled" && c["reason"] == "Unschedulable")
    };
    let waiting = case.until("it says that it waits", &path, unschedulable).await;
    assert!(waiting["spec"]["nodeName"].is_null());
    let events =
        format!("{}?fieldSelector=involvedObject.name%3Dp,reason%3DFailedScheduling", case.path("v1", "events"));
    kapell_e2e::eventually_async("an event says why", || async {
        (!case.list(&events).await.is_empty()).then_some(())
    })
    .await;
}

/// Conformance: [sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if matching
#[tokio::test]
async fn a_pod_goes_to_the_node_that_it_selects() {
    let case = Case::new().await;
    let node = case.node().await;
    let label = format!("e2e.example.com/{}", case.namespace);
    let node_path = format!("/api/v1/nodes/{node}");
    case.merge(&node_path, &json!({"metadata": {"labels": {label.clone(): "42"}}})).await.expect(200);
    let mut spec = running_pod_spec();
    spec["nodeSelector"] = json!({label.clone(): "42"});
    case.post(&case.path("v1", "pods"), &json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    let path = format!("{}/p", case.path("v1", "pods"));
    let running = case.until("it runs", &path, |pod| pod["status"]["phase"] == "Running").await;
    assert_eq!(running["spec"]["nodeName"], json!(node));
    case.merge(&node_path, &json!({"metadata": {"labels": {label: null}}})).await.expect(200);
}

/// Conformance: [sig-scheduling] SchedulerPredicates [Serial] validates resource limits of pods that are allowed to run
#[tokio::test]
async fn a_pod_that_asks_for_more_than_there_is_waits() {
    let case = Case::new().await;
    let mut spec = running_pod_spec();
    spec["containers"][0]["resources"] = json!({"requests": {"cpu": "10k"}});
    case.post(&case.path("v1", "pods"), &json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    let path = format!("{}/p", case.path("v1", "pods"));
    let says = |pod: &Value| pod.to_string().contains("Insufficient cpu");
    let waiting = case.until("it says what is missing", &path, says).await;
    assert!(waiting["spec"]["nodeName"].is_null());
}
