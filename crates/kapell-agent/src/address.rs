//! One address per pod, from the upper half of the server's loopback block.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Which pod (by UID) has which address.
#[derive(Debug)]
pub(crate) struct Addresses {
    first: u32,
    last: u32,
    /// Where the search for a free one begins: an address that was just released is not given away again at once, so
    /// that a client with an old endpoint does not reach a stranger.
    next: u32,
    taken: BTreeMap<u32, String>,
}

impl Addresses {
    pub(crate) fn new((first, last): (Ipv4Addr, Ipv4Addr)) -> Self {
        Self { first: first.into(), last: last.into(), next: first.into(), taken: BTreeMap::new() }
    }

    /// Marks the address of a pod that was found on disk. False if another has it, or it is not ours to give.
    pub(crate) fn claim(&mut self, address: Ipv4Addr, uid: &str) -> bool {
        let address = u32::from(address);
        if !(self.first..=self.last).contains(&address) {
            return false;
        }
        self.next = self.next.max(address.saturating_add(1));
        self.taken.entry(address).or_insert_with(|| uid.to_owned()) == uid
    }

    /// The pod's address: the one that it has, or a free one. `None` when all are taken.
    pub(crate) fn allocate(&mut self, uid: &str) -> Option<Ipv4Addr> {
        if let Some((address, _)) = self.taken.iter().find(|(_, owner)| *owner == uid) {
            return Some((*address).into());
        }
        let start = if (self.first..=self.last).contains(&self.next) { self.next } else { self.first };
        let address = (start..=self.last).chain(self.first..start).find(|address| !self.taken.contains_key(address))?;
        self.next = address.saturating_add(1);
        self.taken.insert(address, uid.to_owned());
        Some(address.into())
    }

    pub(crate) fn release(&mut self, uid: &str) {
        self.taken.retain(|_, owner| owner != uid);
    }
}

#[cfg(test)]
mod tests;
