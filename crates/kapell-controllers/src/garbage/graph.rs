//! Who owns whom, by uid, as far as the watches have told.
//!
//! Every object of the server is known to the informers; the graph holds those about which there is something to
//! decide: objects with owners, with finalizers, or on their way out. A node is shared with the informer that read it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kapell_client::{Followed, Identity, IdentityRef, Interner};

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Place in the list of kinds.
    pub(crate) kind: usize,
    pub(crate) id: Identity,
    pub(crate) owners: Arc<[OwnerReference]>,
    pub(crate) finalizers: Arc<[String]>,
    pub(crate) deleting: bool,
}

/// Makes nodes of the metadata of one kind's objects, which share what is equal.
pub(crate) struct NodeReader {
    kind: usize,
    texts: Interner<str>,
    owners: Interner<[OwnerReference]>,
    finalizers: Interner<[String]>,
}

impl NodeReader {
    pub(crate) fn new(kind: usize) -> Self {
        Self { kind, texts: Interner::default(), owners: Interner::default(), finalizers: Interner::default() }
    }

    pub(crate) fn read(&mut self, meta: ObjectMeta) -> Node {
        let id = Identity::of(&meta, &mut self.texts);
        let owners: Arc<[OwnerReference]> = meta.owner_references.unwrap_or_default().into();
        let first_owner = owners.first().map(|owner| owner.uid.clone());
        let finalizers: Arc<[String]> = meta.finalizers.unwrap_or_default().into();
        Node {
            kind: self.kind,
            id,
            owners: self.owners.share(&first_owner, owners),
            finalizers: self.finalizers.share(&finalizers.clone(), finalizers),
            deleting: meta.deletion_timestamp.is_some(),
        }
    }
}

impl Followed for Node {
    fn identity(&self) -> IdentityRef<'_> {
        self.id.borrowed()
    }
}

impl Node {
    pub(crate) fn of(kind: usize, meta: &ObjectMeta) -> Self {
        NodeReader::new(kind).read(meta.clone())
    }

    /// There is nothing to decide about it by itself.
    fn is_plain(&self) -> bool {
        self.owners.is_empty() && self.finalizers.is_empty() && !self.deleting
    }

    pub(crate) fn has_finalizer(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|has| has == finalizer)
    }

    /// Stays until its dependents that block it are gone.
    pub(crate) fn waits_for_dependents(&self) -> bool {
        self.deleting && self.has_finalizer(FOREGROUND)
    }

    fn blocks(&self, owner: &str) -> bool {
        self.owners.iter().any(|reference| reference.uid == owner && reference.block_owner_deletion == Some(true))
    }

    /// Whether an owner of that place is one at all: owners in another namespace are not.
    fn can_be_owned_from(&self, namespace: &str) -> bool {
        namespace.is_empty() || *namespace == *self.id.namespace
    }
}

#[derive(Default)]
pub(crate) struct Graph {
    nodes: HashMap<Arc<str>, Arc<Node>>,
    dependents: HashMap<String, BTreeSet<Arc<str>>>,
}

impl Graph {
    /// Takes in an object as it is now. Gives the uids that have to be looked at because of it.
    pub(crate) fn insert(&mut self, node: &Arc<Node>) -> Vec<Arc<str>> {
        let uid = &node.id.uid;
        let before = self.nodes.remove(uid);
        if before.is_none() && node.is_plain() {
            return Vec::new();
        }
        for owner in before.iter().flat_map(|node| &*node.owners) {
            self.unlink(&owner.uid, uid);
        }
        for owner in &*node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        let mut look = Vec::new();
        if !node.owners.is_empty() || node.waits_for_dependents() || (node.deleting && node.has_finalizer(ORPHAN)) {
            look.push(uid.clone());
        }
        // An owner that waits may have waited for a reference that is gone now.
        let lost = before.iter().flat_map(|node| &*node.owners).filter_map(|owner| self.get(&owner.uid));
        look.extend(lost.filter(|owner| owner.waits_for_dependents()).map(|owner| owner.id.uid.clone()));
        if node.waits_for_dependents() {
            look.extend(self.dependents_of(uid).cloned());
        }
        if !node.is_plain() {
            self.nodes.insert(uid.clone(), node.clone());
        }
        look
    }

    /// Takes out an object that is gone. Gives its dependents, and owners that may have waited for it.
    pub(crate) fn remove(&mut self, uid: &str) -> Vec<Arc<str>> {
        let mut look: Vec<_> = self.dependents_of(uid).cloned().collect();
        let Some(node) = self.nodes.remove(uid) else { return look };
        for owner in &*node.owners {
            self.unlink(&owner.uid, uid);
            look.extend(
                self.get(&owner.uid).filter(|owner| owner.waits_for_dependents()).map(|owner| owner.id.uid.clone()),
            );
        }
        look
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    pub(crate) fn get(&self, uid: &str) -> Option<&Arc<Node>> {
        self.nodes.get(uid)
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = &Arc<str>> {
        self.dependents.get(uid).into_iter().flatten()
    }

    /// The dependents (in namespaces where this object can own something), and which of them block its deletion.
    pub(crate) fn dependents(&self, uid: &str) -> BTreeMap<String, (Node, bool)> {
        let Some(owner) = self.get(uid) else { return BTreeMap::new() };
        let nodes = self.dependents_of(uid).filter_map(|dependent| self.get(dependent));
        nodes
            .filter(|node| node.can_be_owned_from(&owner.id.namespace))
            .map(|node| (node.id.uid.to_string(), (node.as_ref().clone(), node.blocks(uid))))
            .collect()
    }

    /// The owner if there is something to decide about it, and if a reference from the dependent can mean it.
    pub(crate) fn owner(&self, reference: &OwnerReference, dependent: &Node) -> Option<&Node> {
        self.get(&reference.uid).map(Arc::as_ref).filter(|owner| dependent.can_be_owned_from(&owner.id.namespace))
    }
}
