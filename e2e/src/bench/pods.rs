//! A large cluster in one server: 100,000 pods of 1,000 owners on nodes that are not there. What they take in memory, how
//! long a restart takes with them, and what a list of 10,000 of them costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kapell_e2e::Kapell;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::process::{Memory, cpu_nanos};
use crate::{median, row};

const PODS: usize = 100_000;
/// Pods in one namespace: what is listed.
const LISTED: usize = 10_000;
/// Pods of one workload: they share labels and everything that comes from its template.
const REPLICAS: usize = 100;
const CLIENTS: usize = 32;
const LISTS: usize = 30;
/// A server that uses less than this share of a core over [`LOOK`] has come to rest.
const REST: f64 = 0.02;
const LOOK: Duration = Duration::from_secs(1);
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

pub(crate) async fn measure() -> anyhow::Result<()> {
    let mut kapell = Kapell::start();
    let before = Memory::of(kapell.pid())?;
    create(&kapell).await?;
    at_rest(kapell.pid()).await?;
    row("100,000 pods: memory after they were created", &Memory::of(kapell.pid())?.to_string(), "< 600 MB");
    row("– before", &before.to_string(), "");

    kapell.kill();
    let begun = Instant::now();
    kapell.restart();
    let ready = begun.elapsed().as_secs_f64();
    let answered = count(&kapell).await?;
    let took = begun.elapsed().as_secs_f64();
    anyhow::ensure!(answered >= PODS, "{answered} pods are left");
    row("– ready after `kill -9`", &format!("{ready:.2} s; all counted by a client after {took:.2} s"), "< 2 s");
    at_rest(kapell.pid()).await?;
    let used = cpu_nanos(kapell.pid())? / 1e9;
    row(
        "– memory after the restart",
        &format!("{}, {used:.1} s CPU until everything had settled", Memory::of(kapell.pid())?),
        "< 600 MB",
    );

    for (what, accept) in [("JSON", "application/json"), ("Table", TABLE)] {
        row(&format!("– list of 10,000 of them, {what}"), &lists(&kapell, accept).await?, "");
    }
    row("– memory after the lists", &Memory::of(kapell.pid())?.to_string(), "< 600 MB");
    Ok(())
}

fn namespace(pod: usize) -> String {
    format!("many-{}", pod / LISTED)
}

async fn create(kapell: &Kapell) -> anyhow::Result<()> {
    let client = kapell.client().await;
    for first in (0..PODS).step_by(LISTED) {
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace(first)}}))?;
        Api::all(client.clone()).create(&PostParams::default(), &object).await?;
    }
    let (next, begun, cpu) = (Arc::new(AtomicUsize::new(0)), Instant::now(), cpu_nanos(kapell.pid())?);
    let mut tasks = Vec::new();
    for _ in 0..CLIENTS {
        let (client, next) = (kapell.client().await, next.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= PODS {
                    return anyhow::Ok(());
                }
                let api: Api<Pod> = Api::namespaced(client.clone(), &namespace(number));
                api.create(&PostParams::default(), &pod(number)?).await?;
            }
        }));
    }
    for task in tasks {
        task.await??;
    }
    let (took, used) = (begun.elapsed().as_secs_f64(), cpu_nanos(kapell.pid())? - cpu);
    let (rate, each) = (PODS as f64 / took, used / 1e3 / PODS as f64);
    row("pods created through HTTPS, 32 clients", &format!("{rate:.0}/s, {each:.0} µs CPU each"), "");
    Ok(())
}

/// As large as most pods that a chart makes.
fn pod(number: usize) -> anyhow::Result<Pod> {
    let (workload, node) = (number / REPLICAS, number % 1000);
    Ok(serde_json::from_value(json!({
        "metadata": {
            "name": format!("web-{workload}-{number}"),
            "labels": {
                "app.kubernetes.io/name": "web", "app.kubernetes.io/instance": format!("web-{workload}"),
                "pod-template-hash": format!("{workload:08x}"),
            },
        },
        "spec": {
            "nodeName": format!("absent-{node}"),
            "containers": [{
                "name": "web",
                "image": "registry.example.com/shop/web:1.2.3",
                "ports": [{"name": "http", "containerPort": 8080}],
                "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "WORKLOAD", "value": format!("{workload}")}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
            }],
        },
    }))?)
}

async fn count(kapell: &Kapell) -> anyhow::Result<usize> {
    let list = Api::<Pod>::all(kapell.client().await).list_metadata(&kube::api::ListParams::default().limit(1)).await?;
    let more = list.metadata.remaining_item_count.unwrap_or(0);
    Ok(list.items.len() + usize::try_from(more)?)
}

/// p50 and p99 from the request to the last byte; one list at a time.
async fn lists(kapell: &Kapell, accept: &str) -> anyhow::Result<String> {
    let client = kapell.client().await;
    let (mut times, mut bytes) = (Vec::new(), 0);
    let cpu = cpu_nanos(kapell.pid())?;
    for _ in 0..LISTS {
        let request = http::Request::get(format!("/api/v1/namespaces/{}/pods", namespace(0)))
            .header(http::header::ACCEPT, accept)
            .body(Vec::new())?;
        let begun = Instant::now();
        bytes = client.request_text(request).await?.len();
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let used = (cpu_nanos(kapell.pid())? - cpu) / 1e6 / LISTS as f64;
    let worst = times.iter().copied().fold(0.0, f64::max);
    let megabytes = bytes as f64 / 1e6;
    Ok(format!("p50 {:.0} ms, slowest of {LISTS} {worst:.0} ms, {used:.0} ms CPU, {megabytes:.1} MB", median(times)))
}

/// Waits until the server has nothing left to do.
#[allow(clippy::disallowed_methods, reason = "rest is seen over a span of time")]
async fn at_rest(pid: u32) -> anyhow::Result<()> {
    loop {
        let before = cpu_nanos(pid)?;
        tokio::time::sleep(LOOK).await;
        if cpu_nanos(pid)? - before < REST * LOOK.as_nanos() as f64 {
            return Ok(());
        }
    }
}
