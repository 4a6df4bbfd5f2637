//! Everything the scheduler knows: the nodes, the pods that wait, and the placements that the watch does not show yet.
//!
//! Changes go in, decisions come out; no I/O. A placed pod is *assumed*: counted on its node at once, so that the next
//! placement sees it although the binding is still under way, and taken off again if the binding fails.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kapell_client::{Change, ObjectKey};
use kube::ResourceExt as _;
use rand::Rng;
use tokio::time::Instant;

use crate::place::{Unschedulable, place};
use crate::pod::PodFacts;
use crate::queue::SchedulingQueue;
use crate::snapshot::{NodeFacts, Snapshot};

#[cfg(test)]
mod tests;

/// What to tell the API about one pod.
#[derive(Clone, Debug)]
pub(crate) enum Decision {
    Bind { pod: Arc<PodFacts>, node: String },
    Report { pod: Arc<PodFacts>, why: Unschedulable },
}

#[derive(Default)]
pub(crate) struct State {
    scheduler_name: String,
    snapshot: Snapshot,
    queue: SchedulingQueue,
    waiting: HashMap<ObjectKey, Arc<PodFacts>>,
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

    pub(crate) fn on_pod(&mut self, change: &Change<PodFacts>, now: Instant) {
        let (key, pod) = (change.key(), change.object());
        if pod.ended || matches!(change, Change::Deleted(_)) {
            self.stop_waiting(&key);
            self.assumed.remove(&*pod.id.uid);
            if self.snapshot.remove_pod(&pod.id.uid) {
                self.queue.wake(now);
            }
        } else if let Some(node) = &pod.node {
            self.stop_waiting(&key);
            self.assumed.remove(&*pod.id.uid);
            self.snapshot.set_pod(&pod.id.uid, node, pod.request.clone());
        } else if !pod.may_be_placed || *pod.scheduler != *self.scheduler_name {
            self.stop_waiting(&key);
        } else if !self.assumed.contains(&*pod.id.uid) {
            self.wait(key, pod.clone());
        }
    }

    fn wait(&mut self, key: ObjectKey, pod: Arc<PodFacts>) {
        let before = self.waiting.insert(key.clone(), pod.clone());
        let same = before.is_some_and(|before| before.id.uid == pod.id.uid && before.request == pod.request);
        // A change of anything else (above all the condition that we write) is no reason to try again.
        if !same {
            self.queue.add(key, pod.request.priority);
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
            let Some(pod) = self.waiting.get(&key).cloned() else {
                self.queue.remove(&key);
                continue;
            };
            return Some(match place(&pod.request, &self.snapshot, rng) {
                Ok(node) => {
                    self.snapshot.set_pod(&pod.id.uid, &node, pod.request.clone());
                    self.assumed.insert(pod.id.uid.to_string());
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
    pub(crate) fn forget(&mut self, pod: &PodFacts, now: Instant) {
        // If the watch has shown the pod on a node meanwhile, the binding has worked whatever its answer was.
        if self.assumed.remove(&*pod.id.uid) {
            self.snapshot.remove_pod(&pod.id.uid);
            self.queue.retry(&pod.id.key(), now);
            self.queue.wake(now);
        }
    }
}
