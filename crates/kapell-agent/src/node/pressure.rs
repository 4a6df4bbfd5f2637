//! When memory, disk or process numbers count as running out. Pure.
//!
//! The node says so in its conditions, for people and for alerts; nothing is evicted for it. Thresholds are below the
//! kubelet's where those are shares of the whole: 10 % of a developer's disk is no emergency.

use k8s_openapi::api::core::v1::NodeCondition;

/// The kubelet's own threshold for hard eviction.
const LEAST_MEMORY: u64 = 100 << 20;

/// The disk that holds the data directory has less left than this and than [`LEAST_DISK_SHARE`] of it.
const LEAST_DISK: u64 = 1 << 30;
const LEAST_DISK_SHARE: f64 = 0.05;

const LEAST_INODES_SHARE: f64 = 0.01;

/// Of the processes and threads that the kernel allows.
const MOST_TASKS_SHARE: f64 = 0.9;

/// What is left; `None` where the machine does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Readings {
    /// Bytes that can be had without swapping.
    pub(super) memory_available: Option<u64>,
    /// Bytes available and in all.
    pub(super) disk: Option<(u64, u64)>,
    pub(super) inodes: Option<(u64, u64)>,
    /// Processes and threads that exist, and that may.
    pub(super) tasks: Option<(u64, u64)>,
}

/// One condition for each kind of pressure that can be told.
pub(super) fn conditions(readings: &Readings) -> Vec<NodeCondition> {
    let share = |(part, whole): (u64, u64)| part as f64 / whole.max(1) as f64;
    let memory = readings.memory_available.map(|available| available < LEAST_MEMORY);
    let bytes = readings.disk.map(|disk| disk.0 < LEAST_DISK && share(disk) < LEAST_DISK_SHARE);
    let inodes = readings.inodes.map(|inodes| share(inodes) < LEAST_INODES_SHARE);
    let disk = bytes.map(|bytes| bytes || inodes == Some(true));
    let tasks = readings.tasks.map(|tasks| share(tasks) > MOST_TASKS_SHARE);
    let rows = [
        ("MemoryPressure", memory, "InsufficientMemory", "less than 100 MiB of memory are available", "Memory"),
        ("DiskPressure", disk, "DiskPressure", "the disk of the data directory is nearly full", "Disk"),
        ("PIDPressure", tasks, "InsufficientPID", "more than 90 % of all process numbers are in use", "PID"),
    ];
    let condition = |(type_, pressed, reason, message, what): (&str, Option<bool>, &str, &str, &str)| {
        let (status, reason, message) = match pressed? {
            true => ("True", format!("Agent{}", reason.replace("Insufficient", "HasInsufficient")), message.to_owned()),
            false => ("False", format!("AgentHasSufficient{what}"), format!("the node has enough: {what}")),
        };
        Some(NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason),
            message: Some(message),
            ..NodeCondition::default()
        })
    };
    rows.into_iter().filter_map(condition).collect()
}
