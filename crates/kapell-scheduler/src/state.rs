//! Everything the scheduler knows: the nodes, the pods that wait, and the placements that the watch does not show yet.
//!
//! Changes go in, decisions come out; no I/O. A placed pod is *assumed*: counted on its node at once, so that the next
//! placement sees it although the binding is still under way, and taken off again if the binding fails.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use kapell_client::{Change, ObjectKey};
use kube::ResourceExt as _;
use rand::Rng;
use tokio::time::Instant;

use crate::place::{Unschedulable, place};
use crate::queue::SchedulingQueue;
use crate::request::PodRequest;
use crate::snapshot::{NodeFacts, Snapshot};

#[cfg(test)]
mod tests;

/// What to tell the API about one pod.
#[derive(Clone, Debug)]
pub(crate) enum Decision {
    Bind { pod: Arc<Pod>, node: String },
    Report { pod: Arc<Pod>, why: Unschedulable },
}

#[derive(Default)]
pub(crate) struct State {
    scheduler_name: String,
    snapshot: Snapshot,
    queue: SchedulingQueue,
    waiting: HashMap<ObjectKey, (Arc<Pod>, PodRequest)>,
    /// Uids of pods whose binding is under way or not yet seen.
    assumed: HashSet<String>,
}

impl State {
    pub(crate) fn new(scheduler_name: &str) -> Self {
        Self { scheduler_name: scheduler_name.to_owned(), ..Self::default() }
    }

    pub(crate) fn on_node(&mut self, change: &Change<Node>, now: Instant) {
        let name = change.object().name_any();
        match change {
            Change::Applied { new, .. } => {
                if self.snapshot.set_node(&name, NodeFacts::of(new)) {
                    self.queue.wake(now);
                }
            }
            Change::Deleted(_) => self.snapshot.remove_node(&name),
        }
    }

    pub(crate) fn on_pod(&mut self, change: &Change<Pod>, now: Instant) {
        let (key, pod) = (change.key(), change.object());
        let uid = pod.uid().unwrap_or_default();
        let ended = matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"));
        if ended || matches!(change, Change::Deleted(_)) {
            self.stop_waiting(&key);
            self.assumed.remove(&uid);
            if self.snapshot.remove_pod(&uid) {
                self.queue.wake(now);
            }
            return;
        }
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty());
        if let Some(node) = node {
            self.stop_waiting(&key);
            self.assumed.remove(&uid);
            self.snapshot.set_pod(&uid, node, PodRequest { node_name: None, ..PodRequest::of(pod) });
        } else if !self.is_ours(pod) {
            self.stop_waiting(&key);
        } else if !self.assumed.contains(&uid) {
            self.wait(key, pod.clone());
        }
    }

    fn is_ours(&self, pod: &Pod) -> bool {
        let Some(spec) = &pod.spec else { return false };
        let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
        let name = spec.scheduler_name.as_deref().unwrap_or("default-scheduler");
        name == self.scheduler_name && !gated && pod.metadata.deletion_timestamp.is_none()
    }

    fn wait(&mut self, key: ObjectKey, pod: Arc<Pod>) {
        let request = PodRequest::of(&pod);
        let priority = request.priority;
        let before = self.waiting.insert(key.clone(), (pod.clone(), request));
        let same = before
            .as_ref()
            .zip(self.waiting.get(&key))
            .is_some_and(|((old, was), (_, is))| old.metadata.uid == pod.metadata.uid && was == is);
        // A change of anything else (above all the condition that we write) is no reason to try again.
        if !same {
            self.queue.add(key, priority);
        }
    }

    fn stop_waiting(&mut self, key: &ObjectKey) {
        self.waiting.remove(key);
        self.queue.remove(key);
    }

    /// Decides about the next pod that is due, if any.
    pub(crate) fn next(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Decision> {
        loop {
            let key = self.queue.pop(now)?;
            let Some((pod, request)) = self.waiting.get(&key).cloned() else {
                self.queue.remove(&key);
                continue;
            };
            return Some(match place(&request, &self.snapshot, rng) {
                Ok(node) => {
                    let uid = pod.uid().unwrap_or_default();
                    self.snapshot.set_pod(&uid, &node, request);
                    self.assumed.insert(uid);
                    Decision::Bind { pod, node }
                }
                Err(why) => {
                    if why.is_before_any_node() {
                        self.queue.no_nodes(&key, now);
                    } else {
                        self.queue.unschedulable(&key, now);
                    }
                    Decision::Report { pod, why }
                }
            });
        }
    }

    /// When to call [`State::next`] again if nothing changes before.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    /// The binding was refused: the place is free again and the pod tried later.
    pub(crate) fn forget(&mut self, pod: &Pod, now: Instant) {
        let uid = pod.uid().unwrap_or_default();
        // If the watch has shown the pod on a node meanwhile, the binding has worked whatever its answer was.
        if self.assumed.remove(&uid) {
            self.snapshot.remove_pod(&uid);
            self.queue.retry(&ObjectKey::of(pod), now);
            self.queue.wake(now);
        }
    }
}
