//! The file on disk: its schema and the statements on it.
//!
//! Schema version 4. All revisions are the store's; times are not kept.
//!
//! - `changes`: one row for each change whose outcome can still be read. `value` is NULL for a deletion, `replaced` is
//!   the revision of the row that this one supersedes. That pointer is what compaction follows, instead of an index
//!   over the keys, which would double the cost of a write. The newest row is never removed: it carries the revision.
//! - `journal`, `streams`: the workflow journal, in [`streams`].
//! - `logs`, `log_records`: logs, in [`logs`].
//! - `meta`: `compacted`, the oldest readable revision; `swept`, how far superseded rows have been removed (at most
//!   `compacted`: readers lose the past at once, its rows go later).

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};

use super::OpenError;
use super::logs;
use super::plan::{Plan, Stream};
use super::state::State;
use super::streams::{self, StreamTable};
use crate::{Change, Entry, LogExtent, Revision, StreamId};

pub(crate) const FILE: &str = "kapell.db";

const VERSION: i64 = 4;

/// "Kapl", at byte 68 of the file, so that `file` and we can tell whose database it is.
const APPLICATION_ID: i64 = 0x4b61_706c;

const SCHEMA: &str = "
    CREATE TABLE changes (
        revision INTEGER PRIMARY KEY,
        key BLOB NOT NULL,
        value BLOB,
        created INTEGER NOT NULL,
        replaced INTEGER
    );
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO meta VALUES ('compacted', 0), ('swept', 0);
";

/// Up to this size a database is checked as a whole at open (about 1 GB/s when cached, so 30 ms). Beyond, the
/// start would take seconds; reading all changes, which every open does, notices damage in their pages anyway. Damage in
/// journals is noticed when they are read. (A check in the background would keep the log from being cut back.)
const CHECK_UP_TO: u64 = 32 << 20;

/// Another program that looks into the file (`sqlite3`, a backup) may hold it for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The log is cut back to this size after it has grown: one checkpoint's worth of a busy server.
const LOG_SIZE: i64 = 16 << 20;

/// SQLite's integers are signed; a revision or sequence beyond 2^63 does not happen.
pub(super) fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) struct Database {
    connection: Connection,
    streams: StreamTable,
    pub(crate) path: PathBuf,
}

/// How far the past has been forgotten, as `meta` says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Horizon {
    pub(crate) compacted: Revision,
    pub(crate) swept: Revision,
}

impl Database {
    /// Opens or creates the database in a directory that the caller has locked.
    pub(crate) fn open(directory: &Path, max_bytes: Option<u64>) -> Result<Self, OpenError> {
        let path = directory.join(FILE);
        // Objects include Secrets. SQLite gives its log the mode of the file, which it finds already made.
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path);
        let size = file.and_then(|file| file.metadata()).map_err(|source| OpenError::from_io(&path, source))?.len();
        let connection = connect(&path).map_err(|source| OpenError::from_sqlite(&path, source))?;
        let mut database = Self { connection, streams: StreamTable::default(), path };
        database.prepare(size, max_bytes)?;
        database.streams =
            StreamTable::open(&database.connection).map_err(|source| OpenError::from_sqlite(&database.path, source))?;
        Ok(database)
    }

    fn prepare(&self, size: u64, max_bytes: Option<u64>) -> Result<(), OpenError> {
        let database = |source| OpenError::from_sqlite(&self.path, source);
        let fresh = self.recognise()?;
        if size <= CHECK_UP_TO && !fresh {
            let verdict: String =
                self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(database)?;
            if verdict != "ok" {
                return Err(OpenError::Corrupt { path: self.path.clone(), detail: verdict });
            }
        }
        if let Some(max_bytes) = max_bytes {
            self.limit(max_bytes).map_err(database)?;
        }
        self.connection
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))
            .and_then(|_| self.connection.pragma_update(None, "synchronous", "full"))
            .and_then(|()| self.connection.pragma_update_and_check(None, "journal_size_limit", LOG_SIZE, |_| Ok(())))
            .map_err(database)?;
        if fresh {
            return self.create().map_err(database);
        }
        let version = self.connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
        self.upgrade(version.map_err(database)?).map_err(database)
    }

    /// From an earlier version, all or nothing.
    fn upgrade(&self, from: i64) -> rusqlite::Result<()> {
        let steps = [streams::UPGRADE_FROM_1, logs::SCHEMA, streams::UPGRADE_FROM_3];
        let missing = steps.get(usize::try_from(from - 1).unwrap_or(0)..).unwrap_or_default();
        if missing.is_empty() {
            return Ok(());
        }
        self.atomically(|| {
            self.connection.execute_batch(&format!("{} PRAGMA user_version = {VERSION}", missing.concat()))
        })
    }

    /// Whether the file is empty; an error when it is not ours.
    fn recognise(&self) -> Result<bool, OpenError> {
        let number = |sql: &str| {
            let value = self.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
            value.map_err(|source| OpenError::from_sqlite(&self.path, source))
        };
        let application = number("PRAGMA application_id")?;
        let version = number("PRAGMA user_version")?;
        if application != APPLICATION_ID {
            let empty = application == 0 && version == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0;
            return if empty { Ok(true) } else { Err(OpenError::Foreign { path: self.path.clone() }) };
        }
        if version > VERSION {
            return Err(OpenError::Newer { path: self.path.clone(), found: version, supported: VERSION });
        }
        Ok(false)
    }

    fn limit(&self, max_bytes: u64) -> rusqlite::Result<()> {
        let page: i64 = self.connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages = sql(max_bytes) / page.max(1);
        self.connection.pragma_update_and_check(None, "max_page_count", pages.max(1), |_| Ok(()))
    }

    fn create(&self) -> rusqlite::Result<()> {
        self.connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {SCHEMA} {} {} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT",
            streams::SCHEMA,
            logs::SCHEMA
        ))
    }

    pub(crate) fn horizon(&self) -> rusqlite::Result<Horizon> {
        let value = |name: &str| {
            let sql = "SELECT value FROM meta WHERE name = ?1";
            self.connection.query_row(sql, [name], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
        };
        Ok(Horizon { compacted: value("compacted")?, swept: value("swept")? })
    }

    /// Rebuilds the state as it was when the last commit was acknowledged, with as much history as it keeps.
    pub(crate) fn load(&self, state: &mut State, now: Instant) -> Result<Horizon, OpenError> {
        self.load_rows(state, now)
            .map_err(|source| OpenError::from_sqlite(&self.path, source))?
            .map_err(|detail| OpenError::Corrupt { path: self.path.clone(), detail })
    }

    fn load_rows(&self, state: &mut State, now: Instant) -> rusqlite::Result<Result<Horizon, String>> {
        let horizon = self.horizon()?;
        let mut statement =
            self.connection.prepare("SELECT revision, key, value, created FROM changes ORDER BY revision")?;
        let mut rows = statement.query([])?;
        let mut in_past = true;
        while let Some(row) = rows.next()? {
            let modified = row.get::<_, i64>(0)?.unsigned_abs();
            let key = Bytes::from(row.get::<_, Vec<u8>>(1)?);
            let created = row.get::<_, i64>(3)?.unsigned_abs();
            let value = row.get::<_, Option<Vec<u8>>>(2)?.map(Bytes::from);
            let entry = value.map(|value| Arc::new(Entry { key: key.clone(), value, created, modified }));
            if modified <= horizon.compacted {
                state.restore(modified, key, entry);
                continue;
            }
            if in_past {
                state.restored_until(horizon.compacted);
                in_past = false;
            }
            if modified != state.revision() + 1 {
                return Ok(Err(format!("change {} is missing", state.revision() + 1)));
            }
            let previous = state.get(&key).cloned();
            state.publish([Arc::new(Change { revision: modified, key, entry, previous })], now);
        }
        if in_past && state.revision() != horizon.compacted {
            return Ok(Err(format!("change {} is missing", horizon.compacted)));
        }
        Ok(Ok(horizon))
    }

    /// Where the streams of this list stand; those that do not exist are left out.
    pub(crate) fn streams(
        &mut self,
        ids: impl Iterator<Item = StreamId>,
    ) -> rusqlite::Result<HashMap<StreamId, Stream>> {
        self.streams.look_up(&self.connection, ids)
    }

    /// Writes and syncs the whole plan; after an error none of it is there.
    pub(crate) fn commit(&mut self, plan: &Plan) -> rusqlite::Result<()> {
        let mut moves = streams::Moves::default();
        self.atomically(|| {
            self.insert_changes(&plan.changes)?;
            moves = self.streams.write(&self.connection, plan)?;
            logs::write(&self.connection, &plan.logs)
        })?;
        self.streams.accept(moves);
        Ok(())
    }

    /// Brings the table of streams up to date, when there is much that it does not say yet.
    pub(crate) fn settle_streams(&mut self) -> rusqlite::Result<()> {
        if self.streams.is_behind() {
            self.atomically(|| self.streams.settle(&self.connection))?;
            self.streams.settled();
        }
        Ok(())
    }

    fn insert_changes(&self, changes: &[Arc<Change>]) -> rusqlite::Result<()> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO changes (revision, key, value, created, replaced) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for change in changes {
            let value = change.entry.as_ref().map(|entry| &entry.value[..]);
            let born = change.entry.as_ref().or(change.previous.as_ref()).map_or(0, |entry| entry.created);
            let replaced = change.previous.as_ref().map(|entry| sql(entry.modified));
            insert.execute(params![sql(change.revision), &change.key[..], value, sql(born), replaced])?;
        }
        Ok(())
    }

    /// Makes `before` the oldest readable revision, durably.
    pub(crate) fn compact(&self, before: Revision) -> rusqlite::Result<()> {
        self.atomically(|| self.raise("compacted", before))
    }

    /// Removes the rows that nothing from revision `until` on can see, given that this was done until `from`.
    ///
    /// A row is superseded by the row that points to it. A deletion goes one step later than what it deleted, so
    /// that an interrupted sweep never brings a deleted key back; the row at `until` itself always stays.
    pub(crate) fn sweep(&self, from: Revision, until: Revision) -> rusqlite::Result<()> {
        self.atomically(|| {
            let bounds = [sql(from), sql(until)];
            self.connection
                .prepare_cached(
                    "DELETE FROM changes WHERE revision IN (SELECT replaced FROM changes
                         WHERE revision > ?1 AND revision <= ?2 AND replaced IS NOT NULL)",
                )?
                .execute(bounds)?;
            self.connection
                .prepare_cached("DELETE FROM changes WHERE revision >= ?1 AND revision < ?2 AND value IS NULL")?
                .execute(bounds)?;
            self.raise("swept", until)?;
            self.raise("compacted", until)
        })
    }

    fn raise(&self, name: &str, value: Revision) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("UPDATE meta SET value = max(value, ?2) WHERE name = ?1")?
            .execute(params![name, sql(value)])?;
        Ok(())
    }

    fn atomically(&self, work: impl FnOnce() -> rusqlite::Result<()>) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let result = work().and_then(|()| self.connection.prepare_cached("COMMIT")?.execute([]).map(drop));
        // SQLite has rolled back by itself after some errors and not after others.
        if result.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        result
    }

    /// Moves the log into the database, so that one plain file remains.
    pub(crate) fn close(self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        self.connection.close().map_err(|(_, error)| error)
    }
}

/// The journal is read on a connection of its own: it does not wait for the writer, nor the writer for it.
pub(crate) struct JournalReader {
    connection: Connection,
    recent: Mutex<streams::Recent>,
}

impl JournalReader {
    pub(crate) fn open(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(FILE);
        connect(&path)
            .map(|connection| Self { connection, recent: Mutex::default() })
            .map_err(|source| OpenError::from_sqlite(&path, source))
    }

    pub(crate) fn records(&self, stream: StreamId, from: u64) -> rusqlite::Result<Vec<Bytes>> {
        streams::records(&self.connection, &mut self.recent.lock(), stream, from)
    }

    pub(crate) fn sleeping_streams(&self) -> rusqlite::Result<Vec<(StreamId, i64)>> {
        streams::sleeping_streams(&self.connection)
    }

    pub(crate) fn closed_streams(&self) -> rusqlite::Result<Vec<StreamId>> {
        streams::closed_streams(&self.connection)
    }

    pub(crate) fn open_streams(&self) -> rusqlite::Result<Vec<StreamId>> {
        streams::open_streams(&self.connection)
    }

    pub(crate) fn log(&self, log: StreamId, from: u64, limit: usize) -> rusqlite::Result<Vec<(u64, Bytes)>> {
        logs::records(&self.connection, log, from, limit)
    }

    pub(crate) fn log_extent(&self, log: StreamId) -> rusqlite::Result<LogExtent> {
        logs::extent(&self.connection, log)
    }

    pub(crate) fn logs(&self) -> rusqlite::Result<Vec<(StreamId, LogExtent)>> {
        logs::extents(&self.connection)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A file that is refused (damaged, newer) must stay as it is, with the log that a crash left beside it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}
