//! Commits per second with 1 and 64 clients, and one change to 1,000 watchers: `cargo bench -p kapell-store`.
//!
//! Values are 1 KiB, about a small object. CPU is that of the whole process, clients included.
#![allow(clippy::print_stdout, reason = "the figures are its output")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kapell_store::sqlite::{Options, SqliteStore};
use kapell_store::{Expect, Store, Transaction, Write};

const SECONDS: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() {
    // On the disk that builds use: the temporary directory may be in memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Arc::new(SqliteStore::open(directory.path(), Options::default()).unwrap());
    for clients in [1, 64] {
        commits(&store, clients).await;
    }
    fan_out(&store, 1_000, 200).await;
    let revision = store.revision();
    let live = store.list(b"", None, 0, None).await.unwrap().entries.len();
    store.close();
    reopen(directory.path(), revision, live);
}

fn put(key: String) -> Transaction {
    let value = Some(Bytes::from(vec![b'x'; 1024]));
    Transaction { writes: vec![Write { key: key.into(), expect: Expect::Absent, value }], journal: Vec::new() }
}

async fn commits(store: &Arc<SqliteStore>, clients: usize) {
    let (start, cpu) = (Instant::now(), cpu());
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while start.elapsed() < SECONDS {
                    let begin = Instant::now();
                    let key = format!("/commits/{clients}/{client}/{}", latencies.len());
                    store.commit(put(key)).await.unwrap();
                    latencies.push(begin.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    let (elapsed, cpu) = (start.elapsed(), self::cpu() - cpu);
    report(&format!("commits, {clients} clients"), &mut latencies, elapsed, cpu);
}

async fn fan_out(store: &Arc<SqliteStore>, watchers: usize, changes: usize) {
    let after = store.revision();
    let (sender, mut seen) = tokio::sync::mpsc::channel(watchers);
    for _ in 0..watchers {
        let mut watch = store.watch(b"/fan-out/", after).unwrap();
        let sender = sender.clone();
        tokio::spawn(async move {
            let mut left = changes;
            while left > 0 {
                left -= watch.next().await.unwrap().len();
                sender.send(Instant::now()).await.unwrap();
            }
        });
    }
    let (start, cpu) = (Instant::now(), cpu());
    let mut latencies = Vec::new();
    for change in 0..changes {
        store.commit(put(format!("/fan-out/{change}"))).await.unwrap();
        let committed = Instant::now();
        for _ in 0..watchers {
            let at = seen.recv().await.unwrap();
            latencies.push(at.saturating_duration_since(committed));
        }
    }
    let (elapsed, cpu) = (start.elapsed(), self::cpu() - cpu);
    report(&format!("one change to {watchers} watchers, per event"), &mut latencies, elapsed, cpu);
}

fn reopen(directory: &Path, revision: u64, live: usize) {
    let start = Instant::now();
    let store = SqliteStore::open(directory, Options::default()).unwrap();
    println!("open with {live} live entries: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    assert_eq!(store.revision(), revision);
}

fn report(what: &str, latencies: &mut [Duration], elapsed: Duration, cpu: Duration) {
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    let count = latencies.len() as f64;
    println!(
        "{what}: {:.0}/s, p50 {:.0} us, p99 {:.0} us, {:.2} us CPU each",
        count / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        cpu.as_secs_f64() * 1e6 / count,
    );
}

/// User and system time of this process; the kernel counts it in hundredths of a second.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    let ticks: u64 = after_name.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
