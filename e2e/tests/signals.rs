//! Signals to runs of the real server: durable, each taken once, refused where there is nobody to take them.

use kapell_e2e::{Caller, Kapell, eventually};
use serde_json::{Value, json};

const APPROVAL: &str = r#"
document: {dsl: '1.0.3', namespace: default, name: approval, version: '1.0.0'}
do:
- work: {wait: {milliseconds: 1500}}
- first: {listen: {to: {one: {with: {type: approved}}}}, export: {as: '{first: .}'}}
- second: {listen: {to: {one: {with: {type: approved}}}}, output: {as: '$context + {second: .}'}}
"#;

fn signal(kapell: &Kapell, run: &str, id: &str) {
    let payload = json!({"id": id}).to_string();
    kapell.cli(&["workflow", "signal", run, "approved", "--id", id, "--payload", &payload]).ok();
}

#[test]
fn signals_are_not_lost_wherever_the_server_dies() {
    let mut kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], APPROVAL).ok();
    kapell.cli(&["workflow", "run", "approval", "--name", "only"]).ok();
    // Before anything listens.
    signal(&kapell, "only", "one");
    kapell.kill();
    kapell.restart();
    // Sent again, as by somebody who has not heard the answer.
    signal(&kapell, "only", "one");
    signal(&kapell, "only", "two");
    kapell.kill();
    kapell.restart();
    let output = kapell.cli(&["workflow", "wait", "only"]).ok().json();
    assert_eq!(output, json!({"first": [{"id": "one"}], "second": [{"id": "two"}]}));
    let run = kapell.object("default", "workflowrun/only");
    assert_eq!(run["spec"]["signals"].as_array().map(Vec::len), Some(2), "{run:#}");

    kapell.cli(&["workflow", "signal", "only", "approved"]).exits(1).says("run only has ended: it is Completed");
    kapell.cli(&["workflow", "signal", "nobody", "approved"]).exits(1).says("has no run \"nobody\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_come_over_http() {
    let kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], APPROVAL).ok();
    kapell.cli(&["workflow", "run", "approval", "--name", "only"]).ok();
    let client = kapell.client().await;
    let send = async |run: &str, id: &str| {
        let path = format!("/apis/kapell.dev/v1alpha1/namespaces/default/cloudevents?run={run}");
        let request = http::Request::post(path)
            .header("ce-specversion", "1.0")
            .header("ce-id", id)
            .header("ce-source", "/e2e")
            .header("ce-type", "approved")
            .header("content-type", "application/json")
            .body(json!({"id": id}).to_string().into_bytes())
            .expect("a request");
        client.request::<Value>(request).await
    };
    assert_eq!(send("only", "1").await.expect("accepted"), json!({"accepted": 1}));
    assert_eq!(send("only", "2").await.expect("accepted"), json!({"accepted": 1}));
    match send("nobody", "1").await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 404, "{status:?}"),
        other => panic!("{other:?}"),
    }
    let output = tokio::task::block_in_place(|| kapell.cli(&["workflow", "wait", "only"])).ok().json();
    assert_eq!(output, json!({"first": [{"id": "1"}], "second": [{"id": "2"}]}));
    // It is an event for one run: the log of the namespace has none.
    let events = kapell.cli(&["workflow", "events", "-o", "json"]).ok().json();
    assert_eq!(events["items"], json!([]));
}

const SECRETIVE: &str = r#"
document: {dsl: '1.0.3', namespace: default, name: secretive, version: '1.0.0'}
use: {secrets: [db]}
do:
- show:
    run:
      shell:
        command: 'printf "%s|%s|" "$PASSWORD" "$URL"; cat'
        environment: {PASSWORD: '${ $secrets.db.password }', URL: '${ "db://\($secrets.db.user):\($secrets.db.password)@db/" }'}
        stdin: '${ "in: \($secrets.db.password)" }'
- length:
    run:
      shell: {command: 'printf %s "${#PASSWORD}"', environment: {PASSWORD: '${ $secrets.db.password }'}}
    output: {as: '{length: ., shown: $input}'}
"#;

/// The process has the value; its pod, its output, the run and the journal do not.
#[test]
fn processes_get_secrets_and_nobody_else_does() {
    const VALUE: &str = "pa$(HOME)\"ss%word";
    let kapell = Kapell::start_by(Caller::default().with("KAPELL_ALLOW_RUN", "true"));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"password": VALUE, "user": "kapell-user"},
    });
    kapell.cli_with_input(&["apply", "-f", "-"], &secret.to_string()).ok();
    kapell.cli_with_input(&["apply", "-f", "-"], SECRETIVE).ok();
    let output = kapell.cli(&["workflow", "run", "secretive", "--name", "only", "--wait"]).ok().json();
    assert_eq!(output["length"], json!(VALUE.len().to_string()), "{output}");
    let shown = output["shown"].as_str().expect("a text");
    assert_eq!(shown, "[redacted]|db://[redacted]:[redacted]@db/|in: [redacted]");
    let pods = kapell.cli(&["get", "pods", "-o", "json"]).ok().stdout;
    assert!(pods.contains("secretKeyRef") && !pods.contains("ss%word"), "{pods}");
    let timeline = kapell.cli(&["workflow", "show", "only", "--full", "-o", "json"]).ok().stdout;
    assert!(!timeline.contains("ss%word") && !timeline.contains("kapell-secret-"), "{timeline}");

    let argument = "        arguments: ['${ $secrets.db.password }']\n        environment: {PASSWORD: '${ $secrets.db.password }', URL";
    let refused = SECRETIVE.replace("        environment: {PASSWORD: '${ $secrets.db.password }', URL", argument);
    kapell.cli_with_input(&["apply", "-f", "-"], &refused).exits(1).says(
        "spec.do[0].show.run.shell.arguments: Forbidden: a secret can be handed over only in `environment` or `stdin`",
    );
    kapell.cli(&["delete", "secret/db"]).ok();
    kapell.cli(&["workflow", "run", "secretive", "--wait"]).exits(1).says("there is no Secret `db`");
}

const LARGE: &str = r#"
document: {dsl: '1.0.3', namespace: default, name: large, version: '1.0.0'}
do:
- make: {set: {n: 0, payload: '${ "x" * 10485760 }'}}
- pass:
    for: {in: '[range(10)]'}
    do: [{step: {set: {n: '${ .n + 1 }', payload: '${ .payload }'}}}]
- measure: {set: {n: '${ .n }', length: '${ .payload | length }'}}
"#;

/// Ten megabytes that pass through ten steps are on the disk once.
#[test]
fn large_payloads_are_stored_once() {
    let mut kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], LARGE).ok();
    let output = kapell.cli(&["workflow", "run", "large", "--name", "only", "--wait"]).ok().json();
    assert_eq!(output, json!({"n": 10, "length": 20 * 524_288}));
    // Stopped, it has moved its log into the file.
    kapell.kill();
    kapell.restart();
    let size = |kapell: &Kapell| {
        let names = ["kapell.db", "kapell.db-wal"].map(|name| kapell.data().join(name));
        names.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|file| file.len()).sum::<u64>()
    };
    assert!(size(&kapell) < 40 << 20, "{} bytes", size(&kapell));
    let timeline = eventually("the timeline can be read", || {
        let shown = kapell.cli(&["workflow", "show", "only"]);
        (shown.code == Some(0)).then_some(shown.stdout)
    });
    assert!(timeline.contains("measure"), "{timeline}");
}
