//! Runs that are not there: without an object, without a journal, or with one that cannot be read now. Whatever holds a place
//! or a key must be able to give it back.

use kapell_api::workflow::WorkflowRun;
use kapell_client::ObjectKey;
use kapell_store::StreamId;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Desk, HIGHEST, LOWEST, ReconcileError, has_begun, refused};
use crate::fault::{Fault, Standard};

impl Desk {
    /// Runs of this name whose object is gone, or is another one by now.
    pub(super) fn release_orphans(&self, key: &ObjectKey, present: Option<StreamId>) {
        let is_resting = |stream: StreamId| self.shared.resting.lock().contains_key(&stream);
        let orphans = self.shared.notices.lock().of_key(key);
        for (stream, ended) in orphans.into_iter().filter(|(stream, _)| Some(*stream) != present) {
            if ended || is_resting(stream) {
                self.abandon(stream);
            } else {
                self.cancel(stream, "its WorkflowRun is gone");
            }
        }
        let gone: Vec<(StreamId, bool)> = {
            let gone = self.shared.gone.lock();
            gone.range((key.clone(), LOWEST)..=(key.clone(), HIGHEST))
                .map(|((_, stream), ended)| (*stream, *ended))
                .collect()
        };
        for (stream, ended) in gone {
            let told = self.shared.notices.lock().get(stream).is_some();
            if !told && (ended || is_resting(stream) || !self.started.lock().contains(&stream)) {
                self.abandon(stream);
            } else if !told {
                // It sleeps, or has just begun.
                self.cancel(stream, "its WorkflowRun is gone");
            }
            self.shared.gone.lock().remove(&(key.clone(), stream));
        }
    }

    /// Nobody asks for the run any more.
    fn abandon(&self, stream: StreamId) {
        self.shared.books.delete(stream);
        self.forget(stream);
        self.started.lock().remove(&stream);
        self.shared.resting.lock().remove(&stream);
        self.shared.intake.gone(stream);
        self.release(stream);
    }

    /// A run that cannot go on is deleted: nothing can be undone.
    pub(super) async fn let_go(&self, run: &WorkflowRun, stream: StreamId) -> Result<(), ReconcileError> {
        tracing::warn!(run = %ObjectKey::of(run), "a run that cannot be taken up is deleted without being compensated");
        self.remove_finalizer(run).await?;
        self.abandon(stream);
        Ok(())
    }

    /// The engine does not have the run for the time being.
    pub(super) async fn report_resting(
        &self,
        run: &WorkflowRun,
        stream: StreamId,
        waiting_for: &str,
    ) -> Result<(), ReconcileError> {
        let is_empty = self.shared.store.read_stream(stream, 0).await.is_ok_and(|records| records.is_empty());
        if !is_empty {
            return self.write_status(run, json!({ "waitingFor": waiting_for })).await;
        }
        let lost = if has_begun(run) { "the run's journal is lost" } else { "the run's first step failed" };
        let fault = Fault::new(Standard::Runtime, "/", format!("{lost}; the server's log says why"));
        self.write_status(run, refused(&fault)).await?;
        self.forget(stream);
        self.shared.intake.gone(stream);
        Ok(())
    }

    /// The status says that the run runs, but the engine does not have it. Beginning again would do things twice.
    pub(super) async fn report_lost(&self, run: &WorkflowRun, stream: StreamId) -> Result<(), ReconcileError> {
        if self.shared.store.read_stream(stream, 0).await?.is_empty() {
            let fault = Fault::new(Standard::Runtime, "/", "the run's journal is lost");
            return self.write_status(run, refused(&fault)).await;
        }
        let waiting = "a version of kapell that can read the run's journal; the server's log says why";
        self.write_status(run, json!({ "waitingFor": waiting })).await
    }

    /// Has the objects of runs looked at that have come to rest, until `shutdown`.
    pub(super) async fn note_rested(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.shared.rested.notified() => {}
            }
            // Seldom, and few.
            let resting: Vec<StreamId> = self.shared.resting.lock().keys().copied().collect();
            let all = self.runs.list();
            let wanted = all.iter().filter(|run| run.stream().is_some_and(|stream| resting.contains(&stream)));
            wanted.for_each(|run| self.shared.queue.add(run.key()));
        }
    }
}

#[cfg(test)]
mod tests;
