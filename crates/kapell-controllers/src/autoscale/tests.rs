use serde_json::{Value, json};

use super::behavior::{History, decide};
use super::plan::{ContainerFacts, PodFacts, Proposal, measured, propose};
use super::*;

fn metric(resource: &str, target: Value) -> MetricSpec {
    serde_json::from_value(json!({"type": "Resource", "resource": {"name": resource, "target": target}})).unwrap()
}

fn cpu(percent: i32) -> MetricSpec {
    metric("cpu", json!({"type": "Utilization", "averageUtilization": percent}))
}

/// `50` uses 50m of 100m, `?` says nothing, `50-` is starting.
fn pods(state: &str) -> Vec<PodFacts> {
    let pod = |word: &str| {
        let figure = word.trim_end_matches('-').parse().ok();
        let container = ContainerFacts {
            name: "c".to_owned(),
            cpu: figure,
            memory: figure.map(|mi: i64| mi * 1024 * 1024 * 1000),
            requests_cpu: Some(100),
            requests_memory: Some(100 * 1024 * 1024 * 1000),
        };
        PodFacts { starting: word.ends_with('-'), containers: vec![container] }
    };
    state.split_whitespace().map(pod).collect()
}

fn proposed(metric: &MetricSpec, state: &str) -> Proposal {
    let pods = pods(state);
    propose(&measured(metric).unwrap(), &pods, i32::try_from(pods.len()).unwrap()).unwrap()
}

#[test]
fn replicas_follow_the_ratio_outside_the_tolerance() {
    for (state, expected) in [
        ("50 50", 2),
        ("54 54", 2),
        ("46 46", 2),
        ("60 60", 3),
        ("100 100", 4),
        ("10 10 10 10", 1),
        ("0 0 0", 0),
        ("25 25 25 25", 2),
    ] {
        assert_eq!(proposed(&cpu(50), state).replicas, expected, "{state}");
    }
    assert_eq!(proposed(&cpu(50), "60 40").utilization, Some(50));
}

#[test]
fn silent_and_starting_pods_speak_against_the_change() {
    for (state, expected, why) in [
        ("100 ?", 2, "one busy, one silent: taken as idle, within the tolerance"),
        ("100 100 ?", 4, "still growing, by less"),
        ("10 ?", 2, "one idle, one silent: taken as busy, the direction turns"),
        ("10 10 10 10 ?", 3, "still shrinking, by less"),
        ("100 100-", 2, "a starting pod is taken as idle"),
    ] {
        assert_eq!(proposed(&cpu(50), state).replicas, expected, "{state}: {why}");
    }
    let none = propose(&measured(&cpu(50)).unwrap(), &pods("? ?"), 2);
    assert!(none.unwrap_err().contains("no metrics of cpu for any of 2 pods"));
}

#[test]
fn amounts_are_compared_per_pod() {
    let memory = metric("memory", json!({"type": "AverageValue", "averageValue": "50Mi"}));
    assert_eq!(proposed(&memory, "100 100").replicas, 4);
    assert_eq!(proposed(&memory, "50 50").average, 50 * 1024 * 1024 * 1000);
}

#[test]
fn without_a_request_the_base_is_assumed_and_said() {
    let mut unstated = pods("100 100");
    for pod in &mut unstated {
        pod.containers[0].requests_cpu = None;
    }
    let proposal = propose(&measured(&cpu(50)).unwrap(), &unstated, 2).unwrap();
    assert_eq!((proposal.replicas, proposal.utilization, proposal.assumed), (4, Some(100), true));
    assert!(!proposed(&cpu(50), "100 100").assumed);
}

fn spec(fields: Value) -> HorizontalPodAutoscalerSpec {
    let mut spec =
        json!({"minReplicas": 1, "maxReplicas": 20, "scaleTargetRef": {"kind": "Deployment", "name": "web"}});
    json_patch::merge(&mut spec, &fields);
    serde_json::from_value(spec).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

/// Replays `(second, recommendation)` pairs from `current` and returns where each led.
fn replay(spec: &HorizontalPodAutoscalerSpec, mut current: i32, wishes: &[(i64, i32)]) -> Vec<i32> {
    let mut history = History::default();
    let step = |&(second, wish): &(i64, i32)| {
        history.recommend(at(second), wish);
        let decision = decide(spec, &history, current, wish, at(second));
        if decision.replicas != current {
            history.changed(at(second), decision.replicas - current);
        }
        current = decision.replicas;
        current
    };
    wishes.iter().map(step).collect()
}

#[test]
fn shrinking_waits_for_its_window_and_growing_does_not() {
    let calm = spec(json!({}));
    assert_eq!(replay(&calm, 4, &[(0, 4), (15, 2), (60, 3), (299, 1), (301, 1), (361, 1)]), [4, 4, 4, 4, 3, 1]);
    assert_eq!(replay(&calm, 2, &[(0, 6)]), [6]);
    let eager = spec(json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}));
    assert_eq!(replay(&eager, 4, &[(0, 4), (15, 2)]), [4, 2]);
    let slow = spec(json!({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 60}}}));
    assert_eq!(replay(&slow, 2, &[(0, 2), (15, 6), (59, 6), (61, 6)]), [2, 2, 2, 6]);
}

#[test]
fn policies_limit_the_pace() {
    let calm = spec(json!({}));
    assert_eq!(replay(&calm, 1, &[(0, 20), (15, 20), (30, 20)]), [5, 10, 20], "four pods or double, whichever is more");
    let pods = |select: &str| {
        spec(json!({"behavior": {"scaleUp": {"selectPolicy": select, "policies": [
            {"type": "Pods", "value": 1, "periodSeconds": 60}, {"type": "Percent", "value": 50, "periodSeconds": 60}]}}}))
    };
    assert_eq!(replay(&pods("Min"), 4, &[(0, 20), (30, 20), (60, 20)]), [5, 5, 6]);
    assert_eq!(replay(&pods("Max"), 4, &[(0, 20), (30, 20)]), [6, 6]);
    assert_eq!(replay(&pods("Disabled"), 4, &[(0, 20)]), [4]);
    let down = spec(json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [
        {"type": "Percent", "value": 10, "periodSeconds": 60}]}}}));
    assert_eq!(replay(&down, 20, &[(0, 1), (30, 1), (60, 1)]), [18, 18, 16]);
}

#[test]
fn bounds_hold_and_are_named() {
    let mut history = History::default();
    history.recommend(at(0), 50);
    let decision = decide(&spec(json!({"maxReplicas": 3})), &history, 2, 50, at(0));
    assert_eq!((decision.replicas, decision.limited.unwrap().0), (3, "TooManyReplicas"));
    let eager = json!({"minReplicas": 2, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}});
    let decision = decide(&spec(eager), &History::default(), 3, 0, at(0));
    assert_eq!((decision.replicas, decision.limited.unwrap().0), (2, "TooFewReplicas"));
}
