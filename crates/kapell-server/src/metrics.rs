//! What this process uses, as Prometheus text: memory, processor time, open files, and the size of its database.
//!
//! Names are those of Prometheus' own client libraries. What cannot be read is left out.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use kapell_apiserver::MetricsSource;

/// A source for `/metrics`; everything is read when somebody asks.
pub(crate) fn of_process(data: &Path) -> MetricsSource {
    let data = data.to_owned();
    Arc::new(move || {
        let mut text = String::new();
        let mut gauge = |name: &str, kind: &str, help: &str, value: f64| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        if let Some((seconds, resident)) = usage() {
            gauge("process_cpu_seconds_total", "counter", "Processor time of the server, pods left out.", seconds);
            gauge("process_resident_memory_bytes", "gauge", "Memory of the server, pods left out.", resident);
        }
        if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
            gauge("process_open_fds", "gauge", "Open files and sockets.", descriptors.count() as f64);
        }
        for (file, name) in [("kapell.db", "kapell_store_file_bytes"), ("kapell.db-wal", "kapell_store_wal_bytes")] {
            if let Ok(metadata) = std::fs::metadata(data.join(file)) {
                gauge(name, "gauge", "Size on disk.", metadata.len() as f64);
            }
        }
        text
    })
}

/// Seconds of processor time and bytes of memory, from `/proc/self/stat`.
fn usage() -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may hold anything; numbers follow the last one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as f64;
    Some(((number(11)? + number(12)?) / ticks, number(21)? * page))
}
