//! What is full refuses what is new, by name and with a time to come back, loses nothing that it has accepted, and leaves room for
//! other namespaces.

use http_body_util::BodyExt as _;
use kapell_e2e::{Caller, Kapell, eventually};
use kube::client::Body;
use serde_json::{Value, json};

const WORKFLOWS: &str = "/apis/kapell.dev/v1alpha1/namespaces";

/// The answer's code, its `Retry-After`, and its body.
async fn post(kapell: &Kapell, path: &str, media_type: &str, body: Value) -> (u16, Option<String>, Value) {
    let request = http::Request::post(format!("{WORKFLOWS}/{path}"))
        .header("content-type", media_type)
        .body(Body::from(body.to_string().into_bytes()))
        .expect("a request");
    // By themselves these clients would come back until there is room.
    let mut config = kapell.config().await;
    config.default_retry = false;
    let client = kube::Client::try_from(config).expect("a client");
    let answer = client.send(request).await.expect("an answer");
    let (head, body) = answer.into_parts();
    let retry_after = head.headers.get("retry-after").map(|value| value.to_str().expect("ASCII").to_owned());
    let body = body.collect().await.expect("a body").to_bytes();
    (head.status.as_u16(), retry_after, serde_json::from_slice(&body).expect("JSON"))
}

async fn create_run(kapell: &Kapell, namespace: &str, name: &str, workflow: &str) -> (u16, Option<String>, Value) {
    let run = json!({
        "apiVersion": "kapell.dev/v1alpha1", "kind": "WorkflowRun",
        "metadata": { "name": name }, "spec": { "workflow": workflow },
    });
    post(kapell, &format!("{namespace}/workflowruns"), "application/json", run).await
}

fn assert_refused(answer: (u16, Option<String>, Value), words: &str) {
    let (code, retry_after, status) = answer;
    assert_eq!((code, retry_after.as_deref()), (429, Some("1")), "{status}");
    assert_eq!((&status["reason"], &status["code"]), (&json!("TooManyRequests"), &json!(429)), "{status}");
    assert!(status["message"].as_str().unwrap_or_default().contains(words), "{status}");
}

fn apply(kapell: &Kapell, namespace: &str, name: &str, tasks: &str) {
    let document =
        format!("document: {{dsl: '1.0.3', namespace: {namespace}, name: {name}, version: '1.0.0'}}\ndo: {tasks}\n");
    kapell.cli_with_input(&["apply", "-f", "-"], &document).ok();
}

fn add_namespace(kapell: &Kapell, name: &str) {
    let manifest = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
    kapell.cli_with_input(&["apply", "-f", "-"], &manifest).ok();
}

/// Waits until the engine has seen the run and says of it what it says.
fn until_it_waits_for(kapell: &Kapell, namespace: &str, run: &str, words: &str) {
    eventually(&format!("{run} waits for {words:?}"), || {
        let run = kapell.object(namespace, &format!("workflowrun/{run}"));
        run["status"]["waitingFor"].as_str()?.contains(words).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_wait_to_begin_are_bounded() {
    let mut kapell = Kapell::start_by(Caller::default().with("KAPELL_MAX_WAITING_RUNS", "8"));
    add_namespace(&kapell, "flood");
    add_namespace(&kapell, "calm");
    apply(&kapell, "calm", "mark", "[{mark: {set: {done: true}}}]");
    // They wait for a workflow that is not there yet. A namespace may have three quarters of the bound.
    for number in 0..6 {
        let name = format!("r{number}");
        assert_eq!(create_run(&kapell, "flood", &name, "late").await.0, 201);
        tokio::task::block_in_place(|| until_it_waits_for(&kapell, "flood", &name, "late does not exist"));
    }
    let words = "6 runs wait to begin, which is as many as the namespace flood may have; try again later";
    assert_refused(create_run(&kapell, "flood", "r6", "late").await, words);
    let calm = tokio::task::block_in_place(|| kapell.cli(&["-n", "calm", "workflow", "run", "mark", "--wait"]));
    assert_eq!(calm.ok().json(), json!({"done": true}));

    kapell.kill();
    kapell.restart();
    tokio::task::block_in_place(|| {
        apply(&kapell, "flood", "late", "[{mark: {set: {late: true}}}]");
        for number in 0..6 {
            let output = kapell.cli(&["-n", "flood", "workflow", "wait", &format!("r{number}")]).ok().json();
            assert_eq!(output, json!({"late": true}));
        }
        kapell.cli(&["-n", "flood", "get", "workflowrun/r6"]).exits(1);
        eventually("there is room", || {
            kapell.cli(&["-n", "flood", "workflow", "run", "late"]).code.filter(|c| *c == 0)
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_in_memory_are_bounded() {
    let kapell = Kapell::start_by(Caller::default().with("KAPELL_MAX_RUNS", "4"));
    add_namespace(&kapell, "flood");
    let listen = "[{hear: {listen: {to: {one: {with: {type: go}}}}}}]";
    apply(&kapell, "flood", "hold", listen);
    apply(&kapell, "default", "mark", "[{mark: {set: {done: true}}}]");
    for number in 0..3 {
        let name = format!("r{number}");
        assert_eq!(create_run(&kapell, "flood", &name, "hold").await.0, 201);
        tokio::task::block_in_place(|| until_it_waits_for(&kapell, "flood", &name, "listens"));
    }
    let words = "3 runs have begun and not ended, which is as many as the namespace flood may have; try again later";
    assert_refused(create_run(&kapell, "flood", "r3", "hold").await, words);
    tokio::task::block_in_place(|| {
        let output = kapell.cli(&["workflow", "run", "mark", "--wait"]).ok().json();
        assert_eq!(output, json!({"done": true}));
        kapell.cli(&["-n", "flood", "workflow", "emit", "--type", "go", "--source", "/e2e"]).ok();
        for number in 0..3 {
            kapell.cli(&["-n", "flood", "workflow", "wait", &format!("r{number}")]).ok();
        }
    });
    assert_eq!(create_run(&kapell, "flood", "r3", "hold").await.0, 201);
}

/// A listener that is suspended while more is published than the log holds, and the server killed: it gets all that was
/// accepted, in order, and what was refused can be published then.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_log_that_is_full_takes_no_more_and_loses_nothing() {
    let mut kapell = Kapell::start_by(Caller::default().with("KAPELL_EVENT_LOG_MIB", "1"));
    let listen = "{to: {any: [{with: {type: number}}], until: {one: {with: {type: end}}}}}";
    let keep = "{do: [{keep: {set: {n: '${ .n }'}}}], output: {as: .n}}";
    apply(&kapell, "default", "collector", &format!("[{{hear: {{listen: {listen}, foreach: {keep}}}}}]"));
    kapell.cli(&["workflow", "run", "collector", "--name", "only"]).ok();
    tokio::task::block_in_place(|| {
        until_it_waits_for(&kapell, "default", "only", "listens");
        kapell.cli(&["workflow", "suspend", "only"]).ok();
        eventually("the run is suspended", || {
            let run = kapell.object("default", "workflowrun/only");
            (run["status"]["phase"] == "Suspended").then_some(())
        });
    });
    let publish = async |kapell: &Kapell, n: u64| {
        let data = json!({ "n": n, "padding": "x".repeat(200 << 10) });
        let event =
            json!({ "specversion": "1.0", "id": n.to_string(), "source": "/e2e", "type": "number", "data": data });
        post(kapell, "default/cloudevents", "application/cloudevents+json", event).await
    };
    let mut accepted = 0;
    let refused = loop {
        let answer = publish(&kapell, accepted).await;
        if answer.0 >= 300 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 1_000, "the log has no end");
    };
    assert_refused(refused, "the event log of the namespace is full");

    kapell.kill();
    kapell.restart();
    assert_refused(publish(&kapell, accepted).await, "the event log of the namespace is full");
    kapell.cli(&["workflow", "resume", "only"]).ok();
    kapell_e2e::eventually_async("there is room", async || (publish(&kapell, accepted).await.0 < 300).then_some(()))
        .await;
    tokio::task::block_in_place(|| {
        kapell.cli(&["workflow", "emit", "--type", "end", "--source", "/e2e", "--id", "end"]).ok();
        let heard = kapell.cli(&["workflow", "wait", "only"]).ok().json();
        assert_eq!(heard, json!((0..=accepted).collect::<Vec<u64>>()));
    });
}
