//! A service's state on disk: its own tables, the log of calls by idempotency key, and the fault switch. Replicas open the
//! same file; SQLite's locks order their transactions.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use serde_json::{Map, Value, json};

use crate::service::{Answer, Service};

/// A transaction takes well under a millisecond; who waits this long meets a bug, not load.
const BUSY: Duration = Duration::from_secs(5);

/// `calls`: one row for each idempotency key. `status` and `answer` are null until the request has been carried out.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS calls (
        key TEXT PRIMARY KEY, path TEXT NOT NULL, calls INTEGER NOT NULL, effects INTEGER NOT NULL DEFAULT 0,
        status INTEGER, answer TEXT) STRICT;
    CREATE TABLE IF NOT EXISTS fault (
        id INTEGER PRIMARY KEY CHECK (id = 1), mode TEXT NOT NULL, delay INTEGER NOT NULL, times INTEGER) STRICT;
";

/// What a service does wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Answers 503 and does nothing.
    Error,
    /// Waits before it does anything; a caller that gives up before is not served.
    Slow(Duration),
}

pub(crate) struct Ledger {
    service: &'static Service,
    db: Connection,
}

impl Ledger {
    pub(crate) fn open(service: &'static Service, directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join(format!("{}.db", service.name));
        let open = || -> rusqlite::Result<Connection> {
            let mut db = Connection::open(&path)?;
            db.busy_timeout(BUSY)?;
            db.pragma_update(None, "journal_mode", "wal")?;
            // What is committed survives the death of any process; only a power cut could take the last moments.
            db.pragma_update(None, "synchronous", "normal")?;
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(SCHEMA)?;
            transaction.execute_batch(service.schema)?;
            transaction.commit()?;
            Ok(db)
        };
        let db = open().with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { service, db })
    }

    /// Notes a call with `key`, and says what is to go wrong with it.
    pub(crate) fn note_call(&mut self, key: &str, path: &str) -> rusqlite::Result<Fault> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction
            .prepare_cached(
                "INSERT INTO calls (key, path, calls) VALUES (?1, ?2, 1) ON CONFLICT (key) DO UPDATE SET calls = calls + 1",
            )?
            .execute(params![key, path])?;
        let fault = transaction
            .prepare_cached("SELECT mode, delay FROM fault WHERE times IS NULL OR times > 0")?
            .query_row([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?)))
            .optional()?;
        let fault = match fault {
            None => Fault::None,
            Some((mode, delay)) => {
                transaction.execute("UPDATE fault SET times = times - 1", [])?;
                if mode == "slow" { Fault::Slow(Duration::from_millis(delay.into())) } else { Fault::Error }
            }
        };
        transaction.commit()?;
        Ok(fault)
    }

    /// Carries out a request once for its key; later calls with the key get the same answer. `None`: no such path.
    pub(crate) fn perform(&mut self, key: &str, path: &str, body: &Value) -> rusqlite::Result<Option<Answer>> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let earlier = transaction
            .prepare_cached("SELECT path, status, answer FROM calls WHERE key = ?1 AND answer IS NOT NULL")?
            .query_row([key], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get::<_, String>(2)?)))
            .optional()?;
        if let Some((earlier_path, status, answer)) = earlier {
            if earlier_path != path {
                let detail = format!("Idempotency-Key {key} was used for {earlier_path}");
                return Ok(Some(Answer::refused(422, "key used before", detail)));
            }
            let body = serde_json::from_str(&answer).unwrap_or(Value::Null);
            return Ok(Some(Answer { status, body, effect: false }));
        }
        let answer = (self.service.post)(&transaction, &as_strs(&segments(path)), body)?;
        if let Some(answer) = &answer {
            transaction
                .prepare_cached("UPDATE calls SET status = ?2, answer = ?3, effects = effects + ?4 WHERE key = ?1")?
                .execute(params![key, answer.status, answer.body.to_string(), answer.effect])?;
        }
        transaction.commit()?;
        Ok(answer)
    }

    pub(crate) fn get(&self, path: &str) -> rusqlite::Result<Option<Answer>> {
        (self.service.get)(&self.db, &as_strs(&segments(path)))
    }

    /// `times`: how many calls it concerns; `None`: all, until it is switched off.
    pub(crate) fn set_fault(&mut self, fault: Fault, times: Option<u32>) -> rusqlite::Result<()> {
        let (mode, delay) = match fault {
            Fault::None => return self.db.execute("DELETE FROM fault", []).map(drop),
            Fault::Error => ("error", 0),
            Fault::Slow(delay) => ("slow", u32::try_from(delay.as_millis()).unwrap_or(u32::MAX)),
        };
        let sql = "INSERT OR REPLACE INTO fault (id, mode, delay, times) VALUES (1, ?1, ?2, ?3)";
        self.db.execute(sql, params![mode, delay, times]).map(drop)
    }

    /// Totals, and for each idempotency key how often it was called and how often anything changed (at most once).
    pub(crate) fn audit(&self) -> rusqlite::Result<Value> {
        let mut statement = self.db.prepare("SELECT key, path, calls, effects, status FROM calls ORDER BY key")?;
        let mut keys = Map::new();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let call = json!({
                "path": row.get::<_, String>(1)?,
                "calls": row.get::<_, i64>(2)?,
                "effects": row.get::<_, i64>(3)?,
                "status": row.get::<_, Option<u16>>(4)?,
            });
            keys.insert(row.get(0)?, call);
        }
        Ok(json!({"totals": (self.service.totals)(&self.db)?, "keys": keys}))
    }
}

fn as_strs(segments: &[String]) -> Vec<&str> {
    segments.iter().map(String::as_str).collect()
}

fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect()
}

/// Percent-decoding (RFC 3986 §2.1); what is not encoded properly stays as it is.
fn decode(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%').then(|| after.get(..2)).flatten();
        let byte = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
