//! Delivers the events of a namespace to its `EventSink`s.
//!
//! Each sink has a task of its own that reads the namespace's log from a position on and sends event after event (or, if it wants
//! batches, as many as there are in one request), each until the sink has taken it: in order, at least once. The position stands in the sink's status, written after what it says has
//! happened, so after a crash the latest events are sent again.
//!
//! A sink that does not take its events waits alone: it neither keeps the log from being trimmed, nor does it take a place of
//! the calls of workflows. What was trimmed before it took it is counted as lost and said in its status.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kapell_api::event_sink::{EventSink, EventSinkStart, EventSinkStatus};
use kapell_client::reconcile::{self, Next};
use kapell_client::{Informer, ObjectKey, Queue};
use kapell_store::ReadError;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod delivery;

use super::events::{decode, log_of};
use super::runs::code;
use super::{Shared, exchange, now};
use crate::cloud_event::CloudEvent;
use crate::core::exchange::{Reply, Unanswered};
use crate::secrets::Disclosure;
use delivery::Verdict;

/// How long a sink may take for one request.
const LIMIT: Duration = Duration::from_secs(30);

/// Delays between attempts; a sink may ask for longer ones by `Retry-After`, up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
const LONGEST_ASKED_FOR: Duration = Duration::from_secs(3_600);

/// While events are delivered, how far they are is written this often: more costs writes, less repeats more after a crash.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Records read at a time; with the longest events 16 MiB.
const PAGE: usize = 64;

/// Watches sinks and delivers to them until `shutdown`.
pub(super) async fn run(client: kube::Client, shared: Arc<Shared>, shutdown: CancellationToken) {
    let queue: Queue<ObjectKey> = Queue::new();
    let sinks = {
        let queue = queue.clone();
        let api: Api<EventSink> = Api::all(client.clone());
        Informer::start(api, watcher::Config::default(), shutdown.clone(), move |change| queue.add(change.key()))
    };
    tokio::select! {
        () = shutdown.cancelled() => return,
        () = sinks.synced() => {}
    }
    let desk = Arc::new(Desk { client, shared, sinks, at_work: Mutex::default() });
    let worker = desk.clone();
    reconcile::run("event-sinks", queue, 1, shutdown, move |key| {
        let desk = worker.clone();
        async move { desk.reconcile(key).await }
    })
    .await;
    let at_work: Vec<Work> = desk.at_work.lock().drain().map(|(_, work)| work).collect();
    for Work { task, stop, .. } in at_work {
        stop.cancel();
        let _ = task.await;
    }
}

struct Desk {
    client: kube::Client,
    shared: Arc<Shared>,
    sinks: Informer<EventSink>,
    at_work: Mutex<HashMap<ObjectKey, Work>>,
}

/// Deliveries to one sink as it was specified.
struct Work {
    uid: Option<String>,
    generation: Option<i64>,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
#[error("never")]
enum Never {}

impl Desk {
    async fn reconcile(self: &Arc<Self>, key: ObjectKey) -> Result<Next, Never> {
        let sink = self.sinks.get(&key).filter(|sink| sink.metadata.deletion_timestamp.is_none());
        let is_same = |work: &Work, sink: &EventSink| {
            work.uid == sink.metadata.uid && work.generation == sink.metadata.generation
        };
        let former = {
            let mut at_work = self.at_work.lock();
            match (at_work.get(&key), &sink) {
                (Some(work), Some(sink)) if is_same(work, sink) => return Ok(Next::OnChange),
                _ => at_work.remove(&key),
            }
        };
        if let Some(Work { task, stop, .. }) = former {
            // It says how far it is before the next one begins there.
            stop.cancel();
            let _ = task.await;
        }
        let Some(sink) = sink else { return Ok(Next::OnChange) };
        let stop = CancellationToken::new();
        let (uid, generation) = (sink.metadata.uid.clone(), sink.metadata.generation);
        let task = tokio::spawn(self.clone().deliver(key.clone(), stop.clone()));
        self.at_work.lock().insert(key, Work { uid, generation, task, stop });
        Ok(Next::OnChange)
    }

    async fn deliver(self: Arc<Self>, key: ObjectKey, stop: CancellationToken) {
        // What it was told last may not be in our copy yet.
        let api: Api<EventSink> = Api::namespaced(self.client.clone(), &key.namespace);
        let sink = loop {
            match api.get_opt(&key.name).await {
                Ok(Some(sink)) => break sink,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(sink = %key, error = &error as &dyn std::error::Error, "a sink is not read")
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(FIRST_RETRY) => {}
            }
        };
        let status = sink.status.clone().unwrap_or_default();
        let mut courier = Courier {
            desk: self.clone(),
            api,
            position: status.position.unwrap_or_default(),
            noted: Instant::now(),
            written: status.clone(),
            status,
            key,
            sink,
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = courier.work() => {}
        }
        courier.note().await;
    }
}

/// Delivers to one sink.
struct Courier {
    desk: Arc<Desk>,
    api: Api<EventSink>,
    key: ObjectKey,
    sink: EventSink,
    position: u64,
    status: EventSinkStatus,
    /// What the API has been told, and when.
    written: EventSinkStatus,
    noted: Instant,
}

impl Courier {
    async fn work(&mut self) {
        if self.status.position.is_none() {
            self.position = match self.sink.spec.from {
                EventSinkStart::Latest => self.end().await,
                EventSinkStart::Earliest => 0,
            };
        }
        let suspended = self.sink.spec.suspend == Some(true);
        self.say(if suspended { "Suspended" } else { "Delivering" }, None);
        // Where it begins has to be known before anything is delivered.
        while !self.note().await {
            tokio::time::sleep(FIRST_RETRY).await;
        }
        if suspended {
            return;
        }
        loop {
            if let Err(error) = self.pass().await {
                self.complain(&error);
                tokio::time::sleep(FIRST_RETRY).await;
            }
        }
    }

    /// Where the log ends now.
    async fn end(&self) -> u64 {
        loop {
            match self.desk.shared.store.log_extent(log_of(&self.key.namespace)).await {
                Ok(extent) => return extent.next,
                Err(error) => self.complain(&error),
            }
            tokio::time::sleep(FIRST_RETRY).await;
        }
    }

    fn complain(&self, error: &ReadError) {
        tracing::warn!(sink = %self.key, error = error as &dyn std::error::Error, "an event log cannot be read");
    }

    /// Delivers what there is, then waits for more.
    async fn pass(&mut self) -> Result<(), ReadError> {
        let shared = self.desk.shared.clone();
        let log = log_of(&self.key.namespace);
        let news = shared.events.news(log);
        let more = news.notified();
        tokio::pin!(more);
        more.as_mut().enable();
        let extent = shared.store.log_extent(log).await?;
        if extent.first > self.position {
            let lost = extent.first - self.position;
            tracing::warn!(sink = %self.key, lost, "the log has forgotten events that a sink has not taken");
            self.status.lost += lost;
            self.position = extent.first;
        }
        let records = shared.store.read_log(log, self.position, PAGE).await?;
        let caught_up = records.len() < PAGE;
        let spec = &self.sink.spec;
        let read = records.into_iter().map(|(position, record)| {
            let event = decode(&record).and_then(|recorded| CloudEvent::new(recorded.event).ok());
            (position, record.len(), event.filter(|event| delivery::is_wanted(spec, event)))
        });
        for portion in delivery::portions(spec, read.collect()) {
            self.hand_over(&portion.events).await;
            self.position = portion.until;
            if self.noted.elapsed() >= NOTE_EVERY {
                self.note().await;
            }
        }
        if caught_up {
            self.note().await;
            more.await;
        }
        Ok(())
    }

    /// Sends the events, which follow each other, until the sink has taken each or refused it for good.
    async fn hand_over(&mut self, events: &[CloudEvent]) {
        let mut rest: VecDeque<&[CloudEvent]> = VecDeque::from([events]);
        let mut delay = FIRST_RETRY;
        while let Some(events) = rest.front().copied() {
            let Some(first) = events.first() else { return };
            // What the sink says must not bring a secret into its status.
            let mut disclosure = Disclosure::default();
            let verdict = match self.send(events, &mut disclosure).await {
                Ok(reply) => delivery::judge(&self.sink.spec, &reply, events.len(), &disclosure),
                Err(failure) => Verdict::Again { why: failure.blotted(&disclosure).to_string(), after: None },
            };
            match verdict {
                Verdict::Taken => {
                    self.status.delivered += events.len() as u64;
                    self.status.last_delivery_time = Some(time());
                    self.say("Delivering", None);
                    rest.pop_front();
                    delay = FIRST_RETRY;
                }
                Verdict::Refused { why } => {
                    self.status.skipped += 1;
                    self.say("Delivering", Some(format!("skipped event {}: {why}", first.id())));
                    rest.pop_front();
                    delay = FIRST_RETRY;
                }
                Verdict::Apart => rest = events.chunks(1).collect(),
                Verdict::Again { why, after } => {
                    let others = events.len() - 1;
                    let others = if others > 0 { format!(" and {others} after it") } else { String::new() };
                    self.say("Retrying", Some(format!("event {}{others}: {why}", first.id())));
                    self.note().await;
                    let asked_for = after.unwrap_or_default().min(LONGEST_ASKED_FOR);
                    // So that those who wait for one service do not come back together.
                    let jitter = delay.mul_f64(rand::random_range(0.0..0.2));
                    tokio::time::sleep(asked_for.max(delay) + jitter).await;
                    delay = (delay * 2).min(LONGEST_RETRY);
                }
            }
        }
    }

    async fn send(&self, events: &[CloudEvent], disclosure: &mut Disclosure) -> Result<Reply, Unanswered> {
        let shared = &self.desk.shared;
        let mut headers = Vec::new();
        for header in &self.sink.spec.headers {
            let value = match &header.value_from {
                None => header.value.clone().unwrap_or_default(),
                Some(from) => {
                    let reference = &from.secret_key_ref;
                    let data = shared.secrets.read(&self.key.namespace, &reference.name).await;
                    let data = data.map_err(Unanswered::Misconfigured)?.unwrap_or_default();
                    let missing = || {
                        let what = format!("there is no Secret `{}` with a key `{}`", reference.name, reference.key);
                        Unanswered::Misconfigured(what)
                    };
                    let bytes = data.get(&reference.key).ok_or_else(missing)?;
                    let value = String::from_utf8_lossy(bytes).trim_end().to_owned();
                    if let Some((_scheme, parameter)) = value.split_once(' ') {
                        disclosure.learn_authorization(parameter);
                    }
                    disclosure.learn(&reference.name, [(reference.key.clone(), value.clone().into_bytes())].into())?;
                    value
                }
            };
            headers.push((header.name.clone(), value));
        }
        let request = delivery::request(&self.sink.spec, events, &headers).map_err(Unanswered::Misconfigured)?;
        exchange::attempt(shared, &self.key.namespace, &request, LIMIT).await
    }

    fn say(&mut self, phase: &str, message: Option<String>) {
        self.status.phase = Some(phase.to_owned());
        self.status.message = message;
    }

    /// Writes how far it is; false when that failed. The object being gone is not a failure.
    async fn note(&mut self) -> bool {
        self.noted = Instant::now();
        self.status.position = Some(self.position);
        if self.status == self.written {
            return true;
        }
        let mut status = serde_json::to_value(&self.status).unwrap_or_default();
        if self.status.message.is_none() {
            // A merge keeps what it is not told about.
            status["message"] = Value::Null;
        }
        let uid = &self.sink.metadata.uid;
        let patch = Patch::Merge(json!({ "metadata": { "uid": uid }, "status": status }));
        match self.api.patch_status(&self.key.name, &PatchParams::default(), &patch).await {
            Ok(_) => {
                self.written = self.status.clone();
                true
            }
            Err(error) if matches!(code(&error), Some(404 | 409 | 422)) => true,
            Err(error) => {
                tracing::warn!(sink = %self.key, error = &error as &dyn std::error::Error, "how far a sink is cannot be noted");
                false
            }
        }
    }
}

fn time() -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    let second = jiff::Timestamp::from_second(now().div_euclid(1000)).unwrap_or_default();
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(second)
}
