//! Who owns whom, by uid, as far as the watches have told.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Place in the list of kinds.
    pub(crate) kind: usize,
    /// Empty for objects outside namespaces.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) owners: Vec<OwnerReference>,
    pub(crate) deleting: bool,
    pub(crate) finalizers: Vec<String>,
}

impl Node {
    pub(crate) fn of(kind: usize, meta: &ObjectMeta) -> Self {
        Self {
            kind,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
        }
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
        namespace.is_empty() || namespace == self.namespace
    }
}

#[derive(Default)]
pub(crate) struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Takes in an object as it is now. Gives the uids that have to be looked at because of it.
    pub(crate) fn insert(&mut self, uid: &str, node: Node) -> Vec<String> {
        let before = self.nodes.remove(uid);
        for owner in before.iter().flat_map(|node| &node.owners) {
            self.unlink(&owner.uid, uid);
        }
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.to_owned());
        }
        let mut look = Vec::new();
        if !node.owners.is_empty() || node.waits_for_dependents() || (node.deleting && node.has_finalizer(ORPHAN)) {
            look.push(uid.to_owned());
        }
        // An owner that waits may have waited for a reference that is gone now.
        let lost = before.iter().flat_map(|node| &node.owners).map(|owner| &owner.uid);
        look.extend(lost.filter(|owner| self.nodes.get(*owner).is_some_and(Node::waits_for_dependents)).cloned());
        if node.waits_for_dependents() {
            look.extend(self.dependents_of(uid).map(str::to_owned));
        }
        self.nodes.insert(uid.to_owned(), node);
        look
    }

    /// Takes out an object that is gone. Gives its dependents, and owners that may have waited for it.
    pub(crate) fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        let mut look: Vec<String> = self.dependents_of(uid).map(str::to_owned).collect();
        for owner in &node.owners {
            self.unlink(&owner.uid, uid);
            if self.nodes.get(&owner.uid).is_some_and(Node::waits_for_dependents) {
                look.push(owner.uid.clone());
            }
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

    pub(crate) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = &str> {
        self.dependents.get(uid).into_iter().flatten().map(String::as_str)
    }

    /// The dependents (in namespaces where this object can own something), and which of them block its deletion.
    pub(crate) fn dependents(&self, uid: &str) -> BTreeMap<String, (Node, bool)> {
        let Some(owner) = self.get(uid) else { return BTreeMap::new() };
        let nodes = self.dependents_of(uid).filter_map(|dependent| Some((dependent, self.get(dependent)?)));
        nodes
            .filter(|(_, node)| node.can_be_owned_from(&owner.namespace))
            .map(|(dependent, node)| (dependent.to_owned(), (node.clone(), node.blocks(uid))))
            .collect()
    }

    /// The owner as far as the graph knows it, if a reference from `namespace` can mean it.
    pub(crate) fn owner(&self, reference: &OwnerReference, dependent: &Node) -> Option<&Node> {
        self.get(&reference.uid).filter(|owner| dependent.can_be_owned_from(&owner.namespace))
    }
}
