//! `cargo xtask bench`: the figures of `docs/benchmarks.md`, measured from outside on the release binary.
//!
//! Load generator and server share the machine, as they do in every figure here; medians of several rounds where a
//! round is short. Prints a Markdown table.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::ConfigMap;
use kapell_e2e::{Kapell, binary, shop, spawn_until_ready};
use kube::api::{Api, PostParams};
use serde_json::json;

/// How long each throughput is measured.
const WINDOW: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    println!("| measure | figure |\n|---|---|");
    row("binary", format!("{:.1} MB", std::fs::metadata(binary("kapell"))?.len() as f64 / 1e6));
    start_times()?;
    at_rest().await?;
    creates().await?;
    shop_figures().await
}

fn row(measure: &str, figure: String) {
    println!("| {measure} | {figure} |");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn start_times() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let start = |data: &str| -> anyhow::Result<Duration> {
        let mut command = Command::new(binary("kapell"));
        command.args(["server", "--api-port", "0", "--data"]).arg(directory.path().join(data));
        let begun = Instant::now();
        let mut child = spawn_until_ready(command);
        let took = begun.elapsed();
        child.kill()?;
        child.wait()?;
        Ok(took)
    };
    let fresh = (0..9).map(|round| start(&format!("fresh-{round}"))).collect::<Result<Vec<_>, _>>()?;
    let again = (0..9).map(|_| start("fresh-0")).collect::<Result<Vec<_>, _>>()?;
    row("`kapell server` to ready: empty data directory", format!("{:.0} ms", millis(median(fresh))));
    row("`kapell server` to ready: after `kill -9`", format!("{:.0} ms", millis(median(again))));
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

async fn at_rest() -> anyhow::Result<()> {
    let kapell = Kapell::start();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = cpu_seconds(kapell.pid())?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let cpu = (cpu_seconds(kapell.pid())? - before) / 20.0 * 100.0;
    row("at rest, nothing running: memory, CPU", format!("{:.1} MB, {cpu:.2} % of a core", resident_mb(kapell.pid())?));
    Ok(())
}

fn resident_mb(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("no figure")?.parse::<f64>()? / 1e3)
}

/// User and system time of a process, in seconds.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("no command")?.1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0) // USER_HZ, which is 100 on every Linux that matters
}

/// Runs `work` in `clients` tasks for [`WINDOW`] and reports the rate and the latencies.
async fn hammer<F, Fut>(clients: usize, work: F) -> anyhow::Result<Rates>
where
    F: Fn(usize, usize) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
{
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (work, stop) = (work.clone(), stop.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    work(client, times.len()).await?;
                    times.push(begun.elapsed());
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    tokio::time::sleep(WINDOW).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let elapsed = begun.elapsed().as_secs_f64();
    times.sort();
    let at = |share: f64| millis(times[((times.len() - 1) as f64 * share) as usize]);
    Ok(Rates { per_second: times.len() as f64 / elapsed, p50: at(0.5), p99: at(0.99) })
}

struct Rates {
    per_second: f64,
    p50: f64,
    p99: f64,
}

impl std::fmt::Display for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0}/s, p50 {:.2} ms, p99 {:.2} ms", self.per_second, self.p50, self.p99)
    }
}

async fn creates() -> anyhow::Result<()> {
    let kapell = Kapell::start();
    for clients in [1, 64] {
        let mut connections = Vec::new();
        for _ in 0..clients {
            connections.push(Api::<ConfigMap>::default_namespaced(kapell.client().await));
        }
        let connections = Arc::new(connections);
        let rates = hammer(clients, move |client, round| {
            let connections = connections.clone();
            async move {
                let object: ConfigMap =
                    serde_json::from_value(json!({"metadata": {"name": format!("c{clients}-{client}-{round}")}, "data": {"key": "x".repeat(300)}}))?;
                connections[client].create(&PostParams::default(), &object).await?;
                Ok(())
            }
        })
        .await?;
        row(&format!("ConfigMaps created through HTTPS, {clients} clients"), rates.to_string());
    }
    row("memory after these creates", format!("{:.1} MB", resident_mb(kapell.pid())?));
    Ok(())
}

async fn shop_figures() -> anyhow::Result<()> {
    let kapell = Kapell::start();
    let begun = Instant::now();
    shop::up(&kapell);
    row("`kapell up examples/shop` until all 8 pods are ready", format!("{:.2} s", begun.elapsed().as_secs_f64()));
    row("memory with the shop running", format!("{:.1} MB", resident_mb(kapell.pid())?));
    orders(&kapell).await?;
    proxy(&kapell).await
}

async fn orders(kapell: &Kapell) -> anyhow::Result<()> {
    for clients in [1, 64] {
        let runs = Arc::new(shop::Runs::new(kapell.client().await, "shop"));
        let before = cpu_seconds(kapell.pid())?;
        let begun = Instant::now();
        let rates = hammer(clients, move |number, round| {
            let runs = runs.clone();
            async move {
                let name = format!("bench-{clients}-{number}-{round}");
                let status = runs.finish("order", &name, shop::order_input(&name, "ann", "lamp", 1)).await?;
                anyhow::ensure!(status["phase"] == "Completed", "{status}");
                Ok(())
            }
        })
        .await?;
        let cpu = (cpu_seconds(kapell.pid())? - before) / (rates.per_second * begun.elapsed().as_secs_f64());
        row(
            &format!("order runs (4 HTTP steps), {clients} at a time"),
            format!("{rates}, {:.2} ms CPU each", cpu * 1e3),
        );
    }
    Ok(())
}

/// The same instance through its Service and directly, with 64 connections.
async fn proxy(kapell: &Kapell) -> anyhow::Result<()> {
    kapell.cli_with_input(&["apply", "-f", "-"], include_str!("../../tests/files/web.yaml")).ok();
    kapell.cli(&["scale", "deployment/web", "--replicas=1"]).ok();
    kapell.cli(&["rollout", "status", "deployment/web"]).ok();
    let pods = kapell.pods("default", "app=web");
    let pod = pods.first().and_then(|pod| pod["status"]["podIP"].as_str()).context("no pod")?.to_owned();
    let service =
        kapell.object("default", "service/web")["spec"]["clusterIP"].as_str().context("no address")?.to_owned();
    for (name, address) in [("the instance directly", pod), ("the same through its Service", service)] {
        let client: Client<HttpConnector, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(64).build_http();
        let before = cpu_seconds(kapell.pid())?;
        let begun = Instant::now();
        let rates = hammer(64, move |_, _| {
            let (client, url) = (client.clone(), format!("http://{address}:8080/"));
            async move {
                let response = client.request(Request::get(url).body(Full::default())?).await?;
                anyhow::ensure!(response.status().is_success(), "{}", response.status());
                response.into_body().collect().await?;
                Ok(())
            }
        })
        .await?;
        let cpu = (cpu_seconds(kapell.pid())? - before) / (rates.per_second * begun.elapsed().as_secs_f64());
        row(
            &format!("HTTP requests to {name}, 64 connections"),
            format!("{rates}, {:.1} µs CPU of kapell each", cpu * 1e6),
        );
    }
    Ok(())
}
