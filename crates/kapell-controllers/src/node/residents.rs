//! Which pods are on which node, kept as pods change: a heartbeat of one node must not cost a look at all pods of the cluster.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use kapell_client::Change;
use parking_lot::Mutex;

use crate::pod::KnownPod;

/// Shares the pods with the cache; one costs about a dozen bytes more.
#[derive(Clone, Default)]
pub(crate) struct Residents(Arc<Mutex<HashMap<Arc<str>, HashSet<Resident>>>>);

/// A pod, which its UID tells from others.
struct Resident(Arc<KnownPod>);

impl PartialEq for Resident {
    fn eq(&self, other: &Self) -> bool {
        self.0.id.uid == other.0.id.uid
    }
}

impl Eq for Resident {}

impl Hash for Resident {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.uid.hash(state);
    }
}

impl Residents {
    pub(crate) fn observe(&self, change: &Change<KnownPod>) {
        let mut nodes = self.0.lock();
        let (now, before) = match change {
            Change::Applied { old, new } => (Some(new), old.as_ref()),
            Change::Deleted(pod) => (None, Some(pod)),
        };
        if let Some(before) = before
            && now.is_none_or(|now| now.node != before.node || now.id.uid != before.id.uid)
            && let Some(node) = &before.node
            && let Some(residents) = nodes.get_mut(node)
        {
            residents.remove(&Resident(before.clone()));
            if residents.is_empty() {
                nodes.remove(node);
            }
        }
        if let Some(now) = now
            && let Some(node) = &now.node
        {
            nodes.entry(node.clone()).or_default().replace(Resident(now.clone()));
        }
    }

    /// The pods that are bound to the node, as they were last seen.
    pub(super) fn of(&self, node: &str) -> Vec<Arc<KnownPod>> {
        let nodes = self.0.lock();
        nodes.get(node).into_iter().flatten().map(|resident| resident.0.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
