//! Runs that are large by themselves: `cargo bench -p kapell-workflow --bench large`.
//!
//! One run with 100,000 parallel children, each a call; one with a million records; one that carries 10 MB from call to
//! call. Prints how long each takes, the size of the database afterwards, and the memory. `SCALE=0.01` makes them smaller.

#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use kapell_store::sqlite::SqliteStore;
use kapell_workflow::{CallFailure, ServiceCaller, bench};
use serde_json::{Value, json};

/// Answers `/large` with a text of so many bytes, and everything else with a few.
struct Service {
    large: Bytes,
}

#[async_trait]
impl ServiceCaller for Service {
    async fn call(
        &self,
        _namespace: &str,
        request: http::Request<Bytes>,
        _deadline: Option<Instant>,
    ) -> Result<http::Response<Bytes>, CallFailure> {
        let response = http::Response::builder().header("content-type", "application/json");
        let body = if request.uri().path() == "/large" { self.large.clone() } else { Bytes::from_static(b"1") };
        Ok(response.body(body).expect("a valid response"))
    }
}

fn document(tasks: Value) -> Value {
    json!({ "document": { "dsl": "1.0.0", "namespace": "bench", "name": "bench", "version": "1.0.0" }, "do": tasks })
}

fn call(path: &str) -> Value {
    let with = json!({ "method": "post", "endpoint": format!("http://service{path}"), "body": "${ . }" });
    json!({ "call": "http", "with": with })
}

/// Resident memory of this process in MB.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or_default() * 4096.0 / 1e6
}

async fn measure(name: &str, document: &Value, input: &Value, large: usize) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Arc::new(SqliteStore::open(directory.path(), Default::default()).expect("a store"));
    let large = Bytes::from(format!("\"{}\"", "x".repeat(large)));
    let engine = bench::Bench::new(store.clone(), Arc::new(Service { large }));
    let (runs, took) = engine.run(document, input, 1, Duration::ZERO).await;
    let files = std::fs::read_dir(directory.path()).expect("the directory");
    let bytes: u64 = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum();
    let megabytes = bytes as f64 / 1e6;
    println!(
        "{name}: {runs} run in {:.1} s, {megabytes:.0} MB on disk, {:.0} MB resident",
        took.as_secs_f64(),
        resident()
    );
}

#[tokio::main]
async fn main() {
    let scale: f64 = std::env::var("SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1.0);
    let scaled = |number: f64| (number * scale) as usize;
    let children = scaled(100_000.0);
    let parallel = json!({ "kapell.dev/v1": { "parallel": { "max": 1000 } } });
    let each = json!({ "for": { "in": format!("[range({children})]") }, "metadata": parallel, "output": { "as": "length" }, "do": [{ "call": call("/small") }] });
    measure(&format!("{children} parallel children"), &document(json!([{ "each": each }])), &json!(1), 0).await;

    // Four records to a round: entered and left, twice.
    let rounds = scaled(250_000.0);
    let again = json!({ "again": { "when": format!(".n < {rounds}"), "then": "count" } });
    let tasks = json!([{ "count": { "set": { "n": "${ .n + 1 }" } } }, { "check": { "switch": [again, { "enough": { "then": "end" } }] } }]);
    measure(&format!("{} records", rounds * 4), &document(tasks), &json!({ "n": 0 }), 0).await;

    let large = scaled(10_000_000.0);
    let mut last = call("/small");
    last["output"] = json!({ "as": "." });
    let tasks = json!([{ "get": call("/large") }, { "give": call("/large") }, { "last": last }]);
    measure(&format!("{large} bytes from call to call"), &document(tasks), &json!(1), large).await;
}
