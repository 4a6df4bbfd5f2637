//! What `/proc` tells about processes: identity beyond reuse of numbers, and who belongs to whom.

use std::fs;

use serde::{Deserialize, Serialize};

/// A process that cannot be mistaken for a later one with the same number (within one boot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessId {
    pub pid: i32,
    /// Clock ticks since boot, field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

impl ProcessId {
    /// The process that has this number now.
    pub fn of(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| Self { pid, start_time: stat.start_time })
    }

    pub fn own() -> Option<Self> {
        i32::try_from(std::process::id()).ok().and_then(Self::of)
    }

    /// Whether it still exists and is more than a zombie.
    pub fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start_time == self.start_time && !stat.is_dead())
    }
}

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub pid: i32,
    pub state: char,
    pub ppid: i32,
    pub pgrp: i32,
    pub session: i32,
    pub start_time: u64,
}

impl Stat {
    pub fn is_dead(self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

pub fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    let pid = text.split(' ').next()?.parse().ok()?;
    // The name stands in parentheses and may itself contain parentheses and blanks: the last one ends it.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let ppid = fields.next()?.parse().ok()?;
    let pgrp = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(Stat { pid, state, ppid, pgrp, session, start_time })
}

/// All processes that can be seen.
pub fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Identifies this run of the kernel.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Whether the process was started with `variable` (`NAME=value`) in its environment. False when it may not be read.
pub(crate) fn has_variable(pid: i32, variable: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes()))
}

/// Living processes that belong to the container whose first process is (or was) `main`: its session and process group,
/// their descendants, and processes that have left both but still carry the container's variable.
///
/// `shim` is our own process number. What has lost every sign of its origin still becomes our child when its parent dies;
/// if this container is the `only` one that runs, it must be its.
pub(crate) fn members(main: ProcessId, all: &[Stat], shim: i32, only: bool, marked: impl Fn(i32) -> bool) -> Vec<i32> {
    let candidate = |stat: &&Stat| stat.pid != shim && !stat.is_dead() && stat.start_time >= main.start_time;
    let (mut members, mut others): (Vec<i32>, Vec<Stat>) = (Vec::new(), Vec::new());
    for stat in all.iter().filter(candidate) {
        let in_group = stat.pid == main.pid || stat.session == main.pid || stat.pgrp == main.pid;
        let orphan = only && stat.ppid == shim;
        if in_group || orphan || marked(stat.pid) { members.push(stat.pid) } else { others.push(*stat) }
    }
    loop {
        let (children, rest): (Vec<Stat>, Vec<Stat>) = others.iter().partition(|stat| members.contains(&stat.ppid));
        if children.is_empty() {
            return members;
        }
        members.extend(children.iter().map(|stat| stat.pid));
        others = rest;
    }
}

#[cfg(test)]
mod tests;
