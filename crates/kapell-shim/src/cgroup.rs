//! Control groups, as far as the machine and our rights allow: limits, and killing a container as a whole.
//!
//! Nothing here fails a container. What cannot be had is left out, and [`Backend`] tells the agent, which tells the user.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::protocol::Limits;

mod detect;

/// Environment variable of server and shims; `off` leaves the machine's cgroups alone.
pub const SWITCH: &str = "KAPELL_CGROUPS";

/// Which cgroup hierarchies are usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// One v2 directory per container does everything.
    V2,
    /// v2 kills, v1 limits.
    Hybrid,
    /// v1 limits; killed by freezing, killing, thawing.
    V1,
    /// Process groups and resource limits of single processes only: a degraded mode.
    None,
}

/// The hierarchies in which this process may create groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// Our own directory in the v2 tree.
    v2: Option<PathBuf>,
    /// Controllers that our v2 directory hands down to its children.
    v2_controllers: Vec<String>,
    /// Our own directory in each v1 tree, by controller.
    v1: BTreeMap<String, PathBuf>,
}

/// The controllers that limits need, and v1's way to stop a group from forking while it is killed.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
const FREEZER: &str = "freezer";

impl Hierarchies {
    /// Looks at the machine, and creates our parent directories where that is allowed. Finds nothing when
    /// [`SWITCH`] says `off`: for machines whose cgroups belong to somebody else, and to see how it is without.
    pub fn detect() -> Self {
        if std::env::var_os(SWITCH).is_some_and(|value| value == "off") {
            return Self::default();
        }
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        detect::prepare(&detect::mounts(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")))
    }

    pub fn backend(&self) -> Backend {
        match (&self.v2, self.v1.is_empty()) {
            (Some(_), true) => Backend::V2,
            (Some(_), false) => Backend::Hybrid,
            (None, false) if self.v1.contains_key(FREEZER) => Backend::V1,
            _ => Backend::None,
        }
    }

    /// The limits among cpu, memory and pids that will be enforced.
    pub fn enforced(&self) -> Vec<&'static str> {
        let has = |name: &&str| self.v1.contains_key(*name) || self.v2_controllers.iter().any(|have| have == name);
        CONTROLLERS.into_iter().filter(has).collect()
    }

    /// Creates the group of one container start. Directories that cannot be created are left out.
    pub(crate) fn create(&self, name: &str, limits: &Limits) -> Group {
        let mut directories = Vec::new();
        let mut create = |parent: &Path| -> Option<PathBuf> {
            let directory = parent.join(name);
            // A left-over of a start whose shim died: empty by now, or it would have been taken over.
            let _ = fs::remove_dir(&directory);
            match fs::create_dir(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => None,
                _ => {
                    directories.push(directory.clone());
                    Some(directory)
                }
            }
        };
        if let Some(directory) = self.v2.as_deref().and_then(&mut create) {
            for (file, value) in v2_settings(limits) {
                let _ = fs::write(directory.join(file), value);
            }
        }
        for (controller, parent) in &self.v1 {
            if let Some(directory) = create(parent) {
                for (file, value) in v1_settings(controller, limits) {
                    let _ = fs::write(directory.join(file), value);
                }
            }
        }
        Group { directories }
    }
}

/// Files and values of a v2 group (kernel documentation, `admin-guide/cgroup-v2.rst`).
fn v2_settings(limits: &Limits) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    if let Some(milli) = limits.cpu_milli {
        settings.push(("cpu.max", format!("{} 100000", (milli * 100).max(1000))));
    }
    if let Some(milli) = limits.cpu_request_milli {
        settings.push(("cpu.weight", (milli * 100 / 1000).clamp(1, 10_000).to_string()));
    }
    if let Some(bytes) = limits.memory_bytes {
        settings.push(("memory.max", bytes.to_string()));
        settings.push(("memory.swap.max", "0".to_owned()));
        // Without its workers or its parent, half a container rarely does what the whole should.
        settings.push(("memory.oom.group", "1".to_owned()));
    }
    if let Some(pids) = limits.pids {
        settings.push(("pids.max", pids.to_string()));
    }
    settings
}

/// Files and values of a group below one v1 controller (`admin-guide/cgroup-v1/`).
fn v1_settings(controller: &str, limits: &Limits) -> Vec<(&'static str, String)> {
    match controller {
        "cpu" => {
            let quota = limits.cpu_milli.map(|milli| ("cpu.cfs_quota_us", (milli * 100).max(1000).to_string()));
            let shares =
                limits.cpu_request_milli.map(|m| ("cpu.shares", (m * 1024 / 1000).clamp(2, 262_144).to_string()));
            quota.into_iter().chain(shares).collect()
        }
        // The second counts memory and swap together and exists only where swap is accounted for. Order matters: it may
        // not be set below the first.
        "memory" => {
            let names = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"];
            let set = |bytes: u64| names.map(|name| (name, bytes.to_string()));
            limits.memory_bytes.map(set).into_iter().flatten().collect()
        }
        "pids" => limits.pids.map(|pids| ("pids.max", pids.to_string())).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The directories of one container; empty where there are no cgroups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    directories: Vec<PathBuf>,
}

impl Group {
    /// The group of a container that another shim started.
    pub(crate) fn adopt(directories: Vec<PathBuf>) -> Self {
        Self { directories }
    }

    pub(crate) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// The files to write `0` to in order to join.
    pub(crate) fn open_procs(&self) -> Vec<fs::File> {
        let open = |directory: &PathBuf| fs::OpenOptions::new().write(true).open(directory.join("cgroup.procs")).ok();
        self.directories.iter().filter_map(open).collect()
    }

    /// Its processes, as any of its directories lists them.
    pub(crate) fn members(&self) -> Vec<i32> {
        let mut members: Vec<i32> = self.directories.iter().flat_map(|directory| procs(directory)).collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// Kills every member, also ones that fork at this moment.
    pub(crate) fn kill(&self) {
        for directory in &self.directories {
            if fs::write(directory.join("cgroup.kill"), "1").is_ok() {
                return;
            }
        }
        if self.directories.is_empty() {
            return;
        }
        self.freeze(true);
        for pid in self.members() {
            crate::sys::kill(pid);
        }
        self.freeze(false);
    }

    fn freeze(&self, frozen: bool) {
        for directory in &self.directories {
            let _ = fs::write(directory.join("cgroup.freeze"), if frozen { "1" } else { "0" });
            let state = directory.join("freezer.state");
            if state.exists() {
                let _ = fs::write(state, if frozen { "FROZEN" } else { "THAWED" });
            }
        }
    }

    /// Whether the kernel has killed a member because the group was out of memory.
    pub(crate) fn was_oom_killed(&self) -> bool {
        self.directories.iter().any(|directory| {
            ["memory.events", "memory.oom_control"].iter().any(|file| {
                let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
                let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok());
                count.is_some_and(|count| count > 0)
            })
        })
    }

    /// Removes what is empty; keeps the rest for another try. True when nothing is left.
    pub(crate) fn remove(&mut self) -> bool {
        self.directories.retain(|directory| match fs::remove_dir(directory) {
            Ok(()) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        });
        self.directories.is_empty()
    }
}

fn procs(directory: &Path) -> Vec<i32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
