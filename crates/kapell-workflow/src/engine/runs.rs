//! Between `WorkflowRun` objects and runs: starts what is to be started, cancels what is to be cancelled, and writes
//! statuses. Reconciles by looking at everything, so that it does not matter what happened while nobody looked.
//!
//! A run has the finalizer [`RUN_FINALIZER`] from its creation until its end: deleting a running WorkflowRun cancels it,
//! compensations included, and an ended one goes at once. Its journal is closed after the final status has been written,
//! and deleted after the object ([`books`](super::books)): a crash in between leaves an open stream that has ended, or a
//! closed one without an object, and both are found at the next start.
//!
//! A run that ends within [`SHORT`] costs one write to its object, which shows the final status and takes the finalizer
//! away.

mod admission;
mod gate;
mod known;
mod operating;
mod resting;
mod retention;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use kapell_api::workflow::{RUN_FINALIZER, Workflow, WorkflowRun};
use kapell_client::reconcile::{self, Next};
use kapell_client::{Change, Informer, ObjectKey};
use kapell_store::{CommitError, ReadError, StreamId};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::jobs::{self, Order};
use super::link::LinkError;
use super::notices::SHORT;
use super::partition::Command;
use super::{Notice, Shared, now, schedules};
use crate::core::Event;
use crate::core::record::{Identity, Time};
use crate::core::state::{Compensation, Operated, Outcome};
use crate::fault::Fault;
use crate::secrets;
use admission::Prepared;
pub(super) use gate::Gate;
pub(super) use known::KnownRun;
use retention::Ended;

/// Objects looked at side by side. Each look is mostly waiting for the API, whose writes share syncs to disk.
const WORKERS: usize = 32;

const LOWEST: StreamId = StreamId([0; 16]);
const HIGHEST: StreamId = StreamId([u8::MAX; 16]);

/// The journal stream of a run.
pub(super) fn stream_of(uid: &str) -> Option<StreamId> {
    uuid::Uuid::parse_str(uid).ok().map(|uid| StreamId(uid.into_bytes()))
}

/// Watches objects until `shutdown`.
pub(super) async fn run(
    client: kube::Client,
    shared: Arc<Shared>,
    recovered: HashSet<StreamId>,
    orders: mpsc::UnboundedReceiver<Order>,
    shutdown: CancellationToken,
) {
    let queue = shared.queue.clone();
    // Listed before the objects are: a run's object is there before its journal.
    let closed = shared.store.closed_streams().await.unwrap_or_else(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "journals without objects are not looked for");
        Vec::new()
    });
    let runs = follow_runs(&client, &shared, &shutdown);
    let workflows = follow_workflows(&client, &shared, &runs, &shutdown);
    tokio::select! {
        () = shutdown.cancelled() => return,
        () = async { tokio::join!(runs.synced(), workflows.synced()); } => {}
    }
    let present: HashSet<StreamId> = runs.list().iter().filter_map(|run| run.stream()).collect();
    closed.into_iter().filter(|stream| !present.contains(stream)).for_each(|stream| shared.books.delete(stream));
    drop(present);
    let started = Mutex::new(recovered);
    let timetable = schedules::run(client.clone(), shared.clone(), runs.clone(), workflows.clone(), shutdown.clone());
    let deliveries = super::sinks::run(client.clone(), shared.clone(), shutdown.clone());
    let errands = jobs::run(client.clone(), shared.clone(), runs.clone(), workflows.clone(), orders, shutdown.clone());
    let (bookkeeper, closing) = (shared.clone(), shutdown.clone());
    let bookkeeping = async move { bookkeeper.books.run(closing).await };
    let bookkeeper = shared.clone();
    let desk =
        Arc::new(Desk { client, shared, runs, workflows, started, ended: Mutex::default(), expiring: Notify::new() });
    let (expiring, closing) = (desk.clone(), shutdown.clone());
    let expiring = async move { expiring.expire(closing).await };
    let (resting, closing) = (desk.clone(), shutdown.clone());
    let resting = async move { resting.note_rested(closing).await };
    let reconciled = reconcile::run("workflow-runs", queue, WORKERS, shutdown, move |key| {
        let desk = desk.clone();
        async move { desk.reconcile(key).await }
    });
    tokio::join!(reconciled, timetable, errands, deliveries, bookkeeping, expiring, resting);
    if let Err(error) = bookkeeper.books.write().await {
        tracing::debug!(error = &error as &dyn std::error::Error, "the next start closes the journals of ended runs");
    }
}

fn follow_runs(client: &kube::Client, shared: &Arc<Shared>, shutdown: &CancellationToken) -> Informer<KnownRun> {
    let shared = shared.clone();
    let api: Api<WorkflowRun> = Api::all(client.clone());
    let mut reader = known::RunReader::default();
    let keep = move |run| reader.read(run);
    Informer::start_keeping(api, watcher::Config::default(), shutdown.clone(), keep, move |change| {
        let key = change.key();
        match (&change, change.object().stream()) {
            (Change::Deleted(run), Some(stream)) => {
                shared.gone.lock().insert((key.clone(), stream), run.is_final());
                shared.intake.gone(stream);
            }
            (Change::Applied { new, .. }, Some(stream)) if new.is_final() => shared.intake.said_to_have_ended(stream),
            (Change::Applied { .. }, Some(stream)) => shared.intake.seen(stream, &key.namespace),
            (_, None) => {}
        }
        shared.jobs.note_run(&key);
        if let Some(workflow) = change.object().scheduled_by() {
            shared.schedules.add(workflow);
        }
        shared.queue.add(key);
    })
}

fn follow_workflows(
    client: &kube::Client,
    shared: &Arc<Shared>,
    runs: &Informer<KnownRun>,
    shutdown: &CancellationToken,
) -> Informer<Workflow> {
    let (queue, runs, schedules) = (shared.queue.clone(), runs.clone(), shared.schedules.clone());
    let api: Api<Workflow> = Api::all(client.clone());
    Informer::start(api, watcher::Config::default(), shutdown.clone(), move |change| {
        let key = change.key();
        schedules.add(key.clone());
        runs.list_in(&key.namespace)
            .iter()
            .filter(|run| run.is_pending() && run.workflow() == key)
            .for_each(|run| queue.add(run.key()));
    })
}

fn phase(run: &WorkflowRun) -> Option<&'static str> {
    run.status.as_ref()?.phase.map(|phase| phase.as_str())
}

/// Whether its status says that it has begun and not ended. (One that is suspended before it begins has no start.)
fn has_begun(run: &WorkflowRun) -> bool {
    let started = run.status.as_ref().is_some_and(|status| status.start_time.is_some());
    phase(run) == Some("Running") || phase(run) == Some("Suspended") && started
}

fn is_final(run: &WorkflowRun) -> bool {
    run.status.as_ref().and_then(|status| status.phase).is_some_and(|phase| phase.is_final())
}

#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error("the API refused")]
    Api(#[from] Box<kube::Error>),
    #[error("the journal cannot be written")]
    Commit(#[from] CommitError),
    #[error("the journal cannot be read")]
    Read(#[from] ReadError),
    #[error("the run cannot be prepared")]
    Link(#[from] LinkError),
}

impl From<kube::Error> for ReconcileError {
    fn from(error: kube::Error) -> Self {
        ReconcileError::Api(Box::new(error))
    }
}

struct Desk {
    client: kube::Client,
    shared: Arc<Shared>,
    runs: Informer<KnownRun>,
    workflows: Informer<Workflow>,
    /// Streams begun or taken up by this process whose final status our own copy does not show yet: beginning them again would
    /// be an error.
    started: Mutex<HashSet<StreamId>>,
    ended: Mutex<Ended>,
    /// The first of them is due earlier than before.
    expiring: Notify,
}

impl Desk {
    async fn reconcile(&self, key: ObjectKey) -> Result<Next, ReconcileError> {
        let known = self.runs.get(&key);
        let stream = known.as_ref().and_then(|run| run.stream());
        self.release_orphans(&key, stream);
        let (Some(known), Some(stream)) = (known, stream) else {
            self.leave(&key);
            self.ended.lock().remove(&key);
            self.shared.admit_next();
            return Ok(Next::OnChange);
        };

        let notice = self.shared.notices.lock().get(stream).cloned();
        let fetched;
        let run = match (known.whole(), &notice) {
            (Some(run), _) => run,
            (None, None) => {
                self.is_over(&key, stream);
                self.keep(&known).await?;
                return Ok(Next::OnChange);
            }
            // Its end was written before a crash; the journal has been taken up again.
            (None, Some(_)) => match known.fetch(&self.client).await? {
                Some(run) => {
                    fetched = run;
                    &fetched
                }
                // The watch will say so.
                None => return Ok(Next::OnChange),
            },
        };
        let orphaned = !is_final(run) && jobs::is_orphan(run, &self.runs);
        let deleting = run.metadata.deletion_timestamp.is_some();
        let resting = self.shared.resting.lock().get(&stream).copied();
        match notice {
            Some(notice) if notice.ended.is_some() => self.close(run, stream, &notice).await?,
            // Nobody is there whom cancellation could reach.
            _ if resting.is_some() && deleting => self.let_go(run, stream).await?,
            _ if let Some(waiting_for) = resting.filter(|_| !is_final(run)) => {
                self.report_resting(run, stream, waiting_for).await?;
            }
            Some(notice) => {
                self.operate(run, stream, Some(&notice.operated), orphaned);
                let age = now() - notice.started_at;
                let told = phase(run) == Some("Running") || notice.operated != Operated::default();
                if !told && (0..SHORT).contains(&age) {
                    return Ok(Next::After(Duration::from_millis((SHORT - age).unsigned_abs())));
                }
                self.write_status(run, running_status(run, &notice)).await?;
                if notice.cold {
                    self.shared.notices.lock().remove_cold(stream);
                }
            }
            None if is_final(run) => {
                self.is_over(&key, stream);
                if !deleting {
                    return self.retry(run, stream).await;
                }
                self.shared.books.delete(stream);
                self.remove_finalizer(run).await?;
            }
            // Its first step is on its way to the journal; a notice will come.
            None if self.started.lock().contains(&stream) => self.operate(run, stream, None, orphaned),
            None if has_begun(run) => self.report_lost(run, stream).await?,
            None if deleting => {
                self.leave(&key);
                self.remove_finalizer(run).await?;
            }
            None => self.start(run, stream, known.uid().to_owned()).await?,
        }
        Ok(Next::OnChange)
    }

    /// The run has ended, and its object says so.
    fn is_over(&self, key: &ObjectKey, stream: StreamId) {
        self.started.lock().remove(&stream);
        self.shared.resting.lock().remove(&stream);
        self.leave(key);
        self.release(stream);
    }

    async fn start(&self, run: &WorkflowRun, stream: StreamId, uid: String) -> Result<(), ReconcileError> {
        let key = ObjectKey::of(run);
        if run.spec.cancel == Some(true) {
            self.leave(&key);
            let status = json!({ "phase": "Cancelled", "completionTime": date(now()), "waitingFor": null });
            return self.write_status(run, status).await;
        }
        if run.spec.suspend == Some(true) {
            self.leave(&key);
            let status = json!({ "phase": "Suspended", "waitingFor": "to be resumed before it begins" });
            return self.write_status(run, status).await;
        }
        let workflow = self.workflows.get(&ObjectKey::new(key.namespace.as_str(), run.spec.workflow.as_str()));
        let Some(workflow) = workflow else {
            self.leave(&key);
            let waiting = format!("Workflow {} does not exist in namespace {}", run.spec.workflow, key.namespace);
            return self.write_status(run, json!({ "phase": "Pending", "waitingFor": waiting })).await;
        };
        let Prepared { program, hash, input, standing, secrets } =
            match admission::prepare(&self.shared, &key, &workflow, run.spec.input.clone()).await {
                Ok(prepared) => prepared,
                // It is looked at again.
                Err(LinkError::Busy) => return Ok(()),
                Err(passing @ LinkError::Secret { .. }) => return Err(passing.into()),
                Err(LinkError::Fault(fault)) => {
                    self.leave(&key);
                    let detail = fault.detail.unwrap_or_default();
                    let fault = Fault { detail: Some(format!("Workflow {}: {detail}", run.spec.workflow)), ..fault };
                    return self.write_status(run, refused(&fault)).await;
                }
            };
        self.add_finalizer(run).await?;
        if !self.may_begin(run, stream, &standing).await? {
            return Ok(());
        }
        if !self.started.lock().insert(stream) {
            return Ok(());
        }
        let workflow = run.spec.workflow.clone();
        let identity = Identity { uid, namespace: key.namespace, name: key.name, workflow, secrets };
        self.shared.tell(stream, Command::Start { stream, program, hash, identity, input });
        Ok(())
    }

    /// The run has ended: first say so, then close the books.
    async fn close(&self, run: &WorkflowRun, stream: StreamId, notice: &Notice) -> Result<(), ReconcileError> {
        // Also after a recovery, when this process has not begun the run.
        self.started.lock().insert(stream);
        self.write_status(run, final_status(run, notice)).await?;
        match run.metadata.deletion_timestamp {
            Some(_) => self.shared.books.delete(stream),
            None => self.shared.books.close(stream),
        }
        self.forget(stream);
        // The rest follows when our copy of the object shows the final status; see `reconcile`. If it does already
        // (a crash came after the status was written), nothing will change, so look again now.
        if is_final(run) {
            self.shared.queue.add(notice.key.clone());
        }
        Ok(())
    }

    fn cancel(&self, stream: StreamId, reason: &str) {
        self.shared.tell(stream, Command::Event { stream, event: Event::Cancel { reason: reason.to_owned() } });
    }

    fn forget(&self, stream: StreamId) {
        self.shared.notices.lock().remove(stream);
        self.shared.falls.lock().remove(&stream);
    }

    fn api(&self, run: &WorkflowRun) -> Api<WorkflowRun> {
        Api::namespaced(self.client.clone(), run.metadata.namespace.as_deref().unwrap_or_default())
    }

    /// Merges into the status, unless our copy says so already; a final one takes the finalizer away, unless the run is
    /// being deleted and would go without having shown its end. The object being gone is not an error.
    async fn write_status(&self, run: &WorkflowRun, status: Value) -> Result<(), ReconcileError> {
        let present = serde_json::to_value(&run.status).unwrap_or_default();
        let same = |(key, value): (&String, &Value)| present.get(key).unwrap_or(&Value::Null) == value;
        if status.as_object().is_some_and(|status| status.iter().all(same)) {
            return Ok(());
        }
        let ends = matches!(status["phase"].as_str(), Some("Completed" | "Faulted" | "Cancelled"));
        let released = (ends && run.metadata.deletion_timestamp.is_none()).then(|| without_finalizer(run)).flatten();
        let name = run.metadata.name.as_deref().unwrap_or_default();
        let write = async |status: &Value| {
            let mut patch = json!({ "status": status });
            if let Some(metadata) = &released {
                patch["metadata"] = metadata.clone();
            }
            self.api(run).patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await
        };
        match write(&status).await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some(404) => Ok(()),
            // An output that the API does not take must not keep the run from being shown as ended.
            Err(error) if matches!(code(&error), Some(400 | 413 | 422)) && status.get("output").is_some() => {
                let mut status = status;
                status["output"] = Value::Null;
                status["waitingFor"] = json!("the output is not shown: the API does not take it");
                tracing::warn!(
                    run = name,
                    error = &error as &dyn std::error::Error,
                    "the output does not fit the status"
                );
                write(&status).await?;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn add_finalizer(&self, run: &WorkflowRun) -> Result<(), ReconcileError> {
        let mut finalizers = run.metadata.finalizers.clone().unwrap_or_default();
        if finalizers.iter().any(|finalizer| finalizer == RUN_FINALIZER) {
            return Ok(());
        }
        finalizers.push(RUN_FINALIZER.to_owned());
        self.write_metadata(run, finalizers_of(run, finalizers)).await
    }

    async fn remove_finalizer(&self, run: &WorkflowRun) -> Result<(), ReconcileError> {
        match without_finalizer(run) {
            Some(metadata) => self.write_metadata(run, metadata).await,
            None => Ok(()),
        }
    }

    async fn write_metadata(&self, run: &WorkflowRun, metadata: Value) -> Result<(), ReconcileError> {
        let name = run.metadata.name.as_deref().unwrap_or_default();
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        match self.api(run).patch(name, &PatchParams::default(), &patch).await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some(404) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A change of the finalizers. The resource version makes sure that nobody else's is lost; a conflict is tried again.
fn finalizers_of(run: &WorkflowRun, finalizers: Vec<String>) -> Value {
    // An empty list would be stored as one.
    let finalizers = (!finalizers.is_empty()).then_some(finalizers);
    json!({ "resourceVersion": run.metadata.resource_version, "finalizers": finalizers })
}

/// Takes our finalizer away; `None`: it is not there.
fn without_finalizer(run: &WorkflowRun) -> Option<Value> {
    let mut finalizers = run.metadata.finalizers.clone()?;
    let before = finalizers.len();
    finalizers.retain(|finalizer| finalizer != RUN_FINALIZER);
    (finalizers.len() < before).then(|| finalizers_of(run, finalizers))
}

pub(super) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Kubernetes' times have whole seconds.
fn date(at: Time) -> String {
    jiff::Timestamp::from_second(at.div_euclid(1000)).map(|at| at.to_string()).unwrap_or_default()
}

/// What running and ended runs say alike. A retry that has begun takes back what the end before it said.
fn common_status(run: &WorkflowRun, notice: &Notice) -> Value {
    let said = run.status.as_ref();
    let retried = notice.operated.retries.max(said.and_then(|status| status.retried).unwrap_or(0));
    let mut status = json!({
        "startTime": date(notice.started_at),
        "completionTime": null,
        "definition": notice.definition,
        "waitingFor": notice.waiting_for,
        "compensation": notice.compensation.as_str(),
        "output": null,
        "error": null,
        "retried": (retried > 0).then_some(retried),
        "skipped": (notice.operated.substitutions > 0).then_some(notice.operated.substitutions),
        "signalled": (notice.operated.signals > 0).then_some(notice.operated.signals),
        "message": notice.operated.refusal,
    });
    if let Some(attributes) = &notice.search_attributes {
        status["searchAttributes"] = json!(attributes);
    }
    status
}

fn running_status(run: &WorkflowRun, notice: &Notice) -> Value {
    let mut status = common_status(run, notice);
    status["phase"] = json!(if notice.operated.suspended { "Suspended" } else { "Running" });
    status
}

fn final_status(run: &WorkflowRun, notice: &Notice) -> Value {
    let mut status = common_status(run, notice);
    status["waitingFor"] = Value::Null;
    if let Some((at, outcome)) = &notice.ended {
        status["completionTime"] = json!(date(*at));
        match outcome {
            Outcome::Completed(output) => {
                status["phase"] = json!("Completed");
                status["output"] = output.to_value();
            }
            Outcome::Faulted(fault) => {
                status["phase"] = json!("Faulted");
                status["error"] = json!(fault);
            }
            Outcome::Cancelled(_) => status["phase"] = json!("Cancelled"),
        }
        secrets::show(&mut status);
    }
    status
}

/// The final status of a run that could not begin.
fn refused(fault: &Fault) -> Value {
    let at = date(now());
    json!({
        "phase": "Faulted",
        "startTime": at,
        "completionTime": at,
        "error": fault,
        "waitingFor": null,
        "compensation": Compensation::None.as_str(),
    })
}

#[cfg(test)]
mod tests;
