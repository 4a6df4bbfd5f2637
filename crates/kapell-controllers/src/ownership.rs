//! Who controls an object: exactly one owner reference says `controller: true`, and the selector says who would like to.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::core::{NamespaceResourceScope, Selector, SelectorExt as _};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

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

pub(crate) fn selects(selector: &Selector, meta: &ObjectMeta) -> bool {
    static NONE: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    selector.matches(meta.labels.as_ref().unwrap_or(&NONE))
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
pub(crate) fn claim<K: Resource>(owner: &ObjectMeta, selector: &Selector, candidates: Vec<Arc<K>>) -> Claim<K> {
    let uid = owner.uid.as_deref().unwrap_or_default();
    let owner_deleted = owner.deletion_timestamp.is_some();
    let mut claim = Claim { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for candidate in candidates {
        let meta = candidate.meta();
        let selected = selects(selector, meta);
        match controller_of(meta) {
            Some(controller) if controller.uid != uid => {}
            Some(_) if selected => claim.owned.push(candidate),
            Some(_) if owner_deleted => {}
            Some(_) => claim.release.push(candidate),
            None if selected && !owner_deleted && meta.deletion_timestamp.is_none() => claim.adopt.push(candidate),
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
    K: Namespaced,
{
    if claim.adopt.is_empty() && claim.release.is_empty() {
        return Ok(());
    }
    let namespace = owner.namespace().unwrap_or_default();
    let owners: Api<O> = Api::namespaced(client.clone(), &namespace);
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    for released in &claim.release {
        let rest: Vec<_> = released
            .owner_references()
            .iter()
            .filter(|reference| Some(&reference.uid) != owner.meta().uid.as_ref())
            .collect();
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
        let mut references = adopted.owner_references().to_vec();
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

async fn patch_owners<K: Namespaced>(api: &Api<K>, object: &K, owners: serde_json::Value) -> Result<(), kube::Error> {
    let patch = serde_json::json!({"metadata": {
        "uid": object.meta().uid,
        "resourceVersion": object.meta().resource_version,
        "ownerReferences": owners,
    }});
    match api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}
