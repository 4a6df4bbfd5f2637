//! The store on one machine: an SQLite database with one writer, read from memory.
//!
//! A data directory has one [`SqliteStore`] at a time, which holds its lock. Every live entry and the recent history
//! are in memory ([`state`]), so reads and watches never touch the disk. Writes go through the queue of one thread
//! ([`writer`]), which decides a batch ([`plan`]), commits it with one sync ([`database`]) and publishes it.
//! Only the journal, which is read when a run is recovered or shown, is read from the database.

mod database;
mod error;
mod lock;
mod logs;
mod plan;
mod state;
mod streams;
mod watchers;
mod writer;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

pub use self::error::{Closed, OpenError, WriteError};
pub use self::state::Retention;

use self::database::{Database, JournalReader};
use self::lock::DirectoryLock;
use self::state::State;
use self::watchers::{Slot, Watchers};
use self::writer::{Job, QUEUE_BYTES, QUEUE_LENGTH, Shared, Writer, size_of};
use crate::{Change, CommitError, Entry, LogExtent, Page, ReadError, Revision, Store, StreamId, Transaction, Watch};

#[derive(Clone, Debug)]
pub struct Options {
    /// What a second server is told about the holder of the lock, for example `kapell server on https://…`.
    pub holder: String,
    /// The size that the database may reach, without its log. `None`: what the disk holds.
    pub max_bytes: Option<u64>,
    pub retention: Retention,
}

impl Default for Options {
    fn default() -> Self {
        Self { holder: "kapell".to_owned(), max_bytes: None, retention: Retention::default() }
    }
}

/// See the module's description. Dropping it closes it.
pub struct SqliteStore {
    shared: Arc<Shared>,
    /// `None` once closed.
    jobs: RwLock<Option<mpsc::Sender<Job>>>,
    journal: Arc<Mutex<Option<JournalReader>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens the data directory `directory`, which is created (for its owner only) if need be, and locks it.
    ///
    /// Blocks while it reads the database: about a second for a million changes.
    pub fn open(directory: &Path, options: Options) -> Result<Self, OpenError> {
        create_directory(directory)?;
        let lock = DirectoryLock::acquire(directory, &options.holder)?;
        let database = Database::open(directory, options.max_bytes)?;
        let mut state = State::new(options.retention);
        let horizon = database.load(&mut state, Instant::now())?;
        let journal = JournalReader::open(directory)?;
        let watchers = Watchers::new(state.revision());
        let shared = Arc::new(Shared { state: RwLock::new(state), watchers, queued_bytes: AtomicUsize::new(0) });
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        let writer = Writer::new(database, horizon, shared.clone(), receiver, lock);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { path: directory.to_owned(), source })?;
        Ok(Self {
            shared,
            jobs: RwLock::new(Some(sender)),
            journal: Arc::new(Mutex::new(Some(journal))),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Commits what is queued, ends all watches, empties the log into the database and releases the lock.
    ///
    /// Blocks for as long as that takes. Later writes are answered with [`CommitError::Unavailable`]; entries can
    /// still be read. Closing twice does nothing.
    pub fn close(&self) {
        *self.jobs.write() = None;
        // The connection that closes last empties the log, which is to be the writer's.
        *self.journal.lock() = None;
        let Some(writer) = self.writer.lock().take() else { return };
        if writer.join().is_err() {
            tracing::error!("the store's writer has panicked; what it acknowledged is on disk");
        }
        self.shared.state.write().closed = true;
        self.shared.watchers.wake_all();
    }

    fn submit(&self, job: Job) -> Result<(), CommitError> {
        let jobs = self.jobs.read();
        let Some(jobs) = &*jobs else { return Err(CommitError::Unavailable("it is closed")) };
        jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CommitError::Unavailable("too many writes are waiting"),
            mpsc::error::TrySendError::Closed(_) => WRITER_ENDED,
        })
    }

    async fn read_journal<T: Send + 'static>(
        &self,
        read: impl FnOnce(&JournalReader) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let journal = self.journal.clone();
        let task = tokio::task::spawn_blocking(move || match &*journal.lock() {
            Some(reader) => read(reader).map_err(|error| ReadError::Backend(Arc::new(error))),
            None => Err(ReadError::Backend(Arc::new(Closed))),
        });
        task.await.unwrap_or_else(|error| Err(ReadError::Backend(Arc::new(error))))
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

const WRITER_ENDED: CommitError = CommitError::Unavailable("its writer has ended unexpectedly; see the log");

fn create_directory(directory: &Path) -> Result<(), OpenError> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(OpenError::NotADirectory { path: directory.to_owned() }),
        Err(absent) => Err(OpenError::from_io(directory, created.err().unwrap_or(absent))),
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn revision(&self) -> Revision {
        self.shared.state.read().revision()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Arc<Entry>>, ReadError> {
        Ok(self.shared.state.read().get(key).cloned())
    }

    async fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, ReadError> {
        self.shared.state.read().list(prefix, after, limit, at)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError> {
        let bytes = size_of(&transaction);
        let waiting = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let queued = if waiting > 0 && waiting + bytes > QUEUE_BYTES {
            Err(CommitError::Unavailable("too many bytes are waiting"))
        } else {
            self.submit(Job::Commit { transaction, bytes, reply })
        };
        if let Err(error) = queued {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(error);
        }
        // Whoever is to be woken is when the rest of the answer is dropped.
        answer.await.map_or(Err(WRITER_ENDED), |(outcome, _wake)| outcome)
    }

    fn watch(&self, prefix: &[u8], after: Revision) -> Result<Box<dyn Watch>, ReadError> {
        self.shared.state.read().readable(after)?;
        let (name, slot) = self.shared.watchers.add(prefix, after);
        Ok(Box::new(RingWatch { shared: self.shared.clone(), name, slot, revision: after }))
    }

    async fn compact(&self, before: Revision) -> Result<(), CommitError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Compact { before, reply })?;
        answer.await.unwrap_or(Err(WRITER_ENDED))
    }

    async fn read_stream(&self, stream: StreamId, from: u64) -> Result<Vec<Bytes>, ReadError> {
        self.read_journal(move |journal| journal.records(stream, from)).await
    }

    async fn read_log(&self, log: StreamId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, ReadError> {
        self.read_journal(move |journal| journal.log(log, from, limit)).await
    }

    async fn log_extent(&self, log: StreamId) -> Result<LogExtent, ReadError> {
        self.read_journal(move |journal| journal.log_extent(log)).await
    }

    async fn logs(&self) -> Result<Vec<(StreamId, LogExtent)>, ReadError> {
        self.read_journal(JournalReader::logs).await
    }

    async fn read_streams(&self, streams: &[StreamId]) -> Result<Vec<Vec<Bytes>>, ReadError> {
        let streams = streams.to_vec();
        self.read_journal(move |journal| streams.iter().map(|stream| journal.records(*stream, 0)).collect()).await
    }

    async fn sleeping_streams(&self) -> Result<Vec<(StreamId, i64)>, ReadError> {
        self.read_journal(JournalReader::sleeping_streams).await
    }

    async fn closed_streams(&self) -> Result<Vec<StreamId>, ReadError> {
        self.read_journal(JournalReader::closed_streams).await
    }

    async fn open_streams(&self) -> Result<Vec<StreamId>, ReadError> {
        self.read_journal(JournalReader::open_streams).await
    }
}

/// How many changes one call of `next` returns at most: what a watcher that lags holds of the past at a time.
const WATCH_BATCH: usize = 1_024;

/// A position in the ring, and where its news come in.
struct RingWatch {
    shared: Arc<Shared>,
    name: u64,
    slot: Arc<Slot>,
    revision: Revision,
}

impl RingWatch {
    /// What there is for this watch by now; moves on past what does not concern it.
    fn take(&mut self) -> Result<Vec<Arc<Change>>, ReadError> {
        let first = self.slot.take();
        let state = self.shared.state.read();
        let Some(first) = first else {
            return if state.closed { Err(ReadError::Backend(Arc::new(Closed))) } else { Ok(Vec::new()) };
        };
        // What lies between concerns others.
        let after = self.revision.max(first.saturating_sub(1));
        let mut changes = state.changes_after(after).inspect_err(|_| self.slot.note(first))?;
        let mut batch = Vec::new();
        for change in changes.by_ref().filter(|change| change.key.starts_with(self.slot.prefix())) {
            batch.push(change.clone());
            if batch.len() == WATCH_BATCH {
                self.revision = change.revision;
                self.slot.note(self.revision + 1);
                return Ok(batch);
            }
        }
        self.revision = state.revision();
        if batch.is_empty() && state.closed {
            return Err(ReadError::Backend(Arc::new(Closed)));
        }
        Ok(batch)
    }
}

#[async_trait]
impl Watch for RingWatch {
    async fn next(&mut self) -> Result<Vec<Arc<Change>>, ReadError> {
        loop {
            let batch = self.take()?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            // News that came since are kept for this watch.
            self.slot.news.notified().await;
        }
    }

    fn revision(&self) -> Revision {
        self.shared.watchers.position(&self.slot, self.revision)
    }
}

impl Drop for RingWatch {
    fn drop(&mut self) {
        self.shared.watchers.remove(self.name);
    }
}
