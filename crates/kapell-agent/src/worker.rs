//! One pod's task: looks at everything, carries out the plan, publishes the status, and sleeps until something changes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use kapell_client::Severity;
use kapell_shim::layout;
use kapell_shim::protocol::PodState;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Preconditions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::dependencies::{Dependency, dependencies};
use crate::environment::{self, API_SERVICE, Sources as _};
use crate::ephemeral::{self, ephemeral_containers};
use crate::grounds;
use crate::hooks::Stopped;
use crate::mounts::MountError;
use crate::observed::{Observed, Probes, Trouble, containers, init_containers, missing_runtime};
use crate::plan::{Action, plan, restarts};
use crate::probe::{Endpoint, Target, Verdict};
use crate::record::PodRecord;
use crate::shim_client::{ShimClient, ShimError};
use crate::start::{self, PrepareError};
use crate::termination;
use crate::tokens::Tokens;
use crate::{Context, backoff, volumes};

/// Between withdrawing readiness and SIGTERM: endpoints and balancers learn of the former before the latter closes the
/// listener, so that a rolling update fails no request.
const DRAIN: Duration = Duration::from_millis(100);

/// After an API or shim error, when nothing else wakes us.
const RETRY: SignedDuration = SignedDuration::from_millis(500);

/// A configuration that could not be put together is tried again then; a change of an object wakes us earlier.
const CONFIG_RETRY: SignedDuration = SignedDuration::from_secs(10);

/// Verdicts of one pod's probes; a prober that is ahead of the worker waits.
const VERDICTS: usize = 64;

mod granting;
mod probing;
mod publishing;
mod stopping;

pub(crate) struct Worker {
    context: Arc<Context>,
    pod: Arc<Pod>,
    dir: PathBuf,
    record: Option<PodRecord>,
    observed: Observed,
    places: BTreeMap<String, PathBuf>,
    /// What was last written into each volume of files, see [`start::volumes`].
    written: BTreeMap<String, u64>,
    tokens: Tokens,
    shim: Option<ShimClient>,
    shim_state: Option<watch::Receiver<PodState>>,
    /// The prober of each running container, with the attempt that it belongs to.
    probers: BTreeMap<String, (u32, Background)>,
    verdicts: (mpsc::Sender<Verdict>, mpsc::Receiver<Verdict>),
    /// Hooks that run before a stop, by container, with the attempt that they belong to.
    hooks: BTreeMap<String, (u32, Background)>,
    /// How these ended.
    stops: (mpsc::Sender<Stopped>, mpsc::Receiver<Stopped>),
    /// The attempt of each container after whose end a BackOff event was recorded.
    backing_off: BTreeMap<String, u32>,
    published: Option<PodStatus>,
    released: bool,
    /// A start has to wait until the listeners of new Services have said where they listen.
    awaits_listeners: bool,
    wake_at: Option<Timestamp>,
}

/// A task that ends when this is dropped.
struct Background(JoinHandle<()>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs until the pod's object is gone and nothing of it is left, or until shutdown, which leaves the pod running.
pub(crate) async fn run(context: Arc<Context>, pod: Arc<Pod>, mut updates: watch::Receiver<Option<Arc<Pod>>>) {
    let mut worker = Worker::new(context.clone(), pod);
    let mut interest = context.objects.interest();
    loop {
        // Taken before the sync: what changes during it wakes us afterwards.
        let current = updates.borrow_and_update().clone();
        match current {
            Some(pod) => worker.pod = pod,
            None => return worker.remove().await,
        }
        interest.set(worker.dependencies());
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            // Without an API there is no copy to be had, and the pod's object may change first.
            changed = updates.changed() => if changed.is_err() { return } else { continue },
            () = interest.known() => {}
        }
        worker.sync().await;
        let wake_at = worker.wake_at.map(|at| {
            let left = Timestamp::now().until(at).ok().and_then(|left| Duration::try_from(left).ok());
            left.unwrap_or(Duration::ZERO)
        });
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            changed = updates.changed() => if changed.is_err() { return },
            () = interest.changed() => worker.try_configuration_again(),
            Some(stopped) = worker.stops.1.recv() => worker.stopped(stopped),
            () = shim_changed(&mut worker.shim_state) => {}
            Some(verdict) = worker.verdicts.1.recv() => worker.take(verdict),
            () = tokio::time::sleep(wake_at.unwrap_or_default()), if wake_at.is_some() => {}
        }
        while let Ok(verdict) = worker.verdicts.1.try_recv() {
            worker.take(verdict);
        }
    }
}

fn target(record: &PodRecord, container: &Container, shim: &ShimClient) -> Target {
    let endpoint = Endpoint { ip: record.pod_ip, ports: start::named_ports(container) };
    Target { endpoint, shim: shim.clone() }
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
            written: BTreeMap::new(),
            tokens: Tokens::new(),
            shim: None,
            shim_state: None,
            probers: BTreeMap::new(),
            verdicts: mpsc::channel(VERDICTS),
            hooks: BTreeMap::new(),
            stops: mpsc::channel(VERDICTS),
            backing_off: BTreeMap::new(),
            published: None,
            released: false,
            awaits_listeners: false,
            wake_at: None,
        }
    }

    /// The objects whose changes concern this pod now.
    fn dependencies(&self) -> BTreeSet<Dependency> {
        let mut dependencies = dependencies(&self.pod);
        if self.awaits_listeners {
            dependencies.insert(Dependency::ServicesOf(self.pod.namespace().unwrap_or_default()));
            dependencies.insert(Dependency::ServicesOf(API_SERVICE.namespace.to_owned()));
        }
        dependencies
    }

    fn all_containers(&self) -> impl Iterator<Item = &Container> {
        init_containers(&self.pod).iter().chain(containers(&self.pod))
    }

    /// One of the pod's own: what somebody has put beside them is neither probed nor started again.
    fn container(&self, name: &str) -> Option<Container> {
        self.all_containers().find(|container| container.name == name).cloned()
    }

    /// An ephemeral container, as it is to be started now.
    fn ephemeral(&self, name: &str) -> Option<Container> {
        let container = ephemeral_containers(&self.pod).iter().find(|container| container.name == name)?;
        if let Some(target) = container.target_container_name.as_deref().filter(|name| !name.is_empty()) {
            // Which may not have started yet. Nothing is made below it, where the target may have put links; what is missing
            // there, and what fails here, is told by the start.
            let _ = std::fs::create_dir_all(layout::work_dir(&self.dir, target));
        }
        let container = ephemeral::to_start(&self.pod, container, &self.observed, self.record.as_ref()?, &self.dir);
        Some(container)
    }

    async fn sync(&mut self) {
        self.wake_at = None;
        if self.observed.failed.is_none() && self.published.is_none() {
            self.recall_failure();
        }
        if let Err(error) = self.prepare().await {
            let changed = self.observed.blocked.as_ref() != Some(&error);
            if changed {
                self.tell(Severity::Warning, error.reason.clone(), error.message.clone());
            }
            self.observed.blocked = Some(error);
            // A driver does not come by waiting.
            if !volumes::need_driver(&self.pod) {
                self.retry();
            }
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
                self.tell(Severity::Warning, trouble.reason, trouble.message);
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
            self.keep_tokens().await?;
            let host = self.context.host(&self.dir);
            match start::volumes(
                &mut self.written,
                &self.pod,
                pod_ip,
                &host,
                self.context.objects.as_ref(),
                &self.tokens,
            ) {
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
                self.tell(Severity::Warning, "ShimReplaced", message);
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
        let (grace, group) = (u64::try_from(grace).unwrap_or(0), grounds::pod_group(rand::random()));
        let record = PodRecord::new(namespace, self.pod.name_any(), address, grace, group);
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
            let hook = self.hooks.get(&name).is_some_and(|(attempt, _)| *attempt == state.attempt);
            seen.stopping = hook || state.running.as_ref().is_some_and(|running| running.stopping);
            seen.state = state;
            if same_run {
                continue;
            }
            seen.probes = Probes::default();
            if first_sight && seen.restarts_in_row == 0 {
                // Found after a restart of the agent. Without a note a restarted container has one restart behind it.
                let noted = self.record.as_ref().and_then(|record| record.restarts_in_row.get(&name).copied());
                seen.restarts_in_row = noted.unwrap_or(seen.state.attempt.min(1));
            }
        }
        let names: Vec<String> = self.observed.containers.keys().cloned().collect();
        for name in names {
            self.keep_probing(&name);
            self.keep_messages(&name);
        }
    }

    /// What the container has left behind about its ends: read once for each.
    fn keep_messages(&mut self, name: &str) {
        let share = termination::share(self.all_containers().count());
        let ephemeral = || ephemeral_containers(&self.pod).iter().find(|container| container.name == name);
        let Some(container) = self.container(name).or_else(|| ephemeral().map(ephemeral::as_container)) else { return };
        if let Some(seen) = self.observed.containers.get_mut(name) {
            termination::keep(&mut seen.messages, &self.dir, &container, &seen.state, share);
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
                self.tell(Severity::Warning, "BackOff", message);
            }
        }
    }

    /// Sees to it that we are woken when there is something to see.
    fn must_wait_for_listeners(&mut self) -> bool {
        let linked = self.pod.spec.as_ref().and_then(|spec| spec.enable_service_links) != Some(false);
        let namespace = self.pod.namespace().unwrap_or_default();
        let mut services = if linked { self.context.objects.services(&namespace) } else { Vec::new() };
        // Where the API is, everybody is told.
        services.extend(self.context.objects.service(API_SERVICE.namespace, API_SERVICE.name));
        let due = environment::listeners_due(&services, Timestamp::now());
        // A change between this look and the registration of the interest would go unnoticed; so look again at once.
        if due.is_some() && !std::mem::replace(&mut self.awaits_listeners, due.is_some()) {
            self.wake(Timestamp::now());
        }
        self.awaits_listeners = due.is_some();
        if let Some(due) = due {
            self.wake(due);
        }
        due.is_some()
    }

    async fn perform(&mut self, action: Action) {
        let result = match action {
            Action::Start { container, attempt } => self.start(&container, attempt).await,
            Action::Stop { container, grace, why } => self.stop(&container, grace, &why).await,
            Action::Fail(trouble) => {
                self.tell(Severity::Warning, trouble.reason.clone(), trouble.message.clone());
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
        if self.must_wait_for_listeners() {
            return Ok(());
        }
        let container = self.container(name).or_else(|| self.ephemeral(name));
        let (Some(container), Some(shim), Some(record)) = (container, self.shim.clone(), &mut self.record) else {
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
        let knows_identities = self.shim_state.as_ref().is_some_and(|state| state.borrow().identities);
        let spec = match spec.and_then(|spec| start::require_identities(spec, knows_identities)) {
            Ok(spec) => spec,
            Err(error) => {
                self.not_prepared(name, &error);
                return Ok(());
            }
        };
        let seen = self.observed.containers.entry(name.to_owned()).or_default();
        seen.config_error = None;
        if let Some(exit) = seen.exit() {
            seen.restarts_in_row = backoff::next_row(exit, seen.restarts_in_row);
            record.restarts_in_row.insert(name.to_owned(), seen.restarts_in_row);
            // A note that is lost makes a later agent too patient or too hasty once, which is no reason not to start.
            if let Err(error) = record.write(&self.dir) {
                tracing::warn!(error = &error as &dyn std::error::Error, "restarts in a row not noted");
            }
        }
        let permit = self.context.starts.acquire().await;
        let state = shim.start(spec).await;
        drop(permit);
        let failure = state?.containers.remove(name).and_then(|state| state.exit).and_then(|exit| exit.start_error);
        match failure {
            None => self.tell(Severity::Normal, "Started", format!("Started container {name}")),
            Some(error) => {
                self.tell(Severity::Warning, "Failed", format!("Error: container {name}: {error}"));
                // The shim's notice about it may be here already.
                self.wake(Timestamp::now());
            }
        }
        for path in start::absolute_mounts(&container) {
            let message = format!(
                "container {name}: mountPath {path} is absolute, which a process on the host's file system cannot have; \
                 read the volume through $KAPELL_VOLUME_<NAME> or use a relative mountPath"
            );
            self.tell(Severity::Warning, "MountPathIgnored", message);
        }
        Ok(())
    }

    /// A container's start cannot be described as the objects are; told once, and tried again.
    fn not_prepared(&mut self, name: &str, error: &PrepareError) {
        let reason = match error {
            PrepareError::Config(_)
            | PrepareError::Identity(_)
            | PrepareError::Grounds(_)
            | PrepareError::OldShim
            | PrepareError::Mount(MountError::BelowPart { .. })
            | PrepareError::SubPath(_) => "CreateContainerConfigError",
            _ => "CreateContainerError",
        };
        let trouble = Trouble::new(reason, error.to_string());
        let seen = self.observed.containers.entry(name.to_owned()).or_default();
        let is_new = seen.config_error.as_ref().is_none_or(|(before, _)| *before != trouble);
        let message = format!("Error: {}", trouble.message);
        let retry_at = Timestamp::now().saturating_add(CONFIG_RETRY).unwrap_or(Timestamp::MAX);
        seen.config_error = Some((trouble, retry_at));
        if is_new {
            self.tell(Severity::Warning, "Failed", message);
        }
        self.wake(retry_at);
    }

    fn tell(&self, severity: Severity, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) {
        self.context.events.record(&*self.pod, severity, reason, message);
    }

    /// Nothing will run any more. The shim's state file stays and still tells how it ended.
    async fn release(&mut self) -> Result<(), ShimError> {
        self.probers.clear();
        self.hooks.clear();
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

    /// The object is gone, so nothing of the pod may stay.
    async fn remove(mut self) {
        self.probers.clear();
        self.hooks.clear();
        self.shim = None;
        let may_run = !self.released && self.record.is_some();
        self.context.remove_pod(&self.pod.uid().unwrap_or_default(), &self.dir, may_run).await;
    }
}
