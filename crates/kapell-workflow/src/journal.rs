//! The run's journal as bytes. A step is one record with its entries; payloads that are too long for it are records of their own.
//!
//! Byte 0 is the version of the encoding:
//!
//! - 1 is followed by a JSON array of [`Entry`].
//! - 2 is the same with references to payloads in place of large parts of data: see [`outline`].
//! - 3 is followed by such a part as JSON, which later records refer to by its SHA-256. It is written in the transaction of the
//!   first step that refers to it, once for each run, and goes with the run's stream.
//!
//! `tests/journal` keeps journals of every released version, which must be readable for ever.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::apply::Misfit;
use crate::core::record::{Entry, Record};
use crate::core::state::Run;
use crate::expression::Datum;
use crate::expression::outline::{self, Kept, LONGEST_INLINE, Parts};
use crate::program::Program;

const INLINE: u8 = 1;
const OUTLINED: u8 = 2;
const PAYLOAD: u8 = 3;

#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("the journal is empty")]
    Empty,
    #[error("journal record {0} is of version {1}, which this version of kapell does not know")]
    Version(usize, u8),
    #[error("journal record {number} cannot be read")]
    Format { number: usize, source: serde_json::Error },
    #[error("the journal does not begin with a start")]
    NoStart,
    #[error("the definition in the journal does not compile any more: {0}")]
    Definition(String),
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

/// The journal records of one step; `kept` are the payloads that the journal has.
pub(crate) fn encode(entries: &[Entry], kept: &mut Kept) -> Vec<Bytes> {
    let inline = written(INLINE, entries);
    if inline.len() <= LONGEST_INLINE {
        return vec![inline];
    }
    let (outlined, payloads) = outline::outlining(kept, || written(OUTLINED, entries));
    if outlined.len() >= inline.len() {
        return vec![inline];
    }
    let payload = |json: Bytes| Bytes::from([&[PAYLOAD], &json[..]].concat());
    payloads.into_iter().map(payload).chain([outlined]).collect()
}

fn written(version: u8, entries: &[Entry]) -> Bytes {
    let mut bytes = vec![version];
    // Writing JSON into memory fails only for maps with keys that are not texts, which entries do not have.
    if let Err(error) = serde_json::to_writer(&mut bytes, entries) {
        unreachable!("an entry cannot be encoded: {error}");
    }
    bytes.into()
}

pub(crate) fn decode(records: &[Bytes]) -> Result<Vec<Entry>, JournalError> {
    let mut entries = Vec::new();
    let mut parts = Parts::new();
    for (number, record) in records.iter().enumerate() {
        let unreadable = |source| JournalError::Format { number, source };
        let (version, json) = record.split_first().ok_or(JournalError::Empty)?;
        match *version {
            INLINE => {
                let step: Vec<Entry> = serde_json::from_slice(json).map_err(unreadable)?;
                entries.extend(step);
            }
            OUTLINED => {
                let step: Result<Vec<Entry>, _> = outline::resolving(&mut parts, || serde_json::from_slice(json));
                entries.extend(step.map_err(unreadable)?);
            }
            PAYLOAD => {
                let part: Result<Datum, _> = outline::resolving(&mut parts, || serde_json::from_slice(json));
                parts.insert(outline::hash_of(json), part.map_err(unreadable)?);
            }
            unknown => return Err(JournalError::Version(number, unknown)),
        }
    }
    Ok(entries)
}

/// The payloads that a journal has.
pub(crate) fn kept(records: &[Bytes]) -> Kept {
    let payloads = records.iter().filter_map(|record| match record.split_first() {
        Some((&PAYLOAD, json)) => Some(outline::hash_of(json)),
        _ => None,
    });
    payloads.collect()
}

/// The definition that the run keeps.
pub(crate) fn definition(entries: &[Entry]) -> Result<&Datum, JournalError> {
    match entries.first() {
        Some(Entry(_, Record::Started { definition, .. })) => Ok(definition),
        Some(_) => Err(JournalError::NoStart),
        None => Err(JournalError::Empty),
    }
}

/// The run as its entries say; an empty journal is a misfit.
pub(crate) fn replay(program: Arc<Program>, entries: &[Entry]) -> Result<Run, JournalError> {
    let mut run = crate::core::rewind::replay(program, entries, |_, _| {})?;
    // What was due while the journal was written has been performed, or is still pending.
    run.outbox.clear();
    Ok(run)
}

#[cfg(test)]
mod tests;
