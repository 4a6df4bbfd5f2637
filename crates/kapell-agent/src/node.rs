//! This machine as a Node, and the Lease that says it is alive.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kapell_shim::cgroup::{Backend, Hierarchies};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

/// As the kubelet: four missed ones make the node unreachable.
const HEARTBEAT: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// A process pod costs about a megabyte; this keeps a runaway controller from filling the process table.
const MOST_PODS: u32 = 1000;

/// Which cgroups enforce what, for people and for tests.
const CGROUP_ANNOTATION: &str = "kapell.dev/cgroups";

/// Processors that this process may use.
pub(crate) fn cpus() -> i64 {
    std::thread::available_parallelism().map_or(1, |count| i64::try_from(count.get()).unwrap_or(1))
}

/// Main memory in bytes; 0 when the system does not say.
pub(crate) fn memory_bytes() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()).unwrap_or(0) * 1024
}

/// Creates or refreshes the Node. Labels and annotations that others have added stay.
pub(crate) async fn register(client: &Client, name: &str, host_ip: &str) -> Result<(), kube::Error> {
    let api: Api<Node> = Api::all(client.clone());
    let (architecture, os) = (architecture(), std::env::consts::OS);
    let labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), name.to_owned()),
        ("kubernetes.io/os".to_owned(), os.to_owned()),
        ("kubernetes.io/arch".to_owned(), architecture.to_owned()),
    ]);
    let cgroups = describe(&Hierarchies::detect());
    let annotations = BTreeMap::from([(CGROUP_ANNOTATION.to_owned(), cgroups.clone())]);
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels.clone()),
        annotations: Some(annotations.clone()),
        ..ObjectMeta::default()
    };
    let old = match api.get_opt(name).await? {
        Some(node) => {
            let patch = serde_json::json!({ "metadata": { "labels": labels, "annotations": annotations } });
            api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
            node.status.unwrap_or_default()
        }
        None => {
            api.create(&PostParams::default(), &Node { metadata, ..Node::default() }).await?;
            NodeStatus::default()
        }
    };
    let status = status(name, host_ip, architecture, os, &cgroups, &old, Timestamp::now());
    let patch = serde_json::json!({ "status": status });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

fn describe(hierarchies: &Hierarchies) -> String {
    let enforced = hierarchies.enforced();
    let limits = if enforced.is_empty() { "no limits".to_owned() } else { format!("limits: {}", enforced.join(", ")) };
    match hierarchies.backend() {
        Backend::V2 => format!("v2; {limits}"),
        Backend::Hybrid => format!("hybrid; {limits}"),
        Backend::V1 => format!("v1; {limits}"),
        Backend::None => "none; degraded: process groups and resource limits of single processes only".to_owned(),
    }
}

fn status(
    name: &str,
    host_ip: &str,
    architecture: &str,
    os: &str,
    cgroups: &str,
    old: &NodeStatus,
    now: Timestamp,
) -> NodeStatus {
    let capacity = BTreeMap::from([
        ("cpu".to_owned(), Quantity(cpus().to_string())),
        ("memory".to_owned(), Quantity(format!("{}Ki", memory_bytes() / 1024))),
        ("pods".to_owned(), Quantity(MOST_PODS.to_string())),
    ]);
    let address = |type_: &str, address: &str| NodeAddress { type_: type_.to_owned(), address: address.to_owned() };
    NodeStatus {
        capacity: Some(capacity.clone()),
        allocatable: Some(capacity),
        addresses: Some(vec![address("InternalIP", host_ip), address("Hostname", name)]),
        conditions: Some(conditions(cgroups, old.conditions.as_deref().unwrap_or_default(), now)),
        node_info: Some(NodeSystemInfo {
            architecture: architecture.to_owned(),
            operating_system: os.to_owned(),
            boot_id: kapell_shim::proc::boot_id(),
            machine_id: line("/etc/machine-id"),
            kernel_version: line("/proc/sys/kernel/osrelease"),
            os_image: os_image(),
            kubelet_version: concat!("v1.33.0+kapell-", env!("CARGO_PKG_VERSION")).to_owned(),
            container_runtime_version: concat!("process://", env!("CARGO_PKG_VERSION")).to_owned(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

fn conditions(cgroups: &str, old: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let condition = |type_: &str, status: &str, reason: &str, message: &str| {
        let before = old.iter().find(|old| old.type_ == type_ && old.status == status);
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: before.and_then(|before| before.last_transition_time.clone()).or(Some(Time(now))),
        }
    };
    vec![
        condition("MemoryPressure", "False", "AgentHasSufficientMemory", "the agent has enough memory"),
        condition("DiskPressure", "False", "AgentHasNoDiskPressure", "the agent has no disk pressure"),
        condition("PIDPressure", "False", "AgentHasSufficientPID", "the agent has enough process numbers"),
        condition("Ready", "True", "AgentReady", &format!("the agent runs process pods; cgroups: {cgroups}")),
    ]
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn os_image() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| std::env::consts::OS.to_owned(), |name| name.trim_matches('"').to_owned())
}

/// In the words of Go, which the label's readers expect.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Renews the Lease until shutdown. A renewal that fails is the next one's business.
pub(crate) async fn heartbeat(client: Client, name: String, shutdown: CancellationToken) {
    let api: Api<Lease> = Api::namespaced(client, LEASE_NAMESPACE);
    let mut ticks = tokio::time::interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = renew(&api, &name).await {
            tracing::warn!(node = name, error = &error as &dyn std::error::Error, "heartbeat failed");
        }
    }
}

async fn renew(api: &Api<Lease>, name: &str) -> Result<(), kube::Error> {
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
