//! Killing the server between journal and effect, at every step of a run.

use std::time::Duration;

use kapell_e2e::Kapell;
use kapell_e2e::steps::{Kill, Moment, Steps};

/// Four calls that are undone in reverse when `/finish` fails.
fn workflow(steps: &Steps) -> String {
    let address = steps.address;
    let mut text = "document: {dsl: '1.0.0', namespace: default, name: chain, version: '1.0.0'}\ndo:\n".to_owned();
    for step in ["a", "b", "c"] {
        text.push_str(&format!(
            "- {step}:\n    call: http\n    with: {{method: post, endpoint: 'http://{address}/{step}', body: {{step: {step}}}}}\n    metadata:\n      kapell.dev/v1:\n        compensate:\n        - undo-{step}:\n            call: http\n            with: {{method: post, endpoint: 'http://{address}/undo-{step}'}}\n"
        ));
    }
    text.push_str(&format!(
        "- finish:\n    call: http\n    with: {{method: post, endpoint: 'http://{address}/finish'}}\n"
    ));
    text
}

/// Runs the workflow with the server dying at `path`, and returns the server after the run has ended.
async fn run_with_kill(steps: &Steps, path: &str, moment: Moment) -> Kapell {
    let mut kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], &workflow(steps)).ok();
    steps.kill_at(path, Kill { pid: kapell.pid(), moment });
    kapell.cli(&["workflow", "run", "chain", "--name", "only"]);
    tokio::task::block_in_place(|| kapell.await_death());
    kapell.restart();
    kapell
}

fn moments() -> Vec<Moment> {
    let after = |micros| Moment::AfterAnswer(Duration::from_micros(micros));
    // Around the time that a result takes to the journal and the next effect to the wire, measured in tenths of milliseconds.
    vec![Moment::BeforeAnswer, after(0), after(300), after(rand::random_range(0..3_000))]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_completes_does_each_step_once_wherever_the_server_dies() {
    for path in ["/a", "/b", "/c", "/finish"] {
        for moment in moments() {
            let steps = Steps::start().await;
            let kapell = run_with_kill(&steps, path, moment).await;
            let ran = tokio::task::block_in_place(|| kapell.cli(&["workflow", "wait", "only"]));
            assert_eq!(ran.code, Some(0), "killed at {path} {moment:?}\n{ran}");
            assert_eq!(
                steps.effects(),
                ["/a", "/b", "/c", "/finish"],
                "killed at {path} {moment:?}: {:?}",
                steps.calls()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compensation_runs_in_reverse_and_once_wherever_the_server_dies() {
    for path in ["/finish", "/undo-c", "/undo-b", "/undo-a"] {
        for moment in moments() {
            let steps = Steps::start().await;
            steps.fail_at("/finish", 422);
            let kapell = run_with_kill(&steps, path, moment).await;
            let ran = tokio::task::block_in_place(|| kapell.cli(&["workflow", "wait", "only"]));
            assert_eq!(ran.code, Some(1), "killed at {path} {moment:?}\n{ran}");
            assert!(ran.stderr.contains("finish") && ran.stderr.contains("422"), "{ran}");
            assert_eq!(
                steps.effects(),
                ["/a", "/b", "/c", "/finish", "/undo-c", "/undo-b", "/undo-a"],
                "killed at {path} {moment:?}: {:?}",
                steps.calls()
            );
        }
    }
}
