use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::*;
use crate::pod::PodReader;

fn pod(name: &str, changes: Value) -> Arc<PodFacts> {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
    });
    json_patch::merge(&mut object, &changes);
    Arc::new(PodReader::default().read(&serde_json::from_value(object).unwrap()))
}

fn node(name: &str, cpu: &str) -> Change<Node> {
    let node = json!({
        "metadata": {"name": name},
        "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "100"},
            "conditions": [{"type": "Ready", "status": "True"}]},
    });
    Change::Applied { old: None, new: Arc::new(serde_json::from_value(node).unwrap()) }
}

fn applied(pod: &Arc<PodFacts>) -> Change<PodFacts> {
    Change::Applied { old: None, new: pod.clone() }
}

struct World {
    state: State,
    now: Instant,
    rng: StdRng,
}

impl World {
    fn new(nodes: &[(&str, &str)]) -> Self {
        let mut world =
            Self { state: State::new("default-scheduler"), now: Instant::now(), rng: StdRng::seed_from_u64(3) };
        for (name, cpu) in nodes {
            world.state.on_node(&node(name, cpu), world.now);
        }
        world
    }

    /// `pod>node`, or `pod!` when it fits nowhere, for all that is due.
    fn decide(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(decision) = self.state.next(self.now, &mut self.rng) {
            told.push(match decision {
                Decision::Bind { pod, node } => format!("{}>{node}", pod.id.name),
                Decision::Report { pod, .. } => format!("{}!", pod.id.name),
            });
        }
        told
    }
}

#[test]
fn placements_count_before_the_watch_shows_them() {
    let mut world = World::new(&[("n", "2")]);
    for name in ["a", "b", "c"] {
        world.state.on_pod(&applied(&pod(name, json!({}))), world.now);
    }
    assert_eq!(world.decide(), ["a>n", "b>n", "c!"]);
    // Its own updates do not put an assumed pod back into the queue.
    world.state.on_pod(&applied(&pod("a", json!({"metadata": {"resourceVersion": "2"}}))), world.now);
    assert!(world.decide().is_empty());
}

#[test]
fn a_refused_binding_frees_the_place_and_is_tried_again_later() {
    let mut world = World::new(&[("n", "1")]);
    let (a, b) = (pod("a", json!({})), pod("b", json!({})));
    world.state.on_pod(&applied(&a), world.now);
    assert_eq!(world.decide(), ["a>n"]);
    world.state.forget(&a, world.now);
    world.state.on_pod(&applied(&b), world.now);
    assert_eq!(world.decide(), ["b>n"]);
    world.now += Duration::from_secs(1);
    assert_eq!(world.decide(), ["a!"]);
}

#[test]
fn a_binding_that_worked_although_its_answer_was_lost_stays() {
    let mut world = World::new(&[("n", "1")]);
    let a = pod("a", json!({}));
    world.state.on_pod(&applied(&a), world.now);
    assert_eq!(world.decide(), ["a>n"]);
    world.state.on_pod(&applied(&pod("a", json!({"spec": {"nodeName": "n"}}))), world.now);
    world.state.forget(&a, world.now);
    world.state.on_pod(&applied(&pod("b", json!({}))), world.now);
    assert_eq!(world.decide(), ["b!"]);
}

#[test]
fn unschedulable_pods_are_woken_by_what_could_help() {
    let mut world = World::new(&[("n", "1")]);
    let running = pod("running", json!({"spec": {"nodeName": "n"}}));
    world.state.on_pod(&applied(&running), world.now);
    world.state.on_pod(&applied(&pod("a", json!({}))), world.now);
    assert_eq!(world.decide(), ["a!"]);
    world.now += Duration::from_secs(5);

    // The same node again (a heartbeat) and the pod's own new condition help nothing.
    world.state.on_node(&node("n", "1"), world.now);
    let reported = json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False"}]}});
    world.state.on_pod(&applied(&pod("a", reported)), world.now);
    assert!(world.decide().is_empty());

    world.state.on_pod(&Change::Deleted(running), world.now);
    assert_eq!(world.decide(), ["a>n"]);

    world.state.on_pod(&applied(&pod("b", json!({}))), world.now);
    assert_eq!(world.decide(), ["b!"]);
    world.now += Duration::from_secs(5);
    world.state.on_node(&node("m", "1"), world.now);
    assert_eq!(world.decide(), ["b>m"]);
}

#[test]
fn ended_pods_hold_no_place_and_others_pods_are_left_alone() {
    let mut world = World::new(&[("n", "1")]);
    let ended = json!({"spec": {"nodeName": "n"}, "status": {"phase": "Succeeded"}});
    world.state.on_pod(&applied(&pod("ended", ended)), world.now);
    for (name, changes) in [
        ("foreign", json!({"spec": {"schedulerName": "other"}})),
        ("gated", json!({"spec": {"schedulingGates": [{"name": "g"}]}})),
        ("deleted", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})),
    ] {
        world.state.on_pod(&applied(&pod(name, changes)), world.now);
    }
    world.state.on_pod(&applied(&pod("ours", json!({}))), world.now);
    assert_eq!(world.decide(), ["ours>n"]);
}

#[test]
fn pods_known_before_their_node_count_when_it_comes() {
    let mut world = World::new(&[]);
    world.state.on_pod(&applied(&pod("running", json!({"spec": {"nodeName": "n"}}))), world.now);
    world.state.on_pod(&applied(&pod("a", json!({}))), world.now);
    assert_eq!(world.decide(), ["a!"]);
    // No back-off: there was nothing to try.
    world.state.on_node(&node("n", "1"), world.now);
    assert_eq!(world.decide(), ["a!"]);
}
