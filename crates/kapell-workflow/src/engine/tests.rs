//! The engine over a real store and a scripted caller: recovery, cancellation, calls that cannot connect.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use kapell_store::memory::MemoryStore;
use kapell_store::{JournalWrite, Store, Transaction};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{CallFailure, Config, Headless, ServiceCaller};
use crate::core::record::{Entry, Record};
use crate::core::state::Outcome;

/// Counts calls by URI and key; some URIs never answer, and some cannot be reached at first.
#[derive(Default)]
struct Script {
    seen: Mutex<Vec<(String, String)>>,
    unreachable: Mutex<HashMap<String, u32>>,
    changed: Notify,
}

impl Script {
    fn keys(&self, path: &str) -> Vec<String> {
        self.seen.lock().iter().filter(|(uri, _)| uri.ends_with(path)).map(|(_, key)| key.clone()).collect()
    }

    async fn has_seen(&self, path: &str) {
        loop {
            let changed = self.changed.notified();
            if !self.keys(path).is_empty() {
                return;
            }
            changed.await;
        }
    }
}

#[async_trait]
impl ServiceCaller for Script {
    async fn call(
        &self,
        _namespace: &str,
        request: http::Request<Bytes>,
        _deadline: Option<Instant>,
    ) -> Result<http::Response<Bytes>, CallFailure> {
        let uri = request.uri().to_string();
        if let Some(times) = self.unreachable.lock().get_mut(&uri).filter(|times| **times > 0) {
            *times -= 1;
            return Err(CallFailure { maybe_processed: false, message: "connection refused".to_owned() });
        }
        let key = request.headers()["idempotency-key"].to_str().unwrap().to_owned();
        let trace = request.headers()["traceparent"].to_str().unwrap().to_owned();
        assert_eq!((trace.len(), &trace[36..52]), (55, &key[..16]), "{trace}");
        self.seen.lock().push((uri.clone(), key));
        self.changed.notify_waiters();
        if uri.ends_with("/never") {
            std::future::pending::<()>().await;
        }
        let status = if uri.ends_with("/broken") { 500 } else { 200 };
        Ok(http::Response::builder().status(status).body(Bytes::from_static(b"fine")).unwrap())
    }
}

fn document(tasks: Value) -> Value {
    json!({ "document": { "dsl": "1.0.0", "namespace": "t", "name": "t", "version": "1.0.0" }, "do": tasks })
}

fn call(path: &str) -> Value {
    json!({ "call": "http", "with": { "method": "post", "endpoint": format!("http://service{path}") } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_taken_up_where_its_journal_ends() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let workflow = document(json!([{ "a": call("/a") }, { "b": call("/never") }]));

    let script = Arc::new(Script::default());
    let first = Headless::start(Config::default(), store.clone(), script.clone());
    first.begin(&workflow, &json!({}));
    script.has_seen("/never").await;
    first.kill().await;

    let again = Arc::new(Script::default());
    let second = Headless::start(Config::default(), store, again.clone());
    second.recover().await;
    again.has_seen("/never").await;
    assert_eq!(again.keys("/a"), Vec::<String>::new(), "a completed call is not made again");
    assert_eq!(again.keys("/never"), script.keys("/never"), "the same call has the same key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_came_due_meanwhile_fires_once() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let script = Arc::new(Script::default());
    let workflow =
        document(json!([{ "a": call("/a") }, { "pause": { "wait": { "milliseconds": 300 } } }, { "b": call("/b") }]));
    let first = Headless::start(Config::default(), store.clone(), script.clone());
    first.begin(&workflow, &json!({}));
    script.has_seen("/a").await;
    first.kill().await;

    let second = Headless::start(Config::default(), store, script.clone());
    second.recover().await;
    let notice = second.ended().await.unwrap();
    assert!(matches!(notice.ended, Some((_, Outcome::Completed(_)))));
    assert_eq!(script.keys("/b").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_cannot_connect_is_made_again() {
    let script = Arc::new(Script::default());
    script.unreachable.lock().insert("http://service/a".to_owned(), 3);
    let engine = Headless::start(Config::default(), Arc::new(MemoryStore::new()), script.clone());
    engine.begin(&document(json!([{ "a": call("/a") }])), &json!({}));
    let notice = engine.ended().await.unwrap();
    assert!(matches!(notice.ended, Some((_, Outcome::Completed(_)))), "{notice:?}");
    assert_eq!(script.keys("/a").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn patience_with_an_unreachable_service_ends() {
    let script = Arc::new(Script::default());
    script.unreachable.lock().insert("http://service/a".to_owned(), u32::MAX);
    let config = Config { connect_patience: Duration::from_millis(100), ..Config::default() };
    let engine = Headless::start(config, Arc::new(MemoryStore::new()), script);
    engine.begin(&document(json!([{ "a": call("/a") }])), &json!({}));
    let notice = engine.ended().await.unwrap();
    let Some((_, Outcome::Faulted(fault))) = notice.ended else { panic!("{notice:?}") };
    assert_eq!((fault.status, fault.instance.as_deref()), (503, Some("/do/0/a")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_never_answers_ends() {
    let config = Config { call_limit: Duration::from_millis(100), ..Config::default() };
    let engine = Headless::start(config, Arc::new(MemoryStore::new()), Arc::new(Script::default()));
    engine.begin(&document(json!([{ "a": call("/never") }])), &json!({}));
    let notice = engine.ended().await.unwrap();
    let Some((_, Outcome::Faulted(fault))) = notice.ended else { panic!("{notice:?}") };
    assert_eq!(fault.status, 504);
}

#[tokio::test(flavor = "multi_thread")]
async fn compensation_goes_on_after_a_crash_in_the_middle_of_it() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let undone_by = |path: &str| json!({ "kapell.dev/v1": { "compensate": [{ "undo": call(path) }] } });
    let with = |mut task: Value, path: &str| {
        task["metadata"] = undone_by(path);
        task
    };
    let workflow = document(json!([
        { "a": with(call("/a"), "/undo-a") },
        { "b": with(call("/b"), "/never") },
        { "c": with(call("/c"), "/undo-c") },
        { "d": call("/broken") },
    ]));
    let script = Arc::new(Script::default());
    let first = Headless::start(Config::default(), store.clone(), script.clone());
    first.begin(&workflow, &json!({}));
    script.has_seen("/never").await;
    first.kill().await;
    assert_eq!(script.keys("/undo-c").len(), 1);
    assert_eq!(script.keys("/undo-a").len(), 0);

    let again = Arc::new(Script::default());
    let config = Config { call_limit: Duration::from_millis(50), ..Config::default() };
    let second = Headless::start(config, store, again.clone());
    second.recover().await;
    again.has_seen("/never").await;
    assert_eq!(again.keys("/never"), script.keys("/never"));
    assert_eq!(again.keys("/undo-c").len(), 0, "what is undone is not undone again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_journal_moved_on_goes_on_from_it() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let script = Arc::new(Script::default());
    let engine = Headless::start(Config::default(), store.clone(), script.clone());
    let event = json!({ "listen": { "to": { "one": { "with": { "type": "go" } } } } });
    let workflow = document(json!([{ "pause": event }, { "b": call("/b") }]));
    let stream = engine.begin(&workflow, &json!({}));
    while store.read_stream(stream, 0).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let foreign = Entry(super::now(), Record::Cancelled { reason: "by another owner".to_owned() });
    let record = crate::journal::encode(&[foreign], &mut Default::default()).remove(0);
    let journal = vec![JournalWrite::Append { stream, sequence: 1, record }];
    store.commit(Transaction { writes: Vec::new(), journal }).await.unwrap();
    // The step that follows from it finds that the journal has moved on.
    engine.publish(&[json!({ "specversion": "1.0", "id": "1", "source": "/test", "type": "go" })]).await;

    let notice = engine.ended().await.unwrap();
    assert!(matches!(notice.ended, Some((_, Outcome::Cancelled(_)))), "{notice:?}");
    assert_eq!(script.keys("/b").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sleeping_runs_that_are_all_wanted_at_once_take_turns() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let workflow = document(json!([{ "pause": { "wait": { "hours": 1 } } }]));
    let script = Arc::new(Script::default());
    let first = Headless::start(Config::default(), store.clone(), script.clone());
    let streams: Vec<_> = (0..200).map(|_| first.begin(&workflow, &json!({}))).collect();
    while store.sleeping_streams().await.unwrap().len() < streams.len() {
        tokio::task::yield_now().await;
    }
    first.kill().await;

    let config = Config { partitions: 1, max_woken: 3, ..Config::default() };
    let second = Headless::start(config, store, script);
    assert_eq!(second.recover().await, streams.len());
    streams.iter().for_each(|stream| second.cancel(*stream));
    for _ in &streams {
        let notice = second.ended().await.unwrap();
        assert!(matches!(notice.ended, Some((_, Outcome::Cancelled(_)))), "{notice:?}");
    }
    assert_eq!(second.active(), 0);
}
