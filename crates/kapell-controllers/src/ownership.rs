//! Who controls an object: exactly one owner reference says `controller: true`, and the selector says who would like to.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::core::{NamespaceResourceScope, Selector, SelectorExt as _};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::pod::{self, KnownPod};

/// The reference of the owner that controls the object, if any.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// Whether the object is controlled by the object with `uid`.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == uid)
}

/// The reference that makes `owner` the controller of something.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A selector that can be matched; nothing for an empty or invalid one, which must select nothing here although an
/// empty `LabelSelector` selects everything elsewhere.
pub(crate) fn selector(selector: &LabelSelector) -> Option<Selector> {
    let parsed = Selector::try_from(selector.clone()).ok()?;
    (!parsed.selects_all()).then_some(parsed)
}

pub(crate) fn matches(selector: &Selector, labels: Option<&BTreeMap<String, String>>) -> bool {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    selector.matches(labels.unwrap_or(&NONE))
}

/// What an owner can claim: whole objects, and what is known of pods.
pub(crate) trait Claimable {
    /// As what the API knows it.
    type Kind: Namespaced;

    fn names(&self) -> Names<'_>;
    fn labels(&self) -> Option<&BTreeMap<String, String>>;
    fn owners(&self) -> &[OwnerReference];
    fn is_going(&self) -> bool;
}

/// Which object it is, and as of when.
pub(crate) struct Names<'a> {
    name: &'a str,
    uid: &'a str,
    version: &'a str,
}

impl<K: Namespaced> Claimable for K {
    type Kind = K;

    fn names(&self) -> Names<'_> {
        let meta = self.meta();
        let [name, uid, version] =
            [&meta.name, &meta.uid, &meta.resource_version].map(|text| text.as_deref().unwrap_or_default());
        Names { name, uid, version }
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.meta().labels.as_ref()
    }

    fn owners(&self) -> &[OwnerReference] {
        self.owner_references()
    }

    fn is_going(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }
}

impl Claimable for KnownPod {
    type Kind = Pod;

    fn names(&self) -> Names<'_> {
        Names { name: &self.id.name, uid: &self.id.uid, version: &self.id.version }
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.labels)
    }

    fn owners(&self) -> &[OwnerReference] {
        &self.owners
    }

    fn is_going(&self) -> bool {
        pod::is_terminating(self)
    }
}

/// The outcome of [`claim`].
pub(crate) struct Claim<K> {
    /// Controlled by the owner and selected by it.
    pub(crate) owned: Vec<Arc<K>>,
    /// Selected, and controlled by nobody.
    pub(crate) adopt: Vec<Arc<K>>,
    /// Controlled, but not selected any more.
    pub(crate) release: Vec<Arc<K>>,
}

/// Sorts the candidates (same namespace) by what `owner` has to do with them. An owner that is being deleted neither
/// adopts nor releases; nothing that is being deleted is adopted.
pub(crate) fn claim<K: Claimable>(owner: &ObjectMeta, selector: &Selector, candidates: Vec<Arc<K>>) -> Claim<K> {
    let uid = owner.uid.as_deref().unwrap_or_default();
    let owner_deleted = owner.deletion_timestamp.is_some();
    let mut claim = Claim { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for candidate in candidates {
        let selected = matches(selector, candidate.labels());
        match candidate.owners().iter().find(|owner| owner.controller == Some(true)) {
            Some(controller) if controller.uid != uid => {}
            Some(_) if selected => claim.owned.push(candidate),
            Some(_) if owner_deleted => {}
            Some(_) => claim.release.push(candidate),
            None if selected && !owner_deleted && !candidate.is_going() => claim.adopt.push(candidate),
            None => {}
        }
    }
    claim
}

/// Writes down what a claim found: adopted objects get the reference, released ones lose it. What is written shows up
/// as a change, which calls for the next reconcile.
pub(crate) async fn settle<O, K>(client: &Client, owner: &O, claim: &Claim<K>) -> Result<(), kube::Error>
where
    O: Namespaced,
    K: Claimable,
{
    if claim.adopt.is_empty() && claim.release.is_empty() {
        return Ok(());
    }
    let namespace = owner.namespace().unwrap_or_default();
    let owners: Api<O> = Api::namespaced(client.clone(), &namespace);
    let api: Api<K::Kind> = Api::namespaced(client.clone(), &namespace);
    for released in &claim.release {
        let rest: Vec<_> =
            released.owners().iter().filter(|reference| Some(&reference.uid) != owner.meta().uid.as_ref()).collect();
        patch_owners(&api, released.as_ref(), serde_json::json!(rest)).await?;
    }
    if claim.adopt.is_empty() {
        return Ok(());
    }
    // The cache may show an owner that is gone or going: adopting for it would hand its garbage to nobody.
    let live = owners.get_opt(&owner.name_any()).await?;
    let alive =
        live.is_some_and(|live| live.meta().uid == owner.meta().uid && live.meta().deletion_timestamp.is_none());
    if !alive {
        return Ok(());
    }
    for adopted in &claim.adopt {
        let mut references = adopted.owners().to_vec();
        references.push(controller_reference(owner));
        patch_owners(&api, adopted.as_ref(), serde_json::json!(references)).await?;
    }
    Ok(())
}

/// Kinds that live in namespaces and that this crate knows as types.
pub(crate) trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug
{
}

async fn patch_owners<K: Claimable>(
    api: &Api<K::Kind>,
    object: &K,
    owners: serde_json::Value,
) -> Result<(), kube::Error> {
    let Names { name, uid, version } = object.names();
    let patch = serde_json::json!({"metadata": {"uid": uid, "resourceVersion": version, "ownerReferences": owners}});
    match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}
