//! What the engine counts, as Prometheus' text. There are no process-wide registries: each engine has its own numbers.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::core::state::Outcome;

/// Upper bounds in seconds: from a commit on a fast disk to a service that takes its time.
const BOUNDS: [f64; 11] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

#[derive(Default)]
pub(super) struct Histogram {
    /// How many fell under each bound and over the one before; the last one: over all.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    pub(super) fn note(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn write(&self, text: &mut String, name: &str, help: &str) {
        let mut sum = 0;
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (bucket, count) in self.buckets.iter().enumerate() {
            sum += count.load(Ordering::Relaxed);
            let bound = BOUNDS.get(bucket).map_or("+Inf".to_owned(), f64::to_string);
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {sum}");
        }
        let seconds = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "{name}_sum {seconds}\n{name}_count {sum}");
    }
}

#[derive(Default)]
pub(super) struct Metrics {
    started: AtomicU64,
    completed: AtomicU64,
    faulted: AtomicU64,
    cancelled: AtomicU64,
    pub(super) runs: Histogram,
    answered: AtomicU64,
    unanswered: AtomicU64,
    pub(super) calls: Histogram,
    pub(super) commits: Histogram,
    pub(super) records: AtomicU64,
    pub(super) woken: AtomicU64,
}

/// What is counted elsewhere, at this moment.
pub(super) struct Depths {
    pub(super) active: usize,
    pub(super) waiting: usize,
    pub(super) calls: usize,
    pub(super) calls_waiting: usize,
}

impl Metrics {
    pub(super) fn run_started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn run_ended(&self, outcome: &Outcome, took: Duration) {
        let counter = match outcome {
            Outcome::Completed(_) => &self.completed,
            Outcome::Faulted(_) => &self.faulted,
            Outcome::Cancelled(_) => &self.cancelled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.runs.note(took);
    }

    pub(super) fn called(&self, answered: bool, took: Duration) {
        let counter = if answered { &self.answered } else { &self.unanswered };
        counter.fetch_add(1, Ordering::Relaxed);
        self.calls.note(took);
    }

    /// The page, in Prometheus' text format 0.0.4.
    pub(super) fn text(&self, depths: &Depths) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let depth = |depth: usize| depth as u64;
        family("kapell_workflow_runs_started_total", "counter", "Runs that have begun.", &[("", of(&self.started))]);
        let ended = [
            ("{phase=\"Completed\"}", of(&self.completed)),
            ("{phase=\"Faulted\"}", of(&self.faulted)),
            ("{phase=\"Cancelled\"}", of(&self.cancelled)),
        ];
        family("kapell_workflow_runs_ended_total", "counter", "Runs that have ended.", &ended);
        let runs = [("{state=\"active\"}", depth(depths.active)), ("{state=\"waiting\"}", depth(depths.waiting))];
        family(
            "kapell_workflow_runs",
            "gauge",
            "Runs that have begun and not ended, and that may not begin yet.",
            &runs,
        );
        let calls =
            [("{outcome=\"answered\"}", of(&self.answered)), ("{outcome=\"unanswered\"}", of(&self.unanswered))];
        family("kapell_workflow_calls_total", "counter", "Calls of services that have ended.", &calls);
        let going = [("{state=\"going\"}", depth(depths.calls)), ("{state=\"waiting\"}", depth(depths.calls_waiting))];
        family("kapell_workflow_calls", "gauge", "Calls under way, and calls that wait for their turn.", &going);
        family("kapell_workflow_journal_records_total", "counter", "Records written.", &[("", of(&self.records))]);
        let woken = [("", of(&self.woken))];
        family("kapell_workflow_runs_woken_total", "counter", "Runs read from their journals to wake up.", &woken);
        self.runs.write(&mut text, "kapell_workflow_run_duration_seconds", "From the start of a run to its end.");
        self.calls.write(&mut text, "kapell_workflow_call_duration_seconds", "From a call's turn to its answer.");
        let help = "From handing steps to the store until they are on disk.";
        self.commits.write(&mut text, "kapell_workflow_journal_commit_seconds", help);
        text
    }
}

#[cfg(test)]
mod tests;
