//! The run's journal as bytes: one journal record holds the entries of one step.
//!
//! Byte 0 is the version of the encoding; version 1 is followed by a JSON array of [`Entry`]. `tests/journal` keeps
//! journals of every released version, which must be readable for ever.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::apply::Misfit;
use crate::core::record::{Entry, Record};
use crate::core::state::Run;
use crate::expression::Datum;
use crate::program::Program;

const VERSION: u8 = 1;

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

/// The journal record of one step.
pub(crate) fn encode(entries: &[Entry]) -> Bytes {
    let mut bytes = vec![VERSION];
    // Writing JSON into memory fails only for maps with keys that are not texts, which entries do not have.
    if let Err(error) = serde_json::to_writer(&mut bytes, entries) {
        unreachable!("an entry cannot be encoded: {error}");
    }
    bytes.into()
}

pub(crate) fn decode(records: &[Bytes]) -> Result<Vec<Entry>, JournalError> {
    let mut entries = Vec::new();
    for (number, record) in records.iter().enumerate() {
        match record.split_first() {
            None => return Err(JournalError::Empty),
            Some((&VERSION, json)) => {
                let step: Vec<Entry> =
                    serde_json::from_slice(json).map_err(|source| JournalError::Format { number, source })?;
                entries.extend(step);
            }
            Some((version, _)) => return Err(JournalError::Version(number, *version)),
        }
    }
    Ok(entries)
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
