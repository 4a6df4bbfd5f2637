//! Many runs that wait: `cargo bench -p kapell-workflow --bench sleepers`.
//!
//! Begins 100,000 runs that sleep, then prints what a restart with them takes in time and memory, and how late their timers
//! fire when all come due within seconds, as fast as they were begun. `SLEEPERS` sets another number of runs.

#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::path::Path;
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

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

fn open(directory: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(directory, Default::default()).expect("a store"))
}

#[tokio::main]
async fn main() {
    let count = number("SLEEPERS").unwrap_or(100_000);
    let nap = Duration::from_secs(45 + count as u64 / 5_000);
    // The first half runs in a process of its own, whose end gives up the store, and whose memory the second does not see.
    if let Some(directory) = std::env::var_os("SLEEPERS_IN") {
        return fall_asleep(Path::new(&directory), count, nap).await;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let asleep = std::env::current_exe()
        .and_then(|program| std::process::Command::new(program).env("SLEEPERS_IN", directory.path()).status());
    assert!(asleep.expect("this program").success());
    wake_up(directory.path(), count, nap).await;
}

async fn fall_asleep(directory: &Path, count: usize, nap: Duration) {
    let head = json!({ "dsl": "1.0.0", "namespace": "bench", "name": "bench", "version": "1.0.0" });
    let document = json!({ "document": head, "do": [{ "sleep": { "wait": { "seconds": nap.as_secs() } } }] });
    let begun = Instant::now();
    let engine = bench::Bench::new(open(directory), Arc::new(Nobody));
    engine.begin(&document, &json!({ "n": 0 }), count);
    engine.chilled(count).await;
    let took = begun.elapsed().as_secs_f64();
    println!("{count} sleeping runs: begun and out of memory in {took:.1} s ({:.0}/s)", count as f64 / took);
}

async fn wake_up(directory: &Path, count: usize, nap: Duration) {
    let before = resident();
    let begun = Instant::now();
    let engine = bench::Bench::new(open(directory), Arc::new(Nobody));
    let taken = engine.recover().await;
    let took = begun.elapsed().as_secs_f64();
    let each = (resident() - before) * 1e6 / count as f64;
    println!("restart: {taken} runs known in {took:.1} s ({:.0}/s), {each:.0} bytes each", count as f64 / took);

    let mut late: Vec<Duration> = Vec::with_capacity(count);
    while late.len() < count {
        let Some(lasted) = engine.lasted().await else { break };
        late.push(lasted.saturating_sub(nap));
    }
    late.sort_unstable();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize].as_millis();
    println!("timers: late by p50 {} ms, p99 {} ms, at most {} ms; {:.0} MB", at(0.5), at(0.99), at(1.0), resident());
}
