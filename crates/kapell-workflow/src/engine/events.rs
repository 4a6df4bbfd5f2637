//! The event log of each namespace, and how its events reach those who wait for them.
//!
//! ```text
//! emit ──in the transaction of its step──▶ log ◀──publish── HTTP
//!                                           │ read by position
//!                                          hub ──candidates by index──▶ runs that listen, schedules
//! ```
//!
//! An event is published once it is synced, once for its source and id. The hub reads each log in order and hands an
//! event to whoever may want it; whether it does is for the run to decide. Who listens says from which position on, and
//! that is in its journal, so the hub itself need remember nothing across a restart.
//!
//! **Bounds.** A log keeps [`EventLimits::max_age`] and [`EventLimits::max_bytes`], but nothing is trimmed that someone
//! has not been handed yet. When a log has twice its bytes because of that, publishing over HTTP is refused until there
//! is room. A listener has [`hub::WINDOW`] events in its hands at most.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kapell_store::{CommitError, JournalWrite, ReadError, StreamId, Transaction};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, mpsc};

pub(super) mod hub;
mod index;
pub(super) mod ingest;
#[cfg(test)]
mod tests;

use super::{Shared, now};
use crate::cloud_event::CloudEvent;
use crate::core::record::{FrameId, Time};
use crate::expression::Datum;
use hub::Signal;

/// The longest event, as JSON. An event goes into the journal of each run that takes it in.
pub(crate) const LONGEST_EVENT: usize = 256 << 10;

/// Events in one request. They are published in one transaction, and others wait for that.
pub(super) const MOST_EVENTS: usize = 1_000;

/// What the event log of one namespace keeps.
#[derive(Clone, Copy, Debug)]
pub struct EventLimits {
    pub max_age: Duration,
    pub max_bytes: u64,
}

impl Default for EventLimits {
    fn default() -> Self {
        // A week is what people look back; 64 MiB are some 200,000 events of 300 bytes.
        Self { max_age: Duration::from_secs(7 * 86_400), max_bytes: 64 << 20 }
    }
}

/// Why events were not published; none of them was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("the event log of the namespace is full: {bytes} bytes wait for those who listen; publish more slowly")]
    Full { bytes: u64 },
    #[error("the store is busy: {0}")]
    Busy(&'static str),
    #[error("the events did not reach the disk")]
    Commit(#[source] CommitError),
    #[error("the event log cannot be read")]
    Read(#[from] ReadError),
}

/// What the rest of the engine knows of logs.
pub(super) struct Events {
    signals: mpsc::UnboundedSender<Signal>,
    /// Where each log ends, as far as this process has heard.
    ends: Mutex<HashMap<StreamId, u64>>,
    /// Those who read a log by themselves, to be woken when there is more.
    readers: Mutex<HashMap<StreamId, Arc<Notify>>>,
}

impl Events {
    pub(super) fn new(signals: mpsc::UnboundedSender<Signal>) -> Self {
        Self { signals, ends: Mutex::default(), readers: Mutex::default() }
    }

    /// Woken whenever something may have been published in the log.
    pub(super) fn news(&self, log: StreamId) -> Arc<Notify> {
        self.readers.lock().entry(log).or_default().clone()
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Signal::Published { log } = &signal
            && let Some(news) = self.readers.lock().get(log)
        {
            news.notify_waiters();
        }
        // A hub that is gone has been shut down; who listens says so again after the next start.
        let _ = self.signals.send(signal);
    }

    pub(super) fn end(&self, log: StreamId) -> u64 {
        self.ends.lock().get(&log).copied().unwrap_or_default()
    }

    fn note_end(&self, log: StreamId, end: u64) {
        let mut ends = self.ends.lock();
        let known = ends.entry(log).or_default();
        *known = end.max(*known);
    }
}

/// The log of a namespace.
pub(super) fn log_of(namespace: &str) -> StreamId {
    let digest = Sha256::digest(format!("events/{namespace}"));
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    StreamId(id)
}

/// A record of a log. Byte 0 is the version of the encoding; version 1 is followed by this as JSON.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Recorded {
    /// When it was published.
    pub(super) time: Time,
    pub(super) event: Datum,
    /// The run that emitted it and by which activation of a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<(String, FrameId)>,
}

const VERSION: u8 = 1;

/// Publishes `event` in the log, unless it is there.
pub(super) fn publication(log: StreamId, event: &CloudEvent, origin: Option<(String, FrameId)>) -> JournalWrite {
    let digest = Sha256::new().chain_update(event.source()).chain_update([0]).chain_update(event.id()).finalize();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    let mut record = vec![VERSION];
    let recorded = Recorded { time: now(), event: event.envelope().clone(), origin };
    // Writing JSON into memory fails only for maps with keys that are not texts, which data does not have.
    if let Err(error) = serde_json::to_writer(&mut record, &recorded) {
        unreachable!("an event cannot be encoded: {error}");
    }
    JournalWrite::Publish { log, key, record: record.into() }
}

pub(super) fn decode(record: &Bytes) -> Option<Recorded> {
    match record.split_first() {
        Some((&VERSION, json)) => serde_json::from_slice(json).ok(),
        _ => None,
    }
}

impl Shared {
    /// Publishes events in one transaction, and says so to those who listen.
    pub(super) async fn publish_events(&self, namespace: &str, events: &[CloudEvent]) -> Result<(), PublishError> {
        let log = log_of(namespace);
        let extent = self.store.log_extent(log).await?;
        if extent.bytes > 2 * self.config.events.max_bytes {
            self.events.signal(Signal::Full);
            return Err(PublishError::Full { bytes: extent.bytes });
        }
        let journal = events.iter().map(|event| publication(log, event, None)).collect();
        match self.store.commit(Transaction { writes: Vec::new(), journal }).await {
            Ok(_) => {}
            Err(CommitError::Unavailable(why)) => return Err(PublishError::Busy(why)),
            Err(error) => return Err(PublishError::Commit(error)),
        }
        // Before the answer, so that who begins to listen after it does not see these.
        let extent = self.store.log_extent(log).await?;
        self.events.note_end(log, extent.next);
        self.events.signal(Signal::Published { log });
        Ok(())
    }

    /// Learns where the logs end.
    pub(super) async fn open_logs(&self) -> Result<(), ReadError> {
        for (log, extent) in self.store.logs().await? {
            self.events.note_end(log, extent.next);
        }
        Ok(())
    }

    /// Events of a namespace from a position on: `{"items": [{"position", "time", "event"}], "next"}`.
    pub(super) async fn read_events(
        &self,
        namespace: &str,
        from: u64,
        limit: usize,
    ) -> Result<serde_json::Value, ReadError> {
        let log = log_of(namespace);
        let records = self.store.read_log(log, from, limit).await?;
        let next = match records.last() {
            Some((position, _)) => position + 1,
            None => self.store.log_extent(log).await?.next.max(from),
        };
        let items = records.iter().filter_map(|(position, record)| {
            let recorded = decode(record)?;
            let time = jiff::Timestamp::from_millisecond(recorded.time).ok()?.to_string();
            Some(serde_json::json!({ "position": position, "time": time, "event": recorded.event.to_value() }))
        });
        Ok(serde_json::json!({ "items": items.collect::<Vec<_>>(), "next": next }))
    }
}
