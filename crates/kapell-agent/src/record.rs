//! `agent.json` in a pod's directory: what the agent must remember about the pod besides what its shim knows.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodRecord {
    version: u32,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) pod_ip: Ipv4Addr,
    /// For stopping a pod whose object is gone.
    pub(crate) grace_seconds: u64,
    /// `$PORT` of containers that declare none.
    #[serde(default)]
    pub(crate) ports: BTreeMap<String, u16>,
    /// Restarts in a row of containers that have been restarted, see [`crate::backoff`].
    #[serde(default)]
    pub(crate) restarts_in_row: BTreeMap<String, u32>,
    /// The pod's own, see [`crate::grounds`]; none in records of earlier versions.
    #[serde(default)]
    group: Option<u32>,
}

impl PodRecord {
    pub(crate) fn new(namespace: String, name: String, pod_ip: Ipv4Addr, grace_seconds: u64, group: u32) -> Self {
        Self {
            version: VERSION,
            namespace,
            name,
            pod_ip,
            grace_seconds,
            ports: BTreeMap::new(),
            restarts_in_row: BTreeMap::new(),
            group: Some(group),
        }
    }

    /// The pod's group. A record without one gets the one that is new.
    pub(crate) fn group(&mut self, pod: &Path, new: u32) -> io::Result<u32> {
        if let Some(group) = self.group {
            return Ok(group);
        }
        let with = Self { group: Some(new), ..self.clone() };
        with.write(pod)?;
        *self = with;
        Ok(new)
    }

    /// `None` when there is none, or none that can be read: then the directory is not a pod of ours any more.
    pub(crate) fn read(pod: &Path) -> Option<Self> {
        let record: Self = serde_json::from_slice(&fs::read(file(pod)).ok()?).ok()?;
        (record.version <= VERSION).then_some(record)
    }

    pub(crate) fn write(&self, pod: &Path) -> io::Result<()> {
        let new = file(pod).with_extension("json.new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, file(pod))
    }
}

fn file(pod: &Path) -> PathBuf {
    pod.join("agent.json")
}

#[cfg(test)]
mod tests;
