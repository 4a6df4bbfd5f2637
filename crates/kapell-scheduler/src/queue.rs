//! Pods that wait for a place: ready to be tried, backing off, or waiting for something to change.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use kapell_client::ObjectKey;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Between two attempts for one pod at least this passes; it doubles up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// Higher priority first, then first come, first served.
type Order = (Reverse<i32>, u64);

#[derive(Debug)]
enum Place {
    Ready(Order),
    BackingOff(Instant, u64),
    /// Taken out by [`SchedulingQueue::pop`]; the count of wakes at that moment.
    Trying(u64),
    /// Nothing that is known would let it fit.
    Unschedulable,
}

#[derive(Debug)]
struct Entry {
    priority: i32,
    /// Failures so far, and the time of the last.
    failures: u32,
    failed_at: Option<Instant>,
    place: Place,
}

#[derive(Debug, Default)]
pub(crate) struct SchedulingQueue {
    entries: HashMap<ObjectKey, Entry>,
    ready: BTreeMap<Order, ObjectKey>,
    backing_off: BTreeMap<(Instant, u64), ObjectKey>,
    tickets: u64,
    /// Changes that might let something fit.
    wakes: u64,
}

impl SchedulingQueue {
    /// A new pod, or one whose spec has changed: tried without delay.
    pub(crate) fn add(&mut self, key: ObjectKey, priority: i32) {
        self.remove(&key);
        let entry = Entry { priority, failures: 0, failed_at: None, place: Place::Unschedulable };
        self.entries.insert(key.clone(), entry);
        self.make_ready(&key);
    }

    pub(crate) fn remove(&mut self, key: &ObjectKey) {
        let Some(entry) = self.entries.remove(key) else { return };
        match entry.place {
            Place::Ready(order) => drop(self.ready.remove(&order)),
            Place::BackingOff(at, ticket) => drop(self.backing_off.remove(&(at, ticket))),
            Place::Trying(_) | Place::Unschedulable => {}
        }
    }

    /// The next pod to try.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<ObjectKey> {
        while let Some((&(at, ticket), _)) = self.backing_off.first_key_value() {
            if at > now {
                break;
            }
            if let Some(key) = self.backing_off.remove(&(at, ticket)) {
                self.make_ready(&key);
            }
        }
        let (_, key) = self.ready.pop_first()?;
        let wakes = self.wakes;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.place = Place::Trying(wakes);
        }
        Some(key)
    }

    /// When the next back-off ends.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.backing_off.first_key_value().map(|((at, _), _)| *at)
    }

    /// There is no node to try yet: like [`SchedulingQueue::unschedulable`], but the first node is tried at once.
    pub(crate) fn no_nodes(&mut self, key: &ObjectKey, now: Instant) {
        self.park(key, now);
    }

    /// The pod fits nowhere: it waits for a change, unless there was one during the attempt.
    pub(crate) fn unschedulable(&mut self, key: &ObjectKey, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.failures += 1;
            entry.failed_at = Some(now);
        }
        self.park(key, now);
    }

    fn park(&mut self, key: &ObjectKey, now: Instant) {
        let wakes = self.wakes;
        let Some(entry) = self.entries.get_mut(key) else { return };
        if matches!(entry.place, Place::Trying(at) if at == wakes) {
            entry.place = Place::Unschedulable;
        } else {
            self.back_off(key, now);
        }
    }

    /// The attempt failed for a reason that may pass by itself.
    pub(crate) fn retry(&mut self, key: &ObjectKey, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.failures += 1;
        entry.failed_at = Some(now);
        self.back_off(key, now);
    }

    /// Something has changed that might let a pod fit: all that wait for that are tried when their back-off has ended.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.wakes += 1;
        let waiting = self.entries.iter().filter(|(_, entry)| matches!(entry.place, Place::Unschedulable));
        let mut keys: Vec<_> = waiting.map(|(key, _)| key.clone()).collect();
        keys.sort();
        for key in keys {
            self.back_off(&key, now);
        }
    }

    fn back_off(&mut self, key: &ObjectKey, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let doubled = FIRST_BACKOFF.saturating_mul(1 << entry.failures.saturating_sub(1).min(10));
        let at = entry.failed_at.map_or(now, |failed| failed + doubled.min(LONGEST_BACKOFF));
        if at <= now {
            return self.make_ready(key);
        }
        self.tickets += 1;
        entry.place = Place::BackingOff(at, self.tickets);
        self.backing_off.insert((at, self.tickets), key.clone());
    }

    fn make_ready(&mut self, key: &ObjectKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        self.tickets += 1;
        let order = (Reverse(entry.priority), self.tickets);
        entry.place = Place::Ready(order);
        self.ready.insert(order, key.clone());
    }
}
