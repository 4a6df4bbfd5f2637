//! Becoming whom a container is to run as, in the child of a fork.
//!
//! Everything here is a plain system call on values that were prepared before the fork; nothing allocates. A step that
//! fails ends the child before it executes anything.

use std::io;

use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::protocol::Identity;

/// Capabilities are numbered from 0; the kernel says where they end.
const MOST_CAPABILITIES: u32 = 64;

/// An identity with its groups as the kernel takes them.
pub(crate) struct Prepared {
    identity: Identity,
    groups: Option<Vec<Gid>>,
}

impl Prepared {
    pub(crate) fn new(identity: &Identity) -> Self {
        let groups = identity.groups.as_ref().map(|groups| groups.iter().map(|gid| Gid::from_raw(*gid)).collect());
        Self { identity: identity.clone(), groups }
    }

    /// Groups first, as long as we may; then what may remain of capabilities, which needs one itself; then the user.
    pub(crate) fn assume(&self) -> io::Result<()> {
        if let Some(groups) = &self.groups {
            set_thread_groups(groups)?;
        }
        if let Some(gid) = self.identity.gid.map(Gid::from_raw) {
            set_thread_res_gid(gid, gid, gid)?;
        }
        if let Some(kept) = self.identity.capabilities {
            self.bound(kept)?;
        }
        if let Some(uid) = self.identity.uid.map(Uid::from_raw) {
            set_thread_res_uid(uid, uid, uid)?;
        }
        let kept = if geteuid().is_root() { self.identity.capabilities } else { self.identity.uid.map(|_| 0) };
        if let Some(kept) = kept.or(self.identity.capabilities) {
            keep(kept)?;
        }
        if self.identity.no_new_privileges {
            set_no_new_privs(true)?;
        }
        Ok(())
    }

    /// No program that is executed later gets more than these. Who may not set this bound must forbid new privileges
    /// altogether, which bounds as well.
    fn bound(&self, kept: u64) -> io::Result<()> {
        for number in 0..MOST_CAPABILITIES {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            let present = match capability_is_in_bounding_set(capability) {
                Ok(present) => present,
                Err(Errno::INVAL) => return Ok(()), // the kernel has no more of them
                Err(errno) => return Err(errno.into()),
            };
            if !present || kept & (1 << number) != 0 {
                continue;
            }
            match remove_capability_from_bounding_set(capability) {
                Err(Errno::PERM) if self.identity.no_new_privileges => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// Of the capabilities that the process has now.
fn keep(kept: u64) -> io::Result<()> {
    let kept = CapabilitySet::from_bits_retain(kept);
    let now = capabilities(None)?;
    let sets = CapabilitySets {
        effective: now.effective & kept,
        permitted: now.permitted & kept,
        inheritable: now.inheritable & kept,
    };
    if kept.is_empty() {
        clear_ambient_capability_set()?;
    }
    Ok(set_capabilities(None, sets)?)
}
