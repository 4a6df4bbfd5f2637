//! What an owner of pods has asked for and not yet seen happen.
//!
//! The cache lags behind our own writes. A plan made before it catches up would create the same pods again, so none is
//! made until every creation has been seen and every deletion has shown. Kept by the owner's uid: a new one of the
//! same name expects nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// After this the expectation counts as wrong: a pod that came and went within a gap of the watch is never seen. Long
/// enough that a slow cache does not make us create twice; upstream waits for five minutes.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
pub(crate) struct Expectations {
    by_owner: Arc<Mutex<HashMap<String, Expected>>>,
}

struct Expected {
    creations: usize,
    deletions: HashSet<String>,
    since: Instant,
}

impl Expectations {
    /// How long to wait before planning for this owner although nothing may be seen; nothing when all has been seen.
    pub(crate) fn pending(&self, owner: &str) -> Option<Duration> {
        let mut by_owner = self.by_owner.lock();
        let expected = by_owner.get(owner)?;
        let left = GIVEN_UP_AFTER.saturating_sub(expected.since.elapsed());
        if left.is_zero() || (expected.creations == 0 && expected.deletions.is_empty()) {
            by_owner.remove(owner);
            return None;
        }
        Some(left)
    }

    /// Called before the requests are sent: their effects may be seen before their answers.
    pub(crate) fn expect(&self, owner: &str, creations: usize, deletions: HashSet<String>) {
        let expected = Expected { creations, deletions, since: Instant::now() };
        self.by_owner.lock().insert(owner.to_owned(), expected);
    }

    /// A pod was seen for the first time, or its creation failed or was not attempted.
    pub(crate) fn created(&self, owner: &str, count: usize) {
        if let Some(expected) = self.by_owner.lock().get_mut(owner) {
            expected.creations = expected.creations.saturating_sub(count);
        }
    }

    /// A pod was seen to be going or gone, or its deletion failed.
    pub(crate) fn deleted(&self, owner: &str, pod: &str) {
        if let Some(expected) = self.by_owner.lock().get_mut(owner) {
            expected.deletions.remove(pod);
        }
    }

    pub(crate) fn forget(&self, owner: &str) {
        self.by_owner.lock().remove(owner);
    }
}
