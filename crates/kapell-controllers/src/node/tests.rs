use serde_json::{Value, json};

use super::plan::{NOT_READY, UNREACHABLE};
use super::*;

const GRACE: Duration = Duration::from_secs(40);

fn node(ready: &str, taints: Value) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": "n"},
        "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }))
    .unwrap()
}

fn tainted(key: &str, since: &str) -> Value {
    json!([{"key": key, "effect": "NoSchedule"}, {"key": key, "effect": "NoExecute", "timeAdded": since}])
}

fn pod(tolerations: Value) -> Arc<KnownPod> {
    let pod =
        json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"containers": [], "tolerations": tolerations}});
    crate::pod::known(pod)
}

/// What is planned at 00:10:00: words for the actions, and the seconds until the next look.
fn planned(node: &Node, pods: &[Arc<KnownPod>], silent_for: u64) -> (Vec<String>, Option<u64>) {
    let silent_for = Duration::from_secs(silent_for);
    let now = "2026-01-01T00:10:00Z".parse().unwrap();
    let plan = plan::plan(&Snapshot { node, pods, silent_for, grace: GRACE }, now);
    let words = plan.actions.iter().map(|action| match action {
        Action::SetConditions(conditions) => format!("ready={}", conditions[0].status),
        Action::SetTaints(taints) => {
            taints.iter().fold("taints".to_owned(), |text, taint| format!("{text} {}:{}", taint.key, taint.effect))
        }
        Action::Evict(pod) => format!("evict {}", pod.id.name),
    });
    (words.collect(), plan.look_again.map(|left| left.as_secs()))
}

#[test]
fn a_node_that_speaks_is_left_alone() {
    assert_eq!(planned(&node("True", json!(null)), &[pod(json!([]))], 12), (vec![], Some(28)));
}

#[test]
fn silence_beyond_the_grace_makes_a_node_unreachable_and_evicts_after_the_toleration() {
    let (actions, next) = planned(&node("True", json!(null)), &[pod(json!([]))], 40);
    let taints = format!("taints {UNREACHABLE}:NoSchedule {UNREACHABLE}:NoExecute");
    assert_eq!((actions, next), (vec![taints, "ready=Unknown".to_owned()], Some(300)));

    let tolerating =
        |seconds: Value| pod(json!([{"key": UNREACHABLE, "operator": "Exists", "tolerationSeconds": seconds}]));
    let silent = node("Unknown", tainted(UNREACHABLE, "2026-01-01T00:09:00Z"));
    let cases = [
        (pod(json!([])), vec![], Some(240)),
        (tolerating(json!(30)), vec!["evict p".to_owned()], None),
        (tolerating(json!(61)), vec![], Some(1)),
        (tolerating(json!(null)), vec![], None),
        (pod(json!([{"operator": "Exists"}])), vec![], None),
    ];
    for (pod, actions, next) in cases {
        assert_eq!(planned(&silent, std::slice::from_ref(&pod), 100), (actions, next), "{pod:?}");
    }
}

#[test]
fn a_server_that_was_down_evicts_nobody() {
    // The taint is old, but this controller has only just begun to listen.
    let before = node("Unknown", tainted(UNREACHABLE, "2025-12-31T00:00:00Z"));
    let (actions, next) = planned(&before, &[pod(json!([]))], 0);
    assert_eq!((actions, next), (vec![], Some(40)));
    assert_eq!(planned(&before, &[pod(json!([]))], 40).0, ["evict p"]);
}

#[test]
fn recovery_removes_our_taints_and_no_others() {
    let mut taints = tainted(UNREACHABLE, "2026-01-01T00:00:00Z");
    taints.as_array_mut().unwrap().push(json!({"key": "mine", "effect": "NoSchedule"}));
    assert_eq!(planned(&node("True", taints), &[], 1).0, ["taints mine:NoSchedule"]);
    let not_ready = planned(&node("False", json!(null)), &[], 1).0;
    assert_eq!(not_ready, [format!("taints {NOT_READY}:NoSchedule {NOT_READY}:NoExecute")]);
}

#[test]
fn a_taint_evicts_when_the_patience_of_each_pod_ends() {
    let taint = |since: Value| json!([{"key": "k", "value": "v", "effect": "NoExecute", "timeAdded": since}]);
    let tainted = node("True", taint(json!("2026-01-01T00:09:00Z")));
    let tolerating =
        |seconds: Value| json!({"key": "k", "value": "v", "effect": "NoExecute", "tolerationSeconds": seconds});
    let evicted = || vec!["evict p".to_owned()];
    for (tolerations, actions, next) in [
        (json!([]), evicted(), None),
        (json!([{"key": "k", "value": "other"}]), evicted(), None),
        (json!([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]), evicted(), None),
        (json!([tolerating(json!(60))]), evicted(), None),
        (json!([tolerating(json!(90))]), vec![], Some(30)),
        (json!([tolerating(json!(null))]), vec![], None),
        (json!([tolerating(json!(0))]), evicted(), None),
        // The first one that tolerates it counts.
        (json!([tolerating(json!(90)), tolerating(json!(1))]), vec![], Some(30)),
    ] {
        let pods = [pod(tolerations.clone())];
        // Its heartbeat is fine and would be looked at in 20 s.
        let (planned, look_again) = planned(&tainted, &pods, 0);
        let beat = Some(next.map_or(40, |next: u64| next.min(40)));
        assert_eq!((planned, look_again), (actions, beat), "{tolerations}");
    }
    assert_eq!(
        planned(&node("True", json!([])), &[pod(json!([]))], 0).0,
        [""; 0],
        "a taint that has gone evicts nobody"
    );
}

#[test]
fn patience_beyond_all_time_is_for_ever() {
    let tolerations = json!([{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": i64::MAX}]);
    for since in ["1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z"] {
        let tainted = node("True", json!([{"key": "k", "effect": "NoExecute", "timeAdded": since}]));
        assert_eq!(planned(&tainted, &[pod(tolerations.clone())], 0).0, [""; 0], "{since}");
    }
}

#[test]
fn patience_begins_when_taint_and_pod_are_both_there() {
    let tolerations = json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 15}]);
    let by_hand = node("True", json!([{"key": "k", "effect": "NoExecute"}]));
    // The time is written down, so that a restart does not begin anew.
    assert_eq!(planned(&by_hand, &[pod(tolerations.clone())], 0), (vec!["taints k:NoExecute".to_owned()], Some(15)));

    let old = node("True", json!([{"key": "k", "effect": "NoExecute", "timeAdded": "2025-12-31T00:00:00Z"}]));
    let young = crate::pod::known(json!({
        "metadata": {"name": "p", "namespace": "ns", "creationTimestamp": "2026-01-01T00:09:50Z"},
        "spec": {"containers": [], "tolerations": tolerations},
    }));
    assert_eq!(planned(&old, &[young], 0), (vec![], Some(5)));
}

#[tokio::test(start_paused = true)]
async fn silence_counts_from_the_last_change_that_was_seen() {
    let (heartbeats, queue) = (Heartbeats::default(), Queue::new());
    let lease = |time: &str| {
        let lease = json!({"metadata": {"name": "n"}, "spec": {"renewTime": time}});
        Arc::new(serde_json::from_value::<Lease>(lease).unwrap())
    };
    // However old the Lease says it is.
    let first = lease("2020-01-01T00:00:00.000000Z");
    heartbeats.observe(&queue, &Change::Applied { old: None, new: first.clone() });
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(heartbeats.silence("n").as_secs(), 30);
    heartbeats.observe(&queue, &Change::Applied { old: Some(first.clone()), new: first.clone() });
    assert_eq!(heartbeats.silence("n").as_secs(), 30, "a change without a renewal is no heartbeat");
    heartbeats.observe(&queue, &Change::Applied { old: Some(first), new: lease("2020-01-01T00:00:10.000000Z") });
    assert_eq!(heartbeats.silence("n").as_secs(), 0);
    assert_eq!(heartbeats.silence("never-heard-of").as_secs(), 0);
}
