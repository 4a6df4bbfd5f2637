//! Listeners over real logs: floods, crashes, those who come late, what is trimmed; and events as HTTP carries them.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use kapell_store::memory::MemoryStore;
use kapell_store::sqlite::SqliteStore;
use kapell_store::{Store, StreamId};
use serde_json::{Value, json};

use super::ingest;
use crate::core::state::Outcome;
use crate::engine::{CallFailure, Config, Headless, ServiceCaller};
use crate::expression::Datum;

/// Nobody is called.
pub(super) struct Nobody;

#[async_trait]
impl ServiceCaller for Nobody {
    async fn call(
        &self,
        _namespace: &str,
        _request: http::Request<Bytes>,
        _deadline: Option<Instant>,
    ) -> Result<http::Response<Bytes>, CallFailure> {
        Err(CallFailure { maybe_processed: false, message: "nobody".to_owned() })
    }
}

fn engine(store: &Arc<dyn Store>) -> Headless {
    Headless::start(Config::default(), store.clone(), Arc::new(Nobody))
}

fn document(tasks: Value) -> Value {
    json!({ "document": { "dsl": "1.0.0", "namespace": "t", "name": "t", "version": "1.0.0" }, "do": tasks })
}

fn event(id: usize, type_: &str, data: Value) -> Value {
    json!({ "specversion": "1.0", "id": id.to_string(), "source": "/test", "type": type_, "data": data })
}

/// Collects numbers until the end.
fn collector() -> Value {
    let to = json!({ "any": [{ "with": { "type": "n" } }], "until": { "one": { "with": { "type": "end" } } } });
    document(json!([{ "hear": { "listen": { "to": to } } }]))
}

/// Waits until the run listens, which its journal says.
async fn listens(store: &Arc<dyn Store>, stream: StreamId) {
    while store.read_stream(stream, 0).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

async fn output(engine: &Headless) -> Value {
    let ended = engine.ended().await.unwrap().ended.unwrap().1;
    let Outcome::Completed(output) = ended else { panic!("{ended:?}") };
    output.to_value()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_consumed_in_order_each_once() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let engine = engine(&store);
    let stream = engine.begin(&collector(), &json!({}));
    listens(&store, stream).await;
    for chunk in (0..1_000).collect::<Vec<usize>>().chunks(100) {
        // Each twice: the log takes it once.
        let events: Vec<Value> = chunk.iter().flat_map(|n| [*n, *n]).map(|n| event(n, "n", json!(n))).collect();
        engine.publish(&events).await;
    }
    engine.publish(&[event(9_999, "end", json!(null))]).await;
    assert_eq!(output(&engine).await, json!((0..1_000).collect::<Vec<usize>>()));
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_neither_lose_nor_double_events() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(directory.path(), Default::default()).unwrap());
    let first = engine(&store);
    let stream = first.begin(&collector(), &json!({}));
    listens(&store, stream).await;
    let mut now = first;
    for round in 0..6 {
        let events: Vec<Value> = (0..50).map(|n| round * 50 + n).map(|n| event(n, "n", json!(n))).collect();
        now.publish(&events).await;
        now.kill().await;
        now = engine(&store);
        now.recover().await;
    }
    now.publish(&[event(9_999, "end", json!(null))]).await;
    assert_eq!(output(&now).await, json!((0..300).collect::<Vec<usize>>()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_foreach_gets_every_event() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let engine = engine(&store);
    let to = json!({ "any": [{ "with": { "type": "n" } }], "until": { "one": { "with": { "type": "end" } } } });
    let slow = json!({ "do": [{ "pause": { "wait": { "milliseconds": 1 } } }] });
    let stream = engine.begin(&document(json!([{ "hear": { "listen": { "to": to }, "foreach": slow } }])), &json!({}));
    listens(&store, stream).await;
    let events: Vec<Value> = (0..300).map(|n| event(n, "n", json!(n))).collect();
    engine.publish(&events).await;
    engine.publish(&[event(9_999, "end", json!(null))]).await;
    assert_eq!(output(&engine).await, json!((0..300).collect::<Vec<usize>>()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_begins_late_hears_only_what_follows() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let engine = engine(&store);
    engine.publish(&[event(1, "n", json!(1))]).await;
    let one = document(json!([{ "hear": { "listen": { "to": { "one": { "with": { "type": "n" } } } } } }]));
    let stream = engine.begin(&one, &json!({}));
    listens(&store, stream).await;
    engine.publish(&[event(2, "n", json!(2))]).await;
    assert_eq!(output(&engine).await, json!([2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_found_by_what_they_expect() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let engine = engine(&store);
    let with = json!({ "with": { "type": "paid" }, "correlate": { "order": { "from": ".data.order", "expect": "${ $input.order }" } } });
    let paid = document(json!([{ "hear": { "listen": { "to": { "one": with } } } }]));
    for order in 0..50 {
        let stream = engine.begin(&paid, &json!({ "order": order }));
        listens(&store, stream).await;
    }
    let events: Vec<Value> = (0..50).rev().map(|n| event(n, "paid", json!({ "order": n }))).collect();
    engine.publish(&events).await;
    let mut paid = Vec::new();
    for _ in 0..50 {
        paid.push(output(&engine).await[0]["order"].as_u64().unwrap());
    }
    paid.sort_unstable();
    assert_eq!(paid, (0..50).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_hears_what_another_emits() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let engine = engine(&store);
    let one = document(json!([{ "hear": { "listen": { "to": { "one": { "with": { "type": "said" } } } } } }]));
    let stream = engine.begin(&one, &json!({}));
    listens(&store, stream).await;
    let with = json!({ "source": "/s", "type": "said", "data": "hello" });
    engine.begin(&document(json!([{ "say": { "emit": { "event": { "with": with } } } }])), &json!({}));
    let outputs = [output(&engine).await, output(&engine).await];
    assert!(outputs.contains(&json!(["hello"])), "{outputs:?}");
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

#[test]
fn events_arrive_in_three_modes() {
    let plain = |with: Value| {
        let mut event = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t" });
        event.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        event
    };
    let binary = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
    let with = |more: &[(&'static str, &'static str)]| headers(&[&binary[..], more].concat());
    let structured = headers(&[("content-type", "application/cloudevents+json; charset=utf-8")]);
    let batch = headers(&[("content-type", "application/cloudevents-batch+json")]);
    let cases = [
        (structured, plain(json!({ "data": 1 })).to_string(), vec![plain(json!({ "data": 1 }))]),
        (
            batch.clone(),
            json!([plain(json!({})), plain(json!({ "id": "2" }))]).to_string(),
            vec![plain(json!({})), plain(json!({ "id": "2" }))],
        ),
        (batch, "[]".to_owned(), vec![]),
        (
            with(&[("content-type", "application/json")]),
            "{\"a\": 1}".to_owned(),
            vec![plain(json!({ "datacontenttype": "application/json", "data": { "a": 1 } }))],
        ),
        (
            with(&[("content-type", "text/plain"), ("ce-subject", "caf%C3%A9")]),
            "hi".to_owned(),
            vec![plain(json!({ "datacontenttype": "text/plain", "data": "hi", "subject": "café" }))],
        ),
        (with(&[]), "x".to_owned(), vec![plain(json!({ "data_base64": "eA==" }))]),
        (with(&[]), String::new(), vec![plain(json!({}))]),
    ];
    for (headers, body, expected) in cases {
        let events = ingest::events(&headers, body.as_bytes()).unwrap();
        let events: Vec<Datum> = events.into_iter().map(|event| event.envelope().clone()).collect();
        let expected: Vec<Datum> = expected.iter().map(|event| Datum::from_json(event).unwrap()).collect();
        assert_eq!(events, expected, "{body}");
    }
}

#[test]
fn what_is_no_event_is_refused_by_name() {
    let structured = [("content-type", "application/cloudevents+json")];
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let long = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": "x".repeat(300_000) });
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Headers<'_>, String, u16, &str); 8] = [
        (&structured, "{".to_owned(), 400, "the body is not JSON"),
        (&structured, "[]".to_owned(), 400, "event 1: an event is an object, not array"),
        (&structured, long.to_string(), 413, "262144 are allowed"),
        (&batch, "{}".to_owned(), 400, "a batch is an array of events"),
        (&batch, json!([event(1, "t", json!(1)), {}]).to_string(), 400, "event 2: `specversion` is missing"),
        (&batch, json!(vec![json!({}); 1_001]).to_string(), 413, "1000 events are taken at a time, not 1001"),
        (&[("content-type", "application/json")], "{}".to_owned(), 415, "\"application/json\" is no event"),
        (&[("ce-specversion", "1.0"), ("ce-id", "%zz")], String::new(), 400, "the header ce-id"),
    ];
    for (pairs, body, status, expected) in cases {
        let error = ingest::events(&headers(pairs), body.as_bytes()).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(expected) && error.status() == status, "{said}");
    }
}

/// Records of version 1 must be readable for ever.
#[test]
fn version_1_of_a_record() {
    let record = Bytes::from_static(
        b"\x01{\"time\":5,\"event\":{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"},\"origin\":[\"u\",3]}",
    );
    let recorded = super::decode(&record).unwrap();
    assert_eq!((recorded.time, recorded.origin), (5, Some(("u".to_owned(), 3))));
    assert_eq!(recorded.event.get("type"), Some(&Datum::string("t")));
    assert!(super::decode(&Bytes::from_static(b"\x02{}")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_refuses_and_says_so() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let events = crate::engine::EventLimits { max_bytes: 1_000, ..Default::default() };
    let engine = Headless::start(Config { events, ..Config::default() }, store, Arc::new(Nobody));
    let mut refused = None;
    for n in 0..100 {
        refused = refused.or(engine.try_publish(&[event(n, "n", json!("x".repeat(100)))]).await.err());
    }
    let said = refused.expect("the log is full by then").to_string();
    assert!(said.contains("the event log of the namespace is full"), "{said}");
}
