//! The engine without objects: runs are begun by a function call and their outcomes are handed out. For benches and
//! for tests of what lies between the core and the store.

use std::sync::Arc;

use kapell_client::ObjectKey;
use kapell_store::{Store, StreamId};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::link::{LinkError, Linked, link};
use super::partition::Command;
use super::secrets::Given;
use super::{Config, Notice, Parts, ServiceCaller, Shared};
use crate::core::record::Identity;
use crate::expression::Datum;
use crate::fault::{Fault, Standard};

pub(crate) struct Headless {
    shared: Arc<Shared>,
    parts: parking_lot::Mutex<Option<Parts>>,
    stop: CancellationToken,
}

impl Headless {
    pub(crate) fn start(config: Config, store: Arc<dyn Store>, caller: Arc<dyn ServiceCaller>) -> Self {
        Self::with_secrets(config, store, caller, Given::default())
    }

    pub(crate) fn with_secrets(
        config: Config,
        store: Arc<dyn Store>,
        caller: Arc<dyn ServiceCaller>,
        secrets: Given,
    ) -> Self {
        let (shared, receivers) = Shared::new(config, store, caller, Arc::new(secrets));
        let stop = CancellationToken::new();
        let parts = Parts::start(&shared, receivers, &stop);
        Self { shared, parts: parking_lot::Mutex::new(Some(parts)), stop }
    }

    /// Takes up the runs in the journal; says how many.
    pub(crate) async fn recover(&self) -> usize {
        super::rescue::recover(&self.shared).await.len()
    }

    /// Begins a run of a definition that needs nothing from elsewhere.
    pub(crate) fn begin(&self, document: &Value, input: &Value) -> StreamId {
        let (hash, program) =
            self.shared.programs.compile(document).unwrap_or_else(|failure| panic!("not a workflow: {failure:?}"));
        self.begin_linked(Linked { hash, program, secrets: None, pinned: false }, input)
    }

    /// Begins a run once its resources are there.
    pub(crate) async fn begin_with_resources(&self, document: &Value, input: &Value) -> Result<StreamId, Fault> {
        let who = ObjectKey::new("default", "headless");
        match link(&self.shared, &who, document.clone()).await {
            Ok(linked) => Ok(self.begin_linked(linked, input)),
            Err(LinkError::Fault(fault)) => Err(fault),
            Err(passing) => Err(Fault::new(Standard::Runtime, "/", passing.to_string())),
        }
    }

    fn begin_linked(&self, linked: Linked, input: &Value) -> StreamId {
        let Linked { hash, program, secrets, .. } = linked;
        let uid = uuid::Uuid::new_v4();
        let identity = Identity {
            uid: uid.to_string(),
            namespace: "default".to_owned(),
            name: uid.to_string(),
            workflow: "headless".to_owned(),
            secrets,
        };
        let stream = StreamId(uid.into_bytes());
        let input = Datum::from_json(input).unwrap_or_default();
        self.shared.tell(stream, Command::Start { stream, program, hash, identity, input });
        stream
    }

    #[cfg(test)]
    pub(crate) fn cancel(&self, stream: StreamId) {
        let event = crate::core::Event::Cancel { reason: "a test".to_owned() };
        self.shared.tell(stream, Command::Event { stream, event });
    }

    /// Publishes events, which must be valid.
    #[cfg(test)]
    pub(crate) async fn publish(&self, events: &[Value]) {
        self.try_publish(events).await.expect("a log with room");
    }

    #[cfg(test)]
    pub(crate) async fn try_publish(&self, events: &[Value]) -> Result<(), super::PublishError> {
        let event = |event: &Value| crate::cloud_event::CloudEvent::new(Datum::from_json(event).unwrap_or_default());
        let events: Vec<_> = events.iter().map(event).collect::<Result<_, _>>().expect("valid events");
        self.shared.publish_events("default", &events).await
    }

    /// Waits until so many runs have left memory.
    pub(crate) async fn chilled(&self, count: usize) {
        let mut chilled = 0;
        while chilled < count {
            let key: ObjectKey = self.shared.queue.next().await;
            self.shared.queue.done(&key);
            let Some(stream) = super::runs::stream_of(&key.name) else { continue };
            let mut notices = self.shared.notices.lock();
            if notices.get(stream).is_some_and(|notice| notice.cold) {
                notices.remove_cold(stream);
                chilled += 1;
            }
        }
    }

    /// Runs that have begun and not ended.
    pub(crate) fn active(&self) -> usize {
        self.shared.active.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Waits for the next run to end, and closes it.
    pub(crate) async fn ended(&self) -> Option<Notice> {
        loop {
            let key: ObjectKey = self.shared.queue.next().await;
            self.shared.queue.done(&key);
            let stream = super::runs::stream_of(&key.name)?;
            let ended = {
                let mut notices = self.shared.notices.lock();
                let ended = notices.get(stream).is_some_and(|notice| notice.ended.is_some());
                if ended { notices.remove(stream) } else { None }
            };
            if ended.is_some() {
                return ended;
            }
        }
    }

    /// What the run did: see [`timeline`](crate::timeline).
    pub(crate) async fn timeline(&self, stream: StreamId) -> Value {
        let records = self.shared.store.read_stream(stream, 0).await.expect("the journal is there");
        let entries = crate::journal::decode(&records).expect("the journal can be read");
        let (_, program) = self.shared.programs.of_journal(&entries).expect("the definition compiles");
        crate::timeline::timeline(program, &entries).expect("the journal makes sense")
    }

    /// Stops without waiting for anything, as a crash would.
    #[cfg(test)]
    pub(crate) async fn kill(&self) {
        for (_, call) in self.shared.calls.lock().drain() {
            call.abort();
        }
        let parts = self.parts.lock().take();
        if let Some(parts) = parts {
            parts.stop(&self.shared, &self.stop).await;
        }
    }
}

impl Drop for Headless {
    fn drop(&mut self) {
        self.stop.cancel();
        for partition in &self.shared.partitions {
            let _ = partition.send(Command::Stop);
        }
        drop(self.parts.lock().take());
    }
}
