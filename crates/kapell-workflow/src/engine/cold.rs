//! Runs that only sleep are not kept in memory: of each there is its stream's name and an alarm. Their journals say until when
//! they sleep, so that a restart need not replay them.
//!
//! A run that still sleeps [`FAR`] ahead when it has said what it waits for is dropped. It is read from its journal again
//! when it is one of the next to be due, or when someone wants something of it.
//!
//! However many are due at once, a partition has a bounded number of [`Places`] for runs that have been read and whose next step is
//! not on disk yet. Those that someone wants something of go first, the others in the order in which they are due.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kapell_store::StreamId;
use tokio::sync::mpsc;

use super::partition::Command;
use crate::core::Event;
use crate::core::record::Time;

/// A run that is due sooner stays in memory. Dropping and reading it takes about as much as two steps of it.
pub(super) const FAR: Time = 30_000;

/// How long before it is due a run asks for a place. What comes due together is spread over this time, as far as there are
/// places.
const LEAD: Time = 10_000;

/// Places that are free again before a partition that waits for one hears of it: as many are read together.
const TOGETHER: usize = 64;

/// When the alarm rings for a run that sleeps until `until`.
pub(super) fn warm_at(until: Time) -> Time {
    until.saturating_sub(LEAD)
}

/// The sleeping runs of a partition.
pub(super) struct Cold {
    asleep: HashSet<StreamId>,
    /// Those that are to be in memory, or are being read, with what has happened meanwhile.
    waking: HashMap<StreamId, Waking>,
    /// Waiting for a place because someone wants something of them.
    wanted: VecDeque<StreamId>,
    /// Waiting for a place because they are due soon, in that order.
    due: VecDeque<StreamId>,
    places: Arc<Places>,
}

#[derive(Default)]
struct Waking {
    events: Vec<Event>,
    /// Someone wants something of it.
    is_wanted: bool,
    is_read: bool,
}

impl Cold {
    pub(super) fn new(places: Arc<Places>) -> Self {
        Self { asleep: HashSet::new(), waking: HashMap::new(), wanted: VecDeque::new(), due: VecDeque::new(), places }
    }

    pub(super) fn insert(&mut self, stream: StreamId) {
        self.asleep.insert(stream);
    }

    /// The run is to be in memory, for this event or because it is due soon. Nothing happens to one that is there.
    pub(super) fn wake(&mut self, stream: StreamId, event: Option<Event>) {
        if self.asleep.remove(&stream) {
            self.waking.insert(stream, Waking::default());
            if event.is_none() {
                self.due.push_back(stream);
            }
            shrink(&mut self.asleep);
        }
        let Some(waking) = self.waking.get_mut(&stream) else { return };
        let Some(event) = event else { return };
        waking.events.push(event);
        if !waking.is_read && !waking.is_wanted {
            waking.is_wanted = true;
            self.wanted.push_back(stream);
        }
    }

    /// The next run to be read, if there is a place for it. Otherwise [`Command::Room`] says when to ask again.
    pub(super) fn next(&mut self) -> Option<(StreamId, Place)> {
        loop {
            let stream = *self.wanted.front().or_else(|| self.due.front())?;
            // It may have been taken from the other queue, or be gone.
            let waits = self.waking.get(&stream).is_some_and(|waking| !waking.is_read);
            let place = if waits { Some(self.places.take()?) } else { None };
            let _ = self.wanted.pop_front().or_else(|| self.due.pop_front());
            if let Some(place) = place
                && let Some(waking) = self.waking.get_mut(&stream)
            {
                waking.is_read = true;
                return Some((stream, place));
            }
        }
    }

    /// The run has been read; what has happened meanwhile. `None`: it was not asleep.
    pub(super) fn woken(&mut self, stream: StreamId) -> Option<Vec<Event>> {
        self.asleep.remove(&stream);
        self.waking.remove(&stream).map(|waking| waking.events)
    }

    /// Whether it was one of these.
    pub(super) fn forget(&mut self, stream: StreamId) -> bool {
        self.asleep.remove(&stream) | self.waking.remove(&stream).is_some()
    }
}

/// Gives memory back after a great many have gone.
fn shrink<T: Eq + Hash>(set: &mut HashSet<T>) {
    if set.capacity() > 4_096 && set.len() < set.capacity() / 8 {
        set.shrink_to(set.len() * 2);
    }
}

/// How many runs of a partition may be read ahead.
pub(super) struct Places {
    all: usize,
    free: AtomicUsize,
    /// The partition waits for one.
    awaited: AtomicBool,
    partition: mpsc::UnboundedSender<Command>,
}

/// A run that was read has one until its next step is on disk, or until it leaves memory.
pub(super) struct Place(Arc<Places>);

impl Places {
    /// For the owner of this channel.
    pub(super) fn new(all: usize, partition: mpsc::UnboundedSender<Command>) -> Arc<Self> {
        let all = all.max(1);
        Arc::new(Self { all, free: AtomicUsize::new(all), awaited: AtomicBool::new(false), partition })
    }

    fn take(self: &Arc<Self>) -> Option<Place> {
        let take = || self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(1)).is_ok();
        if !take() {
            self.awaited.store(true, Ordering::SeqCst);
            // One that was given back before that has not told anybody.
            if !take() {
                return None;
            }
        }
        Some(Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let places = &self.0;
        let free = places.free.fetch_add(1, Ordering::SeqCst) + 1;
        if free >= TOGETHER.min(places.all) && places.awaited.swap(false, Ordering::SeqCst) {
            // A partition that is gone wants none.
            let _ = places.partition.send(Command::Room);
        }
    }
}

#[cfg(test)]
mod tests;
