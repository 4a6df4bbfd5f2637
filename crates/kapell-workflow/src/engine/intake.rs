//! How many runs have been accepted and have not ended, by namespace, and whether one more is. Beyond a bound new runs are
//! refused; what was accepted is carried out. No namespace can fill all of it, so that a flood in one leaves room for
//! the others. Runs that sleep outside of memory do not count.

use std::collections::HashMap;
use std::sync::Arc;

use kapell_store::StreamId;
use parking_lot::Mutex;

/// Of each bound this part is for namespaces that have few: one may have at most the rest.
const RESERVED: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// Accepted, and has not begun.
    Waiting,
    /// Has begun.
    Awake,
    Asleep,
}

/// Why no run is accepted now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("{waiting} runs wait to begin, which is as many as {whose} may have; try again later")]
    Waiting { waiting: usize, whose: String },
    #[error("{awake} runs have begun and not ended, which is as many as {whose} may have; try again later")]
    Awake { awake: usize, whose: String },
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    waiting: usize,
    awake: usize,
}

impl Counts {
    fn of(&mut self, stand: Stand) -> Option<&mut usize> {
        match stand {
            Stand::Waiting => Some(&mut self.waiting),
            Stand::Awake => Some(&mut self.awake),
            Stand::Asleep => None,
        }
    }
}

pub(super) struct Intake {
    most: Counts,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Every run that has not ended, as far as it was seen. `None`: asleep since before its object was seen.
    runs: HashMap<StreamId, (Option<Arc<str>>, Stand)>,
    total: Counts,
    namespaces: HashMap<Arc<str>, Counts>,
}

impl Intake {
    /// At most so many runs that have not begun, and so many in memory.
    pub(super) fn new(waiting: usize, awake: usize) -> Self {
        Self { most: Counts { waiting, awake }, state: Mutex::default() }
    }

    /// There is an object of a run that has not ended.
    pub(super) fn seen(&self, stream: StreamId, namespace: &str) {
        let mut state = self.state.lock();
        match state.runs.get(&stream) {
            None => state.put(stream, Some(namespace), Stand::Waiting),
            Some((None, stand)) => {
                let stand = *stand;
                state.put(stream, Some(namespace), stand);
            }
            Some(_) => {}
        }
    }

    /// The run has begun, or has been taken up again.
    pub(super) fn awake(&self, stream: StreamId, namespace: &str) {
        self.state.lock().put(stream, Some(namespace), Stand::Awake);
    }

    /// The run sleeps outside of memory.
    pub(super) fn asleep(&self, stream: StreamId) {
        self.state.lock().put(stream, None, Stand::Asleep);
    }

    /// The run's object says that it has ended. One that is in memory, or sleeps, has begun again since.
    pub(super) fn said_to_have_ended(&self, stream: StreamId) {
        let mut state = self.state.lock();
        if state.runs.get(&stream).is_some_and(|(_, stand)| *stand == Stand::Waiting) {
            state.take(stream);
        }
    }

    /// The run has ended, or its object is gone.
    pub(super) fn gone(&self, stream: StreamId) {
        self.state.lock().take(stream);
    }

    /// Runs in memory.
    pub(super) fn awake_runs(&self) -> usize {
        self.state.lock().total.awake
    }

    /// Whether a run more in this namespace is accepted.
    pub(super) fn admit(&self, namespace: &str) -> Result<(), Full> {
        let state = self.state.lock();
        let own = state.namespaces.get(namespace).copied().unwrap_or_default();
        let share = |most: usize| (most - most / RESERVED).max(1);
        let whose = |own: usize, total: usize, most: usize| match (own >= share(most), total >= most) {
            (true, _) => Some((own, format!("the namespace {namespace}"))),
            (_, true) => Some((total, "all namespaces together".to_owned())),
            _ => None,
        };
        if let Some((waiting, whose)) = whose(own.waiting, state.total.waiting, self.most.waiting) {
            return Err(Full::Waiting { waiting, whose });
        }
        match whose(own.awake, state.total.awake, self.most.awake) {
            Some((awake, whose)) => Err(Full::Awake { awake, whose }),
            None => Ok(()),
        }
    }
}

impl State {
    fn put(&mut self, stream: StreamId, namespace: Option<&str>, stand: Stand) {
        let before = self.take(stream);
        let namespace = namespace.map(|name| self.name(name)).or(before);
        if let Some(count) = self.total.of(stand) {
            *count += 1;
        }
        if let Some(name) = &namespace
            && let Some(count) = self.namespaces.entry(name.clone()).or_default().of(stand)
        {
            *count += 1;
        }
        self.runs.insert(stream, (namespace, stand));
    }

    fn take(&mut self, stream: StreamId) -> Option<Arc<str>> {
        let (namespace, stand) = self.runs.remove(&stream)?;
        // Gives memory back after a great many have ended.
        if self.runs.capacity() > 4_096 && self.runs.len() < self.runs.capacity() / 8 {
            self.runs.shrink_to(self.runs.len() * 2);
        }
        if let Some(count) = self.total.of(stand) {
            *count -= 1;
        }
        if let Some(name) = &namespace
            && let Some(counts) = self.namespaces.get_mut(name)
        {
            if let Some(count) = counts.of(stand) {
                *count -= 1;
            }
            if counts.waiting == 0 && counts.awake == 0 {
                self.namespaces.remove(name);
            }
        }
        namespace
    }

    /// One text for all runs of a namespace.
    fn name(&self, namespace: &str) -> Arc<str> {
        self.namespaces.get_key_value(namespace).map_or_else(|| namespace.into(), |(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests;
