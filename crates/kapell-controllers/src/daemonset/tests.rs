use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn set(spec: Value) -> DaemonSet {
    let mut object = json!({
        "metadata": {"name": "log", "namespace": "ns", "uid": "set", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "log"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "log"}}, "spec": {"containers": [{"name": "c"}]}}},
    });
    json_patch::merge(&mut object["spec"], &spec);
    serde_json::from_value(object).unwrap()
}

fn node(name: &str, changes: Value) -> Arc<Node> {
    let mut node = json!({"metadata": {"name": name, "labels": {"disk": "fast"}}, "spec": {}});
    json_patch::merge(&mut node, &changes);
    Arc::new(serde_json::from_value(node).unwrap())
}

/// `a` a ready pod of the new template on node a; `-` not ready, `~` old, `x` ended.
fn pods(state: &str) -> Vec<Arc<crate::pod::KnownPod>> {
    let pod = |(i, word): (usize, &str)| {
        let is = |mark: char| word.contains(mark);
        crate::pod::known(json!({
                "metadata": {"name": format!("{word}.{i}"), "namespace": "ns", "uid": format!("{word}.{i}"),
                    "creationTimestamp": format!("2026-01-01T00:00:0{i}Z"),
                    "labels": {"app": "log", "controller-revision-hash": if is('~') { "old" } else { "new" }}},
                "spec": {"nodeName": &word[..1], "containers": []},
                "status": {"phase": if is('x') { "Failed" } else { "Running" }, "conditions": [
                    {"type": "Ready", "status": if is('-') { "False" } else { "True" },
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }))
    };
    state.split_whitespace().enumerate().map(pod).collect()
}

fn planned(set: &DaemonSet, nodes: &[Arc<Node>], state: &str) -> String {
    let pods = pods(state);
    let now = "2026-01-01T01:00:00Z".parse().unwrap();
    match plan::plan(&Snapshot { set, nodes, pods: &pods, hash: "new", now }).0 {
        Action::Nothing => String::new(),
        Action::Create(nodes) => format!("+{}", nodes.join(" +")),
        Action::Delete(pods) => pods.iter().map(|pod| format!("-{}", pod.id.name)).collect::<Vec<_>>().join(" "),
    }
}

#[test]
fn every_node_that_fits_has_one_pod() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    for (state, expected) in
        [("", "+a +b"), ("a", "+b"), ("a b", ""), ("a b b", "-b.2"), ("a b c", "-c.2"), ("a bx", "-bx.1")]
    {
        assert_eq!(planned(&set(json!({})), &nodes, state), expected, "{state}");
    }
}

#[test]
fn selectors_and_taints_decide_which_nodes_fit() {
    let taint = |effect: &str| json!({"spec": {"taints": [{"key": "gpu", "effect": effect}]}});
    let nodes = [node("a", json!({"metadata": {"labels": {"disk": "slow"}}})), node("b", taint("NoSchedule"))];
    let template = |spec: Value| set(json!({"template": {"spec": spec}}));
    assert_eq!(planned(&template(json!({})), &nodes, ""), "+a");
    assert_eq!(planned(&template(json!({"tolerations": [{"operator": "Exists"}]})), &nodes, ""), "+a +b");
    assert_eq!(planned(&template(json!({"nodeSelector": {"disk": "fast"}})), &nodes, "a"), "-a.0");
    assert_eq!(planned(&template(json!({})), &nodes, "a b"), "", "a pod that is there may stay");
    assert_eq!(planned(&template(json!({})), &[nodes[0].clone(), node("b", taint("NoExecute"))], "a b"), "-b.1");
    let cordoned = [node(
        "a",
        json!({"spec": {"unschedulable": true,
        "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}}),
    )];
    assert_eq!(planned(&template(json!({})), &cordoned, ""), "+a", "cordons are borne");
}

#[test]
fn a_new_template_takes_the_useless_first_and_keeps_the_budget() {
    let nodes = ["a", "b", "c"].map(|name| node(name, json!({})));
    let rolling = set(json!({}));
    assert_eq!(planned(&rolling, &nodes, "a~ b~ c~"), "-a~.0");
    assert_eq!(planned(&rolling, &nodes, "a- b~ c~"), "", "one is missing already");
    assert_eq!(planned(&rolling, &nodes, "a b~- c~"), "-b~-.1", "who is not available is no loss");
    let half = set(json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": "50%"}}}));
    assert_eq!(planned(&half, &nodes, "a~ b~ c~"), "-a~.0 -b~.1");
    assert_eq!(planned(&set(json!({"updateStrategy": {"type": "OnDelete"}})), &nodes, "a~ b~ c~"), "");
}

#[test]
fn the_status_counts_nodes() {
    let nodes = [node("a", json!({})), node("b", json!({})), node("c", json!({}))];
    let pods = pods("a b~- d");
    let now = "2026-01-01T01:00:00Z".parse().unwrap();
    let set = set(json!({}));
    let (status, _) = plan::status(&Snapshot { set: &set, nodes: &nodes, pods: &pods, hash: "new", now });
    assert_eq!((status.desired_number_scheduled, status.current_number_scheduled), (3, 2));
    assert_eq!((status.number_ready, status.number_available, status.number_unavailable), (1, Some(1), Some(2)));
    assert_eq!((status.number_misscheduled, status.updated_number_scheduled), (1, Some(1)));
}

#[test]
fn a_pod_is_meant_for_its_node() {
    let pod = plan::pod_for(&set(json!({})), "a", "new");
    let spec = pod.spec.unwrap();
    assert!(spec.node_name.is_none(), "the scheduler binds");
    let affinity = serde_json::to_value(spec.affinity.unwrap()).unwrap();
    let term = affinity.pointer("/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0");
    assert_eq!(term.unwrap()["matchFields"][0], json!({"key": "metadata.name", "operator": "In", "values": ["a"]}));
    assert_eq!(spec.tolerations.unwrap().len(), 6);
}
