//! Kapell beside other durable engines: workflows of nine steps, each a call of one local service or a step that only
//! computes, 1 and 64 at a time, on the same disk, each engine syncing before it goes on.
//!
//! Restate's server and SDK come from npm, DBOS from PyPI, into `engines` in the target directory; only this part needs them,
//! so it runs when asked for by name. What runs a workflow's steps is charged: Kapell's server; Restate's server and the
//! process with the SDK; the one process of DBOS. The service that is called and the clients are not.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kapell_e2e::{Kapell, shop};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::hammer::{Rates, Rounds, hammer};
use crate::process::{Memory, cpu_nanos};

const STEPS: f64 = 9.0;
/// What DBOS has for each case, in one round: as long as the others' rounds together.
const DBOS_SECONDS: &str = "9";
const CASES: [(&str, usize); 4] = [("http", 1), ("http", 64), ("pure", 1), ("pure", 64)];

pub(crate) async fn measure() -> anyhow::Result<()> {
    let home = install()?;
    let step = step_service().await?;
    println!("\n| engine | nine steps | at a time | runs/s | steps/s | p50 | p99 | CPU per step | memory |");
    println!("|---|---|---|---|---|---|---|---|---|");
    // One that fails must not hide the figures of the others.
    let mut failed = Vec::new();
    failed.extend(kapell(&step).await.context("Kapell").err());
    failed.extend(restate(&home, &step).await.context("Restate").err());
    failed.extend(dbos(&home, &step).context("DBOS").err());
    for error in &failed {
        eprintln!("{error:#}");
    }
    ensure!(failed.is_empty(), "{} of 3 engines could not be measured", failed.len());
    Ok(())
}

fn row(engine: &str, (case, clients): (&str, usize), rates: &Rates, memory: f64) {
    let Rates { per_second, p50_ms, p99_ms, cpu_us } = rates;
    let (steps, cpu) = (per_second * STEPS, cpu_us / STEPS);
    println!(
        "| {engine} | {case} | {clients} | {per_second:.0} | {steps:.0} | {p50_ms:.1} ms | {p99_ms:.1} ms | {cpu:.0} µs | {memory:.0} MB |"
    );
}

/// Where the other engines are installed, beside this program.
fn install() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let home = program.ancestors().nth(2).context("the target directory")?.join("engines");
    std::fs::create_dir_all(&home)?;
    if !home.join("node_modules/@restatedev/restate-sdk").exists() {
        std::fs::write(home.join("package.json"), "{\"private\": true}")?;
        let packages = ["@restatedev/restate-server@1", "@restatedev/restate-sdk@1"];
        run(Command::new("npm").arg("install").args(packages).current_dir(&home))?;
    }
    if !home.join("dbos/bin/python").exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(home.join("dbos")))?;
        run(Command::new(home.join("dbos/bin/pip")).args(["install", "--quiet", "dbos"]))?;
    }
    std::fs::write(home.join("restate.mjs"), include_str!("engines/restate.mjs"))?;
    std::fs::write(home.join("dbos_nine.py"), include_str!("engines/dbos_nine.py"))?;
    Ok(home)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdout(Stdio::null()).status().with_context(|| format!("{:?}", command.get_program()))?;
    ensure!(status.success(), "{:?} failed: {status}", command.get_program());
    Ok(())
}

/// Answers every request at once, on a free port; returns its URL.
async fn step_service() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/step", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let answer =
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";
                let mut request = Vec::new();
                let mut part = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut part).await {
                    request.extend_from_slice(&part[..read]);
                    // Requests have no bodies.
                    if request.ends_with(b"\r\n\r\n") {
                        request.clear();
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    Ok(url)
}

async fn kapell(step: &str) -> anyhow::Result<()> {
    let kapell = Kapell::start();
    let call = json!({ "call": "http", "with": { "method": "get", "endpoint": step } });
    let add = json!({ "set": { "n": "${ .n + 1 }" } });
    for (name, task) in [("http", &call), ("pure", &add)] {
        let tasks: Vec<Value> = (0..9).map(|i| json!({ format!("s{i}"): task })).collect();
        let head = json!({ "dsl": "1.0.1", "namespace": "default", "name": name, "version": "1.0.0" });
        kapell.cli_with_input(&["apply", "-f", "-"], &json!({ "document": head, "do": tasks }).to_string()).ok();
    }
    let runs = std::sync::Arc::new(shop::Runs::new(kapell.client().await, "default"));
    let pid = kapell.pid();
    for (case, clients) in CASES {
        let runs = runs.clone();
        let work = move |_, number| {
            let runs = runs.clone();
            async move {
                let name = format!("{case}-{clients}-{number}");
                let status = runs.finish(case, &name, json!({ "n": 0 })).await?;
                ensure!(status["phase"] == "Completed", "{name}: {status}");
                Ok(())
            }
        };
        let rates = hammer(Rounds::FEW, clients, || cpu_nanos(pid), work).await?;
        row("Kapell", (case, clients), &rates, Memory::of(pid)?.resident);
    }
    Ok(())
}

/// A process that ends with its owner.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn post(client: &HttpClient, url: &str, body: Value) -> anyhow::Result<()> {
    let request = http::Request::post(url).header("content-type", "application/json");
    let response = client.request(request.body(Full::from(body.to_string()))?).await?;
    let status = response.status();
    let said = response.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "{url}: {status} {}", String::from_utf8_lossy(&said));
    Ok(())
}

type HttpClient = Client<hyper_util::client::legacy::connect::HttpConnector, Full<bytes::Bytes>>;

async fn restate(home: &Path, step: &str) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let (ingress, admin, node, service) = (free_port()?, free_port()?, free_port()?, free_port()?);
    let program = home.join("node_modules/.bin/restate-server");
    let program = std::fs::canonicalize(&program).unwrap_or(program);
    // The package's own launcher is a script; what is measured is the server.
    let native = home.join("node_modules/@restatedev/restate-server-linux-x64/bin/restate-server");
    let program = if native.exists() { native } else { program };
    let server = Command::new(program)
        .arg("--base-dir")
        .arg(data.path())
        .env("RESTATE_INGRESS__BIND_ADDRESS", format!("127.0.0.1:{ingress}"))
        .env("RESTATE_ADMIN__BIND_ADDRESS", format!("127.0.0.1:{admin}"))
        .env("RESTATE_BIND_ADDRESS", format!("127.0.0.1:{node}"))
        .env("RESTATE_DISABLE_TELEMETRY", "true")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("restate-server")?;
    let server = Guarded(server);
    let mut sdk = Command::new("node");
    sdk.arg("restate.mjs").arg(service.to_string()).arg(step).current_dir(home).stdout(Stdio::null());
    let sdk = Guarded(sdk.spawn().context("node")?);
    let client: HttpClient = Client::builder(TokioExecutor::new()).build_http();
    let register = format!("http://127.0.0.1:{admin}/deployments");
    let mut registered = Err(anyhow::anyhow!("not tried"));
    for _ in 0..150 {
        registered = post(&client, &register, json!({ "uri": format!("http://127.0.0.1:{service}") })).await;
        if registered.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    registered.context("Restate's server does not come up")?;
    let (server, sdk) = (&server, &sdk);
    let (server_pid, sdk_pid) = (server.0.id(), sdk.0.id());
    for (case, clients) in CASES {
        let (client, url) = (client.clone(), format!("http://127.0.0.1:{ingress}/nine/{case}"));
        let work = move |_, _| {
            let (client, url) = (client.clone(), url.clone());
            async move { post(&client, &url, Value::Null).await }
        };
        let cpu = || Ok(cpu_nanos(server_pid)? + cpu_nanos(sdk_pid)?);
        let rates = hammer(Rounds::FEW, clients, cpu, work).await?;
        let memory = Memory::of(server_pid)?.resident + Memory::of(sdk_pid)?.resident;
        row("Restate", (case, clients), &rates, memory);
    }
    Ok(())
}

fn dbos(home: &Path, step: &str) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let output = Command::new(home.join("dbos/bin/python"))
        .arg(home.join("dbos_nine.py"))
        .args([step, &data.path().to_string_lossy(), DBOS_SECONDS])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "DBOS: {}", output.status);
    for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with('{')) {
        let said: Value = serde_json::from_str(line)?;
        let number = |key: &str| said[key].as_f64().unwrap_or_default();
        let rates = Rates {
            per_second: number("runs"),
            p50_ms: number("p50"),
            p99_ms: number("p99"),
            cpu_us: number("cpu_us"),
        };
        row("DBOS", (said["case"].as_str().unwrap_or_default(), number("clients") as usize), &rates, number("mb"));
    }
    Ok(())
}
