use k8s_openapi::api::core::v1::{Node, Pod};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::*;
use crate::snapshot::NodeFacts;

/// A ready node of 4 cores, 8 GiB and 10 pods, with `changes` merged in.
fn node(name: &str, changes: Value) -> (String, NodeFacts) {
    let mut object = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10", "example.com/gpu": "1"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    json_patch::merge(&mut object, &changes);
    let node: Node = serde_json::from_value(object).unwrap();
    (name.to_owned(), NodeFacts::of(&node))
}

fn pod(requests: Value, spec: Value) -> PodRequest {
    let mut object = json!({
        "metadata": {"name": "p", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": true}]},
        "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]},
    });
    json_patch::merge(&mut object["spec"], &spec);
    PodRequest::of(&serde_json::from_value::<Pod>(object).unwrap())
}

fn snapshot(nodes: Vec<(String, NodeFacts)>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, facts) in nodes {
        snapshot.set_node(&name, facts);
    }
    snapshot
}

fn placed(pod: &PodRequest, snapshot: &Snapshot) -> Result<String, String> {
    place(pod, snapshot, &mut StdRng::seed_from_u64(7)).map_err(|why| why.summary())
}

fn affinity(expression: Value) -> Value {
    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}})
}

#[test]
fn each_filter_names_its_reason() {
    let taint = |effect: &str| json!({"spec": {"taints": [{"key": "x", "value": "y", "effect": effect}]}});
    let cases: Vec<(&str, Value, Value, Value, &str)> = vec![
        ("cpu", json!({}), json!({"cpu": "4100m"}), json!({}), "Insufficient cpu"),
        ("memory", json!({}), json!({"memory": "9Gi"}), json!({}), "Insufficient memory"),
        ("scalar", json!({}), json!({"example.com/gpu": 2}), json!({}), "Insufficient example.com/gpu"),
        ("pods", json!({"status": {"allocatable": {"pods": "0"}}}), json!({}), json!({}), "Too many pods"),
        (
            "selector",
            json!({}),
            json!({}),
            json!({"nodeSelector": {"disk": "ssd"}}),
            "node(s) didn't match Pod's node affinity/selector",
        ),
        ("cordon", json!({"spec": {"unschedulable": true}}), json!({}), json!({}), "node(s) were unschedulable"),
        ("taint", taint("NoSchedule"), json!({}), json!({}), "node(s) had untolerated taint {x: y}"),
        ("evicting taint", taint("NoExecute"), json!({}), json!({}), "node(s) had untolerated taint {x: y}"),
        ("not ready", json!({"status": {"conditions": []}}), json!({}), json!({}), "node(s) were not ready"),
        ("name", json!({}), json!({}), json!({"nodeName": "b"}), "node(s) didn't match the requested node name"),
    ];
    for (case, node_changes, requests, spec, reason) in cases {
        let snapshot = snapshot(vec![node("a", node_changes)]);
        assert_eq!(
            placed(&pod(requests, spec), &snapshot),
            Err(format!("0/1 nodes are available: 1 {reason}.")),
            "{case}"
        );
    }
}

#[test]
fn what_is_tolerated_or_preferred_against_does_not_exclude() {
    let tainted = json!({"spec": {"taints": [{"key": "x", "value": "y", "effect": "NoSchedule"}]}});
    for toleration in [
        json!({"key": "x", "operator": "Exists"}),
        json!({"key": "x", "operator": "Equal", "value": "y", "effect": "NoSchedule"}),
        json!({"operator": "Exists"}),
    ] {
        let snapshot = snapshot(vec![node("a", tainted.clone())]);
        let pod = pod(json!({}), json!({"tolerations": [toleration]}));
        assert_eq!(placed(&pod, &snapshot), Ok("a".to_owned()));
    }
    let soft = json!({"spec": {"taints": [{"key": "x", "effect": "PreferNoSchedule"}]}});
    assert_eq!(placed(&pod(json!({}), json!({})), &snapshot(vec![node("a", soft.clone())])), Ok("a".to_owned()));
    let both = snapshot(vec![node("a", soft), node("b", json!({}))]);
    assert_eq!(placed(&pod(json!({}), json!({})), &both), Ok("b".to_owned()));
}

#[test]
fn every_operator_of_node_affinity() {
    let labels = json!({"metadata": {"labels": {"cores": "8", "disk": "ssd"}}});
    let cases = [
        (json!({"key": "disk", "operator": "In", "values": ["hdd", "ssd"]}), true),
        (json!({"key": "disk", "operator": "In", "values": ["hdd"]}), false),
        (json!({"key": "disk", "operator": "NotIn", "values": ["ssd"]}), false),
        (json!({"key": "absent", "operator": "NotIn", "values": ["ssd"]}), true),
        (json!({"key": "disk", "operator": "Exists"}), true),
        (json!({"key": "absent", "operator": "Exists"}), false),
        (json!({"key": "absent", "operator": "DoesNotExist"}), true),
        (json!({"key": "disk", "operator": "DoesNotExist"}), false),
        (json!({"key": "cores", "operator": "Gt", "values": ["7"]}), true),
        (json!({"key": "cores", "operator": "Gt", "values": ["8"]}), false),
        (json!({"key": "cores", "operator": "Lt", "values": ["9"]}), true),
        (json!({"key": "disk", "operator": "Lt", "values": ["9"]}), false),
    ];
    for (expression, fits) in cases {
        let snapshot = snapshot(vec![node("a", labels.clone())]);
        assert_eq!(placed(&pod(json!({}), affinity(expression.clone())), &snapshot).is_ok(), fits, "{expression}");
    }
    let by_name = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}]}}}});
    let two = snapshot(vec![node("a", json!({})), node("b", json!({}))]);
    assert_eq!(placed(&pod(json!({}), by_name), &two), Ok("b".to_owned()));
}

#[test]
fn scores_prefer_empty_preferred_and_unshared_nodes() {
    let two = || snapshot(vec![node("a", json!({})), node("b", json!({"metadata": {"labels": {"disk": "ssd"}}}))]);
    let loner = PodRequest { controller: None, ..pod(json!({"cpu": "2"}), json!({})) };

    let mut loaded = two();
    loaded.set_pod("other", "a", loner.clone());
    assert_eq!(placed(&loner, &loaded), Ok("b".to_owned()), "least allocated");

    let wish = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]}}});
    assert_eq!(placed(&pod(json!({}), wish), &two()), Ok("b".to_owned()), "preferred affinity");

    let mut shared = two();
    shared.set_pod("sibling", "b", pod(json!({"cpu": "1m"}), json!({})));
    assert_eq!(placed(&pod(json!({}), json!({})), &shared), Ok("a".to_owned()), "spread by controller");
}

#[test]
fn host_ports_collide_by_number_protocol_and_address() {
    let claiming = |port: Value| {
        let containers = json!({"containers": [{"name": "c", "ports": [port]}]});
        pod(json!({}), containers)
    };
    let mut snapshot = snapshot(vec![node("a", json!({}))]);
    snapshot.set_pod("first", "a", claiming(json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"})));
    let cases = [
        (json!({"containerPort": 80, "hostPort": 80}), false),
        (json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"}), false),
        (json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.2"}), true),
        (json!({"containerPort": 80, "hostPort": 80, "protocol": "UDP"}), true),
        (json!({"containerPort": 80, "hostPort": 81}), true),
        (json!({"containerPort": 80}), true),
    ];
    for (port, fits) in cases {
        assert_eq!(placed(&claiming(port.clone()), &snapshot).is_ok(), fits, "{port}");
    }
}

#[test]
fn the_message_counts_reasons_and_the_explanation_names_nodes() {
    let taint = json!({"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}});
    let snapshot = snapshot(vec![node("a", json!({})), node("b", taint.clone()), node("c", taint)]);
    let why = place(&pod(json!({"cpu": "5"}), json!({})), &snapshot, &mut StdRng::seed_from_u64(1)).unwrap_err();
    let summary = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {x: }.";
    assert_eq!(why.summary(), summary);
    assert_eq!(
        why.explanation(),
        format!(
            "{summary} a: asks for 5 cpu, 4 free. b: had untolerated taint {{x: }}. c: had untolerated taint {{x: }}."
        ),
    );
    assert_eq!(
        placed(&pod(json!({}), json!({})), &Snapshot::default()),
        Err("no nodes available to schedule pods".into())
    );
}

#[test]
fn amounts_are_written_as_people_write_them() {
    let cases = [
        ("cpu", 1_000_000, "1k"),
        ("cpu", 1_500, "1500m"),
        ("memory", 9 << 30, "9Gi"),
        ("hugepages-2Mi", 4 << 20, "4Mi"),
        ("example.com/gpu", 2, "2"),
    ];
    for (resource, number, expected) in cases {
        assert_eq!(amount(resource, number).to_string(), expected);
    }
}

#[test]
fn init_containers_and_sidecars_count_as_upstream() {
    let requests = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let spec = json!({
        "overhead": {"cpu": "100m"},
        "initContainers": [
            {"name": "sidecar", "restartPolicy": "Always", "resources": requests("1")},
            {"name": "init", "resources": requests("3")},
        ],
        "containers": [{"name": "c", "resources": requests("500m")}],
    });
    // The init container beside the sidecar (4) exceeds container and sidecar (1.5).
    assert_eq!(pod(json!({}), spec).resources.cpu, 4_100);
}

proptest! {
    #[test]
    fn no_node_is_ever_filled_beyond_what_it_has(
        pods in prop::collection::vec((0i64..3000, 0i64..4096, any::<bool>()), 1..120),
        seed in any::<u64>(),
    ) {
        let mut snapshot = snapshot((0..4).map(|i| node(&format!("n{i}"), json!({}))).collect());
        let mut rng = StdRng::seed_from_u64(seed);
        let mut living: Vec<String> = Vec::new();
        for (i, (cpu, memory, leaves)) in pods.into_iter().enumerate() {
            let request = pod(json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")}), json!({}));
            if leaves && !living.is_empty() {
                snapshot.remove_pod(&living.swap_remove(0));
            }
            match place(&request, &snapshot, &mut rng) {
                Ok(node) => {
                    snapshot.set_pod(&i.to_string(), &node, request);
                    living.push(i.to_string());
                }
                Err(why) => prop_assert!(why.nodes.values().all(|reasons| !reasons.is_empty()), "{why:?}"),
            }
            for node in &snapshot.nodes {
                let (has, taken) = (&node.facts.allocatable, &node.requested);
                prop_assert!(taken.cpu <= has.cpu && taken.memory <= has.memory && taken.pods <= has.pods);
            }
        }
        for uid in living {
            snapshot.remove_pod(&uid);
        }
        prop_assert!(snapshot.nodes.iter().all(|node| node.requested.cpu == 0 && node.requested.pods == 0));
    }
}
