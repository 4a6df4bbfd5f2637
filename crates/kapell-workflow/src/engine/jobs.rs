//! What `run` starts: other runs, and pods with a command in them.
//!
//! Each is an object whose name follows from the run and the activation of the task, so that starting it again finds what
//! was started before, whatever was killed in between. Its end is read from its status, however long ago that was.
//!
//! A child that is waited for belongs to its parent: it is cancelled when the task is given up, when the parent ends
//! without it, and deleted with it. Children have a depth, because two workflows that start each other would go on for
//! ever.

use std::collections::HashMap;
use std::sync::Arc;

use kapell_api::workflow::{API_VERSION, Workflow, WorkflowRun, WorkflowRunPhase};
use kapell_client::{Informer, ObjectKey};
use kapell_store::StreamId;
use kube::api::{Api, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

mod process;

use super::Shared;
use super::partition::Command;
use super::runs::{KnownRun, code};
use crate::core::Event;
use crate::core::record::FrameId;
use crate::core::running::{Job, JobEnd, What};
use crate::expression::Datum;
use crate::fault::{Fault, Standard};

/// The UID of the run that waits for this one.
const PARENT_LABEL: &str = "kapell.dev/parent";

/// How many runs stand above this one.
const DEPTH_ANNOTATION: &str = "kapell.dev/depth";

/// Runs that start runs that start runs: more is taken for an endless chain. Two children each make 1,023 runs of it.
const DEEPEST: u32 = 10;

/// How long to wait before an object that could not be created is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_millis(500);

pub(super) enum Order {
    /// Start it, or find what was started, and tell of its end.
    Begin { stream: StreamId, frame: FrameId, number: u64, namespace: String, uid: String, job: Job },
    /// Nobody waits for it any more.
    Stop { stream: StreamId, frame: FrameId },
}

/// Who waits for which objects.
#[derive(Default)]
pub(super) struct Jobs {
    runs: Mutex<HashMap<ObjectKey, Arc<Notify>>>,
    under_way: Mutex<HashMap<(StreamId, FrameId), UnderWay>>,
}

struct UnderWay {
    task: AbortHandle,
    child: Child,
}

#[derive(Clone)]
enum Child {
    Run(ObjectKey),
    Pod(ObjectKey),
    /// Not waited for.
    Detached,
}

impl Jobs {
    /// A run has changed.
    pub(super) fn note_run(&self, key: &ObjectKey) {
        if let Some(waiting) = self.runs.lock().get(key) {
            waiting.notify_waiters();
        }
    }
}

/// Why a job has no end of its own.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("the API refused")]
    Api(#[from] Box<kube::Error>),
    #[error("{detail}")]
    Refused { kind: Standard, detail: String },
}

impl From<kube::Error> for JobError {
    fn from(error: kube::Error) -> Self {
        JobError::Api(Box::new(error))
    }
}

fn refused(kind: Standard, detail: impl Into<String>) -> JobError {
    JobError::Refused { kind, detail: detail.into() }
}

struct Desk {
    client: kube::Client,
    shared: Arc<Shared>,
    runs: Informer<KnownRun>,
    workflows: Informer<Workflow>,
    pods: Option<process::Pods>,
}

/// Carries out orders until `shutdown`.
pub(super) async fn run(
    client: kube::Client,
    shared: Arc<Shared>,
    runs: Informer<KnownRun>,
    workflows: Informer<Workflow>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    shutdown: CancellationToken,
) {
    let pods = shared.config.allow_processes.then(|| process::Pods::watch(&client, &shutdown));
    let desk = Arc::new(Desk { client, shared, runs, workflows, pods });
    loop {
        let order = tokio::select! {
            () = shutdown.cancelled() => break,
            order = orders.recv() => match order {
                Some(order) => order,
                None => break,
            },
        };
        match order {
            Order::Begin { stream, frame, number, namespace, uid, job } => {
                desk.begin((stream, frame), number, namespace, uid, job);
            }
            Order::Stop { stream, frame } => {
                let stopped = desk.shared.jobs.under_way.lock().remove(&(stream, frame));
                if let Some(UnderWay { task, child }) = stopped {
                    task.abort();
                    tokio::spawn(desk.clone().give_up(child));
                }
            }
        }
    }
    // What was started goes on; it is found again by its name.
    for (_, job) in desk.shared.jobs.under_way.lock().drain() {
        job.task.abort();
    }
}

/// Whether a run that someone waited for has nobody who does. Looked at once after each start: a process that is killed
/// cannot give up what it waited for.
pub(super) fn is_orphan(run: &WorkflowRun, runs: &Informer<KnownRun>) -> bool {
    let parent = run.metadata.labels.as_ref().and_then(|labels| labels.get(PARENT_LABEL));
    let owner = run.metadata.owner_references.iter().flatten().find(|owner| Some(&owner.uid) == parent);
    let Some(owner) = owner else { return false };
    let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
    let parent = runs.get(&ObjectKey::new(namespace, owner.name.as_str()));
    // One that is gone takes its children along by itself.
    parent.is_some_and(|parent| parent.is_final())
}

/// The name of what the record with this number has started.
fn name_of(prefix: &str, uid: &str, number: u64) -> String {
    let digest = Sha256::digest(format!("{uid}/{number}"));
    format!("{prefix}-{}", hex::encode(&digest[..6]))
}

impl Desk {
    fn begin(
        self: &Arc<Self>,
        (stream, frame): (StreamId, FrameId),
        number: u64,
        namespace: String,
        uid: String,
        job: Job,
    ) {
        let prefix = match &job.what {
            What::Workflow { name, .. } => name.as_str(),
            What::Process(_) => "process",
        };
        let key = ObjectKey::new(namespace, name_of(prefix, &uid, number));
        let child = match (&job.what, job.awaited) {
            (_, false) => Child::Detached,
            (What::Workflow { .. }, true) => Child::Run(key.clone()),
            (What::Process(_), true) => Child::Pod(key.clone()),
        };
        let desk = self.clone();
        let task = async move {
            let end = desk.carry_out(&key, &uid, &job).await;
            desk.shared.jobs.under_way.lock().remove(&(stream, frame));
            desk.shared.tell(stream, Command::Event { stream, event: Event::JobEnded { frame, end } });
        };
        // Held while spawning, so that the task cannot remove its entry before it is there.
        let mut under_way = self.shared.jobs.under_way.lock();
        let task = tokio::spawn(task).abort_handle();
        if let Some(former) = under_way.insert((stream, frame), UnderWay { task, child }) {
            former.task.abort();
        }
    }

    /// Until it has ended, however often the API is out of reach meanwhile.
    async fn carry_out(&self, key: &ObjectKey, uid: &str, job: &Job) -> JobEnd {
        loop {
            let end = match &job.what {
                What::Workflow { name, version, input } => {
                    self.run_workflow(key, uid, name, version, input, job.awaited).await
                }
                What::Process(process) => match &self.pods {
                    Some(pods) => pods.run(self, key, uid, process, job.awaited).await,
                    None => Err(refused(
                        Standard::Configuration,
                        "this server does not run processes for workflows; start it with --allow-run",
                    )),
                },
            };
            match end {
                Ok(end) => return end,
                Err(JobError::Refused { kind, detail }) => return JobEnd::Failed { kind, detail },
                Err(JobError::Api(error)) if matches!(code(&error), Some(400 | 403 | 404 | 413 | 422)) => {
                    let detail = format!("{key} cannot be created: {error}");
                    return JobEnd::Failed { kind: Standard::Configuration, detail };
                }
                Err(error) => {
                    tracing::warn!(job = %key, error = &error as &dyn std::error::Error, "a job is tried again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn run_workflow(
        &self,
        key: &ObjectKey,
        uid: &str,
        name: &str,
        version: &str,
        input: &Datum,
        awaited: bool,
    ) -> Result<JobEnd, JobError> {
        let news = Arc::new(Notify::new());
        let _waiting = Waiting::new(&self.shared.jobs.runs, key, &news);
        if self.runs.get(key).is_none() {
            self.create_run(key, uid, name, version, input, awaited).await?;
        }
        if !awaited {
            return Ok(JobEnd::Started);
        }
        let mut known = false;
        loop {
            let changed = news.notified();
            match self.runs.get(key) {
                Some(run) => {
                    known = true;
                    if run.is_final() {
                        // Our copy does not have how it ended.
                        let ended = run.fetch(&self.client).await?;
                        if let Some(end) = ended.and_then(|run| end_of(key, &run)) {
                            return Ok(end);
                        }
                    }
                }
                None if known => return Err(refused(Standard::Runtime, format!("run {} was deleted", key.name))),
                // Our own copy does not show it yet.
                None => {}
            }
            changed.await;
        }
    }

    async fn create_run(
        &self,
        key: &ObjectKey,
        uid: &str,
        name: &str,
        version: &str,
        input: &Datum,
        awaited: bool,
    ) -> Result<(), JobError> {
        let workflow = self.workflows.get(&ObjectKey::new(key.namespace.as_str(), name));
        let found = workflow.as_ref().and_then(|workflow| workflow.spec["document"]["version"].as_str());
        match found {
            None => {
                let detail = format!("namespace {} has no Workflow {name}", key.namespace);
                return Err(refused(Standard::Configuration, detail));
            }
            Some(found) if version != "latest" && version != found => {
                let detail = format!("Workflow {name} has version {found}, not {version}");
                return Err(refused(Standard::Configuration, detail));
            }
            Some(_) => {}
        }
        let parent = self.parent(&key.namespace, uid);
        let parent = parent.as_ref().and_then(|parent| parent.whole());
        let depth = parent.map_or(0, depth_of) + 1;
        if depth > DEEPEST {
            let detail = format!("runs start each other more than {DEEPEST} deep, here Workflow {name}");
            return Err(refused(Standard::Runtime, detail));
        }
        let mut metadata = json!({
            "name": key.name, "namespace": key.namespace,
            "annotations": { DEPTH_ANNOTATION: depth.to_string() },
            "labels": { PARENT_LABEL: uid },
        });
        if awaited && let Some(parent) = parent {
            metadata["ownerReferences"] = owner(parent);
        }
        let run: WorkflowRun = serde_json::from_value(json!({
            "metadata": metadata, "spec": { "workflow": name, "input": input.to_value() },
        }))
        .unwrap_or_default();
        let api: Api<WorkflowRun> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.create(&PostParams::default(), &run).await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some(409) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The run that starts something; it has not ended.
    fn parent(&self, namespace: &str, uid: &str) -> Option<Arc<KnownRun>> {
        self.runs.list_in(namespace).into_iter().find(|run| run.uid() == uid)
    }

    /// Cancels what nobody waits for.
    async fn give_up(self: Arc<Self>, child: Child) {
        let result = match &child {
            Child::Detached => return,
            Child::Run(key) => {
                let api: Api<WorkflowRun> = Api::namespaced(self.client.clone(), &key.namespace);
                let patch = Patch::Merge(json!({ "spec": { "cancel": true } }));
                api.patch(&key.name, &PatchParams::default(), &patch).await.map(drop)
            }
            Child::Pod(key) => {
                let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.client.clone(), &key.namespace);
                api.delete(&key.name, &Default::default()).await.map(drop)
            }
        };
        if let Err(error) = result
            && code(&error) != Some(404)
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "a job that nobody waits for cannot be cancelled");
        }
    }
}

fn depth_of(run: &WorkflowRun) -> u32 {
    let depth = run.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DEPTH_ANNOTATION));
    depth.and_then(|depth| depth.parse().ok()).unwrap_or_default()
}

fn owner(run: &WorkflowRun) -> Value {
    json!([{
        "apiVersion": API_VERSION, "kind": "WorkflowRun",
        "name": run.metadata.name, "uid": run.metadata.uid, "controller": true,
    }])
}

fn end_of(key: &ObjectKey, run: &WorkflowRun) -> Option<JobEnd> {
    let status = run.status.as_ref()?;
    let name = &key.name;
    Some(match status.phase? {
        WorkflowRunPhase::Pending | WorkflowRunPhase::Running | WorkflowRunPhase::Suspended => return None,
        WorkflowRunPhase::Completed => {
            let output = status.output.as_ref().map(Datum::from_json).transpose();
            output.map_or_else(
                |error| JobEnd::Failed { kind: Standard::Runtime, detail: format!("run {name}: {error}") },
                |output| JobEnd::Completed(output.unwrap_or_default()),
            )
        }
        WorkflowRunPhase::Cancelled => {
            JobEnd::Failed { kind: Standard::Runtime, detail: format!("run {name} was cancelled") }
        }
        WorkflowRunPhase::Faulted => {
            let error = status.error.clone().unwrap_or_default();
            let status = u16::try_from(error.status).unwrap_or(500);
            let (title, detail) = (error.title, error.detail);
            JobEnd::Faulted(Fault { type_: error.type_, status, instance: None, title, detail })
        }
    })
}

/// Who is told of changes of an object.
type News = Mutex<HashMap<ObjectKey, Arc<Notify>>>;

/// Someone who is told, until dropped.
struct Waiting<'j> {
    among: &'j News,
    key: ObjectKey,
}

impl<'j> Waiting<'j> {
    fn new(among: &'j News, key: &ObjectKey, news: &Arc<Notify>) -> Self {
        among.lock().insert(key.clone(), news.clone());
        Self { among, key: key.clone() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.among.lock().remove(&self.key);
    }
}
