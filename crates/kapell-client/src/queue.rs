//! Keys that wait for work: each once, some of them later. Knows nothing of what the keys name.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Delay of the first retry of a key; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(5);

/// No key waits longer than this for its next retry, or a recovered dependency would go unnoticed for minutes.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// A work queue as in client-go: a key that is added ten times while it waits is handed out once, and a key that is
/// added while it is being worked on is handed out again afterwards, never to two workers at a time.
pub struct Queue<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    ready: Ready<T>,
    /// Keys in `ready`, or to be put there when their worker is done.
    waiting: HashSet<T>,
    working: HashSet<T>,
    /// When `due` says otherwise for the entry's key, the entry has been overtaken by an earlier one.
    delayed: BinaryHeap<Delayed<T>>,
    /// The one time at which each delayed key comes back.
    due: HashMap<T, Instant>,
    failures: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash> Queue<T> {
    pub fn new() -> Self {
        Self::with_lanes(None)
    }

    /// Keys of different lanes take turns, so that ten thousand keys of one do not keep the single one of another waiting.
    pub fn in_turns(lane: fn(&T) -> &str) -> Self {
        Self::with_lanes(Some(lane))
    }

    fn with_lanes(lane: Option<fn(&T) -> &str>) -> Self {
        let state = State {
            ready: Ready { lane, lanes: HashMap::new(), order: VecDeque::new(), plain: VecDeque::new() },
            waiting: HashSet::new(),
            working: HashSet::new(),
            delayed: BinaryHeap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() }) }
    }

    pub fn add(&self, key: T) {
        self.shared.state.lock().add(key);
        self.shared.changed.notify_one();
    }

    /// Adds the key once `delay` has passed. Of several delays for one key only the earliest end counts, so a
    /// reconcile that asks for a later look each time it runs does not pile them up.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        // A time that the clock cannot tell does not come.
        let Some(at) = Instant::now().checked_add(delay) else { return };
        let mut state = self.shared.state.lock();
        if state.due.get(&key).is_some_and(|earlier| *earlier <= at) {
            return;
        }
        state.due.insert(key.clone(), at);
        // Whoever watches over the earliest delay need not hear of a later one.
        let earliest = state.delayed.peek().is_none_or(|first| at < first.at);
        state.delayed.push(Delayed { at, key });
        drop(state);
        if earliest {
            self.shared.changed.notify_one();
        }
    }

    /// Adds the key after a delay that grows with its failures in a row.
    pub fn retry(&self, key: T) {
        let failures = {
            let mut state = self.shared.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            *failures += 1;
            *failures
        };
        let delay = FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_RETRY);
        self.add_after(key, delay);
    }

    /// Ends the key's row of failures.
    pub fn forget(&self, key: &T) {
        self.shared.state.lock().failures.remove(key);
    }

    /// Waits for the next key. The caller owes a [`Queue::done`] for it.
    pub async fn next(&self) -> T {
        loop {
            let changed = self.shared.changed.notified();
            let wake_at = {
                let mut state = self.shared.state.lock();
                state.release_due(Instant::now());
                if let Some(key) = state.ready.pop() {
                    state.waiting.remove(&key);
                    state.working.insert(key.clone());
                    // Another worker takes the next key, or the watch over the next delay that this one kept.
                    if !state.ready.is_empty() || !state.delayed.is_empty() {
                        self.shared.changed.notify_one();
                    }
                    return key;
                }
                state.delayed.peek().map(|delayed| delayed.at)
            };
            match wake_at {
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    pub fn done(&self, key: &T) {
        let mut state = self.shared.state.lock();
        state.working.remove(key);
        if state.waiting.contains(key) {
            state.ready.push(key.clone());
            drop(state);
            self.shared.changed.notify_one();
        }
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, key: T) {
        if self.waiting.insert(key.clone()) && !self.working.contains(&key) {
            self.ready.push(key);
        }
    }

    fn release_due(&mut self, now: Instant) {
        while self.delayed.peek().is_some_and(|delayed| delayed.at <= now) {
            let Some(Delayed { at, key }) = self.delayed.pop() else { return };
            if self.due.get(&key) == Some(&at) {
                self.due.remove(&key);
                self.add(key);
            }
        }
    }
}

/// Keys to be handed out.
struct Ready<T> {
    lane: Option<fn(&T) -> &str>,
    /// Without lanes.
    plain: VecDeque<T>,
    /// Only lanes in which a key waits.
    lanes: HashMap<String, VecDeque<T>>,
    /// Each of them once, the one whose turn it is first.
    order: VecDeque<String>,
}

impl<T> Ready<T> {
    fn push(&mut self, key: T) {
        let Some(lane) = self.lane.map(|lane| lane(&key)) else { return self.plain.push_back(key) };
        match self.lanes.get_mut(lane) {
            Some(keys) => keys.push_back(key),
            None => {
                let lane = lane.to_owned();
                self.order.push_back(lane.clone());
                self.lanes.insert(lane, VecDeque::from([key]));
            }
        }
    }

    fn pop(&mut self) -> Option<T> {
        if self.lane.is_none() {
            return self.plain.pop_front();
        }
        let lane = self.order.pop_front()?;
        let keys = self.lanes.get_mut(&lane)?;
        let key = keys.pop_front();
        if keys.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.order.push_back(lane);
        }
        key
    }

    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.order.is_empty()
    }
}

/// Ordered by time alone, the earliest greatest, as `BinaryHeap` hands out the greatest first.
struct Delayed<T> {
    at: Instant,
    key: T,
}

impl<T> PartialEq for Delayed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<T> Eq for Delayed<T> {}

impl<T> PartialOrd for Delayed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Delayed<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

#[cfg(test)]
mod tests;
