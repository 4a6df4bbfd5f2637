use serde_json::json;

use super::*;

#[test]
fn containers_say_what_holds_them_up() {
    let cases = [
        (json!({"name": "a", "ready": true, "state": {"running": {}}}), None),
        (
            json!({"name": "a", "ready": false, "state": {"running": {}}}),
            Some("container a runs, but its probe does not find it ready"),
        ),
        (
            json!({"name": "a", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                "lastState": {"terminated": {"exitCode": 3}}}),
            Some("container a: CrashLoopBackOff, after exit code 3: back-off 10s"),
        ),
        (
            json!({"name": "a", "state": {"waiting": {"reason": "PodInitializing"}}}),
            Some("container a: PodInitializing"),
        ),
        (
            json!({"name": "a", "state": {"terminated": {"exitCode": 137, "signal": 9}}}),
            Some("container a ended with signal 9"),
        ),
        (json!({"name": "a", "ready": false, "state": {"terminated": {"exitCode": 0}}}), None),
    ];
    for (container, expected) in cases {
        assert_eq!(container_line(&container).as_deref(), expected);
    }
}

#[test]
fn an_ephemeral_container_says_what_it_waits_for_and_no_more() {
    let statuses = json!([
        {"name": "look", "state": {"waiting": {"reason": "ContainerRuntimeMissing", "message": "no command"}}},
        {"name": "left", "state": {"terminated": {"exitCode": 3}}},
    ]);
    let pod = json!({
        "kind": "Pod", "metadata": {"uid": "u1"},
        "status": {"phase": "Running", "ephemeralContainerStatuses": statuses},
    });
    assert_eq!(
        ephemeral_lines(&pod).collect::<Vec<_>>(),
        ["ephemeral container look: ContainerRuntimeMissing: no command"]
    );
}

#[test]
fn a_pod_is_explained_by_its_own_events() {
    let pod = json!({"kind": "Pod", "metadata": {"uid": "u1"}, "status": {"phase": "Pending"}});
    let event = |uid: &str, reason: &str, message: &str| json!({"involvedObject": {"uid": uid}, "type": "Warning", "reason": reason, "message": message});
    let others = [event("u2", "FailedMount", "not ours"), event("u1", "BackOff", "back-off")];
    assert_eq!(pod_lines(&pod, &others), ["its node has not reported on it yet"]);
    let own = [event("u1", "FailedMount", "no such ConfigMap"), event("u2", "FailedMount", "not ours")];
    assert_eq!(pod_lines(&pod, &own), ["no such ConfigMap"]);
}

#[test]
fn init_containers_are_to_finish() {
    let cases = [
        (json!({"name": "w", "ready": false, "state": {"running": {}}}), Some("init container w has not finished yet")),
        (
            json!({"name": "w", "state": {"terminated": {"exitCode": 1}}}),
            Some("init container w ended with exit code 1"),
        ),
        (json!({"name": "w", "state": {"terminated": {"exitCode": 0}}}), None),
    ];
    for (container, expected) in cases {
        assert_eq!(init_container_line(&container).as_deref(), expected);
    }
}

#[test]
fn a_warning_is_said_once() {
    let cases = [
        (
            "for a node: 0/1 nodes.",
            "0/1 nodes. vm: asks for 9 cpu.",
            vec!["for a node: 0/1 nodes. vm: asks for 9 cpu."],
        ),
        (
            "container a: CrashLoopBackOff: command \"x\" not found",
            "Error: container a: command \"x\" not found",
            vec!["container a: CrashLoopBackOff: command \"x\" not found"],
        ),
        (
            "container a runs",
            "Readiness probe failed: refused",
            vec!["container a runs", "Readiness probe failed: refused"],
        ),
    ];
    for (line, message, expected) in cases {
        let mut lines = vec![line.to_owned()];
        add_unless_said(&mut lines, message);
        assert_eq!(lines, expected);
    }
}

#[test]
fn the_innermost_open_steps_are_named() {
    let item = |task: &str, attempt: u64, end: Value| json!({"task": task, "name": timeline::path(task).pop(), "attempt": attempt, "startTime": "T", "endTime": end, "detail": null});
    let items = [
        item("/do/0/a", 1, json!("T")),
        item("/do/1/b", 1, Value::Null),
        item("/do/1/b/try/0/pay", 1, json!("T")),
        item("/do/1/b/try/0/pay", 2, Value::Null),
        item("/do/2/w", 1, Value::Null),
    ];
    assert_eq!(under_way(&items, "task w waits until tomorrow"), ["step b → pay runs since T, attempt 2"]);
}
