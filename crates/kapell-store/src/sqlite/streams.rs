//! The workflow journal on disk.
//!
//! - `journal`: every record in order of arrival, each with the position of the one before it in its stream. Records
//!   of all streams that a batch extends lie side by side on the last pages, so a batch of a hundred short records
//!   writes a dozen pages; a table ordered by stream would write more than a hundred. A stream is read backwards
//!   along its pointers.
//! - `streams`: how many records a stream has and where its last one is; a closed stream has `open = 0`. Appending
//!   does not touch it: it says how things stood at the position `streams` in `meta`, and the few records after that
//!   say the rest. Closing, reopening and deleting, which no record tells of, are written at
//!   once.
//!
//! Positions are never used twice, so that what is after the one in `meta` is new.

use std::collections::HashMap;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::database::sql;
use super::plan::{Plan, RecordEffect, Stream};
use crate::StreamId;

pub(super) const SCHEMA: &str = "
    CREATE TABLE journal (
        position INTEGER PRIMARY KEY,
        stream BLOB NOT NULL,
        sequence INTEGER NOT NULL,
        previous INTEGER,
        record BLOB NOT NULL,
        until INTEGER
    );
    CREATE TABLE streams (
        stream BLOB PRIMARY KEY,
        next INTEGER NOT NULL,
        last INTEGER NOT NULL,
        open INTEGER NOT NULL,
        until INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX open_streams ON streams (stream) WHERE open = 1;
    INSERT INTO meta VALUES ('streams', 0);
";

/// Version 3 had no streams that sleep.
pub(super) const UPGRADE_FROM_3: &str = "
    ALTER TABLE journal ADD COLUMN until INTEGER;
    ALTER TABLE streams ADD COLUMN until INTEGER;
";

/// Version 1 kept the journal ordered by stream, and `streams` without `last` and up to date.
pub(super) const UPGRADE_FROM_1: &str = "
    ALTER TABLE journal RENAME TO journal_1;
    ALTER TABLE streams RENAME TO streams_1;
    DROP INDEX open_streams;
    CREATE TABLE journal (
        position INTEGER PRIMARY KEY,
        stream BLOB NOT NULL,
        sequence INTEGER NOT NULL,
        previous INTEGER,
        record BLOB NOT NULL
    );
    CREATE TABLE streams (
        stream BLOB PRIMARY KEY,
        next INTEGER NOT NULL,
        last INTEGER NOT NULL,
        open INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX open_streams ON streams (stream) WHERE open = 1;
    INSERT INTO journal (position, stream, sequence, previous, record)
        SELECT position, stream, sequence, CASE sequence WHEN 0 THEN NULL ELSE position - 1 END, record
        FROM (SELECT row_number() OVER (ORDER BY stream, sequence) AS position, * FROM journal_1);
    INSERT INTO streams (stream, next, last, open)
        SELECT stream, max(sequence) + 1, position, (SELECT open FROM streams_1 AS old WHERE old.stream = new.stream)
        FROM journal AS new GROUP BY stream;
    DROP TABLE journal_1;
    DROP TABLE streams_1;
    INSERT INTO meta SELECT 'streams', coalesce(max(position), 0) FROM journal;
";

/// Records that the table of streams may lag behind: reading one stream looks through as many, in about a
/// millisecond, and a stream of a dozen records pays for a twelfth of a row instead of for twelve.
const MOST_BEHIND: u64 = 4_096;

/// The end of a stream that is open.
#[derive(Clone, Copy, Debug)]
struct Tail {
    next: u64,
    last: u64,
}

/// What the writer knows of the streams beyond the table.
#[derive(Default)]
pub(super) struct StreamTable {
    /// Ends of open streams: of all that the table is behind on, and of some others.
    tails: HashMap<StreamId, Tail>,
    /// The position of the next record.
    position: u64,
    /// `streams` in `meta`.
    upto: u64,
}

/// What a transaction does to [`StreamTable`], once it is on disk. `None`: the table knows.
#[derive(Default)]
pub(super) struct Moves {
    tails: HashMap<StreamId, Option<Tail>>,
    position: u64,
}

impl StreamTable {
    pub(super) fn open(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
        let upto = number("SELECT value FROM meta WHERE name = 'streams'")?;
        let last = number("SELECT coalesce(max(position), 0) FROM journal")?;
        let mut table = Self { tails: HashMap::new(), position: last.max(upto) + 1, upto };
        if last > upto {
            table.settle(connection)?;
            table.settled();
        }
        Ok(table)
    }

    pub(super) fn look_up(
        &mut self,
        connection: &Connection,
        ids: impl Iterator<Item = StreamId>,
    ) -> rusqlite::Result<HashMap<StreamId, Stream>> {
        let mut find = connection.prepare_cached("SELECT next, last, open FROM streams WHERE stream = ?1")?;
        let mut streams = HashMap::new();
        for id in ids {
            if let Some(tail) = self.tails.get(&id) {
                streams.insert(id, Stream { next: tail.next, open: true });
                continue;
            }
            let row = |row: &rusqlite::Row<'_>| {
                let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
                Ok((Tail { next: number(0)?, last: number(1)? }, row.get::<_, bool>(2)?))
            };
            if let Some((tail, open)) = find.query_row([id.0], row).optional()? {
                streams.insert(id, Stream { next: tail.next, open });
                if open {
                    self.tails.insert(id, tail);
                }
            }
        }
        Ok(streams)
    }

    /// Writes the journal's part of a plan, whose streams have been looked up.
    pub(super) fn write(&self, connection: &Connection, plan: &Plan) -> rusqlite::Result<Moves> {
        let mut moves = Moves { tails: HashMap::new(), position: self.position };
        let mut append = connection.prepare_cached(
            "INSERT INTO journal (position, stream, sequence, previous, record) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for effect in &plan.records {
            match effect {
                RecordEffect::Append { stream, sequence, record } => {
                    let position = moves.position;
                    let previous = self.tail(&moves, *stream).map(|tail| sql(tail.last));
                    append.execute(params![sql(position), stream.0, sql(*sequence), previous, &record[..]])?;
                    moves.tails.insert(*stream, Some(Tail { next: sequence + 1, last: position }));
                    moves.position += 1;
                }
                RecordEffect::Sleep { stream, until } => {
                    if let Some(tail) = self.tail(&moves, *stream) {
                        connection
                            .prepare_cached("UPDATE journal SET until = ?2 WHERE position = ?1")?
                            .execute(params![sql(tail.last), until])?;
                    }
                }
                RecordEffect::Reopen { stream } => {
                    // Unless it was closed by the same batch, of which nothing has been written yet.
                    if self.tail(&moves, *stream).is_none() {
                        moves.tails.insert(*stream, closed_at(connection, *stream)?);
                    }
                    // It may stand there as asleep in either case.
                    connection
                        .prepare_cached("UPDATE streams SET open = 1, until = NULL WHERE stream = ?1")?
                        .execute([stream.0])?;
                    if let Some(tail) = self.tail(&moves, *stream) {
                        connection
                            .prepare_cached("UPDATE journal SET until = NULL WHERE position = ?1")?
                            .execute([sql(tail.last)])?;
                    }
                }
                RecordEffect::DeleteAll { stream } => {
                    let last = match self.tail(&moves, *stream) {
                        Some(tail) => Some(tail.last),
                        None => closed_at(connection, *stream)?.map(|tail| tail.last),
                    };
                    delete_back_from(connection, last)?;
                    moves.tails.insert(*stream, None);
                }
            }
        }
        for (id, stream) in &plan.streams {
            match stream {
                Some(Stream { open: true, .. }) => {}
                Some(Stream { open: false, .. }) => {
                    if let Some(Tail { next, last }) = self.tail(&moves, *id) {
                        connection
                            .prepare_cached(
                                "INSERT OR REPLACE INTO streams (stream, next, last, open) VALUES (?1, ?2, ?3, 0)",
                            )?
                            .execute(params![id.0, sql(next), sql(last)])?;
                    }
                    moves.tails.insert(*id, None);
                }
                None => {
                    connection.prepare_cached("DELETE FROM streams WHERE stream = ?1")?.execute([id.0])?;
                }
            }
        }
        Ok(moves)
    }

    fn tail(&self, moves: &Moves, stream: StreamId) -> Option<Tail> {
        match moves.tails.get(&stream) {
            Some(moved) => *moved,
            None => self.tails.get(&stream).copied(),
        }
    }

    /// The transaction is on disk.
    pub(super) fn accept(&mut self, moves: Moves) {
        self.position = moves.position;
        for (stream, tail) in moves.tails {
            match tail {
                Some(tail) => self.tails.insert(stream, tail),
                None => self.tails.remove(&stream),
            };
        }
    }

    pub(super) fn is_behind(&self) -> bool {
        self.position > self.upto + MOST_BEHIND
    }

    /// Writes what the records after `upto` say into the table.
    pub(super) fn settle(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "INSERT INTO streams (stream, next, last, open, until)
                     SELECT stream, max(sequence) + 1, position, 1, until FROM journal WHERE position > ?1
                     GROUP BY stream
                 ON CONFLICT (stream) DO UPDATE SET next = excluded.next, last = excluded.last, until = excluded.until
                     WHERE excluded.next > streams.next",
            )?
            .execute([sql(self.upto)])?;
        connection
            .prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'streams'")?
            .execute([sql(self.position - 1)])?;
        Ok(())
    }

    /// The table has been brought up to date, on disk.
    pub(super) fn settled(&mut self) {
        self.upto = self.position - 1;
        self.tails.clear();
    }
}

fn closed_at(connection: &Connection, stream: StreamId) -> rusqlite::Result<Option<Tail>> {
    let mut find = connection.prepare_cached("SELECT next, last FROM streams WHERE stream = ?1")?;
    let number = |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    find.query_row([stream.0], |row| Ok(Tail { next: number(row, 0)?, last: number(row, 1)? })).optional()
}

fn delete_back_from(connection: &Connection, last: Option<u64>) -> rusqlite::Result<()> {
    let mut find = connection.prepare_cached("SELECT previous FROM journal WHERE position = ?1")?;
    let mut delete = connection.prepare_cached("DELETE FROM journal WHERE position = ?1")?;
    let mut next = last.map(sql);
    while let Some(position) = next {
        next = find.query_row([position], |row| row.get(0))?;
        delete.execute([position])?;
    }
    Ok(())
}

/// Where streams end that the table is behind on, as far as a reader has looked. Reading one stream would else look
/// through all those records again.
#[derive(Default)]
pub(super) struct Recent {
    last: HashMap<StreamId, i64>,
    /// Positions up to this one have been looked at.
    scanned: i64,
    /// `streams` in `meta` at that time.
    upto: i64,
}

impl Recent {
    fn newest(&mut self, connection: &Connection, stream: StreamId) -> rusqlite::Result<Option<i64>> {
        let upto: i64 = connection
            .prepare_cached("SELECT value FROM meta WHERE name = 'streams'")?
            .query_row([], |row| row.get(0))?;
        if upto != self.upto {
            self.upto = upto;
            self.last.retain(|_, position| *position > upto);
            self.scanned = self.scanned.max(upto);
        }
        let mut scan = connection.prepare_cached("SELECT position, stream FROM journal WHERE position > ?1")?;
        let mut rows = scan.query([self.scanned])?;
        while let Some(row) = rows.next()? {
            let position = row.get(0)?;
            self.last.insert(StreamId(row.get(1)?), position);
            self.scanned = self.scanned.max(position);
        }
        if let Some(position) = self.last.get(&stream) {
            return Ok(Some(*position));
        }
        let mut find = connection.prepare_cached("SELECT last FROM streams WHERE stream = ?1")?;
        find.query_row([stream.0], |row| row.get(0)).optional()
    }
}

/// The records of a stream from `from` on.
pub(super) fn records(
    connection: &Connection,
    recent: &mut Recent,
    stream: StreamId,
    from: u64,
) -> rusqlite::Result<Vec<Bytes>> {
    // One transaction, so that a deletion meanwhile is seen as a whole or not at all.
    let _snapshot = connection.unchecked_transaction()?;
    let newest = recent.newest(connection, stream)?;
    let mut read = connection.prepare_cached("SELECT previous, sequence, record FROM journal WHERE position = ?1")?;
    let mut records = Vec::new();
    let mut next = newest;
    while let Some(position) = next {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?));
        // What was deleted since it was looked at is not there.
        let Some((previous, sequence, record)) = read.query_row([position], row).optional()? else { break };
        if sequence < sql(from) {
            break;
        }
        records.push(Bytes::from(record));
        next = previous;
    }
    records.reverse();
    Ok(records)
}

pub(super) fn sleeping_streams(connection: &Connection) -> rusqlite::Result<Vec<(StreamId, i64)>> {
    let mut statement = connection.prepare_cached(
        "WITH new AS (
             SELECT stream, max(sequence), until FROM journal
             WHERE position > (SELECT value FROM meta WHERE name = 'streams') GROUP BY stream
         )
         SELECT stream, until FROM streams
             WHERE open = 1 AND until IS NOT NULL AND stream NOT IN (SELECT stream FROM new)
         UNION ALL
         SELECT stream, until FROM new
             WHERE until IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM streams WHERE streams.stream = new.stream AND open = 0)
         ORDER BY stream",
    )?;
    let rows = statement.query_map([], |row| Ok((StreamId(row.get(0)?), row.get(1)?)))?;
    rows.collect()
}

pub(super) fn open_streams(connection: &Connection) -> rusqlite::Result<Vec<StreamId>> {
    let mut statement = connection.prepare_cached(
        "SELECT stream FROM streams WHERE open = 1
         UNION
         SELECT stream FROM journal AS new WHERE position > (SELECT value FROM meta WHERE name = 'streams')
             AND NOT EXISTS (SELECT 1 FROM streams WHERE streams.stream = new.stream AND open = 0)",
    )?;
    let rows = statement.query_map([], |row| row.get(0).map(StreamId))?;
    rows.collect()
}

/// Closing is written to the table at once.
pub(super) fn closed_streams(connection: &Connection) -> rusqlite::Result<Vec<StreamId>> {
    let mut statement = connection.prepare_cached("SELECT stream FROM streams WHERE open = 0 ORDER BY stream")?;
    let rows = statement.query_map([], |row| row.get(0).map(StreamId))?;
    rows.collect()
}
