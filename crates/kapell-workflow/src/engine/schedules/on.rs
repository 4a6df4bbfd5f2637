//! Schedules that events start: `on`.
//!
//! What has been collected is not kept: it follows from the log, from the position in the Workflow's status on, which
//! moves when a run has been created. A run is named by the position of the event that completed what was waited for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kapell_api::workflow::{ScheduleStatus, Workflow};
use kapell_client::ObjectKey;
use kapell_store::StreamId;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Desk, Shared};
use crate::core::correlation::{self, Tally};
use crate::core::record::FrameId;
use crate::core::state::{Interest, Key};
use crate::core::{Occurrence, Receipt, read};
use crate::engine::events::hub::{Signal, Target};
use crate::engine::events::log_of;
use crate::engine::runs::stream_of;
use crate::expression::NoArguments;
use crate::program::Program;

/// Stands where tasks have their frame.
const OF_SCHEDULE: FrameId = FrameId::MAX;

/// How long to wait before a run that could not be created is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// An event for a schedule, and the position it follows.
pub(in crate::engine) struct Delivery {
    pub(in crate::engine) stream: StreamId,
    pub(in crate::engine) follows: u64,
    pub(in crate::engine) occurrence: Arc<Occurrence>,
    /// Dropped when the event has been dealt with.
    pub(in crate::engine) _receipt: Receipt,
}

struct Waiting {
    key: ObjectKey,
    /// Which schedule this is.
    definition: String,
    program: Arc<Program>,
    tally: Tally,
    collected: Vec<Value>,
    seen: u64,
}

/// The schedules that wait for events.
pub(super) struct Listening {
    sender: mpsc::UnboundedSender<Delivery>,
    by_stream: Mutex<HashMap<StreamId, Waiting>>,
}

impl Listening {
    pub(super) fn new(sender: mpsc::UnboundedSender<Delivery>) -> Self {
        Self { sender, by_stream: Mutex::default() }
    }

    /// Waits for events from the position in the status on, unless it does already.
    pub(super) fn begin(
        &self,
        shared: &Shared,
        key: &ObjectKey,
        workflow: &Workflow,
        program: &Arc<Program>,
        status: &ScheduleStatus,
    ) {
        let Some(stream) = workflow.metadata.uid.as_deref().and_then(stream_of) else { return };
        let Some(on) = program.schedule.as_ref().and_then(|schedule| schedule.on.as_ref()) else { return };
        let from = status.position.unwrap_or_default();
        {
            let mut by_stream = self.by_stream.lock();
            if let Some(waiting) = by_stream.get_mut(&stream)
                && waiting.definition == status.definition
            {
                // The tasks may have changed, which is nothing to the events.
                return;
            }
            let tally = Tally {
                // What `expect` says here depends on nothing.
                expected: correlation::expectations(&on.strategy, &Default::default(), &NoArguments)
                    .unwrap_or_default(),
                ..Tally::default()
            };
            let (key, definition, program) = (key.clone(), status.definition.clone(), program.clone());
            by_stream.insert(stream, Waiting { key, definition, program, tally, collected: Vec::new(), seen: from });
        }
        let types = (0..on.strategy.filters.len()).map(|filter| on.strategy.type_of(filter));
        let keys = types.map(|type_| Key { type_: type_.map(Arc::from), probe: None }).collect();
        let interest = Interest { from, deaf: false, keys };
        let target = Target::Schedule(self.sender.clone());
        let log = log_of(&key.namespace);
        shared.events.signal(Signal::Listen { log, listener: (stream, OF_SCHEDULE), interest, target });
    }

    /// Nothing more is started by events for the Workflow of this name.
    pub(super) fn forget(&self, shared: &Shared, key: &ObjectKey) {
        self.by_stream.lock().retain(|stream, waiting| {
            if waiting.key == *key {
                let listener = (*stream, OF_SCHEDULE);
                shared.events.signal(Signal::Unlisten { log: log_of(&key.namespace), listener });
            }
            waiting.key != *key
        });
    }

    /// Takes an event in; says what is to be started, if it completes what was waited for.
    fn take(&self, delivery: &Delivery) -> Option<(ObjectKey, u64, Value)> {
        let Delivery { stream, follows, occurrence, .. } = delivery;
        let mut by_stream = self.by_stream.lock();
        let waiting = by_stream.get_mut(stream)?;
        if *follows > waiting.seen || occurrence.position < waiting.seen {
            return None;
        }
        waiting.seen = occurrence.position + 1;
        let program = waiting.program.clone();
        let on = program.schedule.as_ref()?.on.as_ref()?;
        let met = correlation::offer(&on.strategy, &waiting.tally, &occurrence.event, &NoArguments)?;
        waiting.tally.note(&met);
        waiting.collected.push(read(on.read, &occurrence.event).to_value());
        if !waiting.tally.is_complete(&on.strategy) {
            return None;
        }
        waiting.tally = Tally { expected: std::mem::take(&mut waiting.tally.expected), ..Tally::default() };
        Some((waiting.key.clone(), occurrence.position, json!(std::mem::take(&mut waiting.collected))))
    }
}

/// Starts runs for events until `shutdown`, one after the other.
pub(super) async fn run(
    desk: Arc<Desk>,
    mut deliveries: mpsc::UnboundedReceiver<Delivery>,
    shutdown: CancellationToken,
) {
    let mut moved: HashMap<ObjectKey, u64> = HashMap::new();
    loop {
        if deliveries.is_empty() {
            for (key, position) in moved.drain() {
                desk.move_on(&key, position).await;
            }
        }
        let delivery = tokio::select! {
            () = shutdown.cancelled() => return,
            delivery = deliveries.recv() => match delivery {
                Some(delivery) => delivery,
                None => return,
            },
        };
        let Some((key, position, input)) = desk.listening.take(&delivery) else { continue };
        let name = format!("{}-e{position}", key.name);
        while let Err(error) = desk.start(&key, &name, input.clone()).await {
            // What the API will never take (the namespace goes, the input is too large) is not asked for again.
            let refused = matches!(super::super::runs::code(&error.0), Some(400 | 403 | 404 | 413 | 422));
            tracing::warn!(workflow = %key, run = name, error = &error as &dyn std::error::Error, refused, "a run cannot be started");
            if refused {
                break;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
        moved.insert(key, position + 1);
    }
}

impl Desk {
    /// Notes that everything before `position` has been dealt with. When that fails, it is dealt with again after the
    /// next start, under the same names.
    async fn move_on(&self, key: &ObjectKey, position: u64) {
        let api: super::Api<Workflow> = super::Api::namespaced(self.client.clone(), &key.namespace);
        let patch = super::Patch::Merge(json!({ "status": { "schedule": { "position": position } } }));
        if let Err(error) = api.patch_status(&key.name, &Default::default(), &patch).await {
            tracing::debug!(workflow = %key, %error, "the position of a schedule is not noted");
        }
    }
}
