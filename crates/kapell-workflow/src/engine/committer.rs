//! Writes steps to the journal, those of many runs in one transaction, and then lets them have their effects.

use std::sync::Arc;
use std::time::Duration;

use kapell_store::{CommitError, JournalWrite, StreamId, Transaction};
use tokio::sync::mpsc;

use super::partition::Command;
use super::{Notice, Shared, effects};
use crate::core::state::Effect;

/// Steps in one transaction. More would make the first wait for the encoding of the last.
const MOST_STEPS: usize = 256;

/// How long to wait before a write that failed is tried again: a full disk is not emptied in microseconds.
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// One step of one run.
pub(super) struct Work {
    pub(super) stream: StreamId,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) writes: Vec<JournalWrite>,
    pub(super) effects: Vec<Effect>,
    pub(super) notice: Option<Notice>,
}

/// Commits until its partition is gone, then finishes what it was given.
pub(super) async fn run(shared: Arc<Shared>, mut work: mpsc::UnboundedReceiver<Work>) {
    let mut batch = Vec::with_capacity(MOST_STEPS);
    while work.recv_many(&mut batch, MOST_STEPS).await > 0 {
        let journal: Vec<JournalWrite> = batch.iter_mut().flat_map(|work| std::mem::take(&mut work.writes)).collect();
        let lost = if journal.is_empty() { Vec::new() } else { commit(&shared, journal).await };
        for work in batch.drain(..).filter(|work| !lost.contains(&work.stream)) {
            finish(&shared, work);
        }
    }
}

/// Commits, however long that takes: the runs' states are ahead of the disk and cannot go back. Returns the streams
/// that someone else has written to.
async fn commit(shared: &Shared, mut journal: Vec<JournalWrite>) -> Vec<StreamId> {
    let mut lost = Vec::new();
    let mut delay = FIRST_RETRY;
    loop {
        let transaction = Transaction { writes: Vec::new(), journal: journal.clone() };
        match shared.store.commit(transaction).await {
            Ok(_) => return lost,
            Err(CommitError::Sequence { stream, expected, got }) => {
                // Another owner, or a defect. This run stops here; what its journal says will be taken up at the
                // next start.
                tracing::error!(run = %uuid::Uuid::from_bytes(stream.0), expected, got, "a run's journal has moved on");
                journal.retain(|write| stream_of(write) != stream);
                lost.push(stream);
                shared.tell(stream, Command::Forget { stream });
                if journal.is_empty() {
                    return lost;
                }
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the journal cannot be written, trying again");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(LONGEST_RETRY);
            }
        }
    }
}

fn stream_of(write: &JournalWrite) -> StreamId {
    match write {
        JournalWrite::Append { stream, .. } | JournalWrite::Close { stream } | JournalWrite::Delete { stream } => {
            *stream
        }
    }
}

fn finish(shared: &Arc<Shared>, work: Work) {
    for effect in work.effects {
        effects::perform(shared, work.stream, &work.namespace, &work.uid, effect);
    }
    if let Some(notice) = work.notice {
        shared.publish(work.stream, notice);
    }
    shared.tell(work.stream, Command::Committed { stream: work.stream });
}
