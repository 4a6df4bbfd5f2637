//! Events delivered to HTTP sinks by the real server: in order, at least once, across kills, and one sink apart from the other.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kapell_e2e::stand_in::StandIn;
use kapell_e2e::{Caller, Kapell, eventually};
use serde_json::{Value, json};

fn sink(name: &str, uri: &str, more: &str) -> String {
    format!("apiVersion: kapell.dev/v1alpha1\nkind: EventSink\nmetadata: {{name: {name}}}\nspec:\n  uri: {uri}\n{more}")
}

fn apply(kapell: &Kapell, manifest: &str) {
    kapell.cli_with_input(&["apply", "-f", "-"], manifest).ok();
}

fn emit(kapell: &Kapell, type_: &str, number: u64) {
    let (number, id) = (number.to_string(), format!("{type_}-{number}"));
    kapell.cli(&["workflow", "emit", "--type", type_, "--source", "/e2e", "--id", &id, "--payload", &number]).ok();
}

fn status(kapell: &Kapell, name: &str) -> Value {
    kapell.object("default", &format!("eventsink/{name}"))["status"].clone()
}

fn until_it_begins(kapell: &Kapell, name: &str) {
    eventually("the sink has a position", || status(kapell, name)["position"].is_u64().then_some(()));
}

/// The numbers that a sink has taken, in order, and each once.
fn taken(service: &StandIn) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    let calls = service.calls();
    calls.iter().filter_map(|call| call.body["data"].as_u64()).filter(|number| seen.insert(*number)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_in_order_across_kills() {
    let service = StandIn::start(|_| (200, json!({}))).await;
    let mut kapell = Kapell::start();
    tokio::task::block_in_place(|| {
        apply(&kapell, &sink("books", &format!("http://{}/in", service.address), "  types: [number]\n"));
        until_it_begins(&kapell, "books");
        for round in 0..6u64 {
            for number in round * 5..round * 5 + 5 {
                emit(&kapell, "number", number);
                emit(&kapell, "other", number);
            }
            std::thread::park_timeout(Duration::from_micros(rand::random_range(0..20_000)));
            kapell.kill();
            kapell.restart();
        }
        let all: Vec<u64> = (0..30).collect();
        eventually("all have arrived", || (taken(&service) == all).then_some(()));
        let delivered = eventually("the status says so", || {
            let status = status(&kapell, "books");
            (status["position"] == 60).then_some(status)
        });
        assert_eq!((&delivered["phase"], &delivered["lost"]), (&json!("Delivering"), &json!(0)), "{delivered:#}");
    });
    // Repetitions come in order as well: never an older one after a newer one but right after a restart.
    let numbers: Vec<u64> = service.calls().iter().filter_map(|call| call.body["data"].as_u64()).collect();
    let steps_back = numbers.windows(2).filter(|pair| pair[1] <= pair[0]).count();
    assert!(steps_back <= 6, "{numbers:?}");
    assert!(service.calls().iter().all(|call| call.body["type"] == "number"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_sink_is_reported_and_holds_nobody_up() {
    let (sick, well) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
    let patient = sick.clone();
    let dead = StandIn::start(move |_| {
        let status = if patient.load(Ordering::Relaxed) { 503 } else { 200 };
        (status, json!("not today"))
    })
    .await;
    let heard = well.clone();
    let alive = StandIn::start(move |call| {
        heard.lock().unwrap().push(call.header("ce-id").to_owned());
        (204, json!(null))
    })
    .await;
    let kapell = Kapell::start_by(Caller::default().with("KAPELL_EGRESS_ALLOW", "127.0.0.1"));
    tokio::task::block_in_place(|| {
        apply(&kapell, &sink("dead", &format!("http://{}/", dead.address), ""));
        apply(&kapell, &sink("forbidden", "http://127.0.0.2:9/", ""));
        apply(&kapell, &sink("alive", &format!("http://{}/", alive.address), "  mode: Binary\n"));
        for name in ["dead", "forbidden", "alive"] {
            until_it_begins(&kapell, name);
        }
        emit(&kapell, "a", 1);
        emit(&kapell, "a", 2);
        eventually("the healthy sink has both", || (well.lock().unwrap().len() == 2).then_some(()));
        let report = |name: &str, what: &str| {
            eventually(what, || {
                let status = status(&kapell, name);
                let said = status["message"].as_str()?.contains(what);
                (status["phase"] == "Retrying" && said).then_some(status)
            })
        };
        assert_eq!(report("dead", "the sink answered 503")["delivered"], 0);
        report("forbidden", "this machine");
        let table = kapell.cli(&["get", "eventsinks"]).ok();
        table.says("Retrying").says("Delivering");
        sick.store(false, Ordering::Relaxed);
        eventually("the patient has recovered", || {
            let status = status(&kapell, "dead");
            (status["delivered"] == 2 && status["phase"] == "Delivering").then_some(())
        });
    });
    // The first until it was taken, then the second.
    let ids: Vec<Value> = dead.calls().iter().map(|call| call.body["id"].clone()).collect();
    assert_eq!(ids.first(), Some(&json!("a-1")));
    assert_eq!(ids.last(), Some(&json!("a-2")));
    assert_eq!(ids.iter().filter(|id| **id == "a-2").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_come_from_secrets_and_refusals_can_be_skipped() {
    let service = StandIn::start(|call| (if call.body["data"] == 1 { 400 } else { 200 }, json!("no"))).await;
    let kapell = Kapell::start();
    let more = "  onRefusal: Skip\n  from: Earliest\n  headers:\n  - {name: authorization, valueFrom: {secretKeyRef: {name: partner, key: token}}}\n";
    tokio::task::block_in_place(|| {
        for number in 0..3 {
            emit(&kapell, "a", number);
        }
        apply(&kapell, &sink("partner", &format!("http://{}/", service.address), more));
        eventually("it waits for the secret", || {
            status(&kapell, "partner")["message"].as_str()?.contains("no Secret `partner`").then_some(())
        });
        apply(
            &kapell,
            "apiVersion: v1\nkind: Secret\nmetadata: {name: partner}\nstringData: {token: Bearer s3cr3t-value}\n",
        );
        let done = eventually("it has got what it takes", || {
            let status = status(&kapell, "partner");
            (status["position"] == 3).then_some(status)
        });
        assert_eq!((&done["delivered"], &done["skipped"]), (&json!(2), &json!(1)), "{done:#}");
        assert!(!kapell.object("default", "eventsink/partner").to_string().contains("s3cr3t-value"));
    });
    assert!(service.calls().iter().all(|call| call.header("authorization") == "Bearer s3cr3t-value"));
}

/// Batches are as many events as there are, in order, also across kills; one that is refused goes event by event.
#[tokio::test(flavor = "multi_thread")]
async fn batches_arrive_in_order_across_kills() {
    const EVENTS: u64 = 1_000;
    let heard: Arc<Mutex<Vec<u64>>> = Arc::default();
    let hears = heard.clone();
    let service = StandIn::start(move |call| {
        let numbers: Vec<u64> = call.body.as_array().into_iter().flatten().filter_map(|e| e["data"].as_u64()).collect();
        if numbers.contains(&7) {
            return (400, json!("not 7"));
        }
        hears.lock().unwrap().extend(numbers);
        (204, json!(null))
    })
    .await;
    let mut kapell = Kapell::start();
    let uri = format!("http://{}/", service.address);
    tokio::task::block_in_place(|| {
        apply(&kapell, &sink("lots", &uri, "  mode: Batched\n  onRefusal: Skip\n"));
        until_it_begins(&kapell, "lots");
    });
    for round in 0..4 {
        let event =
            |n: u64| json!({"specversion": "1.0", "id": n.to_string(), "source": "/e2e", "type": "n", "data": n});
        let events: Value = (round * EVENTS / 4..(round + 1) * EVENTS / 4).map(event).collect();
        let request = http::Request::post("/apis/kapell.dev/v1alpha1/namespaces/default/cloudevents")
            .header("content-type", "application/cloudevents-batch+json")
            .body(events.to_string().into_bytes())
            .unwrap();
        kapell.client().await.request::<Value>(request).await.unwrap();
        std::thread::park_timeout(Duration::from_micros(rand::random_range(0..20_000)));
        kapell.kill();
        kapell.restart();
    }
    let expected: Vec<u64> = (0..EVENTS).filter(|n| *n != 7).collect();
    tokio::task::block_in_place(|| {
        eventually("all have arrived, in order", || {
            let mut seen = BTreeSet::new();
            let heard = heard.lock().unwrap().clone();
            let first_time: Vec<u64> = heard.into_iter().filter(|number| seen.insert(*number)).collect();
            (first_time == expected).then_some(())
        });
        let status = eventually("the status says so", || {
            let status = status(&kapell, "lots");
            (status["position"] == EVENTS).then_some(status)
        });
        assert_eq!(status["skipped"], 1, "{status:#}");
    });
    assert!(service.calls().len() < 300, "{} requests", service.calls().len());
}
