//! The one writer: a thread that owns the database and takes transactions from a bounded queue.
//!
//! Whatever waits when it comes round goes into one batch: planned against the state, written and synced as one
//! SQLite transaction, published to readers and watchers, and only then acknowledged. When the disk refuses, the
//! whole batch fails (also the transactions that were refused for what another one in it had done), nothing is
//! published and no revision is used up. Between batches it tidies: superseded rows go, a chunk at a
//! time, and the table of streams is brought up to date.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::RwLock;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::WriteError;
use super::database::{Database, Horizon};
use super::lock::DirectoryLock;
use super::plan::{Plan, plan_batch, streams_of};
use super::state::State;
use super::watchers::{Wake, Watchers};
use crate::{CommitError, JournalWrite, Revision, Transaction};

/// Transactions that may wait. More clients than this write at once only when the disk has stopped answering, and
/// then it is kinder to refuse than to promise.
pub(crate) const QUEUE_LENGTH: usize = 4_096;

/// Bytes that may wait: what the queue adds to the server's memory in the worst case.
pub(crate) const QUEUE_BYTES: usize = 64 << 20;

/// The bounds of a batch. Everyone in a batch waits for all of it: a thousand small transactions take about 5 ms,
/// and 4 MiB about as long. Larger batches would no longer save anything on the sync.
const BATCH_LENGTH: usize = 1_024;
const BATCH_BYTES: usize = 4 << 20;

/// How many revisions one sweep covers: a commit that arrives during it waits for about 2 ms.
const SWEEP_CHUNK: Revision = 500;

/// What readers, watchers and the writer share.
pub(crate) struct Shared {
    pub(crate) state: RwLock<State>,
    pub(crate) watchers: Watchers,
    pub(crate) queued_bytes: AtomicUsize,
}

/// Where the outcome of a transaction goes, and with one outcome of each batch those that are to be woken for it.
pub(crate) type Reply = oneshot::Sender<(Result<Revision, CommitError>, Wake)>;

pub(crate) enum Job {
    Commit { transaction: Transaction, bytes: usize, reply: Reply },
    Compact { before: Revision, reply: oneshot::Sender<Result<(), CommitError>> },
}

/// What a waiting transaction holds in memory, roughly.
pub(crate) fn size_of(transaction: &Transaction) -> usize {
    let writes = transaction.writes.iter().map(|w| 128 + w.key.len() + w.value.as_ref().map_or(0, |v| v.len()));
    let journal = transaction.journal.iter().map(|write| match write {
        JournalWrite::Append { record, .. } | JournalWrite::Publish { record, .. } => 128 + record.len(),
        JournalWrite::Close { .. }
        | JournalWrite::Sleep { .. }
        | JournalWrite::Reopen { .. }
        | JournalWrite::Delete { .. }
        | JournalWrite::Trim { .. } => 128,
    });
    128 + writes.sum::<usize>() + journal.sum::<usize>()
}

pub(crate) struct Writer {
    database: Database,
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    horizon: Horizon,
    /// Tidying failed (the disk is full): it is not tried again before a commit has worked.
    sweep_blocked: bool,
    sync_failed: bool,
    /// Held as long as the database is open.
    _lock: DirectoryLock,
}

impl Writer {
    pub(crate) fn new(
        database: Database,
        horizon: Horizon,
        shared: Arc<Shared>,
        jobs: mpsc::Receiver<Job>,
        lock: DirectoryLock,
    ) -> Self {
        Self { database, shared, jobs, horizon, sweep_blocked: false, sync_failed: false, _lock: lock }
    }

    /// Works until every sender of the queue is gone and the queue is empty.
    pub(crate) fn run(mut self) {
        while let Some(job) = self.next_job() {
            let mut batch = Batch::default();
            let mut next = Some(job);
            while let Some(job) = next.take() {
                match job {
                    Job::Commit { transaction, bytes, reply } => {
                        self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
                        batch.add(transaction, bytes, reply);
                        if !batch.is_full() {
                            next = self.jobs.try_recv().ok();
                        }
                    }
                    Job::Compact { before, reply } => {
                        self.commit(std::mem::take(&mut batch));
                        // Whoever asked may have gone; compaction happens all the same.
                        let _ = reply.send(self.compact(before));
                    }
                }
            }
            self.commit(batch);
            self.settle_streams();
            self.sweep_chunk();
        }
        let Self { database, .. } = self;
        if let Err(error) = database.close() {
            tracing::warn!(%error, "the database was closed without emptying its log; the next start will read it");
        }
    }

    /// The next job; while there is none, superseded rows are removed.
    fn next_job(&mut self) -> Option<Job> {
        loop {
            match self.jobs.try_recv() {
                Ok(job) => return Some(job),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) if self.sweep_chunk() => {}
                Err(TryRecvError::Empty) => return self.jobs.blocking_recv(),
            }
        }
    }

    fn commit(&mut self, Batch { transactions, replies, .. }: Batch) {
        if replies.is_empty() {
            return;
        }
        match self.write(transactions) {
            Ok(plan) => {
                let mut wake = self.shared.watchers.announce(&plan.changes);
                for (reply, verdict) in replies.into_iter().zip(plan.verdicts) {
                    // A caller that stopped waiting learns the outcome by reading.
                    let _ = reply.send((verdict, std::mem::take(&mut wake)));
                }
            }
            Err(error) => {
                let error = Arc::new(self.failed(error));
                for reply in replies {
                    let _ = reply.send((Err(CommitError::Storage(error.clone())), Wake::default()));
                }
            }
        }
    }

    /// Plans, writes, syncs and publishes to readers.
    fn write(&mut self, transactions: Vec<Transaction>) -> rusqlite::Result<Plan> {
        let streams = self.database.streams(transactions.iter().flat_map(streams_of))?;
        let plan = plan_batch(&self.shared.state.read(), &streams, transactions);
        if plan.is_empty() {
            return Ok(plan);
        }
        if self.sync_failed {
            return Err(sync_failure());
        }
        self.database.commit(&plan)?;
        self.sweep_blocked = false;
        if !plan.changes.is_empty() {
            self.shared.state.write().publish(plan.changes.iter().cloned(), Instant::now());
        }
        Ok(plan)
    }

    fn failed(&mut self, error: rusqlite::Error) -> WriteError {
        let error = WriteError::new(&self.database.path, error);
        self.sync_failed |= matches!(error, WriteError::Sync { .. });
        error
    }

    fn compact(&mut self, before: Revision) -> Result<(), CommitError> {
        let (floor, latest) = {
            let state = self.shared.state.read();
            (state.floor(), state.revision())
        };
        let before = before.min(latest);
        if before > floor.max(self.horizon.compacted) {
            if let Err(error) = self.database.compact(before) {
                return Err(CommitError::Storage(Arc::new(self.failed(error))));
            }
            self.horizon.compacted = before;
            self.shared.state.write().forget_before(before);
            // Watchers that stand before it must learn that they are too late.
            self.shared.watchers.wake_all();
        }
        Ok(())
    }

    /// Between batches, so that nobody waits for it who is not yet to come.
    fn settle_streams(&mut self) {
        if self.sweep_blocked || self.sync_failed {
            return;
        }
        if let Err(error) = self.database.settle_streams() {
            self.sweep_blocked = true;
            let error = self.failed(error);
            tracing::warn!(error = &error as &dyn std::error::Error, "the table of streams could not be written");
        }
    }

    /// Removes superseded rows of a few revisions; says whether there was anything to do.
    fn sweep_chunk(&mut self) -> bool {
        if self.sweep_blocked || self.sync_failed {
            return false;
        }
        let floor = self.shared.state.read().floor();
        let Some(until) = next_sweep(self.horizon, floor) else { return false };
        match self.database.sweep(self.horizon.swept, until) {
            Ok(()) => {
                self.horizon.swept = until;
                self.horizon.compacted = self.horizon.compacted.max(until);
                true
            }
            Err(error) => {
                self.sweep_blocked = true;
                let error = self.failed(error);
                tracing::warn!(error = &error as &dyn std::error::Error, "superseded rows could not be removed");
                false
            }
        }
    }
}

/// Until where the next sweep goes. What was compacted on demand is removed at once; what the ring has forgotten,
/// when there is a whole chunk of it, so that a busy store pays one more sync in several hundred changes.
fn next_sweep(horizon: Horizon, ring_floor: Revision) -> Option<Revision> {
    let chunk = horizon.swept + SWEEP_CHUNK;
    if ring_floor >= chunk {
        return Some(chunk);
    }
    (horizon.compacted > horizon.swept).then(|| horizon.compacted.min(chunk))
}

fn sync_failure() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC), None)
}

#[derive(Default)]
struct Batch {
    transactions: Vec<Transaction>,
    replies: Vec<Reply>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, transaction: Transaction, bytes: usize, reply: Reply) {
        self.transactions.push(transaction);
        self.replies.push(reply);
        self.bytes += bytes;
    }

    fn is_full(&self) -> bool {
        self.transactions.len() >= BATCH_LENGTH || self.bytes >= BATCH_BYTES
    }
}

#[cfg(test)]
mod tests;
