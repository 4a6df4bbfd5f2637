//! Node lifecycle and taint eviction: a node whose heartbeat has stopped is marked, and pods leave a node with a `NoExecute` taint,
//! whoever has put it there, when their patience ends.
//!
//! The heartbeat is a Lease in `kube-node-lease`. Its silence is measured by this process's own clock from the moment at
//! which it saw the Lease last change, so neither a server that was down nor a node's wrong clock makes a node dead.

mod plan;
mod residents;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kapell_client::reconcile::Next;
use kapell_client::{Change, ObjectKey, Queue, Recorder, Severity};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use self::plan::{Action, Plan, Snapshot};
pub(crate) use self::residents::Residents;
use crate::caches::Caches;
use crate::pod::KnownPod;
use crate::pods;

/// When each node was last heard of.
#[derive(Clone, Default)]
pub(crate) struct Heartbeats {
    heard: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Heartbeats {
    /// Takes in a Lease that has been renewed.
    pub(crate) fn observe(&self, queue: &Queue<ObjectKey>, change: &Change<Lease>) {
        let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let Change::Applied { old, new } = change else { return };
        if old.as_ref().is_some_and(|old| renewed(old) == renewed(new)) {
            return;
        }
        let key = ObjectKey::new("", new.name_any());
        let before = self.heard.lock().insert(key.name.clone(), Instant::now());
        // In the common case, a beat in time, the reconcile that waits for the end of the grace will find it.
        if before.is_none_or(|before| before.elapsed() > Duration::from_secs(15)) {
            queue.add(key);
        }
    }

    /// How long the node has been silent; a node that was never heard of is silent from now on.
    fn silence(&self, node: &str) -> Duration {
        let now = Instant::now();
        now.duration_since(*self.heard.lock().entry(node.to_owned()).or_insert(now))
    }

    fn forget(&self, node: &str) {
        self.heard.lock().remove(node);
    }
}

#[derive(Clone)]
pub(crate) struct NodeController {
    pub(crate) client: Client,
    pub(crate) caches: Caches,
    pub(crate) events: Recorder,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) grace: Duration,
}

impl NodeController {
    pub(crate) async fn reconcile(self, key: ObjectKey) -> Result<Next, kube::Error> {
        let Some(node) = self.caches.nodes.get(&key) else {
            self.heartbeats.forget(&key.name);
            return Ok(Next::OnChange);
        };
        let pods = self.caches.residents.of(&key.name);
        let silent_for = self.heartbeats.silence(&key.name);
        let snapshot = Snapshot { node: &node, pods: &pods, silent_for, grace: self.grace };
        let Plan { actions, look_again } = plan::plan(&snapshot, Timestamp::now());
        self.apply(&node, actions).await?;
        Ok(look_again.map_or(Next::OnChange, Next::After))
    }

    async fn apply(&self, node: &Node, actions: Vec<Action>) -> Result<(), kube::Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut current = node.clone();
        for action in actions {
            match action {
                Action::SetConditions(conditions) => {
                    current.status.get_or_insert_default().conditions = Some(conditions);
                    current = nodes.replace_status(&node.name_any(), &PostParams::default(), &current).await?;
                    let message = format!("Node {} status is now: NodeNotReady", node.name_any());
                    self.events.record(node, Severity::Normal, "NodeNotReady", message);
                }
                Action::SetTaints(taints) => {
                    let patch = json!({
                        "metadata": {"resourceVersion": current.resource_version()},
                        "spec": {"taints": taints},
                    });
                    current = nodes.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
                }
                Action::Evict(pod) => self.evict(&pod).await?,
            }
        }
        Ok(())
    }

    async fn evict(&self, pod: &KnownPod) -> Result<(), kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.id.namespace);
        // Owners read from it that the pod did not fail by itself.
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": Time(Timestamp::now()),
        });
        let patch = json!({"metadata": {"uid": &*pod.id.uid}, "status": {"conditions": [condition]}});
        match api.patch_status(&pod.id.name, &PatchParams::default(), &Patch::Strategic(&patch)).await {
            Err(error) if pods::is_gone(&error) => return Ok(()),
            // Our copy is older than our own last deed.
            Ok(marked) if marked.metadata.deletion_timestamp.is_some() => return Ok(()),
            marked => drop(marked?),
        }
        match pods::delete_pod(&api, pod).await {
            Err(error) if pods::is_gone(&error) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                let message = format!("Marking for deletion Pod {}", pod.id.key());
                self.events.record(&pod.id.reference::<Pod>(), Severity::Normal, "TaintManagerEviction", message);
                Ok(())
            }
        }
    }
}
