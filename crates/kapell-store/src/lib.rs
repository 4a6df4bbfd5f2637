//! Durable state: one global revision, compare-and-set transactions, watches, and the workflow journal.
//!
//! The store moves bytes. It knows keys, not kinds: what a key means and how a value is encoded is decided by
//! its two users, `kapell-apiserver` (objects) and `kapell-workflow` (journal streams). Everything that is
//! acknowledged has been synced to disk first.
//!
//! Every change has a revision of its own. A transaction that changes three keys takes three consecutive
//! revisions, so a watcher that resumes after any revision it has seen misses nothing and repeats nothing.
//!
//! [`Store`] is the seam: [`SqliteStore`](sqlite::SqliteStore) stands behind it on one machine and PostgreSQL
//! will later; [`MemoryStore`](memory::MemoryStore) is the model that the conformance suite compares them with.

pub mod conformance;
pub mod memory;
pub mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

/// A position in the one history of all changes. The first change has revision 1; 0 is "before everything".
pub type Revision = u64;

/// A live key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Bytes,
    pub value: Bytes,
    /// The revision at which this key came into being (again, if it was deleted in between).
    pub created: Revision,
    /// The revision of the latest change.
    pub modified: Revision,
}

/// What a write demands of the key's present state; the transaction fails as a whole when it does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key must not exist.
    Absent,
    /// The key must exist, last modified at this revision.
    Revision(Revision),
    /// No demand: the last writer wins. For keys with a single owner only.
    Anything,
}

#[derive(Clone, Debug)]
pub struct Write {
    pub key: Bytes,
    pub expect: Expect,
    /// `None` deletes.
    pub value: Option<Bytes>,
}

/// Names one journal stream (the workflow engine uses the UID of its run) or one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub [u8; 16]);

#[derive(Clone, Debug)]
pub enum JournalWrite {
    /// Appends `record` as number `sequence` (counted from 0, without gaps). A stream opens with its record 0.
    Append { stream: StreamId, sequence: u64, record: Bytes },
    /// Marks the stream as finished: it is kept, but no longer listed by [`Store::open_streams`].
    Close { stream: StreamId },
    /// Says that nothing is to be done for the stream before `until` (the user's measure of time), after the record that
    /// the same transaction has appended to it. The next record takes that back.
    Sleep { stream: StreamId, until: i64 },
    /// Takes a closed stream up again; does nothing to one that is open.
    Reopen { stream: StreamId },
    /// Forgets the stream and its records.
    Delete { stream: StreamId },
    /// Appends `record` to a log, at the position that is next there; nothing happens while the log holds a record
    /// with the same `key`. Logs and streams are different things, also where their names are the same.
    Publish { log: StreamId, key: RecordKey, record: Bytes },
    /// Forgets the records of a log before this position. The newest always stays, so that positions go on.
    Trim { log: StreamId, before: u64 },
}

/// Names a record of a log, so that publishing it again changes nothing.
pub type RecordKey = [u8; 16];

/// How much a log holds. Positions are counted from 0, without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogExtent {
    /// Position of the oldest record that is kept.
    pub first: u64,
    /// Position of the record to come.
    pub next: u64,
    /// Sum of the kept records' lengths.
    pub bytes: u64,
}

impl JournalWrite {
    /// The stream that it is about; `None` where it is about a log.
    pub fn stream(&self) -> Option<StreamId> {
        match self {
            JournalWrite::Append { stream, .. }
            | JournalWrite::Sleep { stream, .. }
            | JournalWrite::Close { stream }
            | JournalWrite::Reopen { stream }
            | JournalWrite::Delete { stream } => Some(*stream),
            JournalWrite::Publish { .. } | JournalWrite::Trim { .. } => None,
        }
    }
}

/// Object writes and journal writes that happen together or not at all.
///
/// They are applied in order, each seeing what those before it did. Deleting a key that is absent (where the demand
/// allows it) changes nothing and takes no revision, so `Absent` without a value is a pure demand; closing,
/// reopening or deleting a stream that does not exist changes nothing either.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    pub writes: Vec<Write>,
    pub journal: Vec<JournalWrite>,
}

/// One change, as watchers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub revision: Revision,
    pub key: Bytes,
    /// The state after the change; `None` when the key was deleted.
    pub entry: Option<Arc<Entry>>,
    /// The state before the change; `None` when the key did not exist.
    pub previous: Option<Arc<Entry>>,
}

/// A page of [`Store::list`].
#[derive(Clone, Debug)]
pub struct Page {
    /// The revision at which the whole page is true.
    pub revision: Revision,
    pub entries: Vec<Arc<Entry>>,
    /// How many more keys with this prefix follow the last entry.
    pub remaining: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("revision {requested} is compacted: the oldest that can be read is {oldest}")]
    Compacted { requested: Revision, oldest: Revision },
    #[error("revision {requested} has not happened yet: the latest is {latest}")]
    Future { requested: Revision, latest: Revision },
    #[error("the store failed to read")]
    Backend(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A demand did not hold. `current` is what stands there now.
    #[error("the key changed meanwhile")]
    Conflict { key: Bytes, current: Option<Arc<Entry>> },
    /// A journal record arrived out of order: two writers believe that they own the stream, or one lost count.
    #[error("journal stream expects record {expected}, got {got}")]
    Sequence { stream: StreamId, expected: u64, got: u64 },
    /// A record for a stream that was closed: its run is over, whoever appends has lost it.
    #[error("journal stream is closed")]
    Closed { stream: StreamId },
    /// Nothing of the transaction happened; the disk is full, read-only or failing.
    #[error("the write did not reach the disk: {0}")]
    Storage(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The queue of waiting transactions is at its bound, or the store is closing. Nothing happened.
    #[error("the store does not take writes now: {0}")]
    Unavailable(&'static str),
}

/// A cursor over changes below one prefix. Dropping it ends the watch.
#[async_trait]
pub trait Watch: Send {
    /// Waits for the next changes, in order, each once; never returns an empty batch.
    ///
    /// A watcher that is slower than the ring of recent changes gets [`ReadError::Compacted`] and must list again:
    /// nothing is buffered for it.
    async fn next(&mut self) -> Result<Vec<Arc<Change>>, ReadError>;

    /// Every change up to this revision that concerns this watch has been returned by `next`.
    fn revision(&self) -> Revision;
}

/// What every store behind Kapell promises; `conformance` holds the tests for it.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The latest committed revision.
    fn revision(&self) -> Revision;

    async fn get(&self, key: &[u8]) -> Result<Option<Arc<Entry>>, ReadError>;

    /// Keys below `prefix` in byte order, those after `after` only, at most `limit` (0: all), as they were at
    /// revision `at` (`None`: now).
    async fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, ReadError>;

    /// Commits durably and returns the revision of the transaction's last change (the present revision when it
    /// has only journal writes). Concurrent transactions share one sync to disk.
    /// Dropping the future does not take the transaction back: it may happen all the same.
    async fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError>;

    /// Changes below `prefix` with a revision greater than `after`.
    fn watch(&self, prefix: &[u8], after: Revision) -> Result<Box<dyn Watch>, ReadError>;

    /// Forgets superseded states older than `before` (at most the present revision). From then on reads at, and
    /// watches after, a revision below `before` answer `Compacted`.
    async fn compact(&self, before: Revision) -> Result<(), CommitError>;

    /// The records of a stream from `from` on; empty when the stream does not exist.
    async fn read_stream(&self, stream: StreamId, from: u64) -> Result<Vec<Bytes>, ReadError>;

    /// Records of a log from position `from` on, at most `limit`, with their positions. Starts later where older ones
    /// have been trimmed.
    async fn read_log(&self, log: StreamId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, ReadError>;

    /// How much a log holds; nothing when it has never held anything.
    async fn log_extent(&self, log: StreamId) -> Result<LogExtent, ReadError>;

    /// Every log that holds a record, and how much it holds.
    async fn logs(&self) -> Result<Vec<(StreamId, LogExtent)>, ReadError>;

    /// [`Store::read_stream`] of each, from its beginning.
    async fn read_streams(&self, streams: &[StreamId]) -> Result<Vec<Vec<Bytes>>, ReadError> {
        let mut all = Vec::with_capacity(streams.len());
        for stream in streams {
            all.push(self.read_stream(*stream, 0).await?);
        }
        Ok(all)
    }

    /// Streams that were appended to and neither closed nor deleted.
    async fn open_streams(&self) -> Result<Vec<StreamId>, ReadError>;

    /// Streams that were closed and not deleted.
    async fn closed_streams(&self) -> Result<Vec<StreamId>, ReadError>;

    /// Those of the open ones that sleep, and until when. Cheap for millions.
    async fn sleeping_streams(&self) -> Result<Vec<(StreamId, i64)>, ReadError>;
}
