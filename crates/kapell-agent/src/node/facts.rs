//! What this machine says about itself.

use std::fs;
use std::path::Path;

use kapell_shim::cgroup::{Backend, Hierarchies};

use super::pressure::Readings;

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

/// What is left of the things that run out. `data_dir` stands for the disk.
pub(super) fn readings(data_dir: &Path) -> Readings {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let memory = memory.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let disk = rustix::fs::statvfs(data_dir).ok();
    let number = |path: &str| line(path).parse::<u64>().ok();
    let most_tasks = number("/proc/sys/kernel/pid_max").into_iter().chain(number("/proc/sys/kernel/threads-max")).min();
    // "0.20 0.18 0.12 1/80 11206": tasks that can run, and all tasks.
    let load = line("/proc/loadavg");
    let tasks = load.split(' ').nth(3).and_then(|tasks| tasks.split_once('/')?.1.parse().ok());
    Readings {
        memory_available: memory.map(|kib| kib * 1024),
        disk: disk.as_ref().map(|disk| (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)),
        // Some file systems make inodes as they need them and count none.
        inodes: disk.filter(|disk| disk.f_files > 0).map(|disk| (disk.f_favail, disk.f_files)),
        tasks: tasks.zip(most_tasks),
    }
}

/// The node's cgroups in a sentence for people.
pub(super) fn describe(hierarchies: &Hierarchies) -> String {
    let enforced = hierarchies.enforced();
    let limits = if enforced.is_empty() { "no limits".to_owned() } else { format!("limits: {}", enforced.join(", ")) };
    match hierarchies.backend() {
        Backend::V2 => format!("v2; {limits}"),
        Backend::Hybrid => format!("hybrid; {limits}"),
        Backend::V1 => format!("v1; {limits}"),
        Backend::None => "none; degraded: process groups and resource limits of single processes only".to_owned(),
    }
}

pub(super) fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

pub(super) fn os_image() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| std::env::consts::OS.to_owned(), |name| name.trim_matches('"').to_owned())
}

/// In the words of Go, which the label's readers expect.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
