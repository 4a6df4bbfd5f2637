//! The scheduler: gives each pod that waits a node that can hold it.
//!
//! [`place()`] is pure: a request and a snapshot in, a node or the reasons out. `state` folds the watches into the
//! snapshot and keeps the queue; the loop in [`run`] does nothing but carry decisions to the API. It never touches a pod
//! whose `schedulerName` is another's, and never moves one that has its node.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kapell_client::lean::LeanPod;
use kapell_client::{Informer, Recorder, Severity};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, Client};
use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pod::{PodFacts, PodReader};
use crate::state::{Decision, State};

mod place;
mod pod;
mod queue;
mod request;
mod snapshot;
mod state;

pub use place::{Reason, Unschedulable, place};
pub use request::{PodRequest, Resources};
pub use snapshot::{NodeFacts, Snapshot};

/// Writes under way at a time. Enough to fill a group commit, few enough that a slow server is not buried.
const WRITES: usize = 64;

#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// Pods with another `spec.schedulerName` are left alone.
    pub scheduler_name: String,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self { scheduler_name: "default-scheduler".to_owned() }
    }
}

/// The scheduler's knowledge, and who is woken when it changes.
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

impl Shared {
    fn change(&self, apply: impl FnOnce(&mut State, Instant)) {
        apply(&mut self.state.lock(), Instant::now());
        self.changed.notify_one();
    }
}

/// Places pods until `shutdown`; returns when the writes under way have been answered.
pub async fn run(config: SchedulerConfig, client: Client, shutdown: CancellationToken) {
    let shared = Arc::new(Shared { state: Mutex::new(State::new(&config.scheduler_name)), changed: Notify::new() });
    let events = Recorder::start(client.clone(), "default-scheduler", shutdown.clone());
    let s = shared.clone();
    let nodes = Informer::<Node>::start(Api::all(client.clone()), watcher::Config::default(), shutdown.clone(), {
        move |change| s.change(|state, now| state.on_node(&change, now))
    });
    let s = shared.clone();
    let mut reader = PodReader::default();
    let pods = Informer::start_keeping(
        Api::<LeanPod>::all(client.clone()),
        watcher::Config::default(),
        shutdown.clone(),
        move |LeanPod(pod)| reader.read(&pod),
        move |change| s.change(|state, now| state.on_pod(&change, now)),
    );
    // Before all pods are known every node looks emptier than it is.
    tokio::select! {
        () = shutdown.cancelled() => return,
        () = async { nodes.synced().await; pods.synced().await } => {}
    }

    let (permits, writes) = (Arc::new(Semaphore::new(WRITES)), TaskTracker::new());
    let mut rng = StdRng::from_os_rng();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { break };
        let changed = shared.changed.notified();
        let (decision, next_at) = {
            let mut state = shared.state.lock();
            (state.next(Instant::now(), &mut rng), state.next_at())
        };
        if shutdown.is_cancelled() {
            break;
        }
        if let Some(decision) = decision {
            let (client, shared, events) = (client.clone(), shared.clone(), events.clone());
            writes.spawn(async move {
                carry_out(&client, &shared, &events, decision).await;
                drop(permit);
            });
            continue;
        }
        drop(permit);
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = changed => {}
            () = tokio::time::sleep_until(next_at.unwrap_or_else(Instant::now)), if next_at.is_some() => {}
        }
    }
    writes.close();
    writes.wait().await;
}

async fn carry_out(client: &Client, shared: &Shared, events: &Recorder, decision: Decision) {
    match decision {
        Decision::Bind { pod, node } => match bind(client, &pod, &node).await {
            Ok(()) => {
                let message = format!("Successfully assigned {} to {node}", pod.id.key());
                events.record(&pod.id.reference::<Pod>(), Severity::Normal, "Scheduled", message);
            }
            Err(error) => {
                tracing::debug!(pod = %pod.id.name, %node, error = &error as &dyn std::error::Error, "binding failed");
                shared.change(|state, now| state.forget(&pod, now));
            }
        },
        Decision::Report { pod, why } => {
            events.record(&pod.id.reference::<Pod>(), Severity::Warning, "FailedScheduling", why.explanation());
            if let Err(error) = report(client, &pod, why.summary()).await {
                tracing::debug!(pod = %pod.id.name, error = &error as &dyn std::error::Error, "condition not written");
            }
        }
    }
}

async fn bind(client: &Client, pod: &PodFacts, node: &str) -> Result<(), kube::Error> {
    let binding = Binding {
        metadata: pod.id.metadata(),
        target: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let body = serde_json::to_vec(&binding).map_err(kube::Error::SerdeError)?;
    let request = http::Request::post(format!("/api/v1/namespaces/{}/pods/{}/binding", pod.id.namespace, pod.id.name))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request::<serde_json::Value>(request).await.map(drop)
}

/// Writes the condition PodScheduled, unless it says the same already.
async fn report(client: &Client, pod: &PodFacts, message: String) -> Result<(), kube::Error> {
    let before = pod.refusal.as_ref();
    if before.is_some_and(|before| before.message.as_ref() == Some(&message)) {
        return Ok(());
    }
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message),
        last_transition_time: before.and_then(|before| before.since.clone()).or(Some(Time(Timestamp::now()))),
        ..PodCondition::default()
    };
    let patch = json!({"metadata": {"uid": pod.id.uid}, "status": {"conditions": [condition]}});
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.id.namespace);
    api.patch_status(&pod.id.name, &PatchParams::default(), &Patch::Strategic(&patch)).await.map(drop)
}
