//! How fast the engine is without HTTP and without the API server: `cargo bench -p kapell-workflow`.
//!
//! Prints, for an in-memory store and for SQLite with fsync: pure steps per second (a workflow of 1,000 `set` tasks in
//! a loop), and runs per second of ten calls with a caller that answers at once, 1 and 64 at a time.

#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use kapell_store::Store;
use kapell_store::memory::MemoryStore;
use kapell_store::sqlite::SqliteStore;
use kapell_workflow::{CallFailure, ServiceCaller, bench};
use serde_json::{Value, json};

struct Instantly;

#[async_trait]
impl ServiceCaller for Instantly {
    async fn call(
        &self,
        _namespace: &str,
        _request: http::Request<Bytes>,
        _deadline: Option<Instant>,
    ) -> Result<http::Response<Bytes>, CallFailure> {
        let response = http::Response::builder().header("content-type", "application/json");
        Ok(response.body(Bytes::from_static(b"{\"ok\":true,\"n\":1}")).expect("a valid response"))
    }
}

fn document(tasks: Value) -> Value {
    let document = json!({ "dsl": "1.0.0", "namespace": "bench", "name": "bench", "version": "1.0.0" });
    json!({ "document": document, "do": tasks })
}

fn calls() -> Value {
    let task = |i: usize| {
        let with =
            json!({ "method": "post", "endpoint": "http://service/step", "body": { "n": "${ .n }", "step": i } });
        json!({ format!("step{i}"): { "call": "http", "with": with } })
    };
    document((0..10).map(task).collect())
}

fn pure() -> Value {
    document(json!([
        { "count": { "set": { "n": "${ .n + 1 }" } } },
        { "check": { "switch": [{ "again": { "when": ".n < 500", "then": "count" } }, { "enough": { "then": "end" } }] } },
    ]))
}

async fn measure(name: &str, store: Arc<dyn Store>) {
    let bench = bench::Bench::new(store, Arc::new(Instantly));
    let input = json!({ "n": 0 });
    let (runs, took) = bench.run(&pure(), &input, 8, Duration::from_secs(3)).await;
    println!("{name}: {:.0} pure steps/s", runs as f64 * 1000.0 / took.as_secs_f64());
    for concurrency in [1, 64] {
        let (runs, took) = bench.run(&calls(), &input, concurrency, Duration::from_secs(3)).await;
        let seconds = took.as_secs_f64();
        println!(
            "{name}: {concurrency:>2} at a time: {:.0} runs/s of ten calls, {:.0} calls/s, {:.2} ms per run",
            runs as f64 / seconds,
            runs as f64 * 10.0 / seconds,
            seconds * 1000.0 * concurrency as f64 / runs.max(1) as f64,
        );
    }
}

#[tokio::main]
async fn main() {
    measure("memory", Arc::new(MemoryStore::new())).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = SqliteStore::open(directory.path(), Default::default()).expect("a store");
    measure("sqlite", Arc::new(store)).await;
}
