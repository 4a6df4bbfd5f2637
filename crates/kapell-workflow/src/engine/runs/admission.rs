//! Whether a run may begin, and how long it is kept when it has ended: the desk's side of [`gate`](super::gate) and
//! [`retention`](super::retention).

use std::sync::Arc;
use std::time::Duration;

use kapell_api::workflow::{Workflow, WorkflowRun};
use kapell_client::ObjectKey;
use kapell_store::StreamId;
use kube::api::{Api, DeleteParams, Preconditions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::gate::{Request, Verdict};
use super::{Desk, KnownRun, ReconcileError, code, date, refused, retention};
use crate::compile;
use crate::core::state::Run;
use crate::engine::link::{LinkError, Linked, link};
use crate::engine::{Shared, now};
use crate::expression::Datum;
use crate::expression::meter::on_deep_stack;
use crate::fault::{Fault, Standard};
use crate::program::Program;
use crate::secrets::Sealed;
use crate::settings::{Retention, Standing};

/// The wall clock is looked at this often at least, in milliseconds, in case it was set.
const LONGEST_WAIT: u64 = 60_000;

/// All that a run needs to begin.
pub(super) struct Prepared {
    pub(super) program: Arc<Program>,
    pub(super) hash: String,
    pub(super) input: Datum,
    pub(super) standing: Standing,
    pub(super) secrets: Option<Sealed>,
}

/// Compiles, with all that the document needs, reads the input and evaluates what the settings say of this run.
pub(super) async fn prepare(
    shared: &Arc<Shared>,
    who: &ObjectKey,
    workflow: &Workflow,
    input: Option<Value>,
) -> Result<Prepared, LinkError> {
    let version = workflow.metadata.uid.clone().zip(workflow.metadata.generation);
    let known = version.as_ref().and_then(|(uid, generation)| shared.programs.of_workflow(uid, *generation));
    if let Some((hash, program)) = known.filter(|(_, program)| program.settings.is_plain()) {
        // Nothing of this takes long, so no other thread has to wake up for it.
        let (input, standing) = (datum(input)?, Standing::default());
        return Ok(Prepared { program, hash, input, standing, secrets: None });
    }
    let Linked { hash, program, secrets, pinned } = link(shared, who, Value::Object(workflow.spec.clone())).await?;
    if let Some((uid, generation)) = version.filter(|_| !pinned && !program.sealed) {
        shared.programs.note_workflow(uid, generation, (hash.clone(), program.clone()));
    }
    let prepared = tokio::task::spawn_blocking(move || {
        let input = datum(input)?;
        let standing = if program.settings.is_plain() {
            Standing::default()
        } else {
            on_deep_stack(|| program.settings.standing(&input))
                .map_err(|error| Fault::new(Standard::Expression, "/document/metadata", error.to_string()))?
        };
        Ok::<_, Fault>(Prepared { program, hash, input, standing, secrets })
    });
    let prepared = prepared.await;
    Ok(prepared.unwrap_or_else(|error| Err(Fault::new(Standard::Configuration, "/", error.to_string())))?)
}

fn datum(input: Option<Value>) -> Result<Datum, Fault> {
    let input = input.as_ref().map_or(Ok(Datum::Object(Arc::default())), Datum::from_json);
    input.map_err(|error| Fault::new(Standard::Validation, "/input", error.to_string()))
}

impl Shared {
    /// Takes the concurrency key of a run that has begun before; false when another run has it by now.
    pub(in crate::engine) fn take_key(&self, stream: StreamId, run: &Run) -> bool {
        let settings = &run.program.settings;
        if settings.concurrency.is_none() || run.is_ended() {
            return true;
        }
        let Ok(standing) = on_deep_stack(|| settings.standing(&run.raw_input)) else { return true };
        standing.concurrency.is_none_or(|(key, _)| {
            let workflow = ObjectKey::new(run.identity.namespace.as_str(), run.identity.workflow.as_str());
            self.gate.lock().take(stream, (workflow, key))
        })
    }
}

impl Shared {
    fn room(&self) -> usize {
        self.config.max_runs.saturating_sub(self.intake.awake_runs())
    }

    /// A run that waited does not any more, or one has left memory.
    pub(in crate::engine) fn admit_next(&self) {
        let room = self.room();
        let next = self.gate.lock().next(room);
        next.into_iter().for_each(|key| self.queue.add(key));
    }
}

impl Desk {
    /// Asks the gate; says in the status why the run waits, or how it ends if it does not.
    pub(super) async fn may_begin(
        &self,
        run: &WorkflowRun,
        stream: StreamId,
        standing: &Standing,
    ) -> Result<bool, ReconcileError> {
        let key = ObjectKey::of(run);
        let workflow = ObjectKey::new(key.namespace.as_str(), run.spec.workflow.as_str());
        let group = standing.concurrency.clone().map(|(value, policy)| ((workflow, value), policy));
        let value = standing.concurrency.as_ref().map_or("", |(value, _)| value.as_str()).to_owned();
        let request = Request { key, stream, priority: standing.priority, group };
        let verdict = {
            // Counted before the next one asks.
            let mut gate = self.shared.gate.lock();
            let verdict = gate.ask(&request, self.shared.room());
            if verdict == Verdict::Go {
                self.shared.intake.awake(stream, &request.key.namespace);
            }
            verdict
        };
        let waiting = match verdict {
            Verdict::Go => return Ok(true),
            Verdict::NoRoom => {
                format!("{} other runs, which is as many as run at a time", self.shared.config.max_runs)
            }
            Verdict::Held => format!("the run that has the concurrency key {value}"),
            Verdict::Cancel(holder) => {
                self.cancel(holder, &format!("run {} has taken over its concurrency key {value}", request.key.name));
                format!("the run that had the concurrency key {value} to be cancelled")
            }
            Verdict::Rejected => {
                let detail = format!("another run has the concurrency key {value}");
                let fault = Fault::new(Standard::Runtime, "/document/metadata", detail).with_status(409);
                self.write_status(run, refused(&fault)).await?;
                return Ok(false);
            }
            Verdict::Superseded => {
                let status = json!({
                    "phase": "Cancelled", "completionTime": date(now()), "waitingFor": null,
                    "message": format!("a later run has taken over its concurrency key {value}"),
                });
                self.write_status(run, status).await?;
                return Ok(false);
            }
        };
        self.write_status(run, json!({ "phase": "Pending", "waitingFor": waiting })).await?;
        Ok(false)
    }

    /// A run waits no longer, and does not begin: others may.
    pub(super) fn leave(&self, key: &ObjectKey) {
        let room = self.shared.room();
        let next = self.shared.gate.lock().give_up(key, room);
        next.into_iter().for_each(|key| self.shared.queue.add(key));
    }

    /// A run has ended: others may begin.
    pub(super) fn release(&self, stream: StreamId) {
        let room = self.shared.room();
        let next = self.shared.gate.lock().release(stream, room);
        next.into_iter().for_each(|key| self.shared.queue.add(key));
    }

    /// Keeps an ended run as long as its workflow wants, or deletes it.
    pub(super) async fn keep(&self, run: &KnownRun) -> Result<(), ReconcileError> {
        let (key, workflow) = (run.key(), run.workflow());
        let retention = self.retention(&workflow).await;
        let at = run.ended_at.unwrap_or_else(now);
        if retention::kept_for(at, &retention, now()).is_none() {
            self.ended.lock().remove(&key);
            return self.delete(run).await;
        }
        let over = {
            let mut ended = self.ended.lock();
            let before = ended.next_in(now());
            let over = ended.add(&key, workflow, at, &retention);
            if ended.next_in(now()) < before || before.is_none() {
                self.expiring.notify_one();
            }
            over
        };
        let mut outcome = Ok(());
        for other in over.into_iter().filter_map(|other| self.runs.get(&other)).filter(|other| other.is_final()) {
            if let Err(error) = self.delete(&other).await {
                // It is to be counted again, as it is counted no more; so are the others.
                self.shared.queue.add(other.key());
                outcome = Err(error);
            }
        }
        outcome
    }

    /// Has runs looked at that have been kept for their time, until `shutdown`.
    pub(super) async fn expire(&self, shutdown: CancellationToken) {
        loop {
            let wait = self.ended.lock().next_in(now()).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.expiring.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(wait)) => {}
            }
            self.ended.lock().take_due(now()).into_iter().for_each(|key| self.shared.queue.add(key));
        }
    }

    /// What the workflow says now; of one that is gone or does not compile, the default.
    async fn retention(&self, workflow: &ObjectKey) -> Retention {
        let Some(workflow) = self.workflows.get(workflow) else { return Retention::default() };
        let said = workflow.spec.get("document").and_then(|head| head.pointer("/metadata/kapell.dev~1v1/retention"));
        if said.is_none() {
            return Retention::default();
        }
        let definition = Value::Object(workflow.spec.clone());
        let settings = tokio::task::spawn_blocking(move || compile::settings(&definition)).await;
        settings.ok().flatten().map(|settings| settings.retention).unwrap_or_default()
    }

    async fn delete(&self, run: &KnownRun) -> Result<(), ReconcileError> {
        let preconditions = Preconditions { uid: Some(run.uid().to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let api: Api<WorkflowRun> = Api::namespaced(self.client.clone(), &run.key().namespace);
        match api.delete(run.name(), &params).await {
            Ok(_) => Ok(()),
            // It is gone, or another one has its name.
            Err(error) if matches!(code(&error), Some(404 | 409)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
