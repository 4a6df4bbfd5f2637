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
use kapell_client::{Change, Informer, ObjectKey, Queue};
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

/// What the watches have told, and which objects have to be looked at because of it.
#[derive(Clone, Default)]
pub(crate) struct Known {
    pub(crate) graph: Arc<Mutex<Graph>>,
    pub(crate) queue: Queue<Arc<str>>,
}

impl Known {
    /// Takes a change into the graph and queues what it concerns.
    pub(crate) fn observe(&self, change: &Change<Node>) {
        let look = match change {
            Change::Applied { new, .. } => self.graph.lock().insert(new),
            Change::Deleted(old) => self.graph.lock().remove(&old.id.uid),
        };
        look.into_iter().for_each(|uid| self.queue.add(uid));
    }
}

#[derive(Clone)]
pub(crate) struct GarbageCollector {
    pub(crate) client: Client,
    pub(crate) kinds: Arc<Vec<Kind>>,
    pub(crate) known: Known,
    /// In the order of the kinds.
    pub(crate) informers: Arc<Vec<Option<Informer<Node>>>>,
}

impl GarbageCollector {
    pub(crate) async fn reconcile(self, uid: Arc<str>) -> Result<Next, GarbageError> {
        let Some(known) = self.known.graph.lock().get(&uid).cloned() else { return Ok(Next::OnChange) };
        // Nothing has to be done while its owners are there, and when one of them goes we are woken. So an object that
        // is well costs no request.
        let is_solid = |reference: &OwnerReference| self.known_owner(reference, &known) == Some(Owner::Solid);
        if !known.deleting && known.owners.iter().all(is_solid) {
            return Ok(Next::OnChange);
        }
        let api = self.kinds[known.kind].api(&self.client, &known.id.namespace);
        let live = api.get_opt(&known.id.name).await?.filter(|live| live.uid().as_deref() == Some(&*uid));
        let Some(live) = live else {
            // Gone already; its own deletion event will say so too.
            let look = self.known.graph.lock().remove(&uid);
            look.into_iter().for_each(|uid| self.known.queue.add(uid));
            return Ok(Next::OnChange);
        };
        let node = Node::of(known.kind, &live.metadata);
        let mut owners = Vec::new();
        for reference in &*node.owners {
            owners.push((reference.uid.clone(), self.owner(reference, &node).await?));
        }
        let dependents = self.known.graph.lock().dependents(&uid);
        let action = plan::plan(&node, &owners, &dependents);
        self.apply(&uid, &node, &live, action).await?;
        Ok(Next::OnChange)
    }

    /// What the watches tell of an owner; nothing where they do not know it.
    fn known_owner(&self, reference: &OwnerReference, dependent: &Node) -> Option<Owner> {
        if let Some(owner) = self.known.graph.lock().owner(reference, dependent) {
            let waiting = owner.waits_for_dependents() && reference.block_owner_deletion == Some(true);
            return Some(if waiting { Owner::Waiting } else { Owner::Solid });
        }
        let place = self.kinds.iter().position(|kind| kind.is_meant_by(reference))?;
        let namespace = if self.kinds[place].namespaced { &*dependent.id.namespace } else { "" };
        let owner = self.informers[place].as_ref()?.get(&ObjectKey::new(namespace, &*reference.name))?;
        (*owner.id.uid == *reference.uid).then_some(Owner::Solid)
    }

    async fn owner(&self, reference: &OwnerReference, dependent: &Node) -> Result<Owner, GarbageError> {
        if let Some(owner) = self.known_owner(reference, dependent) {
            return Ok(owner);
        }
        let kind = self.kinds.iter().find(|kind| kind.is_meant_by(reference));
        let kind = kind.ok_or_else(|| GarbageError::UnknownKind {
            api_version: reference.api_version.clone(),
            kind: reference.kind.clone(),
        })?;
        if kind.namespaced && dependent.id.namespace.is_empty() {
            return Ok(Owner::Absent);
        }
        let live = kind.api(&self.client, &dependent.id.namespace).get_opt(&reference.name).await?;
        let is_there = live.is_some_and(|live| live.uid().as_ref() == Some(&reference.uid));
        Ok(if is_there { Owner::Solid } else { Owner::Absent })
    }

    async fn apply(&self, uid: &str, node: &Node, live: &Metadata, action: Action) -> Result<(), kube::Error> {
        match action {
            Action::Nothing => Ok(()),
            Action::Await(uids) => {
                uids.into_iter().for_each(|uid| self.known.queue.add(uid.into()));
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
        let Some(node) = self.known.graph.lock().get(dependent).cloned() else { return Ok(()) };
        let api = self.kinds[node.kind].api(&self.client, &node.id.namespace);
        match api.get_opt(&node.id.name).await? {
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
        let api = self.kinds[node.kind].api(&self.client, &node.id.namespace);
        api.patch(&node.id.name, &PatchParams::default(), &Patch::Merge(&patch)).await
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
        let api = self.kinds[node.kind].api(&self.client, &node.id.namespace);
        gone_is_fine(api.delete(&node.id.name, &params.preconditions(only)).await)
    }

    async fn finalize(&self, node: &Node, live: &Metadata, finalizer: &str) -> Result<(), kube::Error> {
        let kept: Vec<_> = live.finalizers().iter().filter(|has| *has != finalizer).collect();
        let patch = json!({"metadata": {
            "uid": live.uid(),
            "resourceVersion": live.resource_version(),
            "finalizers": kept,
        }});
        let api = self.kinds[node.kind].api(&self.client, &node.id.namespace);
        gone_is_fine(api.patch(&node.id.name, &PatchParams::default(), &Patch::Merge(&patch)).await)
    }
}

fn gone_is_fine<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}
