//! Events about pods: one object per pod, reason and message, with a count instead of copies.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc;

/// Events are told to people, not acted upon: when so many wait, more are dropped rather than holding pods up.
const BACKLOG: usize = 1024;

/// Series that are remembered; the rest start a new object.
const REMEMBERED: usize = 4096;

const COMPONENT: &str = "kapell-agent";

#[derive(Clone)]
pub(crate) struct Events {
    sender: mpsc::Sender<Notice>,
}

struct Notice {
    pod: Arc<Pod>,
    type_: &'static str,
    reason: String,
    message: String,
    time: Timestamp,
}

impl Events {
    /// The recorder and the future that writes what it records; the future ends with the last recorder.
    pub(crate) fn new(client: Client, node: String) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (Self { sender }, write(client, node, receiver))
    }

    pub(crate) fn normal(&self, pod: &Arc<Pod>, reason: &str, message: impl Into<String>) {
        self.record(pod, "Normal", reason, message.into());
    }

    pub(crate) fn warning(&self, pod: &Arc<Pod>, reason: &str, message: impl Into<String>) {
        self.record(pod, "Warning", reason, message.into());
    }

    fn record(&self, pod: &Arc<Pod>, type_: &'static str, reason: &str, message: String) {
        let notice = Notice { pod: pod.clone(), type_, reason: reason.to_owned(), message, time: Timestamp::now() };
        if self.sender.try_send(notice).is_err() {
            tracing::debug!(reason, "event dropped, too many are waiting");
        }
    }
}

async fn write(client: Client, node: String, mut notices: mpsc::Receiver<Notice>) {
    let mut series: HashMap<(String, String, String), (String, i32)> = HashMap::new();
    while let Some(notice) = notices.recv().await {
        let api: Api<Event> = Api::namespaced(client.clone(), notice.pod.namespace().as_deref().unwrap_or("default"));
        let key = (notice.pod.uid().unwrap_or_default(), notice.reason.clone(), notice.message.clone());
        if series.len() > REMEMBERED {
            series.clear();
        }
        if let Some((name, count)) = series.get_mut(&key) {
            *count += 1;
            let patch = serde_json::json!({ "count": *count, "lastTimestamp": Time(notice.time) });
            if api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.is_ok() {
                continue;
            }
        }
        let event = event(&notice, &node);
        let name = event.name_any();
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => drop(series.insert(key, (name, 1))),
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "event not recorded"),
        }
    }
}

fn event(notice: &Notice, node: &str) -> Event {
    let pod = &notice.pod;
    let time = Time(notice.time);
    Event {
        metadata: ObjectMeta {
            // Unique as client-go makes it: the object's name and a time in nanoseconds.
            name: Some(format!("{}.{:x}", pod.name_any(), notice.time.as_nanosecond())),
            namespace: pod.namespace(),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name_any()),
            namespace: pod.namespace(),
            uid: pod.uid(),
            ..ObjectReference::default()
        },
        type_: Some(notice.type_.to_owned()),
        reason: Some(notice.reason.clone()),
        message: Some(notice.message.clone()),
        count: Some(1),
        first_timestamp: Some(time.clone()),
        last_timestamp: Some(time),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: Some(node.to_owned()) }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..Event::default()
    }
}
