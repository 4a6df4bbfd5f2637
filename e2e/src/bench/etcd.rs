//! Kapell beside etcd on the same disk: durable creates and updates of values of one size with 1, 16 and 64 clients, and
//! one change to 1,000 watchers.
//!
//! etcd's server and client are built by Go from the module proxy into `etcd` of the target directory, so this part runs
//! when asked for by name. etcd is used as Kubernetes uses it on one machine, but without TLS, and its puts check nothing;
//! Kapell's writes go through HTTPS, authentication, rights, defaults, validation and managed fields. The load program for
//! etcd is `etcd/load.go`: its own client, in Go. Only the servers are charged.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kapell_e2e::{Kapell, eventually};
use kube::api::{Api, PostParams};

use crate::api::{self, Writes, config_map};
use crate::hammer::Rates;
use crate::watch;

const VERSION: &str = "v3.6.6";
const CLIENTS: [usize; 3] = [1, 16, 64];
const LENGTH: Duration = Duration::from_secs(5);

pub(crate) async fn measure() -> anyhow::Result<()> {
    let home = install()?;
    let size = stored_size().await?;
    println!("\n| operation | clients | server | per second | p50 | p99 | CPU each |");
    println!("|---|---|---|---|---|---|---|");
    for (writes, word) in [(Writes::Creates, "create"), (Writes::Updates, "update")] {
        for clients in CLIENTS {
            let what = format!("{word}, {size} bytes");
            row(&what, clients, "Kapell", &api::run(writes, clients, LENGTH).await?);
            let etcd = Etcd::start(&home)?;
            let seconds = LENGTH.as_secs().to_string();
            row(&what, clients, "etcd", &etcd.load(&home, word, clients, size, &["-seconds", &seconds])?);
        }
    }
    let what = "one change to 1,000 watchers, per event";
    row(what, watch::CONNECTIONS, "Kapell", &watch::fan_out(&Kapell::start()).await?);
    let etcd = Etcd::start(&home)?;
    let (watchers, changes) = (watch::WATCHERS.to_string(), watch::CHANGES.to_string());
    let options = ["-watchers", &watchers, "-changes", &changes];
    row(what, watch::CONNECTIONS, "etcd", &etcd.load(&home, "watch", watch::CONNECTIONS, size, &options)?);
    Ok(())
}

fn row(what: &str, clients: usize, server: &str, rates: &Rates) {
    let Rates { per_second, p50_ms, p99_ms, cpu_us } = rates;
    println!("| {what} | {clients} | {server} | {per_second:.0} | {p50_ms:.2} ms | {p99_ms:.2} ms | {cpu_us:.1} µs |");
}

/// How long the measured objects are, so that etcd is given as much.
async fn stored_size() -> anyhow::Result<usize> {
    let kapell = Kapell::start();
    let client = kapell.client().await;
    let api = Api::<ConfigMap>::default_namespaced(client.clone());
    api.create(&PostParams::default(), &config_map("measured", 1)?).await?;
    let request = http::Request::get("/api/v1/namespaces/default/configmaps/measured").body(Vec::new())?;
    Ok(client.request_text(request).await?.len())
}

/// Where etcd is built, beside this program.
fn install() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let home = program.ancestors().nth(2).context("the target directory")?.join("etcd");
    std::fs::create_dir_all(&home)?;
    std::fs::write(home.join("load.go"), include_str!("etcd/load.go"))?;
    let go = |arguments: &[&str]| -> anyhow::Result<()> {
        let status = Command::new("go").args(arguments).current_dir(&home).status().context("Go is needed for etcd")?;
        ensure!(status.success(), "go {} failed: {status}", arguments.join(" "));
        Ok(())
    };
    if !home.join("go.mod").exists() {
        go(&["mod", "init", "kapell.dev/bench/etcd"])?;
    }
    if !home.join(VERSION).exists() {
        let (server, client) = ("go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/client/v3");
        go(&["get", &format!("{client}@{VERSION}"), &format!("{server}@{VERSION}")])?;
        go(&["build", "-o", "server", server])?;
        std::fs::write(home.join(VERSION), "")?;
    }
    go(&["build", "-o", "load", "."])?;
    Ok(home)
}

/// A server on an empty directory; ended with this value.
struct Etcd {
    process: Child,
    endpoint: String,
    _data: tempfile::TempDir,
}

impl Etcd {
    fn start(home: &Path) -> anyhow::Result<Self> {
        // Where Kapell's data is too, so that both write to the same disk.
        let data = tempfile::TempDir::with_prefix("kapell-etcd-")?;
        let port = || anyhow::Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        let (endpoint, peers) = (format!("127.0.0.1:{}", port()?), format!("http://127.0.0.1:{}", port()?));
        let url = format!("http://{endpoint}");
        let process = Command::new(home.join("server"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}"), "--log-level", "error", "--data-dir"])
            .arg(data.path().join("etcd"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("etcd does not start")?;
        let etcd = Self { process, endpoint, _data: data };
        eventually("etcd", || std::net::TcpStream::connect(&etcd.endpoint).ok());
        Ok(etcd)
    }

    fn load(&self, home: &Path, what: &str, clients: usize, size: usize, more: &[&str]) -> anyhow::Result<Rates> {
        let output = Command::new(home.join("load"))
            .args(["-endpoint", &self.endpoint, "-pid", &self.process.id().to_string(), "-what", what])
            .args(["-clients", &clients.to_string(), "-size", &size.to_string()])
            .args(more)
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "the load for etcd failed: {}", output.status);
        let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let figure = |name: &str| told[name].as_f64().with_context(|| format!("the load for etcd tells no {name}"));
        Ok(Rates {
            per_second: figure("per_second")?,
            p50_ms: figure("p50_ms")?,
            p99_ms: figure("p99_ms")?,
            cpu_us: figure("cpu_us")?,
        })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
