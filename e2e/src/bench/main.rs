//! `cargo xtask bench [PART]…`: the figures of `docs/benchmarks.md`, measured from outside on the release binary.
//!
//! Clients, server and the services behind it are processes of their own, so what the server costs is read from its
//! entry in `/proc` alone. Each figure is the median of several rounds. Prints a Markdown table on stdout as it goes,
//! and on stderr how busy the machine was.

#![allow(clippy::print_stdout, reason = "the table is this program's output")]

mod api;
mod engines;
mod etcd;
mod hammer;
mod machine;
mod pods;
mod process;
mod proxies;
mod rest;
mod start;
mod watch;
mod workflows;

/// The parts, in the order of the table.
const PARTS: [&str; 8] = ["size", "start", "rest", "api", "watch", "pods", "workflow", "gateway"];

/// Only when asked for: they install what Kapell is compared with.
const COMPARISONS: [&str; 2] = ["engines", "etcd"];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = asked.iter().find(|part| ![&PARTS[..], &COMPARISONS].concat().contains(&part.as_str())) {
        anyhow::bail!("no part is called {unknown:?}; there are {}", [&PARTS[..], &COMPARISONS].concat().join(", "));
    }
    println!("Measured on {}.\n", machine::describe());
    for comparison in COMPARISONS.into_iter().filter(|part| asked.iter().any(|wanted| wanted == part)) {
        machine::note_load(comparison);
        match comparison {
            "engines" => engines::measure().await?,
            _ => etcd::measure().await?,
        }
        println!();
    }
    if !asked.is_empty() && asked.iter().all(|part| COMPARISONS.contains(&part.as_str())) {
        return Ok(());
    }
    println!("| measure | figure | aim |\n|---|---|---|");
    for part in PARTS.into_iter().filter(|part| asked.is_empty() || asked.iter().any(|wanted| wanted == part)) {
        machine::note_load(part);
        match part {
            "size" => rest::size()?,
            "start" => start::measure()?,
            "rest" => rest::measure()?,
            "api" => api::measure().await?,
            "watch" => watch::measure().await?,
            "pods" => pods::measure().await?,
            "workflow" => workflows::measure().await?,
            _ => proxies::measure().await?,
        }
    }
    Ok(())
}

/// A line of the table. `aim` is empty where there is none.
fn row(measure: &str, figure: &str, aim: &str) {
    println!("| {measure} | {figure} | {aim} |");
}

/// The middle one; of an even number the upper of the two in the middle.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
