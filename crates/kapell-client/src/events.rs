//! Core `v1` Events about what a service did or could not do.
//!
//! Events are courtesy: recording never blocks and never fails the work that it tells of. What repeats is counted on the
//! Event that is already there instead of making new ones, so a pod that cannot be placed does not fill the store.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Notes that wait to be written; beyond that a burst loses notes rather than memory.
const WAITING: usize = 1024;

/// Repeated notes that are remembered for counting; all are forgotten when there are more.
const REMEMBERED: usize = 4096;

/// Kubernetes refuses longer messages.
const LONGEST_MESSAGE: usize = 1024;

/// Whether an [`Event`] tells of normal progress or of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    Normal,
    Warning,
}

/// What to record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Note {
    namespace: String,
    kind: String,
    api_version: String,
    name: String,
    uid: String,
    severity: Severity,
    reason: Cow<'static, str>,
    message: String,
}

/// Who records.
#[derive(Clone, Debug)]
struct Source {
    component: &'static str,
    /// Set for components of which each node has one.
    node: Option<String>,
}

/// Records Events on behalf of one component.
#[derive(Clone)]
pub struct Recorder {
    notes: mpsc::Sender<Note>,
}

impl Recorder {
    /// Starts the task that writes the notes until `shutdown`.
    pub fn start(client: Client, component: &'static str, shutdown: CancellationToken) -> Self {
        Self::run(client, Source { component, node: None }, shutdown)
    }

    /// As [`Recorder::start`], for a component that speaks for one node.
    pub fn start_on_node(client: Client, component: &'static str, node: String, shutdown: CancellationToken) -> Self {
        Self::run(client, Source { component, node: Some(node) }, shutdown)
    }

    fn run(client: Client, source: Source, shutdown: CancellationToken) -> Self {
        let (sender, mut notes) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let mut written = HashMap::new();
            loop {
                let note = tokio::select! {
                    () = shutdown.cancelled() => return,
                    note = notes.recv() => note,
                };
                let Some(note) = note else { return };
                if let Err(error) = write(&client, &source, &mut written, note).await {
                    tracing::debug!(error = &error as &dyn std::error::Error, "event not recorded");
                }
            }
        });
        Self { notes: sender }
    }

    /// Records that `reason` (in CamelCase) happened to `object`.
    pub fn record<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        severity: Severity,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) {
        let (meta, reason) = (object.meta(), reason.into());
        let mut message = message.into();
        if message.len() > LONGEST_MESSAGE {
            let end = (0..=LONGEST_MESSAGE - 3).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
            message.truncate(end);
            message.push_str("...");
        }
        let note = Note {
            namespace: meta.namespace.clone().unwrap_or_else(|| "default".to_owned()),
            kind: K::kind(&()).into_owned(),
            api_version: K::api_version(&()).into_owned(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            severity,
            reason,
            message,
        };
        if let Err(unsent) = self.notes.try_send(note) {
            tracing::debug!(reason = %unsent.into_inner().reason, "too many events wait, one dropped");
        }
    }
}

/// The Event that carries a note, and how often the note was recorded.
type Written = HashMap<Arc<Note>, (String, i32)>;

async fn write(client: &Client, source: &Source, written: &mut Written, note: Note) -> Result<(), kube::Error> {
    let api: Api<Event> = Api::namespaced(client.clone(), &note.namespace);
    let now = Timestamp::now();
    if let Some((name, count)) = written.get_mut(&note) {
        *count += 1;
        let again = serde_json::json!({"count": *count, "lastTimestamp": Time(now)});
        match api.patch(name, &PatchParams::default(), &Patch::Merge(&again)).await {
            Ok(_) => return Ok(()),
            // The Event has expired or was deleted: tell it anew.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let event = first(source, &note, now);
    let name = event.metadata.name.clone().unwrap_or_default();
    api.create(&PostParams::default(), &event).await?;
    if written.len() >= REMEMBERED {
        written.clear();
    }
    written.insert(Arc::new(note), (name, 1));
    Ok(())
}

fn first(source: &Source, note: &Note, now: Timestamp) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:016x}", note.name, now.as_nanosecond() as u64 ^ rand::random::<u64>() >> 44)),
            namespace: Some(note.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(note.api_version.clone()),
            kind: Some(note.kind.clone()),
            name: Some(note.name.clone()),
            namespace: Some(note.namespace.clone()),
            uid: Some(note.uid.clone()),
            ..ObjectReference::default()
        },
        type_: Some(format!("{:?}", note.severity)),
        reason: Some(note.reason.clone().into_owned()),
        message: Some(note.message.clone()),
        source: Some(EventSource { component: Some(source.component.to_owned()), host: source.node.clone() }),
        reporting_component: Some(source.component.to_owned()),
        reporting_instance: source.node.clone(),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..Event::default()
    }
}
