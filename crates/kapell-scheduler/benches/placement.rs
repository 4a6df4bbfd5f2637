//! Placements per second of the pure core on one thread: 5,000 nodes of 16 cores, pods that ask for cpu and memory and
//! belong to one of a hundred controllers, each counted on its node before the next is placed.

use std::time::Instant;

use k8s_openapi::api::core::v1::{Node, Pod};
use kapell_scheduler::{NodeFacts, PodRequest, Snapshot, place};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;

const NODES: usize = 5_000;
const PODS: usize = 100_000;

fn main() {
    let mut snapshot = Snapshot::default();
    for i in 0..NODES {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": format!("node-{i}"), "labels": {"zone": format!("zone-{}", i % 3)}},
            "status": {
                "allocatable": {"cpu": "16", "memory": "64Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }))
        .expect("a node");
        snapshot.set_node(&format!("node-{i}"), NodeFacts::of(&node));
    }
    let requests: Vec<PodRequest> = (0..100)
        .map(|i| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": "pod", "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": format!("rs-{i}"), "controller": true}
                ]},
                "spec": {"containers": [
                    {"name": "c", "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}}}
                ]},
            }))
            .expect("a pod");
            PodRequest::of(&pod)
        })
        .collect();

    let mut rng = StdRng::seed_from_u64(1);
    let start = Instant::now();
    for i in 0..PODS {
        let request = &requests[i % requests.len()];
        let node = place(request, &snapshot, &mut rng).expect("room for all");
        snapshot.set_pod(&format!("pod-{i}"), &node, request.clone());
    }
    let took = start.elapsed();
    let rate = PODS as f64 / took.as_secs_f64();
    eprintln!("{PODS} placements on {NODES} nodes in {took:.2?}: {rate:.0} per second");
}
