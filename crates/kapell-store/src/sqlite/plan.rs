//! Decides a batch: which transactions hold, and what they change. Pure; the writer carries it out.
//!
//! Transactions are taken in order of arrival, each checked against the state as those accepted before it in the
//! batch leave it. One whose demand does not hold is refused alone and leaves no trace in the plan.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::state::State;
use crate::{Change, CommitError, Entry, Expect, JournalWrite, RecordKey, Revision, StreamId, Transaction, Write};

/// How far a journal stream has come; `None` where one is wanted: there is no such stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    /// The number that the next record must have.
    pub(crate) next: u64,
    pub(crate) open: bool,
}

pub(crate) enum RecordEffect {
    Append {
        stream: StreamId,
        sequence: u64,
        record: Bytes,
    },
    /// After the stream's latest record.
    Sleep {
        stream: StreamId,
        until: i64,
    },
    /// Of a stream that is closed.
    Reopen {
        stream: StreamId,
    },
    DeleteAll {
        stream: StreamId,
    },
}

pub(crate) enum LogEffect {
    Publish { log: StreamId, key: RecordKey, record: Bytes },
    Trim { log: StreamId, before: u64 },
}

#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) changes: Vec<Arc<Change>>,
    /// In order: a stream may be deleted and opened again in one batch.
    pub(crate) records: Vec<RecordEffect>,
    /// Where the streams that the accepted transactions touched stand in the end.
    pub(crate) streams: BTreeMap<StreamId, Option<Stream>>,
    /// In order. Nothing is demanded of logs, so what becomes of these is decided where they are written.
    pub(crate) logs: Vec<LogEffect>,
    /// One for each transaction, in order.
    pub(crate) verdicts: Vec<Result<Revision, CommitError>>,
}

impl Plan {
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.records.is_empty() && self.streams.is_empty() && self.logs.is_empty()
    }
}

pub(crate) fn streams_of(transaction: &Transaction) -> impl Iterator<Item = StreamId> {
    transaction.journal.iter().filter_map(JournalWrite::stream)
}

/// `streams` says where each stream stands that a transaction names; one that is missing does not exist.
pub(crate) fn plan_batch(
    state: &State,
    streams: &HashMap<StreamId, Stream>,
    transactions: impl IntoIterator<Item = Transaction>,
) -> Plan {
    let mut planner = Planner { state, streams, overlay: HashMap::new(), plan: Plan::default() };
    for transaction in transactions {
        let verdict = planner.take(transaction);
        planner.plan.verdicts.push(verdict);
    }
    planner.plan
}

struct Planner<'a> {
    state: &'a State,
    streams: &'a HashMap<StreamId, Stream>,
    /// The state of the keys that the batch has changed.
    overlay: HashMap<Bytes, Option<Arc<Entry>>>,
    plan: Plan,
}

impl Planner<'_> {
    fn take(&mut self, transaction: Transaction) -> Result<Revision, CommitError> {
        let (changes, records, logs) = (self.plan.changes.len(), self.plan.records.len(), self.plan.logs.len());
        let mut touched = BTreeMap::new();
        let result = transaction
            .writes
            .into_iter()
            .try_for_each(|write| self.write(write))
            .and_then(|()| transaction.journal.into_iter().try_for_each(|write| self.journal(&mut touched, write)));
        match result {
            Ok(()) => {
                self.plan.streams.extend(touched);
                Ok(self.revision())
            }
            Err(error) => {
                for change in self.plan.changes.drain(changes..).rev() {
                    self.overlay.insert(change.key.clone(), change.previous.clone());
                }
                self.plan.records.truncate(records);
                self.plan.logs.truncate(logs);
                Err(error)
            }
        }
    }

    fn revision(&self) -> Revision {
        self.state.revision() + self.plan.changes.len() as Revision
    }

    fn write(&mut self, Write { key, expect, value }: Write) -> Result<(), CommitError> {
        let previous = match self.overlay.get(&key) {
            Some(entry) => entry.clone(),
            None => self.state.get(&key).cloned(),
        };
        let holds = match expect {
            Expect::Absent => previous.is_none(),
            Expect::Revision(revision) => previous.as_ref().is_some_and(|entry| entry.modified == revision),
            Expect::Anything => true,
        };
        if !holds {
            return Err(CommitError::Conflict { key, current: previous });
        }
        if value.is_none() && previous.is_none() {
            return Ok(());
        }
        let revision = self.revision() + 1;
        let created = previous.as_ref().map_or(revision, |entry| entry.created);
        let entry = value.map(|value| Arc::new(Entry { key: key.clone(), value, created, modified: revision }));
        self.overlay.insert(key.clone(), entry.clone());
        self.plan.changes.push(Arc::new(Change { revision, key, entry, previous }));
        Ok(())
    }

    fn journal(
        &mut self,
        touched: &mut BTreeMap<StreamId, Option<Stream>>,
        write: JournalWrite,
    ) -> Result<(), CommitError> {
        let Some(id) = write.stream() else {
            match write {
                JournalWrite::Publish { log, key, record } => {
                    self.plan.logs.push(LogEffect::Publish { log, key, record });
                }
                JournalWrite::Trim { log, before } => self.plan.logs.push(LogEffect::Trim { log, before }),
                JournalWrite::Append { .. }
                | JournalWrite::Close { .. }
                | JournalWrite::Sleep { .. }
                | JournalWrite::Reopen { .. }
                | JournalWrite::Delete { .. } => {}
            }
            return Ok(());
        };
        let now = match touched.get(&id).or_else(|| self.plan.streams.get(&id)) {
            Some(stream) => *stream,
            None => self.streams.get(&id).copied(),
        };
        let then = match write {
            JournalWrite::Append { stream, sequence, record } => {
                let Stream { next: expected, open } = now.unwrap_or(Stream { next: 0, open: true });
                if !open {
                    return Err(CommitError::Closed { stream });
                }
                if sequence != expected {
                    return Err(CommitError::Sequence { stream, expected, got: sequence });
                }
                self.plan.records.push(RecordEffect::Append { stream, sequence, record });
                Some(Stream { next: sequence + 1, open })
            }
            JournalWrite::Sleep { stream, until } => {
                if now.is_some_and(|stream| stream.open) {
                    self.plan.records.push(RecordEffect::Sleep { stream, until });
                }
                now
            }
            JournalWrite::Close { .. } => now.map(|stream| Stream { open: false, ..stream }),
            JournalWrite::Reopen { stream } => {
                if now.is_some_and(|stream| !stream.open) {
                    self.plan.records.push(RecordEffect::Reopen { stream });
                }
                now.map(|stream| Stream { open: true, ..stream })
            }
            JournalWrite::Delete { stream } => {
                if now.is_some() {
                    self.plan.records.push(RecordEffect::DeleteAll { stream });
                }
                None
            }
            JournalWrite::Publish { .. } | JournalWrite::Trim { .. } => now,
        };
        if then != now {
            touched.insert(id, then);
        }
        Ok(())
    }
}
