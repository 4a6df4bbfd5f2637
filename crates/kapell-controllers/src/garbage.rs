//! Garbage collection: an object whose owners are all gone goes too.
//!
//! Follows the metadata of all kinds in a [`graph`] by uid; [`plan`] decides about one object. Nothing is deleted on the
//! word of a cache: the object, and each owner that seems absent, are asked for first.

pub(crate) mod graph;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kapell_client::reconcile::Next;
use kapell_client::{Change, Queue};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::json;

use self::graph::{Graph, Node};
use self::plan::{Action, Owner, Propagation};
use crate::metadata::{Kind, Metadata};

#[derive(Debug, thiserror::Error)]
pub(crate) enum GarbageError {
    #[error("owner of unknown kind {kind} in {api_version}: nothing can be said about it")]
    UnknownKind { api_version: String, kind: String },
    #[error(transparent)]
    Api(#[from] kube::Error),
}

#[derive(Clone)]
pub(crate) struct GarbageCollector {
    pub(crate) client: Client,
    pub(crate) kinds: Arc<Vec<Kind>>,
    pub(crate) graph: Arc<Mutex<Graph>>,
    pub(crate) queue: Queue<String>,
}

impl GarbageCollector {
    /// Takes a change into the graph and queues what it concerns.
    pub(crate) fn observe(&self, kind: usize, change: &Change<Metadata>) {
        let meta = &change.object().metadata;
        let Some(uid) = meta.uid.as_deref() else { return };
        let look = match change {
            Change::Applied { .. } => self.graph.lock().insert(uid, Node::of(kind, meta)),
            Change::Deleted(_) => self.graph.lock().remove(uid),
        };
        look.into_iter().for_each(|uid| self.queue.add(uid));
    }

    pub(crate) async fn reconcile(self, uid: String) -> Result<Next, GarbageError> {
        let Some(known) = self.graph.lock().get(&uid).cloned() else { return Ok(Next::OnChange) };
        let api = self.kinds[known.kind].api(&self.client, &known.namespace);
        let live = api.get_opt(&known.name).await?.filter(|live| live.uid().as_ref() == Some(&uid));
        let Some(live) = live else {
            // Gone already; its own deletion event will say so too.
            let look = self.graph.lock().remove(&uid);
            look.into_iter().for_each(|uid| self.queue.add(uid));
            return Ok(Next::OnChange);
        };
        let node = Node::of(known.kind, &live.metadata);
        let mut owners = Vec::new();
        for reference in &node.owners {
            owners.push((reference.uid.clone(), self.owner(reference, &node).await?));
        }
        let dependents = self.graph.lock().dependents(&uid);
        let action = plan::plan(&node, &owners, &dependents);
        self.apply(&uid, &node, &live, action).await?;
        Ok(Next::OnChange)
    }

    async fn owner(&self, reference: &OwnerReference, dependent: &Node) -> Result<Owner, GarbageError> {
        if let Some(owner) = self.graph.lock().owner(reference, dependent) {
            let waiting = owner.waits_for_dependents() && reference.block_owner_deletion == Some(true);
            return Ok(if waiting { Owner::Waiting } else { Owner::Solid });
        }
        let kind = self.kinds.iter().find(|kind| kind.is_meant_by(reference));
        let kind = kind.ok_or_else(|| GarbageError::UnknownKind {
            api_version: reference.api_version.clone(),
            kind: reference.kind.clone(),
        })?;
        if kind.namespaced && dependent.namespace.is_empty() {
            return Ok(Owner::Absent);
        }
        let live = kind.api(&self.client, &dependent.namespace).get_opt(&reference.name).await?;
        let is_there = live.is_some_and(|live| live.uid().as_ref() == Some(&reference.uid));
        Ok(if is_there { Owner::Solid } else { Owner::Absent })
    }

    async fn apply(&self, uid: &str, node: &Node, live: &Metadata, action: Action) -> Result<(), kube::Error> {
        match action {
            Action::Nothing => Ok(()),
            Action::Await(uids) => {
                uids.into_iter().for_each(|uid| self.queue.add(uid));
                Ok(())
            }
            Action::Delete(propagation) => self.delete(uid, node, live, propagation).await,
            Action::DeleteUnawaited => {
                let mut owners = live.owner_references().to_vec();
                owners.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
                match self.set_owners(uid, node, live, &owners).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                    Err(error) => Err(error),
                    Ok(live) => self.delete(uid, node, &live, Propagation::Foreground).await,
                }
            }
            Action::ReleaseFrom(owners) => self.release(uid, node, live, &owners).await,
            Action::Finalize(finalizer) => self.finalize(node, live, finalizer).await,
            Action::OrphanDependents(dependents) => {
                for dependent in dependents {
                    self.orphan(&dependent, uid).await?;
                }
                self.finalize(node, live, graph::ORPHAN).await
            }
        }
    }

    async fn orphan(&self, dependent: &str, owner: &str) -> Result<(), kube::Error> {
        let Some(node) = self.graph.lock().get(dependent).cloned() else { return Ok(()) };
        let api = self.kinds[node.kind].api(&self.client, &node.namespace);
        match api.get_opt(&node.name).await? {
            Some(live) if live.uid().as_deref() == Some(dependent) => {
                self.release(dependent, &node, &live, &[owner.to_owned()]).await
            }
            _ => Ok(()),
        }
    }

    async fn release(&self, uid: &str, node: &Node, live: &Metadata, owners: &[String]) -> Result<(), kube::Error> {
        let kept = live.owner_references().iter().filter(|owner| !owners.contains(&owner.uid));
        let kept: Vec<OwnerReference> = kept.cloned().collect();
        gone_is_fine(self.set_owners(uid, node, live, &kept).await)
    }

    async fn set_owners(
        &self,
        uid: &str,
        node: &Node,
        live: &Metadata,
        owners: &[OwnerReference],
    ) -> Result<Metadata, kube::Error> {
        let patch = json!({"metadata": {
            "uid": uid,
            "resourceVersion": live.resource_version(),
            "ownerReferences": owners,
        }});
        let api = self.kinds[node.kind].api(&self.client, &node.namespace);
        api.patch(&node.name, &PatchParams::default(), &Patch::Merge(&patch)).await
    }

    async fn delete(
        &self,
        uid: &str,
        node: &Node,
        live: &Metadata,
        propagation: Propagation,
    ) -> Result<(), kube::Error> {
        let params = match propagation {
            Propagation::Background => DeleteParams::background(),
            Propagation::Foreground => DeleteParams::foreground(),
            Propagation::Orphan => DeleteParams::orphan(),
        };
        // A version too: an owner may have been added since we looked.
        let only = Preconditions { uid: Some(uid.to_owned()), resource_version: live.resource_version() };
        let api = self.kinds[node.kind].api(&self.client, &node.namespace);
        gone_is_fine(api.delete(&node.name, &params.preconditions(only)).await)
    }

    async fn finalize(&self, node: &Node, live: &Metadata, finalizer: &str) -> Result<(), kube::Error> {
        let kept: Vec<_> = live.finalizers().iter().filter(|has| *has != finalizer).collect();
        let patch = json!({"metadata": {
            "uid": live.uid(),
            "resourceVersion": live.resource_version(),
            "finalizers": kept,
        }});
        let api = self.kinds[node.kind].api(&self.client, &node.namespace);
        gone_is_fine(api.patch(&node.name, &PatchParams::default(), &Patch::Merge(&patch)).await)
    }
}

fn gone_is_fine<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}
