//! This machine as a Node, and the Lease that says it is alive.
//!
//! The status is written when it changes, and every five minutes at the latest. The agent watches its own Node: whoever
//! declares it dead, as the node lifecycle controller does after a silence, hears otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kapell_client::{Change, Informer};
use kapell_shim::cgroup::Hierarchies;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use status::Machine;

mod facts;
mod pressure;
mod status;

pub(crate) use facts::{cpus, memory_bytes};

use crate::AgentConfig;

/// As the kubelet: four missed ones make the node unreachable.
const HEARTBEAT: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Between two writes of the status. Should somebody insist that the node is dead, we do not outshout them.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Which cgroups enforce what, for people and for tests.
const CGROUP_ANNOTATION: &str = "kapell.dev/cgroups";

/// This agent's node.
pub(crate) struct OwnNode {
    client: Client,
    machine: Machine,
    data_dir: PathBuf,
}

impl OwnNode {
    pub(crate) fn new(client: Client, config: &AgentConfig) -> Self {
        let info = NodeSystemInfo {
            architecture: facts::architecture().to_owned(),
            operating_system: std::env::consts::OS.to_owned(),
            boot_id: kapell_shim::proc::boot_id(),
            machine_id: facts::line("/etc/machine-id"),
            kernel_version: facts::line("/proc/sys/kernel/osrelease"),
            os_image: facts::os_image(),
            kubelet_version: concat!("v1.33.0+kapell-", env!("CARGO_PKG_VERSION")).to_owned(),
            container_runtime_version: concat!("process://", env!("CARGO_PKG_VERSION")).to_owned(),
            ..NodeSystemInfo::default()
        };
        let machine = Machine {
            name: config.node_name.clone(),
            host_ip: config.host_ip.to_string(),
            cpus: cpus(),
            memory: memory_bytes(),
            cgroups: facts::describe(&Hierarchies::detect()),
            info,
        };
        Self { client, machine, data_dir: config.data_dir.clone() }
    }

    fn api(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// Creates or refreshes the Node. Labels and annotations that others have added stay.
    pub(crate) async fn register(&self) -> Result<(), kube::Error> {
        let (api, name) = (self.api(), self.machine.name.as_str());
        let labels = BTreeMap::from([
            ("kubernetes.io/hostname".to_owned(), name.to_owned()),
            ("kubernetes.io/os".to_owned(), self.machine.info.operating_system.clone()),
            ("kubernetes.io/arch".to_owned(), self.machine.info.architecture.clone()),
        ]);
        let annotations = BTreeMap::from([(CGROUP_ANNOTATION.to_owned(), self.machine.cgroups.clone())]);
        let old = match api.get_opt(name).await? {
            Some(node) => {
                let patch = serde_json::json!({ "metadata": { "labels": labels, "annotations": annotations } });
                api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
                node.status.unwrap_or_default()
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(name.to_owned()),
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                };
                api.create(&PostParams::default(), &Node { metadata, ..Node::default() }).await?;
                NodeStatus::default()
            }
        };
        self.publish(&self.status(&old, Timestamp::now())).await
    }

    fn status(&self, old: &NodeStatus, now: Timestamp) -> NodeStatus {
        status::compute(&self.machine, &facts::readings(&self.data_dir), old, now)
    }

    async fn publish(&self, status: &NodeStatus) -> Result<(), kube::Error> {
        let patch = serde_json::json!({ "status": status });
        self.api().patch_status(&self.machine.name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
    }

    /// Keeps the Node as it should be until shutdown. What fails is tried again at the next heartbeat.
    pub(crate) async fn keep(self, shutdown: CancellationToken) {
        let (sender, mut seen) = watch::channel(None);
        let own = watcher::Config::default().fields(&format!("metadata.name={}", self.machine.name));
        let informer = Informer::start(self.api(), own, shutdown.clone(), move |change: Change<Node>| {
            sender.send_replace(match change {
                Change::Applied { new, .. } => Some(new),
                Change::Deleted(_) => None,
            });
        });
        informer.synced().await;
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let beat = tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => true,
                changed = seen.changed() => if changed.is_err() { return } else { false },
            };
            let node = seen.borrow_and_update().clone();
            let result = match node {
                None => self.register().await.map(|()| true),
                Some(node) => self.refresh(node.status.as_ref(), beat).await,
            };
            match result {
                Ok(false) => {}
                Ok(true) => {
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(LEAST_PAUSE) => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(node = self.machine.name, error = &error as &dyn std::error::Error, "node not kept");
                }
            }
        }
    }

    /// Renews the Lease if it is time or the status is wrong, then corrects the status; true when that was written.
    async fn refresh(&self, old: Option<&NodeStatus>, beat: bool) -> Result<bool, kube::Error> {
        let (nothing, now) = (NodeStatus::default(), Timestamp::now());
        let old = old.unwrap_or(&nothing);
        let new = self.status(old, now);
        let due = status::is_due(old, &new, now);
        // The Lease first: it is what others judge us by.
        if beat || due {
            self.renew().await?;
        }
        if due {
            self.publish(&new).await?;
        }
        Ok(due)
    }

    async fn renew(&self) -> Result<(), kube::Error> {
        let name = self.machine.name.as_str();
        let api: Api<Lease> = Api::namespaced(self.client.clone(), LEASE_NAMESPACE);
        let spec = LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        let patch = serde_json::json!({ "spec": spec });
        match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
                api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await.map(drop)
            }
            other => other.map(drop),
        }
    }
}
