//! Who waits for changes of which keys. A commit wakes those whose prefix it concerns, and nobody else: a server has dozens of watches,
//! and most commits concern one or two of them.
//!
//! A watch that nothing concerned for long stands where it last looked, however far the ring has moved on. That is no
//! harm: each slot knows the first change that its watch has not taken, and without one there is nothing to miss.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{Change, Revision};

/// One watch.
pub(crate) struct Slot {
    prefix: Bytes,
    /// The first change that concerns the watch and that it has not taken.
    first: Mutex<Option<Revision>>,
    pub(crate) news: Notify,
}

impl Slot {
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// What [`Slot::note`] was told of since the last time.
    pub(crate) fn take(&self) -> Option<Revision> {
        self.first.lock().take()
    }

    pub(crate) fn note(&self, revision: Revision) {
        let mut first = self.first.lock();
        *first = Some(first.map_or(revision, |first| first.min(revision)));
    }
}

/// Those who are to be woken for a commit. They are when this is dropped.
///
/// It goes along with the answer to whoever wrote, who drops it: waking a thousand watches costs a task of the runtime
/// much less than it costs the writer's thread, which stands outside, and the next batch need not wait for it. Should
/// nobody wait for the answer any more, the answer itself is dropped.
#[derive(Default)]
pub(crate) struct Wake(Vec<Arc<Slot>>);

impl Drop for Wake {
    fn drop(&mut self) {
        self.0.iter().for_each(|slot| slot.news.notify_one());
    }
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wake({})", self.0.len())
    }
}

#[derive(Default)]
pub(crate) struct Watchers {
    slots: Mutex<HashMap<u64, Arc<Slot>>>,
    names: AtomicU64,
    /// Every change up to here has been noted in the slots that it concerns.
    announced: AtomicU64,
}

impl Watchers {
    pub(crate) fn new(revision: Revision) -> Self {
        Self { announced: AtomicU64::new(revision), ..Self::default() }
    }

    /// A watch that has seen everything up to `after`, and has to look for itself what came since.
    pub(crate) fn add(&self, prefix: &[u8], after: Revision) -> (u64, Arc<Slot>) {
        let first = Mutex::new(Some(after + 1));
        let slot = Arc::new(Slot { prefix: Bytes::copy_from_slice(prefix), first, news: Notify::new() });
        let name = self.names.fetch_add(1, Ordering::Relaxed);
        self.slots.lock().insert(name, slot.clone());
        (name, slot)
    }

    pub(crate) fn remove(&self, name: u64) {
        self.slots.lock().remove(&name);
    }

    /// These changes have been published to readers. Whoever looks from now on sees them; the others are to be woken.
    pub(crate) fn announce(&self, changes: &[Arc<Change>]) -> Wake {
        let Some(last) = changes.last() else { return Wake::default() };
        let mut concerned = Vec::new();
        for slot in self.slots.lock().values() {
            if let Some(change) = changes.iter().find(|change| change.key.starts_with(&slot.prefix)) {
                slot.note(change.revision);
                concerned.push(slot.clone());
            }
        }
        self.announced.store(last.revision, Ordering::Release);
        Wake(concerned)
    }

    /// Something happened that concerns every watch: compaction, or the end.
    pub(crate) fn wake_all(&self) {
        self.slots.lock().values().for_each(|slot| slot.news.notify_one());
    }

    /// How far a watch has come that stands at `at`.
    pub(crate) fn position(&self, slot: &Slot, at: Revision) -> Revision {
        // In this order: what is announced later may be noted meanwhile, but not the other way round.
        let announced = self.announced.load(Ordering::Acquire);
        if slot.first.lock().is_none() { at.max(announced) } else { at }
    }
}
