//! Events of watches, encoded once for all watchers that are told the same.
//!
//! A change has a revision of its own in the whole store, so revision, type and format of an event name its bytes. Whoever comes first
//! makes them, the others share them. What is kept is the latest only and bounded; who comes later makes his own.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use kapell_api::kind::Kind;
use kapell_api::status::Status;
use kapell_store::Revision;
use parking_lot::Mutex;

use crate::negotiate::Shape;

/// Changes whose events are kept: watchers that are all awake are a few batches of the store apart.
const CHANGES: usize = 256;
/// Formats in which one change is kept; ours and those of clients are three or four.
const FORMATS: usize = 6;
/// Larger events are made for each watcher: with all places taken this bounds what is kept to 24 MB, and usually it is
/// half a megabyte.
const LARGEST: usize = 16 << 10;

/// What a watcher is told that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Added,
    Modified,
    Deleted,
}

impl Told {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// All that an event's bytes depend on besides the change itself.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// The version that the client has asked for.
    pub(super) served: &'static Kind,
    pub(super) shape: Shape,
    /// What rows of tables carry, and when their ages were computed (seconds).
    pub(super) table: Option<(Rows, i64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    Cells,
    Metadata,
    Objects,
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        let names = |format: &Self| (format.served.group, format.served.version, format.served.kind);
        self.shape == other.shape && self.table == other.table && names(self) == names(other)
    }
}

/// The events of one change.
#[derive(Default)]
struct Place {
    revision: Revision,
    events: Vec<(Format, Told, Bytes)>,
}

/// Shared by all watches of a server.
pub(crate) struct SharedEvents {
    /// A change's place is its revision modulo their number.
    places: Box<[Mutex<Place>]>,
    encoded: AtomicU64,
    told: AtomicU64,
}

impl Default for SharedEvents {
    fn default() -> Self {
        let places = (0..CHANGES).map(|_| Mutex::default()).collect();
        Self { places, encoded: AtomicU64::new(0), told: AtomicU64::new(0) }
    }
}

impl SharedEvents {
    /// The bytes of an event, made by `encode` unless somebody has made them before.
    pub(super) fn event(
        &self,
        revision: Revision,
        format: Format,
        told: Told,
        encode: impl FnOnce() -> Result<Vec<u8>, Status>,
    ) -> Result<Bytes, Status> {
        self.told.fetch_add(1, Ordering::Relaxed);
        let make = || {
            self.encoded.fetch_add(1, Ordering::Relaxed);
            encode().map(Bytes::from)
        };
        let mut place = self.places[(revision % CHANGES as u64) as usize].lock();
        if place.revision > revision {
            // A watcher that is late: what is newer is wanted by more.
            drop(place);
            return make();
        }
        if place.revision < revision {
            *place = Place { revision, events: Vec::new() };
        }
        if let Some((_, _, bytes)) = place.events.iter().find(|(has, what, _)| *has == format && *what == told) {
            return Ok(bytes.clone());
        }
        // With the place held: the others who want the same wait for it instead of making it again.
        let bytes = make()?;
        if bytes.len() <= LARGEST && place.events.len() < FORMATS {
            place.events.push((format, told, bytes.clone()));
        }
        Ok(bytes)
    }

    /// How many events were encoded, and how many were told.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.encoded.load(Ordering::Relaxed), self.told.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
