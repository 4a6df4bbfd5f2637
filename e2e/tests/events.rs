//! Events against the real server: published once, consumed once, whatever is killed; and how HTTP clients see the log.

use std::time::Duration;

use kapell_e2e::{Kapell, eventually};
use serde_json::{Value, json};

/// Collects the numbers of events until one of type `end`, twice: as they come, and one after the other.
const COLLECTOR: &str = r#"
document: {dsl: '1.0.0', namespace: default, name: collector, version: '1.0.0'}
do:
- both:
    fork:
      branches:
      - plain:
          listen: {to: {any: [{with: {type: number}}], until: {one: {with: {type: end}}}}}
      - each:
          listen: {to: {any: [{with: {type: number}}], until: {one: {with: {type: end}}}}}
          foreach: {do: [{keep: {set: {got: "${ . }"}}}], output: {as: .got}}
"#;

const TELLER: &str = r#"
document: {dsl: '1.0.0', namespace: default, name: teller, version: '1.0.0'}
do:
- count:
    for: {in: "[range(100)]"}
    do:
    - tell: {emit: {event: {with: {source: /teller, type: told, data: "${ $index }"}}}}
"#;

fn batch(numbers: impl Iterator<Item = u64>) -> Value {
    let event =
        |n: u64| json!({"specversion": "1.0", "id": n.to_string(), "source": "/e2e", "type": "number", "data": n});
    numbers.map(event).collect()
}

/// Publishes over HTTP, again and again until the server says that it has it.
async fn publish(kapell: &Kapell, events: &Value) {
    let body = events.to_string();
    kapell_e2e::eventually_async("the events are taken", || async {
        let request = http::Request::post("/apis/kapell.dev/v1alpha1/namespaces/default/cloudevents")
            .header("content-type", "application/cloudevents-batch+json")
            .body(body.clone().into_bytes())
            .expect("a request");
        let client = kapell.client().await;
        client.request::<Value>(request).await.ok().filter(|answer| answer["accepted"].is_u64())
    })
    .await;
}

fn wait_until_listening(kapell: &Kapell, run: &str) {
    eventually("the run listens", || {
        let run = kapell.cli(&["get", &format!("workflowrun/{run}"), "-o", "json"]);
        let run: Value = serde_json::from_str(&run.stdout).ok()?;
        run["status"]["waitingFor"].as_str()?.contains("listens").then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_under_kill_9_is_consumed_once() {
    const EVENTS: u64 = 2_000;
    let mut kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], COLLECTOR).ok();
    kapell.cli(&["workflow", "run", "collector", "--name", "only"]).ok();
    tokio::task::block_in_place(|| wait_until_listening(&kapell, "only"));
    for round in 0..5 {
        let (first, last) = (round * EVENTS / 5, (round + 1) * EVENTS / 5);
        let numbers: Vec<u64> = (first..last).collect();
        for chunk in numbers.chunks(50) {
            publish(&kapell, &batch(chunk.iter().copied())).await;
        }
        // Sometimes it has consumed most of them by then, sometimes few.
        std::thread::park_timeout(Duration::from_micros(rand::random_range(0..20_000)));
        kapell.kill();
        kapell.restart();
        // What was acknowledged is sent again, as a client does that did not hear the answer.
        publish(&kapell, &batch(numbers.into_iter().rev().take(50).rev())).await;
    }
    kapell.cli(&["workflow", "emit", "--type", "end", "--source", "/e2e", "--id", "end"]).ok();
    let ran = tokio::task::block_in_place(|| kapell.cli(&["workflow", "wait", "only"])).ok();
    let expected: Vec<u64> = (0..EVENTS).collect();
    assert_eq!(ran.json(), json!([expected, expected]));
}

#[tokio::test(flavor = "multi_thread")]
async fn emitted_events_are_published_once_across_kill_9() {
    let mut kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], TELLER).ok();
    kapell.cli(&["workflow", "run", "teller", "--name", "only"]).ok();
    for _ in 0..3 {
        std::thread::park_timeout(Duration::from_micros(rand::random_range(0..5_000)));
        kapell.kill();
        kapell.restart();
    }
    tokio::task::block_in_place(|| kapell.cli(&["workflow", "wait", "only"])).ok();
    let events = kapell.cli(&["workflow", "events", "-o", "json"]).ok().json();
    let told: Vec<u64> =
        events["items"].as_array().unwrap().iter().map(|item| item["event"]["data"].as_u64().unwrap()).collect();
    assert_eq!(told, (0..100).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_refused_with_what_to_do() {
    let kapell = Kapell::start();
    let client = kapell.client().await;
    let long = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": "x".repeat(300_000)});
    let cases = [
        ("default", "application/json", "{}".to_owned(), 415, "ce-specversion"),
        ("default", "application/cloudevents+json", "{}".to_owned(), 400, "`specversion` is missing"),
        ("default", "application/cloudevents+json", long.to_string(), 413, "262144 are allowed"),
        ("nowhere", "application/cloudevents+json", "{}".to_owned(), 404, "\"nowhere\" not found"),
    ];
    for (namespace, media_type, body, code, words) in cases {
        let request = http::Request::post(format!("/apis/kapell.dev/v1alpha1/namespaces/{namespace}/cloudevents"))
            .header("content-type", media_type)
            .body(body.into_bytes())
            .unwrap();
        match client.request::<Value>(request).await {
            Err(kube::Error::Api(status)) => {
                assert_eq!(status.code, code, "{status:?}");
                assert!(status.message.contains(words), "{status:?}");
            }
            other => panic!("{media_type}: {other:?}"),
        }
    }
    kapell
        .cli(&["workflow", "emit", "--type", "t", "--source", "", "--payload", "1"])
        .exits(1)
        .says("`source` must be");
    kapell.cli(&["workflow", "emit", "--type", "t", "--source", "/s", "--payload", "{"]).exits(2).says("not JSON");
}
