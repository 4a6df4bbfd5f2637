//! What the engine keeps of the WorkflowRuns that it follows: all of one about which there is something to do, of one that has
//! ended what is read of thousands. What its output or error was, is asked of the server by whoever needs it.

use std::sync::Arc;

use kapell_api::workflow::{SCHEDULE_LABEL, WorkflowRun, WorkflowRunPhase};
use kapell_client::{Followed, Identity, IdentityRef, Interner, ObjectKey};
use kapell_store::StreamId;
use kube::Api;

use super::{code, operating, stream_of};
use crate::core::record::Time;

/// A WorkflowRun.
#[derive(Clone, Debug)]
pub(in crate::engine) struct KnownRun {
    id: Identity,
    workflow: Arc<str>,
    pub(in crate::engine) phase: Option<WorkflowRunPhase>,
    /// `status.completionTime`.
    pub(in crate::engine) ended_at: Option<Time>,
    is_scheduled: bool,
    /// Of a run that has not ended, is on its way out, or is to be retried.
    whole: Option<Box<WorkflowRun>>,
}

/// Makes them; they share what is equal.
#[derive(Default)]
pub(in crate::engine) struct RunReader {
    texts: Interner<str>,
}

impl RunReader {
    pub(in crate::engine) fn read(&mut self, run: WorkflowRun) -> KnownRun {
        let (metadata, status) = (&run.metadata, run.status.as_ref());
        let phase = status.and_then(|status| status.phase);
        let ended_at = status.and_then(|status| Some(status.completion_time.as_ref()?.0.as_millisecond()));
        let mut known = KnownRun {
            id: Identity::of(metadata, &mut self.texts),
            workflow: self.texts.text(&run.spec.workflow),
            phase,
            ended_at,
            is_scheduled: metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(SCHEDULE_LABEL)),
            whole: None,
        };
        if !known.is_final() || metadata.deletion_timestamp.is_some() || operating::wants_retry(&run) {
            known.whole = Some(Box::new(run));
        }
        known
    }
}

impl Followed for KnownRun {
    fn identity(&self) -> IdentityRef<'_> {
        self.id.borrowed()
    }
}

impl KnownRun {
    pub(in crate::engine) fn key(&self) -> ObjectKey {
        self.id.key()
    }

    pub(in crate::engine) fn name(&self) -> &str {
        &self.id.name
    }

    pub(in crate::engine) fn uid(&self) -> &str {
        &self.id.uid
    }

    pub(in crate::engine) fn stream(&self) -> Option<StreamId> {
        stream_of(&self.id.uid)
    }

    /// The Workflow that it is a run of.
    pub(in crate::engine) fn workflow(&self) -> ObjectKey {
        ObjectKey::new(&*self.id.namespace, &*self.workflow)
    }

    /// The Workflow whose schedule has started it.
    pub(in crate::engine) fn scheduled_by(&self) -> Option<ObjectKey> {
        self.is_scheduled.then(|| self.workflow())
    }

    pub(in crate::engine) fn is_final(&self) -> bool {
        self.phase.is_some_and(WorkflowRunPhase::is_final)
    }

    /// Nothing has been said of it, or that it waits to begin.
    pub(super) fn is_pending(&self) -> bool {
        self.phase.is_none_or(|phase| phase == WorkflowRunPhase::Pending)
    }

    /// The object as it was last seen, unless there is nothing to do about it.
    pub(in crate::engine) fn whole(&self) -> Option<&WorkflowRun> {
        self.whole.as_deref()
    }

    /// The object as it stands now; `None`: it is gone, or another one has its name.
    pub(in crate::engine) async fn fetch(&self, client: &kube::Client) -> Result<Option<WorkflowRun>, kube::Error> {
        let api: Api<WorkflowRun> = Api::namespaced(client.clone(), &self.id.namespace);
        match api.get(&self.id.name).await {
            Ok(run) => Ok(Some(run).filter(|run| run.metadata.uid.as_deref() == Some(self.uid()))),
            Err(error) if code(&error) == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
