//! What traffic there was and is, as numbers: counted where requests are answered, written out for Prometheus when asked.
//!
//! Counters are atomics of the port that they are about, so that counting takes no lock and a port that goes takes its
//! numbers along. Connections of ports that do not speak HTTP show as outstanding, not as requests.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;

use crate::core::Core;
use crate::table::EndpointState;

/// Upper bounds of the latency buckets in microseconds: from what a proxied request takes at best to what people wait for.
const BUCKETS: [(u64, &str); 13] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (5_000_000, "5"),
    (30_000_000, "30"),
];

/// Codes from 100 to 599.
const CODES: usize = 500;

/// Of one port of a Service.
#[derive(Default)]
pub(crate) struct PortMetrics {
    /// Made at the first request: most ports of most servers see none.
    seen: OnceLock<Box<Seen>>,
}

struct Seen {
    codes: [AtomicU64; CODES],
    /// Requests within each bound but not within the one before; the last is for all others.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            codes: std::array::from_fn(|_| AtomicU64::new(0)),
            buckets: Default::default(),
            micros: AtomicU64::new(0),
        }
    }
}

impl PortMetrics {
    /// Counts a request by its answer's status, and the time until that answer began.
    pub(crate) fn answered(&self, status: StatusCode, elapsed: Duration) {
        let seen = self.seen.get_or_init(Box::default);
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = seen.codes.get(usize::from(status.as_u16()).wrapping_sub(100)) {
            count.fetch_add(1, Relaxed);
        }
        let bucket = BUCKETS.iter().position(|(bound, _)| micros <= *bound).unwrap_or(BUCKETS.len());
        seen.buckets[bucket].fetch_add(1, Relaxed);
        seen.micros.fetch_add(micros, Relaxed);
    }
}

/// One metric with its help, and the lines that belong to it.
struct Family {
    name: &'static str,
    type_: &'static str,
    help: &'static str,
    lines: String,
}

impl Family {
    fn new(name: &'static str, type_: &'static str, help: &'static str) -> Self {
        Self { name, type_, help, lines: String::new() }
    }

    fn push(&mut self, suffix: &str, labels: &str, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.lines, "{}{suffix}{{{labels}}} {value}", self.name);
    }
}

/// All ports' numbers in Prometheus' text format.
pub(crate) fn text(core: &Core) -> String {
    let mut requests = Family::new(
        "kapell_gateway_requests_total",
        "counter",
        "Requests to a port of a Service by the status of their answer.",
    );
    let mut durations = Family::new(
        "kapell_gateway_request_duration_seconds",
        "histogram",
        "Time from a request's head to that of its answer.",
    );
    let mut outstanding = Family::new(
        "kapell_gateway_outstanding",
        "gauge",
        "Requests under way at a port's endpoints, or connections where it does not speak HTTP.",
    );
    let mut endpoints =
        Family::new("kapell_gateway_endpoints", "gauge", "Endpoints of a port as its EndpointSlices call them.");
    let mut ejected = Family::new(
        "kapell_gateway_endpoints_ejected",
        "gauge",
        "Endpoints out of use because they refuse connections or do not answer.",
    );
    for (key, port, backend) in core.ports() {
        // Names of Services and namespaces need no escaping.
        let labels = format!("namespace=\"{}\",service=\"{}\",port=\"{port}\"", key.namespace, key.name);
        if let Some(seen) = backend.metrics.seen.get() {
            write_requests(seen, &labels, &mut requests, &mut durations);
        }
        let set = backend.set();
        let mut by_state = [("ready", 0), ("draining", 0), ("not_ready", 0)];
        let (mut under_way, mut out) = (0, 0);
        for (endpoint, state) in set.endpoints() {
            by_state[match state {
                EndpointState::Ready => 0,
                EndpointState::Draining => 1,
                EndpointState::NotReady => 2,
            }]
            .1 += 1;
            under_way += endpoint.outstanding();
            out += usize::from(endpoint.is_ejected());
        }
        outstanding.push("", &labels, under_way);
        for (state, count) in by_state {
            endpoints.push("", &format!("{labels},state=\"{state}\""), count);
        }
        ejected.push("", &labels, out);
    }
    let mut text = String::new();
    for family in [requests, durations, outstanding, endpoints, ejected] {
        let Family { name, type_, help, lines } = family;
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {type_}\n{lines}");
    }
    text
}

fn write_requests(seen: &Seen, labels: &str, requests: &mut Family, durations: &mut Family) {
    for (index, count) in seen.codes.iter().enumerate() {
        let count = count.load(Relaxed);
        if count > 0 {
            requests.push("", &format!("{labels},code=\"{}\"", index + 100), count);
        }
    }
    let mut total = 0;
    for (bucket, bound) in seen.buckets.iter().zip(BUCKETS.iter().map(|(_, bound)| *bound).chain(["+Inf"])) {
        total += bucket.load(Relaxed);
        durations.push("_bucket", &format!("{labels},le=\"{bound}\""), total);
    }
    durations.push("_sum", labels, seen.micros.load(Relaxed) as f64 / 1e6);
    durations.push("_count", labels, total);
}
