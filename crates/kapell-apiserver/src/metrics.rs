//! What this server has done, as Prometheus text at `/metrics`.
//!
//! Where upstream has a metric of the same meaning it has upstream's name and labels, so that dashboards and alerts
//! for Kubernetes work; the rest is named `kapell_…`. Labels come from the table of kinds, never from what a client
//! sent: nobody can make the server keep series for paths that do not exist. Other services add their own text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use kapell_api::kind::Kind;
use parking_lot::{Mutex, RwLock};

/// Upper bounds in seconds. Finer below 10 ms than upstream's: most of our answers take less.
const BUCKETS: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Prometheus text of another service; called at each scrape.
pub type MetricsSource = Arc<dyn Fn() -> String + Send + Sync>;

/// Durations by bucket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    /// One for each bound, and one above them.
    counts: [u64; BUCKETS.len() + 1],
    seconds: f64,
}

impl Histogram {
    fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let at = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        self.counts[at] += 1;
        self.seconds += seconds;
    }

    /// Appends its series; `labels` may be empty.
    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let separator = if labels.is_empty() { "" } else { "," };
        let mut sum = 0;
        for (bound, count) in BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]).zip(self.counts) {
            sum += count;
            let _ = writeln!(out, "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {sum}");
        }
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(out, "{name}_sum{braced} {}\n{name}_count{braced} {sum}", self.seconds);
    }
}

/// What a request was, in upstream's labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    pub(crate) verb: &'static str,
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) subresource: &'static str,
    /// `cluster`, `namespace` or `resource`.
    pub(crate) scope: &'static str,
}

impl Series {
    fn labels(&self) -> String {
        let Self { verb, group, version, resource, subresource, scope } = self;
        format!(
            "verb=\"{verb}\",group=\"{group}\",version=\"{version}\",resource=\"{resource}\",\
             subresource=\"{subresource}\",scope=\"{scope}\""
        )
    }
}

/// All that is counted.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(Series, u16), u64>>,
    durations: Mutex<BTreeMap<Series, Histogram>>,
    watches: Mutex<BTreeMap<(&'static str, &'static str, &'static str), i64>>,
    commits: Mutex<Histogram>,
    refusals: Mutex<BTreeMap<&'static str, u64>>,
    pub(crate) mutating: AtomicI64,
    pub(crate) reading: AtomicI64,
    pub(crate) connections: AtomicI64,
    pub(crate) unauthenticated: AtomicU64,
    pub(crate) forbidden: AtomicU64,
    sources: RwLock<Vec<MetricsSource>>,
}

/// Counts one more for as long as it lives.
pub(crate) struct Gauge<'a>(&'a AtomicI64);

impl<'a> Gauge<'a> {
    pub(crate) fn hold(gauge: &'a AtomicI64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is counted until its socket is closed.
pub(crate) struct CountedConnection(Arc<Metrics>);

impl CountedConnection {
    pub(crate) fn begin(metrics: &Arc<Metrics>) -> Self {
        metrics.connections.fetch_add(1, Ordering::Relaxed);
        Self(metrics.clone())
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A watch that is counted while it lasts.
pub(crate) struct CountedWatch {
    metrics: Arc<Metrics>,
    kind: &'static Kind,
}

impl CountedWatch {
    pub(crate) fn begin(metrics: &Arc<Metrics>, kind: &'static Kind) -> Self {
        metrics.count_watch(kind, 1);
        Self { metrics: metrics.clone(), kind }
    }
}

impl Drop for CountedWatch {
    fn drop(&mut self) {
        self.metrics.count_watch(self.kind, -1);
    }
}

impl Metrics {
    /// A request that was answered; streams have no duration worth counting.
    pub(crate) fn answered(&self, series: Series, code: u16, duration: Option<Duration>) {
        *self.requests.lock().entry((series, code)).or_default() += 1;
        if let Some(duration) = duration {
            self.durations.lock().entry(series).or_default().observe(duration);
        }
    }

    pub(crate) fn committed(&self, duration: Duration) {
        self.commits.lock().observe(duration);
    }

    /// `by` is the name of the admission step.
    pub(crate) fn refused(&self, by: &'static str) {
        *self.refusals.lock().entry(by).or_default() += 1;
    }

    fn count_watch(&self, kind: &'static Kind, by: i64) {
        *self.watches.lock().entry((kind.group, kind.version, kind.kind)).or_default() += by;
    }

    pub(crate) fn add_source(&self, source: MetricsSource) {
        self.sources.write().push(source);
    }

    /// Everything that is counted here, then what other services say.
    pub(crate) fn write(&self, out: &mut String) {
        head(out, "apiserver_request_total", "counter", "Requests by what they asked for and the answer's code.");
        for ((series, code), count) in self.requests.lock().iter() {
            let _ = writeln!(out, "apiserver_request_total{{{},code=\"{code}\"}} {count}", series.labels());
        }
        head(out, "apiserver_request_duration_seconds", "histogram", "Time to answer, streams left out.");
        for (series, histogram) in self.durations.lock().iter() {
            histogram.write(out, "apiserver_request_duration_seconds", &series.labels());
        }
        head(out, "apiserver_current_inflight_requests", "gauge", "Requests that are worked on.");
        for (kind, gauge) in [("mutating", &self.mutating), ("readOnly", &self.reading)] {
            let value = gauge.load(Ordering::Relaxed);
            let _ = writeln!(out, "apiserver_current_inflight_requests{{request_kind=\"{kind}\"}} {value}");
        }
        head(out, "apiserver_registered_watchers", "gauge", "Watches that are open.");
        for ((group, version, kind), count) in self.watches.lock().iter() {
            let _ = writeln!(
                out,
                "apiserver_registered_watchers{{group=\"{group}\",version=\"{version}\",kind=\"{kind}\"}} {count}"
            );
        }
        gauge(
            out,
            "kapell_apiserver_connections",
            "Connections from outside.",
            self.connections.load(Ordering::Relaxed),
        );
        counter(
            out,
            "kapell_apiserver_unauthenticated_total",
            "Requests without credentials, or with wrong ones.",
            self.unauthenticated.load(Ordering::Relaxed),
        );
        counter(
            out,
            "kapell_apiserver_forbidden_total",
            "Requests that roles and bindings do not allow.",
            self.forbidden.load(Ordering::Relaxed),
        );
        head(out, "kapell_apiserver_admission_refusals_total", "counter", "Objects that admission refused.");
        for (by, count) in self.refusals.lock().iter() {
            let _ = writeln!(out, "kapell_apiserver_admission_refusals_total{{by=\"{by}\"}} {count}");
        }
        head(out, "kapell_store_commit_duration_seconds", "histogram", "Time until a write is on disk.");
        self.commits.lock().write(out, "kapell_store_commit_duration_seconds", "");
        for source in self.sources.read().iter() {
            out.push_str(&source());
            if !out.ends_with('\n') {
                out.push('\n');
            }
        }
    }
}

pub(crate) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

pub(crate) fn gauge(out: &mut String, name: &str, help: &str, value: i64) {
    head(out, name, "gauge", help);
    let _ = writeln!(out, "{name} {value}");
}

pub(crate) fn counter(out: &mut String, name: &str, help: &str, value: u64) {
    head(out, name, "counter", help);
    let _ = writeln!(out, "{name} {value}");
}

#[cfg(test)]
mod tests;
