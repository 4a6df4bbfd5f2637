//! Many runs that wait: `cargo bench -p kapell-workflow --bench sleepers`.
//!
//! Prints the memory of 100,000 runs that sleep, how long a restart takes with them, and how late their timers fire
//! when all come due within seconds. `SLEEPERS` sets another number of runs.

#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use kapell_store::Store;
use kapell_store::sqlite::SqliteStore;
use kapell_workflow::{CallFailure, ServiceCaller, bench};
use serde_json::json;

struct Nobody;

#[async_trait]
impl ServiceCaller for Nobody {
    async fn call(
        &self,
        _namespace: &str,
        _request: http::Request<Bytes>,
        _deadline: Option<Instant>,
    ) -> Result<http::Response<Bytes>, CallFailure> {
        Err(CallFailure { maybe_processed: false, message: "nobody is there".to_owned() })
    }
}

/// Resident memory of this process in MB.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or_default() * 4096.0 / 1e6
}

#[tokio::main]
async fn main() {
    let count = std::env::var("SLEEPERS").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let nap = Duration::from_secs(20 + count as u64 / 10_000);
    let head = json!({ "dsl": "1.0.0", "namespace": "bench", "name": "bench", "version": "1.0.0" });
    let document = json!({ "document": head, "do": [{ "sleep": { "wait": { "seconds": nap.as_secs() } } }] });
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(directory.path(), Default::default()).expect("a store"));

    let (before, begun) = (resident(), Instant::now());
    let engine = bench::Bench::new(store.clone(), Arc::new(Nobody));
    engine.begin(&document, &json!({ "n": 0 }), count);
    while store.open_streams().await.expect("the journal").len() < count {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = begun.elapsed().as_secs_f64();
    let each = (resident() - before) * 1e6 / count as f64;
    println!("{count} sleeping runs: begun in {took:.1} s ({:.0}/s), {each:.0} bytes each", count as f64 / took);

    drop(engine);
    let begun = Instant::now();
    let engine = bench::Bench::new(store, Arc::new(Nobody));
    let taken = engine.recover().await;
    let took = begun.elapsed().as_secs_f64();
    println!("restart: {taken} runs taken up in {took:.1} s ({:.0}/s)", taken as f64 / took);

    let mut late: Vec<Duration> = Vec::with_capacity(count);
    while late.len() < count {
        let Some(lasted) = engine.lasted().await else { break };
        late.push(lasted.saturating_sub(nap));
    }
    late.sort_unstable();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize].as_millis();
    println!("timers: late by p50 {} ms, p99 {} ms, at most {} ms; {:.0} MB", at(0.5), at(0.99), at(1.0), resident());
}
