use jiff::SignedDuration;
use kapell_shim::proc::ProcessId;
use kapell_shim::protocol::{ContainerState, Running};
use serde_json::{Value, json};

use super::*;
use crate::observed::{MustRestart, Probes};

/// A pod of the process runtime with the given spec fields.
fn pod(spec: Value) -> Pod {
    let mut object = json!({
        "metadata": { "name": "p", "namespace": "default", "uid": "u" },
        "spec": {
            "runtimeClassName": "process",
            "terminationGracePeriodSeconds": 7,
            "containers": [{ "name": "main", "command": ["run"] }],
        },
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

const NOW: i64 = 1_000_000_000;

fn now() -> Timestamp {
    Timestamp::from_millisecond(NOW).unwrap()
}

fn running() -> Seen {
    let process = ProcessId { pid: 5, start_time: 5 };
    let running = Running { process, started_at: NOW, stopping: false, cgroups: Vec::new() };
    Seen { state: ContainerState { running: Some(running), ..Default::default() }, ..Default::default() }
}

/// Ended `ago_seconds` ago after a second of running.
fn ended(code: i32, attempt: u32, ago_seconds: i64) -> Seen {
    let finished_at = NOW - ago_seconds * 1000;
    let exit = Exit { attempt, code, started_at: finished_at - 1000, finished_at, ..Exit::default() };
    Seen { state: ContainerState { attempt, exit: Some(exit), ..Default::default() }, ..Default::default() }
}

fn observed(containers: &[(&str, Seen)]) -> Observed {
    let containers = containers.iter().map(|(name, seen)| ((*name).to_owned(), seen.clone())).collect();
    Observed { containers, ..Observed::default() }
}

fn start(container: &str, attempt: u32) -> Action {
    Action::Start { container: container.into(), attempt }
}

#[test]
fn restart_policies() {
    for (policy, code, expected) in [
        ("Always", 0, start("main", 1)),
        ("Always", 1, start("main", 1)),
        ("OnFailure", 1, start("main", 1)),
        ("OnFailure", 0, Action::Release),
        ("Never", 0, Action::Release),
        ("Never", 1, Action::Release),
    ] {
        let plan = plan(&pod(json!({ "restartPolicy": policy })), &observed(&[("main", ended(code, 0, 0))]), now());
        assert_eq!(plan.actions, [expected], "{policy} {code}");
    }
}

/// A pod with one container of its own and one that somebody has put in.
fn debugged(spec: Value) -> Pod {
    let mut pod = pod(spec);
    let container = json!([{ "name": "debug", "command": ["sh"] }, { "name": "bare", "image": "busybox" }]);
    pod.spec.as_mut().unwrap().ephemeral_containers = serde_json::from_value(container).unwrap();
    pod
}

#[test]
fn an_ephemeral_container_starts_at_once_and_never_again() {
    let init = json!({ "initContainers": [{ "name": "init", "command": ["run"] }] });
    let plan_of = |containers: &[(&str, Seen)]| plan(&debugged(init.clone()), &observed(containers), now()).actions;
    assert_eq!(plan_of(&[("init", running())]), [start("debug", 0)]);
    // The pod's container crashes and backs off.
    let crashing = [("init", ended(0, 0, 9)), ("main", Seen { restarts_in_row: 5, ..ended(1, 5, 0) })];
    assert_eq!(plan_of(&crashing), [start("debug", 0)]);
    for code in [0, 1] {
        assert_eq!(plan_of(&[("init", running()), ("debug", ended(code, 0, 100))]), []);
    }
}

#[test]
fn an_open_shell_does_not_hold_the_pod_up() {
    let stop = |container: &str, seconds| Action::Stop {
        container: container.into(),
        grace: Duration::from_secs(seconds),
        why: "the pod is ending".into(),
    };
    let mut pod = debugged(json!({}));
    pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let both = observed(&[("main", running()), ("debug", running())]);
    assert_eq!(plan(&pod, &both, now()).actions, [stop("debug", 7), stop("main", 7)]);
    let stopping = Seen { stopping: true, ..running() };
    let left = observed(&[("main", ended(0, 0, 0)), ("debug", stopping)]);
    assert_eq!(plan(&pod, &left, now()).actions, [stop("debug", 0)]);
}

#[test]
fn crash_loops_wait_longer_and_longer() {
    for (row, pause) in [(0, 0), (1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (60, 300)] {
        let seen = Seen { restarts_in_row: row, ..ended(1, row, 0) };
        let plan_then = |after: i64| {
            let later = now() + SignedDuration::from_secs(after);
            plan(&pod(json!({})), &observed(&[("main", seen.clone())]), later)
        };
        assert_eq!(plan_then(pause).actions, [start("main", row + 1)]);
        if pause > 0 {
            let early = plan_then(pause - 1);
            assert_eq!(early.actions, []);
            assert_eq!(early.wake_at, Some(now() + SignedDuration::from_secs(pause)));
        }
    }
}

#[test]
fn ten_minutes_of_running_forgive_the_past() {
    let mut seen = Seen { restarts_in_row: 9, ..ended(1, 9, 0) };
    seen.state.exit.as_mut().unwrap().started_at = NOW - 600_000;
    assert_eq!(plan(&pod(json!({})), &observed(&[("main", seen)]), now()).actions, [start("main", 10)]);
}

#[test]
fn init_containers_run_one_after_another() {
    let spec = json!({ "initContainers": [
        { "name": "a", "command": ["a"] },
        { "name": "side", "command": ["s"], "restartPolicy": "Always" },
        { "name": "b", "command": ["b"] },
    ]});
    let up = Seen { probes: Probes { started: true, ..Default::default() }, ..running() };
    type Step<'a> = (&'a [(&'a str, Seen)], &'a [Action]);
    let steps: [Step<'_>; 6] = [
        (&[], &[start("a", 0)]),
        (&[("a", running())], &[]),
        (&[("a", ended(1, 0, 0))], &[start("a", 1)]),
        (&[("a", ended(0, 0, 0))], &[start("side", 0)]),
        (&[("a", ended(0, 0, 0)), ("side", up.clone())], &[start("b", 0)]),
        (&[("a", ended(0, 0, 0)), ("side", up), ("b", ended(0, 0, 0))], &[start("main", 0)]),
    ];
    for (seen, expected) in steps {
        assert_eq!(plan(&pod(spec.clone()), &observed(seen), now()).actions, expected);
    }
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let spec = json!({ "restartPolicy": "Never", "initContainers": [{ "name": "a", "command": ["a"] }] });
    assert_eq!(plan(&pod(spec), &observed(&[("a", ended(3, 0, 0))]), now()).actions, [Action::Release]);
}

#[test]
fn a_failed_liveness_probe_stops_once_with_its_own_grace() {
    let must_restart = Some(MustRestart { message: "dead".into(), grace_seconds: Some(2) });
    let seen = Seen { probes: Probes { must_restart, ..Default::default() }, ..running() };
    let stop = Action::Stop { container: "main".into(), grace: Duration::from_secs(2), why: "dead".into() };
    assert_eq!(plan(&pod(json!({})), &observed(&[("main", seen.clone())]), now()).actions, [stop]);
    let stopping = Seen { stopping: true, ..seen };
    assert_eq!(plan(&pod(json!({})), &observed(&[("main", stopping)]), now()).actions, []);
}

#[test]
fn deletion_stops_then_finishes() {
    let mut pod = pod(json!({}));
    pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    pod.metadata.deletion_grace_period_seconds = Some(3);
    let stop =
        Action::Stop { container: "main".into(), grace: Duration::from_secs(3), why: "the pod is ending".into() };
    assert_eq!(plan(&pod, &observed(&[("main", running())]), now()).actions, [stop]);
    assert_eq!(plan(&pod, &observed(&[("main", Seen { stopping: true, ..running() })]), now()).actions, []);
    assert_eq!(plan(&pod, &observed(&[("main", ended(143, 0, 0))]), now()).actions, [Action::Finish]);
    assert_eq!(plan(&pod, &observed(&[]), now()).actions, [Action::Finish]);
}

#[test]
fn a_deadline_ends_the_pod() {
    let mut pod = pod(json!({ "activeDeadlineSeconds": 60 }));
    pod.status = Some(serde_json::from_value(json!({ "startTime": "1970-01-12T13:46:40Z" })).unwrap());
    let seen = observed(&[("main", running())]);
    assert_eq!(plan(&pod, &seen, now()).wake_at, Some(now() + SignedDuration::from_secs(60)));
    let late = plan(&pod, &seen, now() + SignedDuration::from_secs(61));
    assert!(matches!(&late.actions[..], [Action::Fail(trouble)] if trouble.reason == "DeadlineExceeded"));
}

#[test]
fn pods_that_need_an_image_are_not_started() {
    let mut pod = pod(json!({ "runtimeClassName": null }));
    assert_eq!(plan(&pod, &observed(&[]), now()), Plan::default());
    pod.spec.as_mut().unwrap().runtime_class_name = Some("process".into());
    pod.spec.as_mut().unwrap().containers[0].command = None;
    assert_eq!(plan(&pod, &observed(&[]), now()), Plan::default());
}
