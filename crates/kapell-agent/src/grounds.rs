//! The way to a pod's directory, for containers that run as somebody else than the server.
//!
//! The data directory is closed to everybody but the server's user, and stays so. Each pod has a group of its own whose
//! number is drawn once and never again given to another, each server one whose number is the first address of its block. All
//! are [reserved](kapell_api::pod_groups): no container gets one by asking. A container that runs as another user belongs
//! to both. The server's group may pass the data directory, the pod's group the pod's directory; neither may list them.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use kapell_api::net::LoopbackBlock;
use kapell_api::pod_groups::RESERVED;
use kapell_shim::layout;
use kapell_shim::protocol::Identity;

use crate::memory;

/// May be passed, not listed: by all who have come that far, by a group.
const PASS: u32 = 0o711;
const GROUP_PASSES: u32 = 0o710;
const OWN: u32 = 0o755;

#[derive(Debug, thiserror::Error)]
pub(crate) enum GroundsError {
    #[error(
        "user {uid} cannot reach the pod's directory because {} is closed; let others pass it (chmod o+x), or start the server with \
         a data directory elsewhere, like /var/lib/kapell",
        .directory.display()
    )]
    Closed { uid: u32, directory: PathBuf },
    #[error("cannot open {} to the pod's user: {source}", .directory.display())]
    Io { directory: PathBuf, source: io::Error },
}

/// Where the groups of servers begin: 127.0.0.0.
const SERVERS: u32 = 0x7f00_0000;

/// The group of all pods of a server.
pub(crate) fn server_group(block: LoopbackBlock) -> u32 {
    Ipv4Addr::new(127, block.second_octet(), 0, 0).into()
}

/// A new pod's group, drawn with a random number: below those of servers, and nobody's but by a chance of one in a billion.
/// It is not the pod's address, which another pod has had before: what that one's group has left behind must open nothing.
pub(crate) fn pod_group(random: u32) -> u32 {
    let first = *RESERVED.start();
    first + random % (SERVERS - first)
}

/// A group that some server has been given.
fn is_ours(gid: u32) -> bool {
    Ipv4Addr::from(gid).is_loopback()
}

/// Lets a container that runs as another user reach what belongs to it; for one that does not there is nothing to do.
/// Happy to run twice.
pub(crate) fn open(
    data: &Path,
    pod: &Path,
    container: &str,
    (server_group, pod_group): (u32, u32),
    identity: &Identity,
) -> Result<(), GroundsError> {
    let Some(uid) = identity.uid else { return Ok(()) };
    for directory in data.ancestors().skip(1).filter(|directory| !directory.as_os_str().is_empty()) {
        if !passes(directory, identity).map_err(failed(directory))? {
            return Err(GroundsError::Closed { uid, directory: directory.to_owned() });
        }
    }
    if !admit(data, server_group).map_err(failed(data))? {
        return Err(GroundsError::Closed { uid, directory: data.to_owned() });
    }
    let memory = memory::directory(pod);
    let ours = [(&*data.join("pods"), server_group), (pod, pod_group), (&memory, pod_group)];
    for (directory, group) in ours.into_iter().filter(|(directory, _)| directory.is_dir()) {
        chown(directory, None, Some(group))
            .and_then(|()| set_mode(directory, GROUP_PASSES))
            .map_err(failed(directory))?;
    }
    let own = layout::container_dir(pod, container);
    for directory in [&pod.join("containers"), &own, &own.join("termination"), &pod.join("volumes")] {
        if directory.is_dir() {
            set_mode(directory, PASS).map_err(failed(directory))?;
        }
    }
    let work = layout::work_dir(pod, container);
    chown(&work, Some(uid), identity.gid).and_then(|()| set_mode(&work, OWN)).map_err(failed(&work))
}

fn failed(directory: &Path) -> impl FnOnce(io::Error) -> GroundsError {
    let directory = directory.to_owned();
    move |source| GroundsError::Io { directory, source }
}

fn set_mode(directory: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(mode))
}

/// Whether these may pass a directory that is not ours to change.
fn passes(directory: &Path, identity: &Identity) -> io::Result<bool> {
    let meta = fs::metadata(directory)?;
    let member = identity.gid == Some(meta.gid()) || identity.groups.iter().flatten().any(|gid| *gid == meta.gid());
    let bit = if identity.uid == Some(meta.uid()) {
        0o100
    } else if member {
        0o010
    } else {
        0o001
    };
    Ok(meta.mode() & bit != 0)
}

/// Lets the group pass the data directory, whose mode its owner may have chosen. False if another group has rights there.
fn admit(directory: &Path, group: u32) -> io::Result<bool> {
    let meta = fs::metadata(directory)?;
    let mode = meta.mode() & 0o7777;
    if mode & 0o001 != 0 || (meta.gid() == group && mode & 0o010 != 0) {
        return Ok(true);
    }
    if mode & 0o070 != 0 && meta.gid() != group && !is_ours(meta.gid()) {
        return Ok(false);
    }
    chown(directory, None, Some(group))?;
    set_mode(directory, (mode & !0o070) | 0o010)?;
    Ok(true)
}

#[cfg(test)]
mod tests;
