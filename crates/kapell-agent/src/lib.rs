//! Keeps this node's pods as the objects say: processes, probes, logs, volumes, status.
//!
//! One task per pod ([`worker`]) watches the pod's object, its shim and its probes. Each time something changes it asks
//! [`plan`] (pure) what to do, does it, and publishes what [`status`] (pure) makes of it. The processes themselves belong
//! to a shim per pod (`kapell-shim`) and go on when the agent ends, however it ends; the next agent finds them through
//! `DATA/pods/<uid>/` and takes them over as they are.
//!
//! It never forks, it reaches the API through a [`kube::Client`] only, and it runs pods of the runtime class `process`;
//! any other pod waits with a reason that says what to do.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kapell_api::net::LoopbackBlock;
use kapell_client::{Change, Informer, Recorder};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod address;
mod backoff;
mod dependencies;
mod environment;
mod ephemeral;
mod fields;
mod grounds;
mod hooks;
mod identity;
mod logs;
mod memory;
mod mounts;
mod node;
mod objects;
mod observed;
mod plan;
mod probe;
mod record;
mod sessions;
mod shim_client;
mod stale;
mod start;
mod status;
mod stop;
mod subpath;
mod supervise;
mod termination;
mod tokens;
mod usage;
mod volumes;
mod worker;

pub use logs::{LogError, LogOptions, Logs, OutputStream, Restarts};
pub use probe::check::tls_connector;
pub use sessions::{Ended, ExecOptions, Input, Session, SessionEnd, SessionError, Sessions, Terminal};
pub use stale::{Readiness, withdraw_stale_readiness};
pub use stop::stop_pods;
pub use usage::{Consumption, Usage};

use address::Addresses;
use identity::Powers;
use node::OwnNode;
use objects::Objects;
use record::PodRecord;
use shim_client::ShimClient;
use start::Host;

/// Between attempts to stop what a pod without an object has left.
const REMOVAL_RETRY: Duration = Duration::from_secs(10);

/// As whom the agent records Events.
const COMPONENT: &str = "kapell-agent";

/// Pods that start at the same time. More only compete for the same processors and slow each other's first answer.
const CONCURRENT_STARTS: usize = 16;

#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The Node's name.
    pub node_name: String,
    /// `DATA`; pods are below `DATA/pods`, relative host paths below `DATA/volumes`.
    pub data_dir: PathBuf,
    /// Where pods get their addresses from.
    pub block: LoopbackBlock,
    /// The node's own address.
    pub host_ip: Ipv4Addr,
    /// Program and first arguments of the shim; the pod directory is appended. `[current_exe, "shim"]` in production.
    pub shim_command: Vec<OsString>,
    /// What every container's environment begins with, see [`host_environment`].
    pub host_env: BTreeMap<String, String>,
}

/// PATH (with the directory of this executable at its end), HOME, LANG, TZ and USER of this process.
pub fn host_environment() -> BTreeMap<String, String> {
    let inherited = ["PATH", "HOME", "LANG", "TZ", "USER"];
    let mut env: BTreeMap<String, String> =
        inherited.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect();
    let own = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.display().to_string()));
    let path = env.entry("PATH".to_owned()).or_insert_with(|| "/usr/local/bin:/usr/bin:/bin".to_owned());
    if let Some(own) = own.filter(|own| !path.split(':').any(|dir| dir == own)) {
        path.push(':');
        path.push_str(&own);
    }
    env
}

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot use the pod directory {}", .path.display())]
    PodsDirectory { path: PathBuf, source: io::Error },
    #[error("cannot register the node")]
    Register(#[source] Box<kube::Error>),
}

/// What all pods' workers share.
struct Context {
    config: AgentConfig,
    client: Client,
    objects: Arc<Objects>,
    events: Recorder,
    addresses: Mutex<Addresses>,
    starts: Semaphore,
    shutdown: CancellationToken,
}

impl Context {
    fn pods_dir(&self) -> PathBuf {
        self.config.data_dir.join("pods")
    }

    fn host<'a>(&'a self, pod_dir: &'a Path) -> Host<'a> {
        Host {
            data_dir: &self.config.data_dir,
            pod_dir,
            host_ip: self.config.host_ip,
            host_env: &self.config.host_env,
            host_volumes: self.config.data_dir.join("volumes"),
            group: grounds::server_group(self.config.block),
            powers: Powers::ours(),
        }
    }

    /// Stops what a pod without an object has left (if something `may_run`), and forgets it.
    async fn remove_pod(&self, uid: &str, dir: &Path, may_run: bool) {
        let grace = PodRecord::read(dir).map_or(Duration::ZERO, |record| Duration::from_secs(record.grace_seconds));
        // A shim that died may have left processes; a new one finds and kills them.
        while may_run && dir.exists() {
            let shim = match ShimClient::open(dir, &self.config.shim_command).await {
                Ok(shim) => shim,
                Err(error) => {
                    // Without it nobody knows what still runs there, under an address that would be given away.
                    tracing::warn!(
                        uid,
                        error = &error as &dyn std::error::Error,
                        "cannot stop what is left of a pod, retrying"
                    );
                    tokio::select! {
                        () = self.shutdown.cancelled() => return,
                        () = tokio::time::sleep(REMOVAL_RETRY) => continue,
                    }
                }
            };
            tokio::select! {
                () = self.shutdown.cancelled() => return, // the next agent goes on with it
                () = shim.stop_all(grace) => {}
            }
            let _ = shim.shutdown().await;
            break;
        }
        // First: what is left of it would be found through the other one.
        if let Err(error) = memory::remove(dir) {
            tracing::warn!(uid, error = &error as &dyn std::error::Error, "volumes in memory not removed");
            return;
        }
        if let Err(error) = tokio::fs::remove_dir_all(dir).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(uid, error = &error as &dyn std::error::Error, "pod directory not removed");
            return;
        }
        self.addresses.lock().release(uid);
    }
}

/// Runs the agent until `shutdown`. Pods go on running.
pub async fn run(config: AgentConfig, client: Client, shutdown: CancellationToken) -> Result<(), AgentError> {
    let pods_dir = config.data_dir.join("pods");
    let unusable = |source| AgentError::PodsDirectory { path: pods_dir.clone(), source };
    std::fs::create_dir_all(&pods_dir).map_err(unusable)?;
    let mut addresses = Addresses::new(config.block.pods());
    let found = recorded_pods(&pods_dir, &mut addresses).map_err(unusable)?;
    let node = OwnNode::new(client.clone(), &config);
    register(&node, &shutdown).await?;

    let background = CancellationToken::new();
    let events = Recorder::start_on_node(client.clone(), COMPONENT, config.node_name.clone(), background.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(node.keep(background.clone()));

    let objects = Arc::new(Objects::start(&client, &shutdown));
    #[allow(clippy::disallowed_methods, reason = "bounded by the pods of this node; see below")]
    let (sender, changes) = mpsc::unbounded_channel();
    let filter = watcher::Config::default().fields(&format!("spec.nodeName={}", config.node_name));
    // Unbounded because the informer must not block; its backlog is at most the pods of this node.
    let on_change = move |change: Change<Pod>| drop(sender.send(change));
    let pods = Informer::start(Api::all(client.clone()), filter, shutdown.clone(), on_change);
    let context = Arc::new(Context {
        config,
        client,
        objects: objects.clone(),
        events,
        addresses: Mutex::new(addresses),
        starts: Semaphore::new(CONCURRENT_STARTS),
        shutdown: shutdown.clone(),
    });
    let synced = async { tokio::join!(pods.synced(), objects.synced()) };
    tokio::select! {
        _ = synced => {}
        () = shutdown.cancelled() => {}
    }
    let known: Vec<String> = pods.list().iter().filter_map(|pod| pod.uid()).collect();
    let left: Vec<String> = found.into_iter().filter(|uid| !known.contains(uid)).collect();
    dispatch(context, changes, left).await;
    background.cancel();
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Retries until the API server answers: both are often started at the same time.
async fn register(node: &OwnNode, shutdown: &CancellationToken) -> Result<(), AgentError> {
    let mut pause = Duration::from_millis(10);
    loop {
        match node.register().await {
            Ok(()) => return Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 401 | 403 | 422) => {
                return Err(AgentError::Register(Box::new(kube::Error::Api(status))));
            }
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "node not registered yet"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(5)),
        }
    }
}

/// The UIDs of the pods that earlier agents have left, whose addresses are taken.
fn recorded_pods(pods_dir: &Path, addresses: &mut Addresses) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(pods_dir)? {
        let entry = entry?;
        let Ok(uid) = entry.file_name().into_string() else { continue };
        if let Some(record) = PodRecord::read(&entry.path())
            && !addresses.claim(record.pod_ip, &uid)
        {
            tracing::warn!(uid, ip = %record.pod_ip, pod = record.name, namespace = record.namespace, "pod address is not free");
        }
        found.push(uid);
    }
    Ok(found)
}

/// Keeps one worker per pod until shutdown, then waits for what each has under way.
async fn dispatch(context: Arc<Context>, mut changes: mpsc::UnboundedReceiver<Change<Pod>>, left: Vec<String>) {
    let mut workers: HashMap<String, watch::Sender<Option<Arc<Pod>>>> = HashMap::new();
    let mut tasks = JoinSet::new();
    for uid in left {
        let context = context.clone();
        tasks.spawn(async move {
            let dir = context.pods_dir().join(&uid);
            context.remove_pod(&uid, &dir, true).await;
            uid
        });
    }
    loop {
        let change = tokio::select! {
            () = context.shutdown.cancelled() => break,
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                match ended {
                    Ok(uid) => drop(workers.remove(&uid)),
                    Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a pod's removal panicked"),
                }
                continue;
            }
            change = changes.recv() => change,
        };
        let Some(change) = change else { break };
        // A pod that was deleted and created anew under its name between two events: the old one has gone.
        if let Change::Applied { old: Some(old), new } = &change
            && old.uid() != new.uid()
            && let Some(worker) = workers.get(&old.uid().unwrap_or_default())
        {
            worker.send_replace(None);
        }
        let uid = change.object().uid().unwrap_or_default();
        match change {
            Change::Deleted(_) => {
                if let Some(worker) = workers.get(&uid) {
                    worker.send_replace(None);
                }
            }
            Change::Applied { new, .. } => match workers.get(&uid).filter(|worker| !worker.is_closed()) {
                Some(worker) => drop(worker.send_replace(Some(new))),
                None => {
                    let (sender, receiver) = watch::channel(Some(new.clone()));
                    workers.insert(uid.clone(), sender);
                    let context = context.clone();
                    tasks.spawn(async move {
                        let start = || worker::run(context.clone(), new.clone(), receiver.clone());
                        supervise::supervise(&uid, &context.shutdown, start).await;
                        uid
                    });
                }
            },
        }
    }
    while tasks.join_next().await.is_some() {}
}
