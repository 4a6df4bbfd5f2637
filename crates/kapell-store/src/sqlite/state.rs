//! What is in memory: every live entry, and the ring of recent changes.
//!
//! The state answers all object reads; the disk is read once, at open, to rebuild it. The ring holds exactly the
//! changes after `floor`, without gaps, each with the state before it: so a watch is an index into the ring, and the
//! past is the present with the ring's tail undone. Only the writer changes the state, and only after the disk has.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{Change, Entry, Page, ReadError, Revision};

/// How much history is kept for watches that resume and for lists at an older revision.
///
/// A change is forgotten when it is older than `min_age` and not among the newest `min_changes`, and in any case
/// beyond `max_changes` or `max_bytes`.
#[derive(Clone, Debug)]
pub struct Retention {
    pub min_age: Duration,
    pub min_changes: usize,
    pub max_changes: usize,
    pub max_bytes: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            // The time etcd's users are used to: a client that pages through a long list, or that was cut off for a
            // moment, resumes well within it.
            min_age: Duration::from_secs(5 * 60),
            // A quiet server keeps its last thousand changes however old, so that a restart of everything else does
            // not make every client list again. At 2 kB an object that is 2 MB.
            min_changes: 1_000,
            // At the 2,000 changes/s of a very busy machine these are 16 s: long enough for a slow watcher, which
            // fetches thousands at once. Memory is what pays for more.
            max_changes: 32_768,
            max_bytes: 32 << 20,
        }
    }
}

pub(crate) struct State {
    entries: BTreeMap<Bytes, Arc<Entry>>,
    ring: VecDeque<Recent>,
    /// Sum of [`weight`] over the ring.
    ring_bytes: usize,
    /// The oldest revision that can be read; the ring starts right after it.
    floor: Revision,
    revision: Revision,
    retention: Retention,
    pub(crate) closed: bool,
}

struct Recent {
    change: Arc<Change>,
    at: Instant,
}

/// The memory that a change holds on to in the ring: mostly the state before it, which nothing else may need.
fn weight(change: &Change) -> usize {
    let previous = change.previous.as_ref().map_or(0, |entry| entry.value.len());
    // Three allocations with their counters, and the key.
    previous + change.key.len() + 256
}

impl State {
    pub(crate) fn new(retention: Retention) -> Self {
        Self {
            entries: BTreeMap::new(),
            ring: VecDeque::new(),
            ring_bytes: 0,
            floor: 0,
            revision: 0,
            retention,
            closed: false,
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Arc<Entry>> {
        self.entries.get(key)
    }

    /// Takes over a change of the compacted past, where revisions have gaps and nothing is remembered but the result.
    pub(crate) fn restore(&mut self, revision: Revision, key: Bytes, entry: Option<Arc<Entry>>) {
        debug_assert!(self.ring.is_empty() && revision > self.revision);
        self.put(key, entry);
        self.revision = revision;
        self.floor = revision;
    }

    /// The compacted past reaches to this revision, even where no row is left of it.
    pub(crate) fn restored_until(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
        self.floor = self.revision;
    }

    /// Takes over the next changes, which are on disk by now.
    pub(crate) fn publish(&mut self, changes: impl IntoIterator<Item = Arc<Change>>, now: Instant) {
        for change in changes {
            assert_eq!(change.revision, self.revision + 1, "a change was published out of order");
            self.revision = change.revision;
            self.put(change.key.clone(), change.entry.clone());
            self.ring_bytes += weight(&change);
            self.ring.push_back(Recent { change, at: now });
        }
        self.retain(now);
    }

    fn put(&mut self, key: Bytes, entry: Option<Arc<Entry>>) {
        match entry {
            Some(entry) => self.entries.insert(key, entry),
            None => self.entries.remove(&key),
        };
    }

    fn retain(&mut self, now: Instant) {
        let Retention { min_age, min_changes, max_changes, max_bytes } = self.retention;
        while let Some(oldest) = self.ring.front() {
            let over = self.ring.len() > max_changes || self.ring_bytes > max_bytes;
            let old = self.ring.len() > min_changes && now.saturating_duration_since(oldest.at) > min_age;
            if !over && !old {
                break;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.ring.pop_front() {
            self.ring_bytes -= weight(&oldest.change);
            self.floor = oldest.change.revision;
        }
    }

    /// Forgets history so that `before` (at most the present revision) is the oldest revision that can be read.
    pub(crate) fn forget_before(&mut self, before: Revision) {
        while self.floor < before && !self.ring.is_empty() {
            self.forget_oldest();
        }
    }

    pub(crate) fn readable(&self, requested: Revision) -> Result<(), ReadError> {
        if requested < self.floor {
            return Err(ReadError::Compacted { requested, oldest: self.floor });
        }
        if requested > self.revision {
            return Err(ReadError::Future { requested, latest: self.revision });
        }
        Ok(())
    }

    /// The changes with a revision greater than `after`, in order.
    pub(crate) fn changes_after(&self, after: Revision) -> Result<impl Iterator<Item = &Arc<Change>>, ReadError> {
        self.readable(after)?;
        let index = usize::try_from(after - self.floor).unwrap_or(usize::MAX).min(self.ring.len());
        Ok(self.ring.range(index..).map(|recent| &recent.change))
    }

    pub(crate) fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, ReadError> {
        let revision = at.unwrap_or(self.revision);
        let past = self.undone(prefix, after, revision)?;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let unchanged = self
            .entries
            .range::<[u8], _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| past.is_empty() || !past.contains_key(&key[..]))
            .map(|(_, entry)| entry);
        let undone = past.values().filter_map(|entry| *entry);
        let mut both = merged(unchanged, undone);
        let limit = if limit == 0 { usize::MAX } else { limit };
        let entries = both.by_ref().take(limit).cloned().collect();
        Ok(Page { revision, entries, remaining: both.count() })
    }

    /// For each key in question that has changed since `revision`: its state at that time.
    fn undone(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        revision: Revision,
    ) -> Result<BTreeMap<&[u8], Option<&Arc<Entry>>>, ReadError> {
        let mut past = BTreeMap::new();
        for change in self.changes_after(revision)? {
            if change.key.starts_with(prefix) && after.is_none_or(|after| change.key[..] > *after) {
                past.entry(&change.key[..]).or_insert(change.previous.as_ref());
            }
        }
        Ok(past)
    }
}

/// Merges two sequences that are ordered by key and have no key in common.
fn merged<'a>(
    left: impl Iterator<Item = &'a Arc<Entry>>,
    right: impl Iterator<Item = &'a Arc<Entry>>,
) -> impl Iterator<Item = &'a Arc<Entry>> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(l), Some(r)) if r.key < l.key => right.next(),
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    })
}

#[cfg(test)]
mod tests;
