//! Runs workflows: from `WorkflowRun` objects, through journals, to effects and statuses.
//!
//! ```text
//! WorkflowRun ──runs──▶ partition (a thread: steps of the pure core) ──work──▶ committer (journal, many runs in one
//!     ▲ status              ▲                                                  transaction)
//!     └──────notices────────┴──answers, timers────── calls, timers ◀──effects── once committed
//! ```
//!
//! A run belongs to one partition, which alone holds and changes its state; partitions have deep stacks, for
//! expressions. A step's records are committed before its effects are performed and before the run's next step is
//! committed; so after a crash the journal holds all that was decided, and what is pending in it is performed again.
//!
//! **Delivery.** Calls are made at least once, with an `Idempotency-Key` that is the same for each attempt of the
//! same activation of a task, whether after a crash or by a retry policy. A call that never reached the service
//! (connection refused while its pods start) is made again for [`Config::connect_patience`] before it counts as
//! failed, even without a retry policy: nothing can have happened there.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use kapell_client::{ObjectKey, Queue};
use kapell_store::{ReadError, Store, StreamId};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

mod authentication;
mod books;
mod cold;
mod committer;
mod effects;
mod events;
pub(crate) mod exchange;
mod flights;
mod headless;
mod intake;
mod jobs;
mod link;
mod metrics;
mod notices;
mod pace;
mod partition;
mod programs;
mod rescue;
mod runs;
mod schedules;
mod secrets;
mod signals;
mod sinks;
#[cfg(test)]
mod tests;
mod timers;
mod turns;

use crate::core::record::{FrameId, Time};
use crate::egress::Egress;
pub(crate) use effects::idempotency_key;
pub(crate) use events::LONGEST_EVENT;
pub use events::ingest::{IngestError, Refused};
pub use events::{EventLimits, PublishError};
pub(crate) use headless::Headless;
pub use intake::Full;
pub(crate) use notices::Notice;
use notices::Notices;
use partition::Command;
use programs::Programs;
use secrets::Secrets;
pub use signals::SignalError;

/// Calls services on behalf of workflows.
#[async_trait]
pub trait ServiceCaller: Send + Sync {
    /// Sends `request`, whose URI is absolute, for a run in `namespace`, and reads the response to its end. A host
    /// without dots, or `NAME.NAMESPACE`, may be a Service.
    ///
    /// A caller that egress rules keep from calling says so by a response with [`egress::Refused`] in its extensions;
    /// a request with [`egress::Chosen`] in its own is not held against the rules. Redirects are not followed, and
    /// the trailers of a gRPC response are added to its headers.
    ///
    /// [`egress::Refused`]: crate::egress::Refused
    /// [`egress::Chosen`]: crate::egress::Chosen
    ///
    /// # Errors
    /// When there is no complete response.
    async fn call(
        &self,
        namespace: &str,
        request: http::Request<Bytes>,
        deadline: Option<Instant>,
    ) -> Result<http::Response<Bytes>, CallFailure>;
}

/// Why a call has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CallFailure {
    /// False only when nothing of the request can have reached a service, so that calling again is safe.
    pub maybe_processed: bool,
    /// The cause, in a few words: `connection refused`.
    pub message: String,
}

/// Bounds of the engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads that run steps.
    pub partitions: usize,
    /// Runs in memory at a time. Further ones are refused ([`Engine::admit`]), and stay `Pending` where they are accepted all the
    /// same, as those that other runs start.
    pub max_runs: usize,
    /// Sleeping runs that are read from their journals ahead of what they are to do, at a time; further ones that are due wait.
    pub max_woken: usize,
    /// Runs that have been accepted and have not begun; further ones are refused.
    pub max_waiting: usize,
    /// Calls in flight at a time; further ones wait, and namespaces take turns. One namespace has at most three
    /// quarters of them.
    pub max_calls: usize,
    /// How long a call may take when no timeout of the workflow ends it before.
    pub call_limit: Duration,
    /// How long a call that cannot connect is tried again before it counts as failed.
    pub connect_patience: Duration,
    /// How long a shutdown waits for answers to calls in flight.
    pub drain: Duration,
    /// What the event log of a namespace keeps.
    pub events: EventLimits,
    /// Whether what runs and their tasks do is published as CloudEvents.
    pub lifecycle_events: bool,
    /// Whether workflows may run shell commands and scripts on this machine.
    pub allow_processes: bool,
    /// Whom workflows may call.
    pub egress: Egress,
    /// The directory that `file:` resources of workflows are below; without it there are none.
    pub resources: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            partitions: std::thread::available_parallelism().map_or(2, |n| n.get().min(8)),
            max_runs: 100_000,
            // Most of a second's at 10,000 a second, where reading one takes some milliseconds; some 70 MB.
            max_woken: 8_192,
            // A few seconds' work, so that a refused client has no longer to wait than an accepted one; some 30 MB.
            max_waiting: 10_000,
            max_calls: 1024,
            call_limit: Duration::from_secs(600),
            connect_patience: Duration::from_secs(15),
            drain: Duration::from_secs(5),
            events: EventLimits::default(),
            lifecycle_events: false,
            allow_processes: false,
            egress: Egress::default(),
            resources: None,
        }
    }
}

/// The workflow engine of one server.
pub struct Engine {
    client: kube::Client,
    shared: Arc<Shared>,
    /// Taken by [`Engine::run`].
    receivers: Mutex<Option<Receivers>>,
}

struct Receivers {
    partitions: Vec<mpsc::UnboundedReceiver<Command>>,
    timers: mpsc::UnboundedReceiver<timers::Alarm>,
    signals: mpsc::UnboundedReceiver<events::hub::Signal>,
    orders: mpsc::UnboundedReceiver<jobs::Order>,
}

/// What the parts of the engine have in common.
struct Shared {
    config: Config,
    store: Arc<dyn Store>,
    caller: Arc<dyn ServiceCaller>,
    secrets: Arc<dyn Secrets>,
    tokens: authentication::Tokens,
    fetched: link::Fetched,
    programs: Programs,
    partitions: Vec<mpsc::UnboundedSender<Command>>,
    timers: mpsc::UnboundedSender<timers::Alarm>,
    events: events::Events,
    turns: Arc<turns::Turns>,
    calls: Mutex<HashMap<(StreamId, FrameId), AbortHandle>>,
    calls_idle: Notify,
    notices: Mutex<Notices>,
    /// Runs whose objects were deleted, to be looked after; whether the object said that the run had ended.
    gone: Mutex<BTreeMap<(ObjectKey, StreamId), bool>>,
    books: books::Books,
    intake: intake::Intake,
    /// Objects to look at.
    queue: Queue<ObjectKey>,
    /// Workflows whose schedule to look at.
    schedules: Queue<ObjectKey>,
    orders: mpsc::UnboundedSender<jobs::Order>,
    jobs: jobs::Jobs,
    active: AtomicUsize,
    /// Transactions of steps that could not be written and are tried again.
    unwritten: AtomicUsize,
    metrics: metrics::Metrics,
    /// Runs that are read from their journals at a time because they are to wake up.
    wakers: tokio::sync::Semaphore,
    /// Which runs may begin.
    gate: Mutex<runs::Gate>,
    falls: rescue::Falls,
    /// Runs that are neither in memory nor asleep, since they cannot be taken up, with what they wait for.
    resting: Mutex<HashMap<StreamId, &'static str>>,
    /// There are more of them.
    rested: Notify,
}

/// A channel without a bound of its own: what it holds is bounded by the runs that were accepted and by the calls in
/// flight. With a bound, a partition and its committer could wait for each other.
#[allow(clippy::disallowed_methods, reason = "bounded by accepted runs and calls in flight; see above")]
fn accounted_channel<T>() -> (mpsc::UnboundedSender<T>, mpsc::UnboundedReceiver<T>) {
    mpsc::unbounded_channel()
}

impl Shared {
    fn new(
        config: Config,
        store: Arc<dyn Store>,
        caller: Arc<dyn ServiceCaller>,
        secrets: Arc<dyn Secrets>,
    ) -> (Arc<Self>, Receivers) {
        let (senders, receivers) = (0..config.partitions.max(1)).map(|_| accounted_channel()).unzip();
        let (timers, timer_receiver) = accounted_channel();
        let (signals, signal_receiver) = accounted_channel();
        let (orders, order_receiver) = accounted_channel();
        let queue = Queue::in_turns(|key: &ObjectKey| &key.namespace);
        let turns = turns::Turns::new(config.max_calls);
        let books = books::Books::new(store.clone());
        let intake = intake::Intake::new(config.max_waiting, config.max_runs);
        let shared = Arc::new(Self {
            config,
            store,
            caller,
            secrets,
            tokens: authentication::Tokens::default(),
            fetched: link::Fetched::new(queue.clone()),
            programs: Programs::default(),
            partitions: senders,
            timers,
            events: events::Events::new(signals),
            turns,
            calls: Mutex::default(),
            calls_idle: Notify::new(),
            notices: Mutex::default(),
            gone: Mutex::default(),
            books,
            intake,
            queue,
            schedules: Queue::new(),
            orders,
            jobs: jobs::Jobs::default(),
            active: AtomicUsize::new(0),
            unwritten: AtomicUsize::new(0),
            metrics: metrics::Metrics::default(),
            wakers: tokio::sync::Semaphore::new(rescue::SIDE_BY_SIDE),
            gate: Mutex::default(),
            falls: rescue::Falls::default(),
            resting: Mutex::default(),
            rested: Notify::new(),
        });
        let receivers = Receivers {
            partitions: receivers,
            timers: timer_receiver,
            signals: signal_receiver,
            orders: order_receiver,
        };
        (shared, receivers)
    }

    fn partition(&self, stream: StreamId) -> &mpsc::UnboundedSender<Command> {
        let hash = stream.0.iter().fold(0usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        &self.partitions[hash % self.partitions.len()]
    }

    /// A partition that is gone has been shut down, and what is told to it will be found in the journal.
    fn tell(&self, stream: StreamId, command: Command) {
        let _ = self.partition(stream).send(command);
    }

    /// Orders are carried out once objects can be seen; one that is not by then is given again after the next start.
    fn order(&self, order: jobs::Order) {
        let _ = self.orders.send(order);
    }

    /// The run is not in memory and cannot go on; its object is to say what it waits for. It takes no place meanwhile.
    fn rests(&self, stream: StreamId, waiting_for: &'static str) {
        self.resting.lock().insert(stream, waiting_for);
        self.intake.asleep(stream);
        self.rested.notify_one();
        self.admit_next();
    }

    /// The object of a run that has just begun is looked at after [`notices::SHORT`]: most have ended by then.
    fn publish(&self, stream: StreamId, notice: Notice) {
        let key = notice.key.clone();
        let rest = notice.may_be_short(now());
        self.notices.lock().insert(stream, notice);
        match rest {
            Some(at) => drop(self.timers.send(timers::Alarm { at, stream, wake: timers::Wake::Announce })),
            None => self.queue.add(key),
        }
    }
}

/// Milliseconds since the epoch.
fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The tasks and threads of a running engine.
struct Parts {
    committer: committer::Committer,
    timers: JoinHandle<()>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Parts {
    fn start(shared: &Arc<Shared>, receivers: Receivers, stop: &CancellationToken) -> Self {
        let committer = committer::Committer::new(shared.clone());
        let mut threads = Vec::new();
        for (index, commands) in receivers.partitions.into_iter().enumerate() {
            threads.extend(partition::spawn(index, shared.clone(), commands, committer.clone()));
        }
        threads.extend(events::hub::spawn(shared.clone(), receivers.signals, stop.clone()));
        let timers = tokio::spawn(timers::run(shared.clone(), receivers.timers, stop.clone()));
        Self { committer, timers, threads }
    }

    /// Lets partitions finish what they are at, and the committer what it was given.
    async fn stop(self, shared: &Shared, stop: &CancellationToken) {
        stop.cancel();
        for partition in &shared.partitions {
            let _ = partition.send(Command::Stop);
        }
        let threads = self.threads;
        let _ = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join()))).await;
        self.committer.finish().await;
        let _ = self.timers.await;
    }
}

impl Engine {
    /// An engine that does nothing until [`Engine::run`].
    pub fn new(config: Config, client: kube::Client, store: Arc<dyn Store>, caller: Arc<dyn ServiceCaller>) -> Self {
        let secrets = Arc::new(secrets::Cluster(client.clone()));
        let (shared, receivers) = Shared::new(config, store, caller, secrets);
        Self { client, shared, receivers: Mutex::new(Some(receivers)) }
    }

    /// Takes up the runs that the journal says are not done, then works until `shutdown`. A second call returns at
    /// once.
    ///
    /// On shutdown no run makes another step after its present one; answers to calls in flight are waited for, so
    /// that those calls need not be made again.
    pub async fn run(&self, shutdown: CancellationToken) {
        let Some(mut receivers) = self.receivers.lock().take() else { return };
        let (_, nothing) = accounted_channel();
        let orders = std::mem::replace(&mut receivers.orders, nothing);
        let shared = &self.shared;
        let stop = CancellationToken::new();
        let parts = Parts::start(shared, receivers, &stop);

        let recovered = tokio::select! {
            () = shutdown.cancelled() => None,
            recovered = rescue::recover(shared) => Some(recovered),
        };
        if let Some(recovered) = recovered {
            runs::run(self.client.clone(), shared.clone(), recovered, orders, shutdown).await;
        }

        self.drain().await;
        parts.stop(shared, &stop).await;
    }

    /// Waits for calls in flight, then gives them up.
    async fn drain(&self) {
        let answered = async {
            loop {
                let changed = self.shared.calls_idle.notified();
                if self.shared.calls.lock().is_empty() {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(self.shared.config.drain, answered).await;
        for (_, call) in self.shared.calls.lock().drain() {
            call.abort();
        }
    }

    /// The timeline of every attempt of the run with this UID: see [`timeline`](crate::timeline).
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn timeline(&self, uid: &str) -> Result<serde_json::Value, TimelineError> {
        let stream = runs::stream_of(uid).ok_or_else(|| TimelineError::NoUid(uid.to_owned()))?;
        let records = self.shared.store.read_stream(stream, 0).await?;
        if records.is_empty() {
            return Ok(serde_json::json!({ "items": [] }));
        }
        let shared = self.shared.clone();
        let built = tokio::task::spawn_blocking(move || {
            let entries = crate::journal::decode(&records)?;
            let (_, program) = shared.programs.of_journal(&entries)?;
            let mut timeline = crate::timeline::timeline(program, &entries)?;
            crate::secrets::show(&mut timeline);
            Ok::<_, crate::journal::JournalError>(timeline)
        });
        match built.await {
            Ok(timeline) => Ok(timeline?),
            Err(_) => Err(TimelineError::Interrupted),
        }
    }

    /// Publishes the CloudEvents of an HTTP request in the log of a namespace, and says how many they were. All of
    /// them are on disk then, or none. One that the log holds already is not published again.
    ///
    /// # Errors
    /// When the request holds no events, and when they cannot be published now.
    pub async fn ingest(&self, namespace: &str, headers: &http::HeaderMap, body: &[u8]) -> Result<usize, EventsError> {
        let events = events::ingest::events(headers, body)?;
        self.shared.publish_events(namespace, &events).await?;
        Ok(events.len())
    }

    /// Events of a namespace from a position of its log on: `{"items": [{"position", "time", "event"}], "next"}`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn events(&self, namespace: &str, from: u64, limit: usize) -> Result<serde_json::Value, ReadError> {
        self.shared.read_events(namespace, from, limit).await
    }

    /// Whether one more run is accepted in this namespace.
    ///
    /// # Errors
    /// When so many are accepted already that it had better wait.
    pub fn admit(&self, namespace: &str) -> Result<(), Full> {
        self.shared.intake.admit(namespace)
    }

    /// The engine's numbers in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let shared = &self.shared;
        let (calls, calls_waiting) = shared.turns.counts();
        let depths =
            metrics::Depths { active: self.active_runs(), waiting: shared.gate.lock().waiting(), calls, calls_waiting };
        shared.metrics.text(&depths)
    }

    /// Runs that have begun and not ended.
    pub fn active_runs(&self) -> usize {
        self.shared.active.load(Ordering::Relaxed)
    }
}

/// Why events were not taken.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Why there is no timeline.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    #[error("{0:?} is not a UID")]
    NoUid(String),
    #[error("the journal cannot be read")]
    Store(#[from] ReadError),
    #[error("the journal does not make sense: {0}")]
    Journal(String),
    #[error("interrupted")]
    Interrupted,
}

impl From<crate::journal::JournalError> for TimelineError {
    fn from(error: crate::journal::JournalError) -> Self {
        TimelineError::Journal(error.to_string())
    }
}
