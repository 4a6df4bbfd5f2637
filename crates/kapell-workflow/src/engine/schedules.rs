//! Starts the runs that schedules ask for.
//!
//! Each start is a WorkflowRun whose name follows from the workflow and the due time (or the position of the event), so
//! creating it again changes nothing. What has been dealt with stands in the Workflow's status, which is written after
//! the runs have been created: a crash in between leads to the same names. Looks at everything when it looks, so it
//! does not matter what happened while nobody did.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kapell_api::workflow::{SCHEDULE_LABEL, ScheduleStatus, Workflow, WorkflowRun};
use kapell_client::reconcile::{self, Next};
use kapell_client::{Informer, ObjectKey};
use kube::api::{Api, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub(super) mod on;

use super::runs::KnownRun;
use super::{Shared, now};
use crate::core::record::Time;
use crate::program::schedule::Schedule;
use crate::schedule::{self, Verdict};

const WORKERS: usize = 4;

/// The wall clock is looked at this often at least, in case it was set.
const LONGEST_SLEEP: Time = 60_000;

#[derive(Debug, thiserror::Error)]
#[error("the API refused")]
struct ScheduleError(#[from] Box<kube::Error>);

impl From<kube::Error> for ScheduleError {
    fn from(error: kube::Error) -> Self {
        Self(Box::new(error))
    }
}

/// Watches workflows with a schedule until `shutdown`.
pub(super) async fn run(
    client: kube::Client,
    shared: Arc<Shared>,
    runs: Informer<KnownRun>,
    workflows: Informer<Workflow>,
    shutdown: CancellationToken,
) {
    let (sender, receiver) = super::accounted_channel();
    let desk = Arc::new(Desk {
        client,
        shared: shared.clone(),
        runs,
        workflows,
        fresh: Mutex::default(),
        listening: on::Listening::new(sender),
    });
    let waits = tokio::spawn(on::run(desk.clone(), receiver, shutdown.clone()));
    reconcile::run("workflow-schedules", shared.schedules.clone(), WORKERS, shutdown, move |key| {
        let desk = desk.clone();
        async move { desk.reconcile(key).await }
    })
    .await;
    let _ = waits.await;
}

struct Desk {
    client: kube::Client,
    shared: Arc<Shared>,
    runs: Informer<KnownRun>,
    workflows: Informer<Workflow>,
    /// Runs that were just created and that our own copy does not show yet.
    fresh: Mutex<HashMap<ObjectKey, BTreeSet<String>>>,
    listening: on::Listening,
}

/// The runs of one schedule.
#[derive(Default)]
struct Started {
    /// Names of those that have not ended.
    going_on: BTreeSet<String>,
    ended: BTreeMap<String, Time>,
}

impl Desk {
    async fn reconcile(&self, key: ObjectKey) -> Result<Next, ScheduleError> {
        let workflow = self.workflows.get(&key).filter(|workflow| workflow.metadata.deletion_timestamp.is_none());
        let scheduled = workflow.filter(|workflow| workflow.spec.contains_key("schedule"));
        let Some(workflow) = scheduled else {
            self.listening.forget(&self.shared, &key);
            self.fresh.lock().remove(&key);
            return Ok(Next::OnChange);
        };
        let definition = Value::Object(workflow.spec.clone());
        let shared = self.shared.clone();
        let compiled = tokio::task::spawn_blocking(move || shared.programs.compile(&definition)).await;
        // A definition that does not compile was stored by a version that knew more; nothing is started for it.
        let Ok(Ok((_, program))) = compiled else { return Ok(Next::OnChange) };
        let Some(schedule) = &program.schedule else { return Ok(Next::OnChange) };

        let present = now();
        let mut status = self.status(&workflow, schedule, present);
        // Written down before it counts: a restart has to begin from the same.
        self.write_status(&workflow, &status).await?;
        if schedule.on.is_some() {
            self.listening.begin(&self.shared, &key, &workflow, &program, &status);
        }
        let next = self.on_time(&key, schedule, &mut status, present).await?;
        self.write_status(&workflow, &status).await?;
        let delay = |at: Time| Duration::from_millis((at - now()).clamp(1, LONGEST_SLEEP).unsigned_abs());
        Ok(next.map_or(Next::OnChange, |at| Next::After(delay(at))))
    }

    /// What the status says, or, for a schedule that is new or has changed, its beginning.
    fn status(&self, workflow: &Workflow, schedule: &Schedule, present: Time) -> ScheduleStatus {
        let ours = workflow.spec["document"]["metadata"]["kapell.dev/v1"]["schedule"].clone();
        let definition = super::programs::hash_of(&json!([workflow.spec["schedule"], ours]));
        let former = workflow.status.as_ref().and_then(|status| status.schedule.clone());
        match former {
            Some(status) if status.definition == definition => status,
            former => {
                // One that nobody has looked at yet begins with the object; a changed one begins now.
                let created = workflow.metadata.creation_timestamp.as_ref().map(|time| time.0.as_millisecond());
                let since = match former {
                    None => created.unwrap_or(present),
                    Some(_) => present,
                };
                let namespace = workflow.metadata.namespace.as_deref().unwrap_or_default();
                let position = schedule.on.as_ref().map(|_| self.shared.events.end(super::events::log_of(namespace)));
                ScheduleStatus { definition, since: Some(time(since)), position, ..ScheduleStatus::default() }
            }
        }
    }

    /// Starts what is due, and says when to look again.
    async fn on_time(
        &self,
        key: &ObjectKey,
        schedule: &Schedule,
        status: &mut ScheduleStatus,
        present: Time,
    ) -> Result<Option<Time>, ScheduleError> {
        let millis = |time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| time.0.as_millisecond();
        let anchor = status.since.as_ref().map_or(present, millis);
        let last = status.last_time.as_ref().map(millis);
        let started = self.started(key);
        let mut due = schedule::due(schedule, anchor, last, present);
        let again = after_the_last(schedule, status, &started, anchor, last);
        match again {
            Some(at) if at <= present => due.times.push(at),
            Some(at) => due.next = due.next.into_iter().chain([at]).min(),
            None => {}
        }
        if due.passed > 0 {
            tracing::info!(workflow = %key, passed = due.passed, "due times of a schedule have passed");
        }
        let Verdict { start, cancel, last } =
            schedule::judge(schedule.overlap, !started.going_on.is_empty(), &due.times);
        if cancel {
            self.cancel(key, &started.going_on).await?;
        }
        for at in start {
            let name = schedule::run_name(&key.name, at);
            self.start(key, &name, json!({})).await?;
            status.last_run = Some(name);
        }
        if let Some(last) = last {
            status.last_time = Some(time(last));
        }
        status.next_time = due.next.map(time);
        Ok(due.next)
    }

    fn started(&self, key: &ObjectKey) -> Started {
        let mut started = Started::default();
        for run in self.runs.list_in(&key.namespace) {
            if run.scheduled_by().as_ref() != Some(key) {
                continue;
            }
            let name = run.name().to_owned();
            if let Some(fresh) = self.fresh.lock().get_mut(key) {
                fresh.remove(&name);
            }
            if run.is_final() {
                started.ended.insert(name, run.ended_at.unwrap_or_default());
            } else {
                started.going_on.insert(name);
            }
        }
        started.going_on.extend(self.fresh.lock().get(key).into_iter().flatten().cloned());
        started
    }

    fn api(&self, namespace: &str) -> Api<WorkflowRun> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates the run, unless it exists.
    async fn start(&self, key: &ObjectKey, name: &str, input: Value) -> Result<(), ScheduleError> {
        let run: WorkflowRun = serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": key.namespace, "labels": { SCHEDULE_LABEL: label(&key.name) } },
            "spec": { "workflow": key.name, "input": input },
        }))
        .unwrap_or_default();
        match self.api(&key.namespace).create(&PostParams::default(), &run).await {
            Ok(_) => {
                let known = self.runs.get(&ObjectKey::new(key.namespace.as_str(), name)).is_some();
                if !known {
                    self.fresh.lock().entry(key.clone()).or_default().insert(name.to_owned());
                }
                Ok(())
            }
            Err(error) if super::runs::code(&error) == Some(409) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn cancel(&self, key: &ObjectKey, names: &BTreeSet<String>) -> Result<(), ScheduleError> {
        for name in names {
            let patch = Patch::Merge(json!({ "spec": { "cancel": true } }));
            match self.api(&key.namespace).patch(name, &PatchParams::default(), &patch).await {
                Ok(_) => {}
                Err(error) if super::runs::code(&error) == Some(404) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Merges into the status, unless our copy says so already. The object being gone is not an error.
    async fn write_status(&self, workflow: &Workflow, status: &ScheduleStatus) -> Result<(), ScheduleError> {
        let key = ObjectKey::of(workflow);
        let shown = self.workflows.get(&key);
        let shown = shown.as_ref().and_then(|workflow| workflow.status.as_ref()?.schedule.as_ref());
        if shown == Some(status) {
            return Ok(());
        }
        let api: Api<Workflow> = Api::namespaced(self.client.clone(), &key.namespace);
        let mut written = serde_json::to_value(status).unwrap_or_default();
        if let Value::Object(members) = &mut written {
            // A merge keeps what it is not told about.
            for absent in ["position", "lastTime", "lastRun", "nextTime"] {
                members.entry(absent).or_insert(Value::Null);
            }
            // Once it stands there, it moves with the events, of which this copy may know less.
            if shown.is_some_and(|shown| shown.definition == status.definition) {
                members.remove("position");
            }
        }
        let patch = Patch::Merge(json!({ "status": { "schedule": written } }));
        match api.patch_status(&key.name, &PatchParams::default(), &patch).await {
            Ok(_) => Ok(()),
            Err(error) if super::runs::code(&error) == Some(404) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// `after`: at once, then so long after the end of the run before.
fn after_the_last(
    schedule: &Schedule,
    status: &ScheduleStatus,
    started: &Started,
    anchor: Time,
    last: Option<Time>,
) -> Option<Time> {
    let after = schedule.after?;
    let Some(name) = &status.last_run else { return Some(anchor) };
    if started.going_on.contains(name) {
        return None;
    }
    // Of a run that was deleted nobody knows when it ended.
    // Statuses have whole seconds, at the end of which it may have ended.
    let ended = started.ended.get(name).map(|second| second + 999).or(last).unwrap_or(anchor);
    // Names have whole seconds, and each start needs one of its own.
    let at = (ended + after.0 + 999).div_euclid(1000) * 1000;
    Some(last.map_or(at, |last| at.max(last + 1000)))
}

fn time(at: Time) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    let second = jiff::Timestamp::from_second(at.div_euclid(1000)).unwrap_or_default();
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(second)
}

/// Labels hold 63 characters; of longer names, which the DSL does not have, a hash.
fn label(name: &str) -> String {
    if name.len() <= 63 { name.to_owned() } else { super::programs::hash_of(&json!(name)) }
}

#[cfg(test)]
mod tests;
