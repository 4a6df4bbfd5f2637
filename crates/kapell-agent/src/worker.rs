//! One pod's task: looks at everything, carries out the plan, publishes the status, and sleeps until something changes.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use kapell_shim::protocol::PodState;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::observed::{MustRestart, Observed, Probes, Trouble, containers, init_containers, missing_runtime};
use crate::plan::{Action, plan, restarts};
use crate::probe::{self, Kind, Outcome, Target, Verdict};
use crate::record::PodRecord;
use crate::shim_client::{ShimClient, ShimError};
use crate::start::{self, PrepareError};
use crate::status::{self, OUR_CONDITIONS};
use crate::{Context, backoff};

/// Between withdrawing readiness and SIGTERM: endpoints and balancers learn of the former before the latter closes the
/// listener, so that a rolling update fails no request.
const DRAIN: Duration = Duration::from_millis(100);

/// After an API or shim error, when nothing else wakes us.
const RETRY: SignedDuration = SignedDuration::from_millis(500);

/// A configuration that could not be put together is tried again then; a change of an object wakes us earlier.
const CONFIG_RETRY: SignedDuration = SignedDuration::from_secs(10);

/// Verdicts of one pod's probes; a prober that is ahead of the worker waits.
const VERDICTS: usize = 64;

pub(crate) struct Worker {
    context: Arc<Context>,
    pod: Arc<Pod>,
    dir: PathBuf,
    record: Option<PodRecord>,
    observed: Observed,
    places: BTreeMap<String, PathBuf>,
    shim: Option<ShimClient>,
    shim_state: Option<watch::Receiver<PodState>>,
    /// The prober of each running container, with the attempt that it belongs to.
    probers: BTreeMap<String, (u32, Prober)>,
    verdicts: (mpsc::Sender<Verdict>, mpsc::Receiver<Verdict>),
    /// The attempt of each container after whose end a BackOff event was recorded.
    backing_off: BTreeMap<String, u32>,
    published: Option<PodStatus>,
    released: bool,
    wake_at: Option<Timestamp>,
}

/// Stops probing when dropped.
struct Prober(JoinHandle<()>);

impl Drop for Prober {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs until the pod's object is gone and nothing of it is left, or until shutdown, which leaves the pod running.
pub(crate) async fn run(context: Arc<Context>, pod: Arc<Pod>, mut updates: watch::Receiver<Option<Arc<Pod>>>) {
    let mut worker = Worker::new(context.clone(), pod);
    let mut changes = context.objects.changes();
    loop {
        // Taken before the sync: what changes during it wakes us afterwards.
        let current = updates.borrow_and_update().clone();
        changes.mark_unchanged();
        match current {
            Some(pod) => worker.pod = pod,
            None => return worker.remove().await,
        }
        worker.sync().await;
        let wake_at = worker.wake_at.map(|at| {
            let left = Timestamp::now().until(at).ok().and_then(|left| Duration::try_from(left).ok());
            left.unwrap_or(Duration::ZERO)
        });
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            changed = updates.changed() => if changed.is_err() { return },
            _ = changes.changed() => worker.try_configuration_again(),
            () = shim_changed(&mut worker.shim_state) => {}
            Some(verdict) = worker.verdicts.1.recv() => worker.take(verdict),
            () = tokio::time::sleep(wake_at.unwrap_or_default()), if wake_at.is_some() => {}
        }
        while let Ok(verdict) = worker.verdicts.1.try_recv() {
            worker.take(verdict);
        }
    }
}

/// Also returns when the shim has died; then there is nothing more to wait for.
async fn shim_changed(state: &mut Option<watch::Receiver<PodState>>) {
    match state {
        None => std::future::pending().await,
        Some(receiver) => {
            if receiver.changed().await.is_err() {
                *state = None;
            }
        }
    }
}

impl Worker {
    fn new(context: Arc<Context>, pod: Arc<Pod>) -> Self {
        let dir = context.pods_dir().join(pod.uid().unwrap_or_default());
        Self {
            record: PodRecord::read(&dir),
            context,
            pod,
            dir,
            observed: Observed::default(),
            places: BTreeMap::new(),
            shim: None,
            shim_state: None,
            probers: BTreeMap::new(),
            verdicts: mpsc::channel(VERDICTS),
            backing_off: BTreeMap::new(),
            published: None,
            released: false,
            wake_at: None,
        }
    }

    fn all_containers(&self) -> impl Iterator<Item = &Container> {
        init_containers(&self.pod).iter().chain(containers(&self.pod))
    }

    fn container(&self, name: &str) -> Option<Container> {
        self.all_containers().find(|container| container.name == name).cloned()
    }

    async fn sync(&mut self) {
        self.wake_at = None;
        if self.observed.failed.is_none() && self.published.is_none() {
            self.recall_failure();
        }
        if let Err(error) = self.prepare().await {
            let changed = self.observed.blocked.as_ref() != Some(&error);
            if changed {
                self.context.events.warning(&self.pod, &error.reason, error.message.clone());
            }
            self.observed.blocked = Some(error);
            self.retry();
        } else {
            self.observed.blocked = None;
        }
        self.observe();
        // Each round of actions may call for another one: a start that failed at once, a container that has ended.
        let plan = plan(&self.pod, &self.observed, Timestamp::now());
        if let Some(at) = plan.wake_at {
            self.wake(at);
        }
        let ending = plan.actions.iter().any(|action| matches!(action, Action::Stop { .. }));
        let leaving = self.pod.metadata.deletion_timestamp.is_some() || self.observed.failed.is_some();
        if leaving && !self.observed.ending {
            self.observed.ending = true;
            let was_ready = self.observed.containers.values().any(|seen| seen.is_running() && seen.probes.ready);
            self.probers.clear();
            self.publish().await;
            if ending && was_ready && self.pod.metadata.deletion_grace_period_seconds != Some(0) {
                tokio::time::sleep(DRAIN).await;
            }
        }
        let acted = !plan.actions.is_empty();
        for action in plan.actions {
            self.perform(action).await;
        }
        if acted {
            self.observe();
        }
        self.announce_back_off();
        self.publish().await;
    }

    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    fn retry(&mut self) {
        self.wake(Timestamp::now().saturating_add(RETRY).unwrap_or(Timestamp::MAX));
    }

    /// A verdict about the whole pod outlives the agent in the pod's status.
    fn recall_failure(&mut self) {
        let Some(status) = &self.pod.status else { return };
        if status.phase.as_deref() == Some("Failed") && status.reason.as_deref() == Some("DeadlineExceeded") {
            let message = status.message.clone().unwrap_or_default();
            self.observed.failed = Some(Trouble::new("DeadlineExceeded", message));
        }
    }

    /// Address, directory, volumes and shim: what containers need before they can start.
    async fn prepare(&mut self) -> Result<(), Trouble> {
        if missing_runtime(&self.pod).is_some() {
            if let (Some(trouble), None) = (missing_runtime(&self.pod), &self.published) {
                self.context.events.warning(&self.pod, &trouble.reason, trouble.message);
            }
            return Ok(());
        }
        let finished = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let finished = matches!(finished, Some("Succeeded" | "Failed"));
        let ended_before = finished && self.observed.containers.is_empty();
        if self.released || (ended_before && self.record.is_none()) {
            return Ok(());
        }
        let unable = |what: &str, error: &dyn std::error::Error| {
            Trouble::new("FailedCreatePodSandBox", format!("{what}: {error}"))
        };
        let pod_ip = self.address().map_err(|error| unable("cannot give the pod an address", &error))?;
        if self.pod.metadata.deletion_timestamp.is_none() {
            let host = self.context.host(&self.dir);
            match start::volumes(&self.pod, pod_ip, &host, self.context.objects.as_ref()) {
                Ok(places) => self.places = places,
                Err(error) => return Err(Trouble::new("FailedMount", error.to_string())),
            }
        }
        if self.shim.is_none() || self.shim_state.is_none() {
            let permit = self.context.starts.acquire().await;
            let client = ShimClient::open(&self.dir, &self.context.config.shim_command).await;
            drop(permit);
            let client = client.map_err(|error| unable("cannot start the pod's shim", &error))?;
            if self.shim.is_some() {
                let message = "the pod's shim had died; a new one has taken over its processes";
                self.context.events.warning(&self.pod, "ShimReplaced", message);
            }
            self.shim_state = Some(client.state());
            self.shim = Some(client);
            self.probers.clear();
        }
        Ok(())
    }

    fn address(&mut self) -> io::Result<Ipv4Addr> {
        if let Some(record) = &self.record {
            return Ok(record.pod_ip);
        }
        let uid = self.pod.uid().unwrap_or_default();
        let address = self.context.addresses.lock().allocate(&uid);
        let address = address.ok_or_else(|| io::Error::other("all addresses of the block are taken"))?;
        let grace = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
        let namespace = self.pod.namespace().unwrap_or_default();
        let record = PodRecord::new(namespace, self.pod.name_any(), address, u64::try_from(grace).unwrap_or(0));
        std::fs::create_dir_all(&self.dir)?;
        std::fs::set_permissions(&self.dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        record.write(&self.dir)?;
        self.record = Some(record);
        Ok(address)
    }

    /// Takes in what the shim says, and starts or ends probing accordingly.
    fn observe(&mut self) {
        let Some(receiver) = &mut self.shim_state else { return };
        let state = receiver.borrow_and_update().clone();
        for (name, state) in state.containers {
            let seen = self.observed.containers.entry(name.clone()).or_default();
            let first_sight = seen.never_started() && seen.state.attempt == 0;
            let same_run = seen.state.attempt == state.attempt && seen.is_running() == state.running.is_some();
            seen.stopping = state.running.as_ref().is_some_and(|running| running.stopping);
            seen.state = state;
            if same_run {
                continue;
            }
            seen.probes = Probes::default();
            if first_sight && seen.restarts_in_row == 0 {
                // Found after a restart of the agent: an ended container has at least this many restarts behind it.
                seen.restarts_in_row = seen.state.attempt.min(1);
            }
        }
        let names: Vec<String> = self.observed.containers.keys().cloned().collect();
        for name in names {
            self.keep_probing(&name);
        }
    }

    fn keep_probing(&mut self, name: &str) {
        let Some(container) = self.container(name) else { return };
        let (Some(seen), Some(shim)) = (self.observed.containers.get_mut(name), &self.shim) else { return };
        if !seen.is_running() || self.observed.ending {
            self.probers.remove(name);
            return;
        }
        let attempt = seen.state.attempt;
        if self.probers.get(name).is_some_and(|(probed, _)| *probed == attempt) {
            return;
        }
        // A container that was up and ready before the agent went away stays so until a probe says otherwise: adoption
        // must not take working endpoints out of service.
        let before = self.pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let before = before.into_iter().find(|status| status.name == name).filter(|status| {
            i64::from(status.restart_count) == i64::from(attempt)
                && status.state.as_ref().is_some_and(|state| state.running.is_some())
        });
        let started = container.startup_probe.is_none() || before.is_some_and(|status| status.started == Some(true));
        let was_ready = before.is_some_and(|status| status.ready) && !self.probers.contains_key(name);
        seen.probes.started |= started;
        seen.probes.ready =
            seen.probes.started && (container.readiness_probe.is_none() || was_ready || seen.probes.ready);
        let Some(record) = &self.record else { return };
        let target = Target { ip: record.pod_ip, ports: start::named_ports(&container), shim: shim.clone() };
        let task = probe::run(container, attempt, target, seen.probes.started, self.verdicts.0.clone());
        self.probers.insert(name.to_owned(), (attempt, Prober(tokio::spawn(task))));
    }

    fn take(&mut self, verdict: Verdict) {
        let has_readiness = self.container(&verdict.container).is_some_and(|c| c.readiness_probe.is_some());
        let Some(seen) = self.observed.containers.get_mut(&verdict.container) else { return };
        if seen.state.attempt != verdict.attempt || !seen.is_running() {
            return;
        }
        match (verdict.kind, verdict.outcome) {
            (kind, Outcome::Unhealthy { message }) => {
                let message = format!("{} probe failed: {message}", kind.name());
                self.context.events.warning(&self.pod, "Unhealthy", message);
            }
            (Kind::Startup, Outcome::Passed) => {
                seen.probes.started = true;
                seen.probes.ready |= !has_readiness;
            }
            (Kind::Readiness, Outcome::Passed) => seen.probes.ready = true,
            (Kind::Readiness, Outcome::Failed { .. }) => seen.probes.ready = false,
            (Kind::Liveness, Outcome::Passed) => {}
            (kind, Outcome::Failed { message, grace_seconds }) => {
                let kind = kind.name().to_lowercase();
                let message =
                    format!("Container {} failed {kind} probe, will be restarted: {message}", verdict.container);
                seen.probes.must_restart = Some(MustRestart { message, grace_seconds });
                seen.probes.ready = false;
            }
        }
    }

    /// A ConfigMap or Secret has changed; it may be the one that was missing.
    fn try_configuration_again(&mut self) {
        for seen in self.observed.containers.values_mut() {
            if let Some((_, retry_at)) = &mut seen.config_error {
                *retry_at = Timestamp::now();
            }
        }
    }

    /// Tells once for each end of a container that its restart has to wait.
    fn announce_back_off(&mut self) {
        let now = Timestamp::now();
        let leaving = self.observed.ending || self.released;
        let observed = self.observed.clone();
        for (name, seen) in &observed.containers {
            let Some(exit) = seen.exit().filter(|_| !leaving) else { continue };
            let is_init = init_containers(&self.pod).iter().any(|container| container.name == *name);
            let Some(container) = self.container(name) else { continue };
            if restarts(&self.pod, &container, is_init, exit)
                && backoff::restart_at(exit, seen.restarts_in_row) > now
                && self.backing_off.insert(name.clone(), exit.attempt) != Some(exit.attempt)
            {
                let message = format!("Back-off restarting failed container {name}");
                self.context.events.warning(&self.pod, "BackOff", message);
            }
        }
    }

    async fn perform(&mut self, action: Action) {
        let result = match action {
            Action::Start { container, attempt } => self.start(&container, attempt).await,
            Action::Stop { container, grace, why } => self.stop(&container, grace, &why).await,
            Action::Fail(trouble) => {
                self.context.events.warning(&self.pod, &trouble.reason, trouble.message.clone());
                self.observed.failed = Some(trouble);
                self.wake(Timestamp::now());
                Ok(())
            }
            Action::Release => self.release().await,
            Action::Finish => self.finish().await,
        };
        if let Err(error) = result {
            tracing::warn!(
                pod = self.pod.name_any(),
                error = &error as &dyn std::error::Error,
                "pod sync incomplete, retrying"
            );
            self.retry();
        }
    }

    async fn start(&mut self, name: &str, attempt: u32) -> Result<(), ShimError> {
        let (Some(container), Some(shim), Some(record)) = (self.container(name), self.shim.clone(), &mut self.record)
        else {
            return Ok(());
        };
        let host = self.context.host(&self.dir);
        let spec = start::container_spec(
            &self.pod,
            &container,
            attempt,
            record,
            &self.places,
            &host,
            self.context.objects.as_ref(),
        );
        let seen = self.observed.containers.entry(name.to_owned()).or_default();
        let spec = match spec {
            Ok(spec) => spec,
            Err(error) => {
                let reason = match error {
                    PrepareError::Config(_) => "CreateContainerConfigError",
                    _ => "CreateContainerError",
                };
                let trouble = Trouble::new(reason, error.to_string());
                if seen.config_error.as_ref().is_none_or(|(before, _)| *before != trouble) {
                    self.context.events.warning(&self.pod, "Failed", format!("Error: {}", trouble.message));
                }
                let retry_at = Timestamp::now().saturating_add(CONFIG_RETRY).unwrap_or(Timestamp::MAX);
                seen.config_error = Some((trouble, retry_at));
                self.wake(retry_at);
                return Ok(());
            }
        };
        seen.config_error = None;
        if let Some(exit) = seen.exit() {
            seen.restarts_in_row = backoff::next_row(exit, seen.restarts_in_row);
        }
        let permit = self.context.starts.acquire().await;
        let state = shim.start(spec).await;
        drop(permit);
        let failure = state?.containers.remove(name).and_then(|state| state.exit).and_then(|exit| exit.start_error);
        match failure {
            None => self.context.events.normal(&self.pod, "Started", format!("Started container {name}")),
            Some(error) => {
                self.context.events.warning(&self.pod, "Failed", format!("Error: container {name}: {error}"));
                // The shim's notice about it may be here already.
                self.wake(Timestamp::now());
            }
        }
        for path in start::absolute_mounts(&container) {
            let message = format!(
                "container {name}: mountPath {path} is absolute, which a process on the host's file system cannot have; \
                 read the volume through $KAPELL_VOLUME_<NAME> or use a relative mountPath"
            );
            self.context.events.warning(&self.pod, "MountPathIgnored", message);
        }
        Ok(())
    }

    async fn stop(&mut self, name: &str, grace: Duration, why: &str) -> Result<(), ShimError> {
        let Some(shim) = &self.shim else { return Ok(()) };
        self.context.events.normal(&self.pod, "Killing", format!("Stopping container {name}: {why}"));
        self.probers.remove(name);
        shim.stop(name, grace).await
    }

    /// Nothing will run any more. The shim's state file stays and still tells how it ended.
    async fn release(&mut self) -> Result<(), ShimError> {
        self.probers.clear();
        self.shim_state = None;
        self.released = true;
        match self.shim.take() {
            Some(shim) => shim.shutdown().await,
            None => Ok(()),
        }
    }

    async fn finish(&mut self) -> Result<(), ShimError> {
        self.publish().await;
        self.release().await.or_else(|error| if matches!(error, ShimError::Gone) { Ok(()) } else { Err(error) })?;
        let preconditions = Preconditions { uid: self.pod.uid(), resource_version: None };
        let parameters =
            DeleteParams { grace_period_seconds: Some(0), preconditions: Some(preconditions), ..Default::default() };
        match self.api().delete(&self.pod.name_any(), &parameters).await {
            Ok(_) => {}
            // Gone already, or another pod of the same name: not ours any more either way.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "pod not deleted yet");
                self.retry();
            }
        }
        Ok(())
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.context.client.clone(), self.pod.namespace().as_deref().unwrap_or("default"))
    }

    /// Writes the status unless it is what was written last, or what the object says anyway.
    async fn publish(&mut self) {
        let ended = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(ended, Some("Succeeded" | "Failed")) && self.observed.containers.is_empty() {
            return;
        }
        let ip = self.record.as_ref().map(|record| record.pod_ip);
        let base = self.with_published_times();
        let status = status::compute(&base, &self.observed, ip, self.context.config.host_ip, Timestamp::now());
        if self.published.as_ref() == Some(&status)
            || (self.published.is_none() && self.pod.status.as_ref() == Some(&status))
        {
            self.published = Some(status);
            return;
        }
        let mut body = serde_json::json!({ "status": status });
        // A merge patch removes what is null; what is not there it leaves alone.
        for field in ["reason", "message"] {
            if body["status"].get(field).is_none() {
                body["status"][field] = serde_json::Value::Null;
            }
        }
        match self.api().patch_status(&self.pod.name_any(), &PatchParams::default(), &Patch::Merge(&body)).await {
            Ok(_) => self.published = Some(status),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "status not written yet");
                self.retry();
            }
        }
    }

    /// The object with the times that were written last: the informer's copy may not show them yet, and a time that is
    /// made up anew would be a change of its own.
    fn with_published_times(&self) -> Pod {
        let mut pod = Pod::clone(&self.pod);
        if let Some(published) = &self.published {
            let status = pod.status.get_or_insert_default();
            status.start_time = published.start_time.clone();
            let ours =
                published.conditions.iter().flatten().filter(|condition| OUR_CONDITIONS.contains(&&*condition.type_));
            let mut conditions: Vec<_> = ours.cloned().collect();
            let others = status.conditions.take().into_iter().flatten();
            conditions.extend(others.filter(|condition| !OUR_CONDITIONS.contains(&&*condition.type_)));
            status.conditions = Some(conditions);
        }
        pod
    }

    /// The object is gone, so nothing of the pod may stay.
    async fn remove(mut self) {
        self.probers.clear();
        self.shim = None;
        let may_run = !self.released && self.record.is_some();
        self.context.remove_pod(&self.pod.uid().unwrap_or_default(), &self.dir, may_run).await;
    }
}
