use serde_json::{Value, json};

use super::spec;
use crate::kinds::tests::{cells, with};

/// A pod with one init container and two containers.
fn pod(status: Value) -> Value {
    let pod = spec(json!({
        "initContainers": [{ "name": "init" }],
        "containers": [{ "name": "a" }, { "name": "b" }],
        "nodeName": "n1",
    }));
    let created = json!({ "metadata": { "creationTimestamp": "2026-01-01T00:58:50Z" } });
    with(&with(&pod, created), json!({ "status": status }))
}

fn running() -> Value {
    json!({ "ready": true, "restartCount": 0, "state": { "running": {} } })
}

fn waiting(reason: &str) -> Value {
    json!({ "restartCount": 0, "state": { "waiting": { "reason": reason } } })
}

fn ended(fields: Value) -> Value {
    json!({ "restartCount": 0, "state": { "terminated": fields } })
}

#[test]
fn status_is_told_from_the_containers() {
    let init_done = ended(json!({ "exitCode": 0, "reason": "Completed" }));
    let ready = json!([{ "type": "Ready", "status": "True" }]);
    for (status, ready_cell, status_cell) in [
        (json!({ "phase": "Pending" }), "0/2", "Pending"),
        (json!({ "phase": "Failed", "reason": "Evicted" }), "0/2", "Evicted"),
        (json!({ "phase": "Pending", "initContainerStatuses": [waiting("PodInitializing")] }), "0/2", "Init:0/1"),
        (json!({ "phase": "Pending", "initContainerStatuses": [running()] }), "0/2", "Init:0/1"),
        (
            json!({ "phase": "Pending", "initContainerStatuses": [waiting("CrashLoopBackOff")] }),
            "0/2",
            "Init:CrashLoopBackOff",
        ),
        (
            json!({ "phase": "Pending", "initContainerStatuses": [ended(json!({ "exitCode": 3, "reason": "Error" }))] }),
            "0/2",
            "Init:Error",
        ),
        (
            json!({ "phase": "Pending", "initContainerStatuses": [ended(json!({ "exitCode": 3 }))] }),
            "0/2",
            "Init:ExitCode:3",
        ),
        (
            json!({
                "phase": "Pending",
                "initContainerStatuses": [init_done],
                "containerStatuses": [waiting("ContainerCreating"), waiting("ContainerCreating")],
            }),
            "0/2",
            "ContainerCreating",
        ),
        (json!({ "phase": "Running", "containerStatuses": [running(), running()] }), "2/2", "Running"),
        (
            json!({ "phase": "Running", "containerStatuses": [running(), waiting("CrashLoopBackOff")] }),
            "1/2",
            "CrashLoopBackOff",
        ),
        (
            json!({
                "phase": "Running", "conditions": ready,
                "containerStatuses": [ended(json!({ "exitCode": 0, "reason": "Completed" })), running()],
            }),
            "1/2",
            "Running",
        ),
        (
            json!({
                "phase": "Running",
                "containerStatuses": [ended(json!({ "exitCode": 0, "reason": "Completed" })), running()],
            }),
            "1/2",
            "NotReady",
        ),
        (
            json!({ "phase": "Failed", "containerStatuses": [ended(json!({ "exitCode": 137, "signal": 9 }))] }),
            "0/2",
            "Signal:9",
        ),
        (
            json!({
                "phase": "Pending",
                "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "SchedulingGated" }],
            }),
            "0/2",
            "SchedulingGated",
        ),
    ] {
        let shown = cells("Pod", &pod(status.clone()));
        assert_eq!(shown[1..3], [ready_cell, status_cell], "{status}");
    }
}

#[test]
fn deletion_overrides_unless_the_pod_has_ended() {
    let deleted = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:59:00Z" } });
    let status = |phase: &str| cells("Pod", &with(&pod(json!({ "phase": phase })), deleted.clone()))[2].clone();
    assert_eq!(status("Running"), "Terminating");
    assert_eq!(status("Succeeded"), "Succeeded");
    let lost = with(&pod(json!({ "phase": "Running", "reason": "NodeLost" })), deleted.clone());
    assert_eq!(cells("Pod", &lost)[2], "Unknown");
}

#[test]
fn restarts_say_when() {
    let restarted = |count: i64, finished: &str| {
        json!({
            "ready": true, "restartCount": count, "state": { "running": {} },
            "lastState": { "terminated": { "finishedAt": finished } },
        })
    };
    let twice = pod(json!({ "phase": "Running", "podIP": "127.9.128.1", "containerStatuses": [
        restarted(2, "2026-01-01T00:59:55Z"), restarted(1, "2026-01-01T00:50:00Z"),
    ] }));
    assert_eq!(
        cells("Pod", &twice),
        ["web", "2/2", "Running", "3 (5s ago)", "70s", "127.9.128.1", "n1", "<none>", "<none>"]
    );
    // While an init container is at work, its restarts are the ones that matter.
    let at_init = pod(json!({ "phase": "Pending", "initContainerStatuses": [
        { "restartCount": 4, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
          "lastState": { "terminated": { "finishedAt": "2026-01-01T00:58:00Z" } } },
    ] }));
    assert_eq!(cells("Pod", &at_init)[3], "4 (2m ago)");
}
