use serde_json::{Value, json};

use super::*;
use crate::observed::Probes;
use kapell_shim::proc::ProcessId;
use kapell_shim::protocol::{self, Running};

const NOW: i64 = 1_000_000_000;

fn pod() -> Pod {
    let object = json!({
        "metadata": { "name": "p", "namespace": "default", "uid": "u" },
        "spec": { "runtimeClassName": "process", "containers": [{ "name": "main", "command": ["run"] }] },
        "status": { "conditions": [
            { "type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:00:09Z" },
            { "type": "example.com/other", "status": "False" },
        ]},
    });
    serde_json::from_value(object).unwrap()
}

fn status_of(seen: Seen) -> Value {
    let observed = Observed { containers: [("main".to_owned(), seen)].into(), ..Observed::default() };
    let now = Timestamp::from_millisecond(NOW).unwrap();
    serde_json::to_value(compute(&pod(), &observed, Some(Ipv4Addr::new(127, 1, 128, 1)), Ipv4Addr::LOCALHOST, now))
        .unwrap()
}

#[test]
fn ephemeral_containers_change_neither_phase_nor_readiness() {
    let mut pod = pod();
    let containers = json!([{ "name": "a", "command": ["sh"] }, { "name": "b", "image": "busybox" }]);
    pod.spec.as_mut().unwrap().ephemeral_containers = serde_json::from_value(containers).unwrap();
    let now = Timestamp::from_millisecond(NOW).unwrap();
    let status = |pod: &Pod, main: Seen, debug: Seen| {
        let containers = [("main".to_owned(), main), ("a".to_owned(), debug)].into();
        let observed = Observed { containers, ..Observed::default() };
        serde_json::to_value(compute(pod, &observed, None, Ipv4Addr::LOCALHOST, now)).unwrap()
    };
    let exit = Exit { code: 3, ..Default::default() };
    let ended =
        Seen { state: protocol::ContainerState { exit: Some(exit), ..Default::default() }, ..Default::default() };
    let live = status(&pod, running(true), ended.clone());
    assert_eq!((&live["phase"], &condition(&live, "Ready")["status"]), (&json!("Running"), &json!("True")));
    let [a, b] = &live["ephemeralContainerStatuses"].as_array().unwrap()[..] else { panic!("{live}") };
    assert_eq!(a["state"]["terminated"]["exitCode"], 3);
    assert_eq!(b["state"]["waiting"]["reason"], "ContainerRuntimeMissing");
    // Over while the shell is still open.
    pod.spec.as_mut().unwrap().restart_policy = Some("Never".to_owned());
    let over = status(&pod, ended, running(false));
    assert_eq!(over["phase"], "Failed");
    assert_eq!(over["ephemeralContainerStatuses"][1]["state"]["waiting"]["reason"], "PodEnded");
}

fn running(ready: bool) -> Seen {
    let process = ProcessId { pid: 42, start_time: 7 };
    let running = Running { process, started_at: NOW, stopping: false, cgroups: Vec::new() };
    let state = protocol::ContainerState { running: Some(running), ..Default::default() };
    Seen { state, probes: Probes { started: true, ready, must_restart: None }, ..Default::default() }
}

fn condition<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == name).unwrap()
}

#[test]
fn a_running_pod_is_ready_when_its_containers_are() {
    for ready in [true, false] {
        let status = status_of(running(ready));
        assert_eq!(status["phase"], "Running");
        assert_eq!(status["containerStatuses"][0]["ready"], ready);
        assert_eq!(status["containerStatuses"][0]["containerID"], "process://42-7");
        assert_eq!(condition(&status, "Ready")["status"], if ready { "True" } else { "False" });
    }
}

#[test]
fn unchanged_conditions_keep_their_time_and_those_of_others_stay() {
    let status = status_of(running(true));
    assert_eq!(condition(&status, "PodScheduled")["lastTransitionTime"], "1970-01-01T00:00:09Z");
    assert_eq!(condition(&status, "example.com/other")["status"], "False");
}

#[test]
fn a_crash_loop_shows_the_wait_and_the_last_end() {
    let exit = Exit { attempt: 2, code: 1, started_at: NOW - 2000, finished_at: NOW - 1000, ..Exit::default() };
    let state = protocol::ContainerState { attempt: 2, exit: Some(exit), ..Default::default() };
    let status = status_of(Seen { state, restarts_in_row: 2, ..Default::default() });
    let container = &status["containerStatuses"][0];
    assert_eq!(container["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(
        container["state"]["waiting"]["message"],
        "back-off 20s restarting failed container=main pod=p_default(u)"
    );
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!((&container["restartCount"], &status["phase"]), (&json!(2), &json!("Running")));
}

#[test]
fn a_pod_that_has_been_declared_failed_stays_so() {
    let mut pod = pod();
    let status = pod.status.as_mut().unwrap();
    (status.phase, status.reason) = (Some("Failed".to_owned()), Some("Preempting".to_owned()));
    let exit = Exit { attempt: 0, code: 143, started_at: NOW - 2000, finished_at: NOW - 1000, ..Exit::default() };
    let ended = Seen { state: protocol::ContainerState { exit: Some(exit), ..Default::default() }, ..Seen::default() };
    for seen in [running(true), ended] {
        let observed = Observed { containers: [("main".to_owned(), seen)].into(), ..Observed::default() };
        let status = compute(&pod, &observed, None, Ipv4Addr::LOCALHOST, Timestamp::from_millisecond(NOW).unwrap());
        assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Preempting")));
        let state = status.container_statuses.unwrap().remove(0).state.unwrap();
        assert!(state.waiting.is_none(), "nothing starts again: {state:?}");
    }
}
