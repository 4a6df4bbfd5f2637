//! One process of Kapell: opens the store, wires the services to each other, and stops them in order.
//!
//! Services never import each other. They meet through API objects, by way of an in-process [`kube::Client`], or
//! through the few handles that are passed in [`wiring`]: logs, timelines, workflow validation, calls to Services.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kapell_store::sqlite::SqliteStore;

mod block;
mod caller;
mod claims;
mod cloud_events;
pub mod data;
mod handles;
mod metrics;
mod ports;
mod proxy;
mod services;
mod streams;
mod telemetry;
mod wiring;

/// What can be said of workflows without a server.
pub mod workflows {
    pub use kapell_workflow::graph::mermaid;
    pub use kapell_workflow::{cases, doubts, validate};
}

pub use kapell_workflow::egress::{Egress, Rewrite as EgressRewrite, Target as EgressTarget};

use block::Claimed;
use data::Running;
use services::Services;

/// What a person decides about a server; everything else follows from the data directory.
#[derive(Clone, Debug)]
pub struct Config {
    pub data: PathBuf,
    /// Port of the API on the loopback interface; 0 takes any free one.
    pub api_port: u16,
    /// `None` takes the host's name.
    pub node_name: Option<String>,
    pub workflows: Workflows,
    /// How long Events are kept after they last happened.
    pub event_ttl: Duration,
}

/// What the operator allows workflows.
#[derive(Clone, Debug, Default)]
pub struct Workflows {
    /// Whom they may call; the server's own API is added to it.
    pub egress: Egress,
    /// The directory below which their `file:` resources are; without it there are none.
    pub resources: Option<PathBuf>,
    /// What runs and their tasks do is published as CloudEvents.
    pub lifecycle_events: bool,
    /// They may run shell commands and scripts on this machine.
    pub allow_run: bool,
    /// How many runs may be in memory; `None` in this and the following: the engine's default.
    pub max_runs: Option<u32>,
    /// How many runs may wait to begin.
    pub max_waiting_runs: Option<u32>,
    /// Mebibytes that the event log of a namespace keeps.
    pub event_log_mib: Option<u32>,
}

impl Config {
    /// As Kubernetes keeps Events by default.
    pub const EVENT_TTL: Duration = Duration::from_secs(3600);
}

/// What happens to running pods when the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pods {
    /// They go on and are adopted by the next server.
    Keep,
    /// They are stopped; their objects stay, so that the next server starts them again.
    Stop,
}

/// A running server.
pub struct Server {
    config: Config,
    api: SocketAddr,
    kubeconfig: PathBuf,
    store: Arc<SqliteStore>,
    services: Services,
    /// Held as long as the server gives addresses away.
    _block: Claimed,
}

impl Server {
    /// Returns when the API answers. Everything that can be wrong with the data directory or the port is found here.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        telemetry::init();
        raise_file_limit();
        // For its owner only: volumes and logs of pods may hold what others must not read.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&config.data)
            .with_context(|| format!("cannot create the data directory {}", config.data.display()))?;
        let data = std::fs::canonicalize(&config.data)
            .with_context(|| format!("cannot use the data directory {}", config.data.display()))?;
        let config = Config { data, ..config };

        let store = Arc::new(SqliteStore::open(&config.data, Default::default()).map_err(anyhow::Error::from)?);
        let listener = ports::bind(config.api_port).await?;
        let api = listener.local_addr().context("the API's listener has no address")?;
        let block = block::claim(&config.data)?;
        let node_name = config.node_name.clone().unwrap_or_else(host_name);

        let wired = wiring::wire(&config, &node_name, block.block, store.clone(), api).await?;
        let kubeconfig = config.data.join("kubeconfig");
        data::write_fleeting(&kubeconfig, wired.kubeconfig.as_bytes())
            .with_context(|| format!("cannot write {}", kubeconfig.display()))?;
        let client = wiring::client(&wired.api, "system:node");
        let stale = kapell_agent::withdraw_stale_readiness(&config.data, &node_name, &client)
            .await
            .context("cannot correct what pods say of themselves")?;
        let services = Services::start(wired, listener);
        claims::settled(&stale, &client).await;
        Running { pid: std::process::id(), api }.write(&config.data).context("cannot write server.json")?;
        Ok(Self { config, api, kubeconfig, store, services, _block: block })
    }

    pub fn api_address(&self) -> SocketAddr {
        self.api
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub fn data(&self) -> &Path {
        &self.config.data
    }

    /// Resolves, with what happened, when a service ends that should have gone on.
    pub async fn failed(&mut self) -> String {
        self.services.failed().await
    }

    /// Stops the services in order, each after it has finished what it began.
    pub async fn stop(mut self, pods: Pods) {
        self.services.stop().await;
        if pods == Pods::Stop {
            kapell_agent::stop_pods(&self.config.data).await;
        }
        Running::forget(&self.config.data);
        let store = self.store;
        // Closing waits for the disk. Should it fail, what was acknowledged is there all the same.
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}

/// Stops the server that runs on a data directory, and its pods. Says what it did.
pub async fn stop(data: &Path) -> anyhow::Result<String> {
    use rustix::process::{Pid, Signal, kill_process, test_kill_process};

    let running = Running::read(data).and_then(|running| Pid::from_raw(i32::try_from(running.pid).ok()?));
    let alive = running.filter(|pid| test_kill_process(*pid).is_ok() && is_kapell(*pid));
    if let Some(pid) = alive {
        kill_process(pid, Signal::TERM)
            .with_context(|| format!("cannot stop the server (pid {})", pid.as_raw_nonzero()))?;
        // Nothing tells a process of the end of another that is not its child; a look every few milliseconds does.
        // One that has ended and whose parent has not asked yet still has its number, but no command line.
        while test_kill_process(pid).is_ok() && is_kapell(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let pods = kapell_agent::stop_pods(data).await;
    Ok(match (alive, pods) {
        (None, 0) => "no server runs here".to_owned(),
        (None, pods) => format!("no server runs here; stopped {pods} pods that were left"),
        (Some(_), pods) => format!("stopped the server and {pods} pods"),
    })
}

/// Process ids are used again: the file may name somebody else's process by now.
fn is_kapell(pid: rustix::process::Pid) -> bool {
    std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()))
        .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == b"server" || word == b"up"))
}

/// Every connection, watch and pod holds a file open, and the usual soft limit of 1,024 is less than what the API's
/// connections alone may need. The hard limit is what the system's owner allows.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised to what is allowed");
    }
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let valid: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' }).collect();
    let valid = valid.trim_matches(['-', '.']);
    if valid.is_empty() { "localhost".to_owned() } else { valid.to_owned() }
}
