//! The store as a model: the whole history in one vector, nothing on disk.
//!
//! It is written to be obviously right rather than sparing: it never forgets a change (compaction only moves the
//! floor below which it refuses to answer) and it answers an old revision by replaying the history from the start.
//! The conformance suite and the property tests hold the durable stores against it, and other crates test with it.
//! It keeps nothing across a restart, so no server runs on it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    Change, CommitError, Entry, Expect, JournalWrite, LogExtent, Page, ReadError, RecordKey, Revision, Store, StreamId,
    Transaction, Watch, Write,
};

#[derive(Clone)]
pub struct MemoryStore {
    model: Arc<Mutex<Model>>,
    latest: Arc<watch::Sender<Revision>>,
    on_read: Arc<Mutex<Option<OnRead>>>,
}

/// What is read, as far as tests come between: see [`MemoryStore::on_read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    Key(Bytes),
    Stream(StreamId),
}

pub type BeforeAnswer = Pin<Box<dyn Future<Output = Result<(), ReadError>> + Send>>;

type OnRead = Arc<dyn Fn(Read) -> BeforeAnswer + Send + Sync>;

#[derive(Clone, Default)]
struct Model {
    /// The change with revision `n` is at `n - 1`.
    changes: Vec<Arc<Change>>,
    entries: BTreeMap<Bytes, Arc<Entry>>,
    streams: BTreeMap<StreamId, Stream>,
    logs: BTreeMap<StreamId, Log>,
    floor: Revision,
}

#[derive(Clone, Default)]
struct Stream {
    records: Vec<Bytes>,
    until: Option<i64>,
    closed: bool,
}

#[derive(Clone, Default)]
struct Log {
    first: u64,
    records: Vec<(RecordKey, Bytes)>,
}

impl Log {
    fn publish(&mut self, key: RecordKey, record: Bytes) {
        if !self.records.iter().any(|(known, _)| *known == key) {
            self.records.push((key, record));
        }
    }

    fn extent(&self) -> LogExtent {
        let bytes = self.records.iter().map(|(_, record)| record.len() as u64).sum();
        LogExtent { first: self.first, next: self.first + self.records.len() as u64, bytes }
    }

    fn trim(&mut self, before: u64) {
        let gone = usize::try_from(before.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let gone = gone.min(self.records.len().saturating_sub(1));
        self.records.drain(..gone);
        self.first += gone as u64;
    }
}

impl MemoryStore {
    pub fn new() -> Self {
        Self { model: Arc::default(), latest: Arc::new(watch::Sender::new(0)), on_read: Arc::default() }
    }

    /// From now on `hook` comes between what was read of a key or a stream and the answer: it may take its time, change the store
    /// meanwhile, or have the read fail.
    pub fn on_read(&self, hook: impl Fn(Read) -> BeforeAnswer + Send + Sync + 'static) {
        *self.on_read.lock() = Some(Arc::new(hook));
    }

    async fn before_answer(&self, read: impl FnOnce() -> Read) -> Result<(), ReadError> {
        let hook = self.on_read.lock().clone();
        match hook {
            Some(hook) => hook(read()).await,
            None => Ok(()),
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    fn revision(&self) -> Revision {
        self.changes.len() as Revision
    }

    fn readable(&self, requested: Revision) -> Result<(), ReadError> {
        let (oldest, latest) = (self.floor, self.revision());
        if requested < oldest {
            return Err(ReadError::Compacted { requested, oldest });
        }
        if requested > latest {
            return Err(ReadError::Future { requested, latest });
        }
        Ok(())
    }

    fn entries_at(&self, revision: Revision) -> BTreeMap<Bytes, Arc<Entry>> {
        let mut entries = BTreeMap::new();
        for change in &self.changes[..revision as usize] {
            match &change.entry {
                Some(entry) => entries.insert(change.key.clone(), entry.clone()),
                None => entries.remove(&change.key),
            };
        }
        entries
    }

    /// Applies the transaction as a whole; after an error the model is as it was.
    fn apply(&mut self, transaction: Transaction) -> Result<Revision, CommitError> {
        let before = self.changes.len();
        let mut streams: BTreeMap<StreamId, Option<Stream>> = BTreeMap::new();
        let (of_logs, journal): (Vec<_>, Vec<_>) = transaction
            .journal
            .into_iter()
            .partition(|write| matches!(write, JournalWrite::Publish { .. } | JournalWrite::Trim { .. }));
        let result = transaction
            .writes
            .into_iter()
            .try_for_each(|write| self.write(write))
            .and_then(|()| journal.into_iter().try_for_each(|write| self.journal(&mut streams, write)));
        if let Err(error) = result {
            for change in self.changes.drain(before..).rev() {
                match &change.previous {
                    Some(previous) => self.entries.insert(change.key.clone(), previous.clone()),
                    None => self.entries.remove(&change.key),
                };
            }
            return Err(error);
        }
        for (id, stream) in streams {
            match stream {
                Some(stream) => self.streams.insert(id, stream),
                None => self.streams.remove(&id),
            };
        }
        // Nothing is demanded of a log, so these cannot fail.
        for write in of_logs {
            match write {
                JournalWrite::Publish { log, key, record } => self.logs.entry(log).or_default().publish(key, record),
                JournalWrite::Trim { log, before } => {
                    if let Some(log) = self.logs.get_mut(&log) {
                        log.trim(before);
                    }
                }
                JournalWrite::Append { .. }
                | JournalWrite::Close { .. }
                | JournalWrite::Sleep { .. }
                | JournalWrite::Reopen { .. }
                | JournalWrite::Delete { .. } => {}
            }
        }
        Ok(self.revision())
    }

    fn write(&mut self, write: Write) -> Result<(), CommitError> {
        let current = self.entries.get(&write.key).cloned();
        let holds = match write.expect {
            Expect::Absent => current.is_none(),
            Expect::Revision(revision) => current.as_ref().is_some_and(|entry| entry.modified == revision),
            Expect::Anything => true,
        };
        if !holds {
            return Err(CommitError::Conflict { key: write.key, current });
        }
        let revision = self.revision() + 1;
        let created = current.as_ref().map_or(revision, |entry| entry.created);
        let entry =
            write.value.map(|value| Arc::new(Entry { key: write.key.clone(), value, created, modified: revision }));
        match (&entry, &current) {
            (None, None) => return Ok(()),
            (Some(entry), _) => self.entries.insert(write.key.clone(), entry.clone()),
            (None, Some(_)) => self.entries.remove(&write.key),
        };
        self.changes.push(Arc::new(Change { revision, key: write.key, entry, previous: current }));
        Ok(())
    }

    fn journal(
        &self,
        touched: &mut BTreeMap<StreamId, Option<Stream>>,
        write: JournalWrite,
    ) -> Result<(), CommitError> {
        let Some(id) = write.stream() else { return Ok(()) };
        let state = touched.entry(id).or_insert_with(|| self.streams.get(&id).cloned());
        match write {
            JournalWrite::Append { sequence, record, .. } => {
                let stream = state.get_or_insert_default();
                if stream.closed {
                    return Err(CommitError::Closed { stream: id });
                }
                let expected = stream.records.len() as u64;
                if sequence != expected {
                    return Err(CommitError::Sequence { stream: id, expected, got: sequence });
                }
                stream.records.push(record);
                stream.until = None;
            }
            JournalWrite::Sleep { until, .. } => {
                if let Some(stream) = state {
                    stream.until = Some(until);
                }
            }
            JournalWrite::Close { .. } => {
                if let Some(stream) = state {
                    stream.closed = true;
                    stream.until = None;
                }
            }
            JournalWrite::Reopen { .. } => {
                if let Some(stream) = state {
                    stream.closed = false;
                }
            }
            JournalWrite::Delete { .. } => *state = None,
            JournalWrite::Publish { .. } | JournalWrite::Trim { .. } => {}
        }
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn revision(&self) -> Revision {
        self.model.lock().revision()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Arc<Entry>>, ReadError> {
        let entry = self.model.lock().entries.get(key).cloned();
        self.before_answer(|| Read::Key(Bytes::copy_from_slice(key))).await?;
        Ok(entry)
    }

    async fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, ReadError> {
        let model = self.model.lock();
        let revision = at.unwrap_or(model.revision());
        model.readable(revision)?;
        let replayed;
        let entries = if revision == model.revision() {
            &model.entries
        } else {
            replayed = model.entries_at(revision);
            &replayed
        };
        let mut found: Vec<_> = entries
            .values()
            .filter(|entry| entry.key.starts_with(prefix) && after.is_none_or(|after| entry.key[..] > *after))
            .cloned()
            .collect();
        let shown = if limit == 0 { found.len() } else { limit.min(found.len()) };
        let remaining = found.len() - shown;
        found.truncate(shown);
        Ok(Page { revision, entries: found, remaining })
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError> {
        let mut model = self.model.lock();
        let revision = model.apply(transaction)?;
        self.latest.send_replace(revision);
        Ok(revision)
    }

    fn watch(&self, prefix: &[u8], after: Revision) -> Result<Box<dyn Watch>, ReadError> {
        self.model.lock().readable(after)?;
        let prefix = Bytes::copy_from_slice(prefix);
        let latest = self.latest.subscribe();
        Ok(Box::new(MemoryWatch { store: self.clone(), latest, prefix, revision: after }))
    }

    async fn compact(&self, before: Revision) -> Result<(), CommitError> {
        let mut model = self.model.lock();
        model.floor = model.floor.max(before.min(model.revision()));
        Ok(())
    }

    async fn read_stream(&self, stream: StreamId, from: u64) -> Result<Vec<Bytes>, ReadError> {
        let from = from.try_into().unwrap_or(usize::MAX);
        let records =
            self.model.lock().streams.get(&stream).map(|known| known.records.iter().skip(from).cloned().collect());
        self.before_answer(|| Read::Stream(stream)).await?;
        Ok(records.unwrap_or_default())
    }

    async fn read_log(&self, log: StreamId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, ReadError> {
        let model = self.model.lock();
        let Some(log) = model.logs.get(&log) else { return Ok(Vec::new()) };
        let numbered = (log.first..).zip(&log.records).skip_while(|(position, _)| *position < from);
        Ok(numbered.take(limit).map(|(position, (_, record))| (position, record.clone())).collect())
    }

    async fn log_extent(&self, log: StreamId) -> Result<LogExtent, ReadError> {
        Ok(self.model.lock().logs.get(&log).map(Log::extent).unwrap_or_default())
    }

    async fn logs(&self) -> Result<Vec<(StreamId, LogExtent)>, ReadError> {
        Ok(self.model.lock().logs.iter().map(|(id, log)| (*id, log.extent())).collect())
    }

    async fn sleeping_streams(&self) -> Result<Vec<(StreamId, i64)>, ReadError> {
        let model = self.model.lock();
        let open = model.streams.iter().filter(|(_, stream)| !stream.closed);
        Ok(open.filter_map(|(id, stream)| Some((*id, stream.until?))).collect())
    }

    async fn closed_streams(&self) -> Result<Vec<StreamId>, ReadError> {
        let model = self.model.lock();
        Ok(model.streams.iter().filter(|(_, stream)| stream.closed).map(|(id, _)| *id).collect())
    }

    async fn open_streams(&self) -> Result<Vec<StreamId>, ReadError> {
        let model = self.model.lock();
        Ok(model.streams.iter().filter(|(_, stream)| !stream.closed).map(|(id, _)| *id).collect())
    }
}

struct MemoryWatch {
    store: MemoryStore,
    latest: watch::Receiver<Revision>,
    prefix: Bytes,
    revision: Revision,
}

#[async_trait]
impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<Vec<Arc<Change>>, ReadError> {
        loop {
            self.latest.borrow_and_update();
            {
                let model = self.store.model.lock();
                model.readable(self.revision)?;
                let news = &model.changes[self.revision as usize..];
                let found: Vec<_> = news.iter().filter(|c| c.key.starts_with(&self.prefix)).cloned().collect();
                self.revision = model.revision();
                if !found.is_empty() {
                    return Ok(found);
                }
            }
            // The sender lives in `self.store`, so the channel cannot be closed.
            let _ = self.latest.changed().await;
        }
    }

    fn revision(&self) -> Revision {
        self.revision
    }
}
