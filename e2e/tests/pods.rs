//! Pods through the deaths of what looks after them: the shim, shim and server together, the whole machine.

use std::path::PathBuf;

use kapell_e2e::{Kapell, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Counts aloud, so that a line that is lost or said twice shows.
const TICKER: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: ticker}\nspec:\n  runtimeClassName: process\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.02; done']\n";

fn up(kapell: &Kapell) -> Value {
    kapell.cli_with_input(&["apply", "-f", "-"], TICKER).ok();
    ready(kapell)
}

fn ready(kapell: &Kapell) -> Value {
    eventually("the pod is ready", || {
        let pod = kapell.object("default", "pod/ticker");
        (pod["status"]["containerStatuses"][0]["ready"] == true).then_some(pod)
    })
}

/// Where the pod's state is kept, and what it says.
fn state(kapell: &Kapell, pod: &Value) -> (PathBuf, Value) {
    let path = kapell.data().join("pods").join(pod["metadata"]["uid"].as_str().unwrap()).join("state.json");
    let state = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    (path, state)
}

fn kill_9(pid: &Value) {
    kill(Pid::from_raw(i32::try_from(pid.as_i64().unwrap()).unwrap()), Signal::SIGKILL).unwrap();
}

fn identity(pod: &Value) -> (Value, Value) {
    let status = &pod["status"]["containerStatuses"][0];
    (status["containerID"].clone(), status["restartCount"].clone())
}

fn ticks(kapell: &Kapell) -> Vec<usize> {
    let logs = kapell.cli(&["logs", "ticker"]).ok().stdout;
    logs.lines().map(|line| line.strip_prefix("tick ").expect("a tick").parse().expect("a number")).collect()
}

/// The log goes on after now, and has neither a gap nor a repetition.
fn log_goes_on(kapell: &Kapell) {
    let before = ticks(kapell).len();
    let ticks = eventually("the log goes on", || Some(ticks(kapell)).filter(|ticks| ticks.len() > before + 3));
    assert_eq!(ticks, (1..=ticks.len()).collect::<Vec<_>>());
}

fn shim_is_replaced(kapell: &Kapell, pod: &Value, old: &Value) {
    eventually("another shim serves the pod", || {
        let (_, state) = state(kapell, pod);
        (state["shim"] != *old).then_some(())
    });
}

#[test]
fn a_killed_shim_is_replaced_and_its_pod_goes_on() {
    let kapell = Kapell::start();
    let before = up(&kapell);
    for _ in 0..2 {
        let (_, state) = state(&kapell, &before);
        kill_9(&state["shim"]["pid"]);
        shim_is_replaced(&kapell, &before, &state["shim"]);
        log_goes_on(&kapell);
        assert_eq!(identity(&ready(&kapell)), identity(&before), "same process, no restart");
    }
    eventually("an event tells", || {
        let events = kapell.cli(&["get", "events", "-o", "json"]).ok().json();
        let told = events["items"].as_array()?.iter().any(|event| event["reason"] == "ShimReplaced");
        told.then_some(())
    });
    kapell.cli(&["delete", "pod/ticker"]).ok();
}

#[test]
fn server_and_shim_killed_together_lose_nothing() {
    let mut kapell = Kapell::start();
    let before = up(&kapell);
    let (_, state) = state(&kapell, &before);
    kapell.kill();
    kill_9(&state["shim"]["pid"]);
    kapell.restart();
    shim_is_replaced(&kapell, &before, &state["shim"]);
    log_goes_on(&kapell);
    assert_eq!(identity(&ready(&kapell)), identity(&before), "same process, no restart");

    // What a dead shim has left behind is stopped like everything else.
    let process = state["containers"]["main"]["running"]["process"]["pid"].as_i64().unwrap();
    kapell.cli(&["delete", "pod/ticker"]).ok();
    eventually("its process has ended", || {
        (!PathBuf::from(format!("/proc/{process}/status")).exists()
            || std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| stat.contains(") Z ")))
        .then_some(())
    });
}

#[test]
fn after_a_reboot_pods_are_started_again() {
    let mut kapell = Kapell::start();
    let before = up(&kapell);
    kapell.kill();
    // A reboot ends everything and leaves the files, with the id of a boot that is over.
    let (path, mut state) = state(&kapell, &before);
    kill_9(&state["shim"]["pid"]);
    kill_9(&state["containers"]["main"]["running"]["process"]["pid"]);
    state["bootId"] = "before-the-reboot".into();
    std::fs::write(&path, serde_json::to_vec(&state).unwrap()).unwrap();
    kapell.restart();

    let after = eventually("it runs again", || {
        let pod = kapell.object("default", "pod/ticker");
        let status = &pod["status"]["containerStatuses"][0];
        (status["ready"] == true && status["restartCount"] == 1).then_some(pod)
    });
    let status = &after["status"]["containerStatuses"][0];
    assert_eq!(status["lastState"]["terminated"]["reason"], "ContainerStatusUnknown");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 137);
    assert_eq!(after["status"]["podIP"], before["status"]["podIP"]);
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    kapell.cli(&["logs", "ticker", "--previous"]).ok().says("tick 1");
}

#[test]
fn last_words_and_memory_outlive_the_server_and_go_with_the_pod() {
    let mut kapell = Kapell::start();
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  runtimeClassName: process\n  terminationGracePeriodSeconds: 1\n  volumes: [{name: m, emptyDir: {medium: Memory}}]\n  containers:\n  - name: main\n    command: [sh, -c, 'if [ -e m/once ]; then exec sleep 1000; fi; touch m/once; echo first > $KAPELL_TERMINATION_LOG; exit 1']\n    volumeMounts: [{name: m, mountPath: m}]\n";
    kapell.cli_with_input(&["apply", "-f", "-"], manifest).ok();
    let again = |kapell: &Kapell| {
        eventually("it has started again", || {
            let pod = kapell.object("default", "pod/p");
            let container = &pod["status"]["containerStatuses"][0];
            (container["restartCount"] == 1 && container["state"]["running"].is_object()).then_some(pod)
        })
    };
    let before = again(&kapell);
    let memory = PathBuf::from(format!("/dev/shm/kapell-{}", before["metadata"]["uid"].as_str().unwrap()));
    assert!(memory.join("m/once").exists());
    kapell.kill();
    kapell.restart();
    let after = again(&kapell);
    assert_eq!(identity(&after), identity(&before));
    let last = |pod: &Value| pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["message"].clone();
    assert_eq!((last(&before), last(&after)), (Value::from("first\n"), Value::from("first\n")));
    kapell.cli(&["delete", "pod", "p"]).ok();
    eventually("the memory is given back", || (!memory.exists()).then_some(()));
}
