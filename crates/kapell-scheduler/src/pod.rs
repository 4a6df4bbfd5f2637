//! What the scheduler keeps of a pod: a few hundred bytes, of which pods of one workload share what they ask for.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kapell_client::{Followed, Interner, ObjectKey};

use crate::request::PodRequest;

/// One pod.
#[derive(Debug)]
pub(crate) struct PodFacts {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Box<str>,
    pub(crate) uid: Box<str>,
    version: Box<str>,
    /// The node that it is bound to.
    pub(crate) node: Option<Arc<str>>,
    /// Neither gated nor on its way out.
    pub(crate) may_be_placed: bool,
    /// Its processes have ended: it holds no place.
    pub(crate) ended: bool,
    pub(crate) scheduler: Arc<str>,
    pub(crate) request: Arc<PodRequest>,
    /// What its condition PodScheduled says, if that is no.
    pub(crate) refusal: Option<Box<Refusal>>,
}

/// The condition PodScheduled of a pod that could not be placed.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) message: Option<String>,
    pub(crate) since: Option<Time>,
}

/// Makes facts of pods, which share what is equal.
#[derive(Default)]
pub(crate) struct PodReader {
    texts: Interner<str>,
    requests: Interner<PodRequest>,
}

impl PodReader {
    pub(crate) fn read(&mut self, pod: &Pod) -> PodFacts {
        let (meta, spec, status) = (&pod.metadata, pod.spec.as_ref(), pod.status.as_ref());
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
        let node = spec.and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty());
        let mut request = PodRequest::of(pod);
        if node.is_some() {
            // It asks for no node any more, it has one.
            request.node_name = None;
        }
        let common = (request.controller.clone(), request.weight, request.resources.cpu);
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let refusal = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False");
        let gated = spec.and_then(|spec| spec.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty());
        let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or("default-scheduler");
        PodFacts {
            namespace: self.texts.text(meta.namespace.as_deref().unwrap_or_default()),
            name: text(&meta.name),
            uid: text(&meta.uid),
            version: text(&meta.resource_version),
            node: node.map(|node| self.texts.text(node)),
            may_be_placed: spec.is_some() && !gated && meta.deletion_timestamp.is_none(),
            ended: matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed")),
            scheduler: self.texts.text(scheduler),
            request: self.requests.share(&common, Arc::new(request)),
            refusal: refusal.map(|condition| {
                let (message, since) = (condition.message.clone(), condition.last_transition_time.clone());
                Box::new(Refusal { message, since })
            }),
        }
    }
}

impl Followed for PodFacts {
    fn key(&self) -> ObjectKey {
        ObjectKey::new(&*self.namespace, &*self.name)
    }

    fn incarnation(&self) -> &str {
        &self.uid
    }

    fn version(&self) -> &str {
        &self.version
    }
}

impl PodFacts {
    /// The pod by its names alone, as events and bindings mean it.
    pub(crate) fn reference(&self) -> Pod {
        let metadata = ObjectMeta {
            name: Some(self.name.to_string()),
            namespace: Some(self.namespace.to_string()),
            uid: Some(self.uid.to_string()),
            ..ObjectMeta::default()
        };
        Pod { metadata, ..Pod::default() }
    }
}
