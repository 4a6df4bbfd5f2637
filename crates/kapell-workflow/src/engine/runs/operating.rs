//! What operators ask of runs through their specs: `cancel`, `suspend`, `skip` and `retry`.
//!
//! The first three are events for the run, which ignores what is so already. A retry of an ended run is decided here
//! ([`rewind::plan`]), written to its journal, which is opened again for it, and the run is taken up like after a
//! restart. `status.retried` says which retry was begun or refused last, so each is looked at once.

use std::sync::Arc;

use kapell_api::workflow::{WorkflowRun, WorkflowRunSkip};
use kapell_client::ObjectKey;
use kapell_client::reconcile::Next;
use kapell_store::{JournalWrite, StreamId, Transaction};
use serde_json::json;

use super::{Desk, ReconcileError};
use crate::core::Event;
use crate::core::record::{Entry, Record};
use crate::core::rewind::{self, Refusal, Retry};
use crate::core::state::{Operated, Run};
use crate::engine::partition::Command;
use crate::engine::{Notice, now};
use crate::expression::Datum;
use crate::expression::outline::Kept;
use crate::journal::{self, JournalError};
use crate::program::Program;

#[derive(Debug, thiserror::Error)]
enum RetryError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("its journal makes no sense: {0}")]
    Journal(#[from] JournalError),
    #[error("the input is not accepted: {0}")]
    Input(String),
    #[error("another run has its concurrency key")]
    Key,
    #[error("reading its journal panicked")]
    Panicked,
}

/// A run that goes on.
struct Continued {
    hash: String,
    run: Run,
    records: Vec<bytes::Bytes>,
}

/// Whether a retry was asked for that has not been looked at.
pub(super) fn wants_retry(run: &WorkflowRun) -> bool {
    let looked_at = run.status.as_ref().and_then(|status| status.retried).unwrap_or(0);
    run.spec.retry.as_ref().is_some_and(|retry| retry.number > looked_at)
}

impl Desk {
    /// Passes on what is asked of a run that has not ended; `known` is what it has heard already, as far as that is
    /// known here.
    pub(super) fn operate(&self, run: &WorkflowRun, stream: StreamId, known: Option<&Operated>, orphaned: bool) {
        if run.metadata.deletion_timestamp.is_some() {
            return self.cancel(stream, "the WorkflowRun was deleted");
        }
        if run.spec.cancel == Some(true) {
            return self.cancel(stream, "cancellation was asked for");
        }
        if orphaned {
            return self.cancel(stream, "the run that waited for it has ended");
        }
        let status = run.status.as_ref();
        let said_suspended = status.and_then(|status| status.phase).is_some_and(|phase| phase.as_str() == "Suspended");
        let suspended = known.map_or(said_suspended, |known| known.suspended);
        let skipped = known.map_or(status.and_then(|status| status.skipped).unwrap_or(0), |known| known.substitutions);
        for (number, skip) in (1..).zip(&run.spec.skip).filter(|(number, _)| *number > skipped) {
            let Ok(output) = Datum::from_json(&skip.output) else { continue };
            let event = Event::Substitute { number, task: skip.task.clone(), output };
            self.shared.tell(stream, Command::Event { stream, event });
        }
        let signalled = known.map_or(status.and_then(|status| status.signalled).unwrap_or(0), |known| known.signals);
        for (number, signal) in (1..).zip(&run.spec.signals).filter(|(number, _)| *number > signalled) {
            // What is too deep or too large for data is counted, and has no effect.
            let event = Event::Signal { number, event: Datum::from_json(signal).unwrap_or_default() };
            self.shared.tell(stream, Command::Event { stream, event });
        }
        match (run.spec.suspend == Some(true), suspended) {
            (true, false) => self.shared.tell(stream, Command::Event { stream, event: Event::Suspend }),
            (false, true) => self.shared.tell(stream, Command::Event { stream, event: Event::Resume }),
            _ => {}
        }
    }

    /// Lets an ended run go on, or says why not.
    pub(super) async fn retry(&self, run: &WorkflowRun, stream: StreamId) -> Result<Next, ReconcileError> {
        let Some(asked) = run.spec.retry.clone() else { return Ok(Next::OnChange) };
        let records = self.shared.store.read_stream(stream, 0).await?;
        if records.is_empty() {
            // It never began: its workflow was not there, or not valid.
            let again = json!({ "phase": "Pending", "retried": asked.number, "completionTime": null, "error": null });
            self.write_status(run, again).await?;
            return Ok(Next::OnChange);
        }
        let sequence = records.len() as u64;
        let shared = self.shared.clone();
        let (number, skips) = (asked.number, run.spec.skip.clone());
        let continued = tokio::task::spawn_blocking(move || {
            let input = asked.input.as_ref().map(Datum::from_json).transpose();
            let input = input.map_err(|error| RetryError::Input(error.to_string()))?;
            let entries = journal::decode(&records)?;
            let (hash, program) = shared.programs.of_journal(&entries)?;
            let retry = Retry { number: asked.number, from: asked.from, input };
            let kept = journal::kept(&records);
            let continued = go_on(program, hash, entries, kept, &retry, &skips)?;
            let has_key = continued.as_ref().is_none_or(|continued| shared.take_key(stream, &continued.run));
            if has_key { Ok(continued) } else { Err(RetryError::Key) }
        });
        let Continued { hash, run: state, records } = match continued.await.unwrap_or(Err(RetryError::Panicked)) {
            Ok(Some(continued)) => continued,
            // Our copy of the object is older than its journal.
            Ok(None) => return Ok(Next::OnChange),
            Err(error) => {
                let message = format!("retry {number} was refused: {error}");
                self.write_status(run, json!({ "retried": number, "message": message })).await?;
                return Ok(Next::OnChange);
            }
        };
        // Its object goes only when it is cancelled, from now on.
        self.add_finalizer(run).await?;
        self.shared.books.keep_open(stream).await;
        self.ended.lock().remove(&ObjectKey::of(run));
        let next = sequence + records.len() as u64;
        let appended = (sequence..).zip(records);
        let appended = appended.map(|(sequence, record)| JournalWrite::Append { stream, sequence, record });
        let journal = [JournalWrite::Reopen { stream }].into_iter().chain(appended).collect();
        self.shared.store.commit(Transaction { writes: Vec::new(), journal }).await?;
        self.started.lock().insert(stream);
        // So that whoever looks at the run again knows that it goes on.
        self.shared.publish(stream, Notice::of(&state, &hash, false));
        let command = Command::Resume { stream, hash, run: Box::new(state), records: next, place: None };
        self.shared.tell(stream, command);
        Ok(Next::OnChange)
    }
}

/// `None`: this retry has been begun already.
fn go_on(
    program: Arc<Program>,
    hash: String,
    mut entries: Vec<Entry>,
    mut kept: Kept,
    retry: &Retry,
    skips: &[WorkflowRunSkip],
) -> Result<Option<Continued>, RetryError> {
    let ended = journal::replay(program.clone(), &entries)?;
    if ended.operated.retries >= retry.number {
        return Ok(None);
    }
    let rewind = rewind::plan(&program, &entries, retry)?;
    let at = now().max(ended.latest);
    let written = entries.len();
    entries.push(Entry(at, Record::Rewound(Box::new(rewind))));
    // What is to be skipped is known before anything begins.
    let mut run = journal::replay(program.clone(), &entries)?;
    for skip in skips.iter().skip(run.operated.substitutions as usize) {
        let output = Datum::from_json(&skip.output).map_err(|error| RetryError::Input(error.to_string()))?;
        let entry = Entry(at, Record::Substituted { task: skip.task.clone(), output });
        run.apply(&entry).map_err(JournalError::from)?;
        entries.push(entry);
    }
    run.outbox.clear();
    let records = journal::encode(&entries[written..], &mut kept);
    run.kept = kept;
    Ok(Some(Continued { hash, run, records }))
}
