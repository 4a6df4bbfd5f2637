//! Closed-loop load: each of `clients` does one thing after another, for some seconds, in several rounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::median;

const ROUND: Duration = Duration::from_secs(3);
/// Before the first round: connections, caches, and the compiled parts of both sides.
const WARM_UP: Duration = Duration::from_secs(1);

/// Medians over the rounds.
pub(crate) struct Rates {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Of the processes that were watched, for each thing done.
    pub(crate) cpu_us: f64,
}

impl Rates {
    /// Of things that took these times (in milliseconds, at least one), done side by side; `used` in nanoseconds.
    pub(crate) fn of(mut times: Vec<f64>, took: Duration, used: f64) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let done = times.len() as f64;
        let per_second = done / took.as_secs_f64();
        Self { per_second, p50_ms: at(0.5), p99_ms: at(0.99), cpu_us: used / 1e3 / done }
    }
}

impl std::fmt::Display for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { per_second, p50_ms, p99_ms, cpu_us } = self;
        write!(f, "{per_second:.0}/s, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, {cpu_us:.1} µs CPU each")
    }
}

/// How often, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Rounds {
    count: usize,
    length: Duration,
}

impl Rounds {
    pub(crate) const ALL: Self = Self { count: 5, length: ROUND };
    /// For comparisons in which many things are measured.
    pub(crate) const FEW: Self = Self { count: 3, length: ROUND };

    pub(crate) fn one(length: Duration) -> Self {
        Self { count: 1, length }
    }
}

/// `work` is given the client's number and a number that no other call gets; `cpu` tells the nanoseconds used so far by
/// whatever is to be charged.
pub(crate) async fn hammer<F, Fut>(
    rounds: Rounds,
    clients: usize,
    cpu: impl Fn() -> anyhow::Result<f64>,
    work: F,
) -> anyhow::Result<Rates>
where
    F: Fn(usize, usize) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
{
    let mut measured = Vec::new();
    round(clients, 0, WARM_UP, &cpu, &work).await?;
    for number in 1..=rounds.count {
        measured.push(round(clients, number, rounds.length, &cpu, &work).await?);
    }
    let of = |field: fn(&Rates) -> f64| median(measured.iter().map(field));
    Ok(Rates {
        per_second: of(|rates| rates.per_second),
        p50_ms: of(|rates| rates.p50_ms),
        p99_ms: of(|rates| rates.p99_ms),
        cpu_us: of(|rates| rates.cpu_us),
    })
}

/// More calls than one client makes in a round.
const NUMBERS: usize = 10_000_000;

async fn round<F, Fut>(
    clients: usize,
    number: usize,
    length: Duration,
    cpu: &impl Fn() -> anyhow::Result<f64>,
    work: &F,
) -> anyhow::Result<Rates>
where
    F: Fn(usize, usize) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
{
    let stop = Arc::new(AtomicBool::new(false));
    let (cpu_before, begun) = (cpu()?, Instant::now());
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (work, stop) = (work.clone(), stop.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    work(client, (number * clients + client) * NUMBERS + times.len()).await?;
                    times.push(begun.elapsed().as_secs_f64() * 1e3);
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let (elapsed, used) = (begun.elapsed(), cpu()? - cpu_before);
    anyhow::ensure!(!times.is_empty(), "nothing was done in {length:?}");
    Ok(Rates::of(times, elapsed, used))
}
