//! What the scheduler keeps of a pod: a few hundred bytes, of which pods of one workload share what they ask for.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kapell_client::{Followed, Identity, IdentityRef, Interner};

use crate::request::PodRequest;

/// One pod.
#[derive(Debug)]
pub(crate) struct PodFacts {
    pub(crate) id: Identity,
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
            id: Identity::of(meta, &mut self.texts),
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
    fn identity(&self) -> IdentityRef<'_> {
        self.id.borrowed()
    }
}
