//! Many runs that wait: `cargo bench -p kapell-workflow --bench sleepers`.
//!
//! Begins 100,000 runs that sleep, then prints what a restart with them takes in time and memory, how late their timers
//! fire when 10,000 a second come due, and the memory meanwhile and afterwards. `SLEEPERS` sets another number of runs,
//! `SLEEPERS_PER_SECOND` another rate.

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
    let rate = number("SLEEPERS_PER_SECOND").unwrap_or(10_000);
    // The first half runs in a process of its own, whose end gives up the store, and whose memory the second does not see.
    if let Some(directory) = std::env::var_os("SLEEPERS_IN") {
        return fall_asleep(Path::new(&directory), count, rate).await;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let asleep = std::env::current_exe()
        .and_then(|program| std::process::Command::new(program).env("SLEEPERS_IN", directory.path()).status());
    assert!(asleep.expect("this program").success());
    wake_up(directory.path(), count, rate).await;
}

async fn fall_asleep(directory: &Path, count: usize, rate: usize) {
    let head = json!({ "dsl": "1.0.0", "namespace": "bench", "name": "bench", "version": "1.0.0" });
    let document = json!({ "document": head, "do": [{ "sleep": { "wait": { "milliseconds": "${ .nap }" } } }] });
    let begun = Instant::now();
    // Later than the last of them is out of memory and known to the second half.
    let first = Duration::from_secs(45 + count as u64 / 5_000);
    let engine = bench::Bench::new(open(directory), Arc::new(Nobody));
    for index in 0..count {
        // So that a run begins about when its nap was worked out.
        while engine.active() + 256 < index {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let due = first + Duration::from_secs_f64(index as f64 / rate as f64);
        engine.begin(&document, &json!({ "nap": (due - begun.elapsed()).as_millis() as u64 }), 1);
    }
    engine.chilled(count).await;
    let took = begun.elapsed().as_secs_f64();
    println!("{count} sleeping runs: begun and out of memory in {took:.1} s ({:.0}/s)", count as f64 / took);
}

async fn wake_up(directory: &Path, count: usize, rate: usize) {
    let before = resident();
    let begun = Instant::now();
    let engine = bench::Bench::new(open(directory), Arc::new(Nobody));
    let taken = engine.recover().await;
    let took = begun.elapsed().as_secs_f64();
    let known = resident();
    let each = (known - before) * 1e6 / count as f64;
    println!("restart: {taken} runs known in {took:.1} s ({:.0}/s), {each:.0} bytes each", count as f64 / took);

    let mut late: Vec<u64> = Vec::with_capacity(count);
    let mut memory = vec![known];
    let mut woken = None;
    while late.len() < count {
        let Some((lasted, Some(output))) = engine.ended().await else { break };
        woken.get_or_insert_with(Instant::now);
        let nap = output["nap"].as_u64().unwrap_or_default();
        late.push((lasted.as_millis() as u64).saturating_sub(nap));
        if late.len().is_multiple_of((count / 100).max(1)) {
            memory.push(resident());
        }
    }
    let took = woken.map_or(0.0, |woken| woken.elapsed().as_secs_f64());
    late.sort_unstable();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    println!(
        "timers: {} due at {rate}/s ended in {took:.1} s, late by p50 {} ms, p99 {} ms, at most {} ms",
        late.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    let when = |hundredth: usize| memory.get(hundredth).copied().unwrap_or_default();
    let most = memory.iter().copied().fold(0.0, f64::max);
    println!(
        "resident: {known:.0} MB before, {:.0}, {:.0} and {:.0} MB when a tenth, half and all had ended, {most:.0} MB at most",
        when(10),
        when(50),
        when(100)
    );
}
