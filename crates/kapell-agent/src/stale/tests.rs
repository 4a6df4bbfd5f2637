use super::*;

fn pod(containers: &[(&str, bool)]) -> Pod {
    let statuses: Vec<_> = containers
        .iter()
        .map(|(name, ready)| {
            json!({"name": name, "ready": ready, "started": true, "image": "", "imageID": "", "restartCount": 3,
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}})
        })
        .collect();
    let condition = |name: &str| json!({"type": name, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "status": {
            "phase": "Running",
            "conditions": [condition("PodScheduled"), condition("ContainersReady"), condition("Ready")],
            "containerStatuses": statuses,
        },
    }))
    .unwrap()
}

#[test]
fn only_what_does_not_run_is_corrected() {
    let now: Timestamp = "2026-02-02T02:02:02Z".parse().unwrap();
    assert_eq!(compute(&pod(&[("a", true), ("b", true)]), |_| true, now), None);
    assert_eq!(compute(&pod(&[("a", false)]), |_| false, now), None, "it says that it is not ready");
    assert_eq!(compute(&Pod::default(), |_| false, now), None);

    let patch = compute(&pod(&[("a", true), ("b", true)]), |name| name == "a", now).unwrap();
    let ready: Vec<_> = patch["status"]["containerStatuses"].as_array().unwrap().iter().map(|c| &c["ready"]).collect();
    assert_eq!(ready, [true, false]);
    assert_eq!(patch["status"]["containerStatuses"][1]["restartCount"], 3, "the rest stays as it was");
    let conditions = &patch["status"]["conditions"];
    assert_eq!((&conditions[0]["type"], &conditions[0]["status"]), (&json!("PodScheduled"), &json!("True")));
    for index in [1, 2] {
        assert_eq!(conditions[index]["status"], "False");
        assert_eq!(conditions[index]["lastTransitionTime"], "2026-02-02T02:02:02Z");
        assert_eq!(conditions[index]["message"], "containers [b] ended while no agent looked after them");
    }
}

#[test]
fn a_process_counts_as_running_only_while_it_lives() {
    let own = proc::ProcessId::own().unwrap();
    let state = |process: proc::ProcessId| -> PodState {
        serde_json::from_value(json!({
            "version": 1, "bootId": "b", "shim": own, "cgroup": "None",
            "containers": {"a": {"running": {"process": process, "startedAt": 0}}},
        }))
        .unwrap()
    };
    assert!(runs(Some(&state(own)), "a"));
    assert!(!runs(Some(&state(own)), "b"));
    assert!(!runs(None, "a"));
    let reused = proc::ProcessId { start_time: own.start_time + 1, ..own };
    assert!(!runs(Some(&state(reused)), "a"));
}
