//! Logs on disk.
//!
//! - `log_records`: the records of each log by position, so that reading one from a position on reads pages in order.
//!   The index on keys is what makes publishing idempotent; it is as large as what the logs hold.
//! - `logs`: what each log holds. One row is written for each log that a batch touches, so that opening the database
//!   need not read records.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::database::sql;
use super::plan::LogEffect;
use crate::{LogExtent, StreamId};

pub(super) const SCHEMA: &str = "
    CREATE TABLE log_records (
        log BLOB NOT NULL,
        position INTEGER NOT NULL,
        key BLOB NOT NULL,
        record BLOB NOT NULL,
        PRIMARY KEY (log, position)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX log_keys ON log_records (log, key);
    CREATE TABLE logs (
        log BLOB PRIMARY KEY,
        first INTEGER NOT NULL,
        next INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) WITHOUT ROWID;
";

/// Writes a plan's part. Consecutive effects on one log, which is what batches consist of, share one row of `logs`.
pub(super) fn write(connection: &Connection, effects: &[LogEffect]) -> rusqlite::Result<()> {
    let mut at: Option<(StreamId, LogExtent)> = None;
    for effect in effects {
        let (LogEffect::Publish { log, .. } | LogEffect::Trim { log, .. }) = effect;
        if at.is_none_or(|(known, _)| known != *log) {
            save(connection, at)?;
            at = Some((*log, extent(connection, *log)?));
        }
        let Some((_, extent)) = &mut at else { continue };
        match effect {
            LogEffect::Publish { log, key, record } => {
                let inserted = connection
                    .prepare_cached(
                        "INSERT INTO log_records (log, position, key, record) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT (log, key) DO NOTHING",
                    )?
                    .execute(params![log.0, sql(extent.next), key, &record[..]])?;
                if inserted > 0 {
                    extent.next += 1;
                    extent.bytes += record.len() as u64;
                }
            }
            LogEffect::Trim { log, before } => {
                let before = (*before).min(extent.next.saturating_sub(1));
                let bounds = params![log.0, sql(before)];
                let bytes: i64 = connection
                    .prepare_cached("SELECT total(length(record)) FROM log_records WHERE log = ?1 AND position < ?2")?
                    .query_row(bounds, |row| row.get::<_, f64>(0).map(|bytes| bytes as i64))?;
                connection
                    .prepare_cached("DELETE FROM log_records WHERE log = ?1 AND position < ?2")?
                    .execute(bounds)?;
                extent.first = extent.first.max(before);
                extent.bytes -= bytes.unsigned_abs().min(extent.bytes);
            }
        }
    }
    save(connection, at)
}

fn save(connection: &Connection, at: Option<(StreamId, LogExtent)>) -> rusqlite::Result<()> {
    // A log that never held anything is none.
    let Some((log, LogExtent { first, next, bytes })) = at.filter(|(_, extent)| extent.next > 0) else { return Ok(()) };
    connection
        .prepare_cached("INSERT OR REPLACE INTO logs (log, first, next, bytes) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![log.0, sql(first), sql(next), sql(bytes)])?;
    Ok(())
}

pub(super) fn extent(connection: &Connection, log: StreamId) -> rusqlite::Result<LogExtent> {
    let mut find = connection.prepare_cached("SELECT first, next, bytes FROM logs WHERE log = ?1")?;
    Ok(find.query_row([log.0], |row| read_extent(row, 0)).optional()?.unwrap_or_default())
}

fn read_extent(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<LogExtent> {
    let number = |offset| row.get::<_, i64>(column + offset).map(i64::unsigned_abs);
    Ok(LogExtent { first: number(0)?, next: number(1)?, bytes: number(2)? })
}

pub(super) fn records(
    connection: &Connection,
    log: StreamId,
    from: u64,
    limit: usize,
) -> rusqlite::Result<Vec<(u64, Bytes)>> {
    let mut read = connection.prepare_cached(
        "SELECT position, record FROM log_records WHERE log = ?1 AND position >= ?2 ORDER BY position LIMIT ?3",
    )?;
    let row =
        |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?.unsigned_abs(), Bytes::from(row.get::<_, Vec<u8>>(1)?)));
    read.query_map(params![log.0, sql(from), sql(limit as u64)], row)?.collect()
}

pub(super) fn extents(connection: &Connection) -> rusqlite::Result<Vec<(StreamId, LogExtent)>> {
    let mut read = connection.prepare_cached("SELECT log, first, next, bytes FROM logs")?;
    let row = |row: &rusqlite::Row<'_>| Ok((StreamId(row.get(0)?), read_extent(row, 1)?));
    read.query_map([], row)?.collect()
}
