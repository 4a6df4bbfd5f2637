//! SIG Node: who has to leave a node that is tainted `NoExecute`. Each case has a server of its own, whose only node it taints.

use kapell_e2e::conformance::{Case, running_pod_spec};
use serde_json::{Value, json};

fn taint(key: &str) -> Value {
    json!({"key": key, "value": "evict", "effect": "NoExecute"})
}

async fn set_taints(case: &Case, taints: Value) {
    let node = format!("/api/v1/nodes/{}", case.node().await);
    case.merge(&node, &json!({"spec": {"taints": taints}})).await.expect(200);
}

/// A running pod, by its path, with patience for taints: seconds, or for ever.
async fn patient(case: &Case, name: &str, patience: &[(&str, Value)]) -> String {
    let pods = case.path("v1", "pods");
    let mut spec = running_pod_spec();
    let toleration = |(key, seconds): &(&str, Value)| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
    spec["tolerations"] = patience.iter().map(toleration).collect();
    case.post(&pods, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    let path = format!("{pods}/{name}");
    case.until("it runs", &path, |pod| pod["status"]["phase"] == "Running").await;
    path
}

/// Conformance: [sig-node] NoExecuteTaintManager Single Pod [Serial] removing taint cancels eviction [Disruptive]
#[tokio::test]
async fn a_taint_that_goes_in_time_evicts_nobody() {
    let case = Case::alone().await;
    let lucky = patient(&case, "lucky", &[("first", json!(3)), ("second", Value::Null)]).await;
    let witness = patient(&case, "witness", &[("first", Value::Null), ("second", json!(3))]).await;
    set_taints(&case, json!([taint("first")])).await;
    let node = format!("/api/v1/nodes/{}", case.node().await);
    let counting = |node: &Value| node["spec"]["taints"][0]["timeAdded"].is_string();
    case.until("its time is counted", &node, counting).await;
    // The patience of the witness begins when that of the other would have gone on, and so ends later.
    set_taints(&case, json!([taint("second")])).await;
    case.until_gone(&witness).await;
    let lucky = case.get(&lucky).await.expect(200);
    assert_eq!(lucky["metadata"]["deletionTimestamp"], Value::Null, "{lucky}");
    set_taints(&case, Value::Null).await;
}

/// Conformance: [sig-node] NoExecuteTaintManager Multiple Pods [Serial] evicts pods with minTolerationSeconds [Disruptive]
#[tokio::test]
async fn each_pod_leaves_when_its_patience_ends() {
    let case = Case::alone().await;
    patient(&case, "brief", &[("key", json!(1))]).await;
    patient(&case, "long", &[("key", json!(4))]).await;
    let untouched = patient(&case, "untouched", &[("key", Value::Null)]).await;
    let pods = case.path("v1", "pods");
    let list = case.get(&pods).await.expect(200);
    let from = list["metadata"]["resourceVersion"].as_str().expect("a list has a version");
    let mut watch = case.watch(&pods, &format!("&resourceVersion={from}")).await;
    set_taints(&case, json!([taint("key")])).await;

    let (mut evicted, mut targets) = (Vec::new(), Vec::new());
    while evicted.len() < 2 {
        let event = watch.next().await;
        let (pod, told) = (&event["object"], &event["type"]);
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        if conditions.any(|condition| condition["reason"] == "DeletionByTaintManager") && !targets.contains(&name) {
            targets.push(name.clone());
        }
        if told == "DELETED" {
            evicted.push(name);
        }
    }
    assert_eq!((&evicted[..], &targets), (&["brief".to_owned(), "long".to_owned()][..], &evicted));
    assert_eq!(case.get(&untouched).await.expect(200)["metadata"]["deletionTimestamp"], Value::Null);
}
