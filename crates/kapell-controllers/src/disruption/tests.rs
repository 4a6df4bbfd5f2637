use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
    let mut object =
        json!({"metadata": {"name": "web", "generation": 1}, "spec": {"selector": {"matchLabels": {"app": "web"}}}});
    json_patch::merge(&mut object["spec"], &spec);
    if !status.is_null() {
        object["status"] = status;
    }
    serde_json::from_value(object).unwrap()
}

fn pods(ready: usize, not: usize) -> Vec<Arc<KnownPod>> {
    let pod = |i: usize| {
        let status = if i < ready { "True" } else { "False" };
        crate::pod::known(json!({
                "metadata": {"name": format!("web-{i}"), "labels": {"app": "web"}},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]},
        }))
    };
    (0..ready + not).map(pod).collect()
}

#[test]
fn a_budget_allows_what_is_left_over() {
    let now = Timestamp::UNIX_EPOCH;
    for (spec, ready, not, expected, allowed) in [
        (json!({"minAvailable": 2}), 3, 0, Ok(3), 1),
        (json!({"minAvailable": 2}), 2, 1, Ok(3), 0),
        (json!({"minAvailable": "50%"}), 3, 0, Ok(5), 0),
        (json!({"minAvailable": "50%"}), 4, 0, Ok(5), 1),
        (json!({"maxUnavailable": 1}), 3, 0, Ok(3), 1),
        (json!({"maxUnavailable": 1}), 2, 0, Ok(3), 0),
        (json!({"maxUnavailable": "34%"}), 3, 0, Ok(3), 2),
        (json!({}), 3, 0, Ok(3), 3),
        (json!({"maxUnavailable": 1}), 3, 0, Err("no controller".to_owned()), 0),
        (json!({"minAvailable": 1}), 3, 0, Err("no controller".to_owned()), 2),
    ] {
        let (status, _) = plan::status(&budget(spec.clone(), Value::Null), &pods(ready, not), &expected, now);
        assert_eq!(status.disruptions_allowed, allowed, "{spec} {ready} {not}");
        assert_eq!(status.current_healthy, i32::try_from(ready).unwrap());
    }
}

#[test]
fn what_was_granted_counts_for_two_minutes() {
    let granted = json!({"disruptedPods": {"web-0": "2026-01-01T00:00:00Z", "gone": "2026-01-01T00:00:00Z"},
        "currentHealthy": 3, "desiredHealthy": 1, "disruptionsAllowed": 1, "expectedPods": 3});
    let budget = budget(json!({"minAvailable": 1}), granted);
    let at = |time: &str| plan::status(&budget, &pods(3, 0), &Ok(3), time.parse().unwrap());
    let (soon, next) = at("2026-01-01T00:01:50Z");
    assert_eq!((soon.current_healthy, soon.disruptions_allowed), (2, 1));
    assert_eq!(soon.disrupted_pods.unwrap().into_keys().collect::<Vec<_>>(), ["web-0"]);
    assert_eq!(next, Some(Duration::from_secs(10)));
    let (later, next) = at("2026-01-01T00:02:00Z");
    assert_eq!((later.disruptions_allowed, later.disrupted_pods, next), (2, None, None));
}

#[test]
fn selectors_choose() {
    let pod = &pods(1, 0)[0];
    assert!(plan::selects(&budget(json!({}), Value::Null), pod));
    assert!(plan::selects(&budget(json!({"selector": {"matchLabels": null}}), Value::Null), pod), "empty: everything");
    assert!(!plan::selects(&budget(json!({"selector": null}), Value::Null), pod), "none: nothing");
}
