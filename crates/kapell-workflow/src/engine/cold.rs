//! Runs that only sleep are not kept in memory: of each there is its stream's name and an alarm. Their journals say until when
//! they sleep, so that a restart need not replay them.
//!
//! A run that still sleeps [`FAR`] ahead when it has said what it waits for is dropped, and read from its journal again
//! [`LEAD`] before it is due, or when someone wants something of it.

use std::collections::{HashMap, HashSet};

use kapell_store::StreamId;

use crate::core::Event;
use crate::core::record::Time;

/// A run that is due sooner stays in memory. Dropping and reading it takes about as much as two steps of it.
pub(super) const FAR: Time = 30_000;

/// How long before it is due a run is read: what comes due together is spread over this time.
const LEAD: Time = 10_000;

/// When the alarm rings for a run that sleeps until `until`.
pub(super) fn warm_at(until: Time) -> Time {
    until.saturating_sub(LEAD)
}

/// The sleeping runs of a partition.
#[derive(Default)]
pub(super) struct Cold {
    asleep: HashSet<StreamId>,
    /// Being read, with what has happened meanwhile.
    waking: HashMap<StreamId, Vec<Event>>,
}

impl Cold {
    pub(super) fn insert(&mut self, stream: StreamId) {
        self.asleep.insert(stream);
    }

    /// Something wants the run; true when it has to be read for that.
    pub(super) fn wake(&mut self, stream: StreamId, event: Option<Event>) -> bool {
        if let Some(events) = self.waking.get_mut(&stream) {
            events.extend(event);
            return false;
        }
        let asleep = self.asleep.remove(&stream);
        if asleep {
            self.waking.insert(stream, event.into_iter().collect());
        }
        asleep
    }

    /// The run has been read; what has happened meanwhile. `None`: it was not asleep.
    pub(super) fn woken(&mut self, stream: StreamId) -> Option<Vec<Event>> {
        self.asleep.remove(&stream);
        self.waking.remove(&stream)
    }

    /// Whether it was one of these.
    pub(super) fn forget(&mut self, stream: StreamId) -> bool {
        self.asleep.remove(&stream) | self.waking.remove(&stream).is_some()
    }
}
