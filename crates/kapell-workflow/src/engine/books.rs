//! Closes and deletes the journals of ended runs. Nobody waits for that, so what comes within [`GATHER`] shares one
//! transaction: a commit for each run would be a twelfth of what a short run writes.
//!
//! A crash before that costs nothing: an ended run whose journal is open is found at the next start, and so is a closed
//! journal whose object is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kapell_store::{CommitError, JournalWrite, Store, StreamId, Transaction};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// At a thousand runs a second a hundred journals share a commit; nothing else depends on it.
const GATHER: Duration = Duration::from_millis(100);

/// Journals in one transaction: whoever writes meanwhile waits for it, and a long journal is deleted row by row.
const MOST: usize = 256;

/// After a failure: a full disk is not emptied at once.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Close,
    Delete,
}

pub(super) struct Books {
    store: Arc<dyn Store>,
    pending: Mutex<BTreeMap<StreamId, Fate>>,
    changed: Notify,
    /// Held from taking what is pending until it is written, so that nothing is written behind a reader's back.
    writing: tokio::sync::Mutex<()>,
}

impl Books {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, pending: Mutex::default(), changed: Notify::new(), writing: tokio::sync::Mutex::new(()) }
    }

    pub(super) fn close(&self, stream: StreamId) {
        self.add(stream, Fate::Close);
    }

    pub(super) fn delete(&self, stream: StreamId) {
        self.add(stream, Fate::Delete);
    }

    fn add(&self, stream: StreamId, fate: Fate) {
        let mut pending = self.pending.lock();
        let present = pending.entry(stream).or_insert(fate);
        *present = fate.max(*present);
        drop(pending);
        self.changed.notify_one();
    }

    /// The run goes on: what was to become of its journal is done, or will not be done any more.
    pub(super) async fn keep_open(&self, stream: StreamId) {
        let _writing = self.writing.lock().await;
        self.pending.lock().remove(&stream);
    }

    /// Writes until `shutdown`, and what is left then.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        let mut delay = GATHER;
        while !shutdown.is_cancelled() {
            let gathered = async {
                self.changed.notified().await;
                tokio::time::sleep(delay).await;
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = gathered => {}
            }
            delay = match self.write().await {
                Ok(()) => GATHER,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "journals of ended runs stay open for now"
                    );
                    self.changed.notify_one();
                    RETRY
                }
            };
        }
    }

    /// Writes all that is pending.
    pub(super) async fn write(&self) -> Result<(), CommitError> {
        let _writing = self.writing.lock().await;
        loop {
            let batch: Vec<(StreamId, Fate)> = self.pending.lock().iter().take(MOST).map(|(s, f)| (*s, *f)).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let journal = batch.iter().map(|(stream, fate)| match fate {
                Fate::Close => JournalWrite::Close { stream: *stream },
                Fate::Delete => JournalWrite::Delete { stream: *stream },
            });
            self.store.commit(Transaction { writes: Vec::new(), journal: journal.collect() }).await?;
            let mut pending = self.pending.lock();
            for (stream, fate) in batch {
                // What was asked for meanwhile is still to be done.
                if pending.get(&stream) == Some(&fate) {
                    pending.remove(&stream);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
