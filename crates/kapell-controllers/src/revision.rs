//! ControllerRevisions: what a StatefulSet's or DaemonSet's template has been, so that pods know which one they were made
//! from and `kubectl rollout undo` can go back.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::deployment::revision::template_hash;
use crate::ownership::{self, Namespaced};

/// On revisions and on the pods made from them.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";

/// What has to be done about an owner's revisions.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The name of the revision of the template as it is.
    pub(crate) update: String,
    /// The same as a label's value.
    pub(crate) hash: String,
    create: Option<ControllerRevision>,
    /// An old template is wanted again: its revision becomes the newest.
    renumber: Option<(String, i64)>,
    surplus: Vec<String>,
}

/// `existing` are the revisions that the owner controls, `in_use` the names of those that pods were made from; of the
/// others `limit` are kept.
pub(crate) fn plan<O: Namespaced>(
    owner: &O,
    template: &PodTemplateSpec,
    existing: &[Arc<ControllerRevision>],
    limit: usize,
    in_use: &BTreeSet<String>,
) -> Plan {
    let data = data_of(template);
    let newest = existing.iter().map(|revision| revision.revision).max().unwrap_or(0);
    let same = existing.iter().filter(|revision| revision.data.as_ref().is_some_and(|d| d.0 == data));
    let found = same.max_by_key(|revision| revision.revision);
    let (update, hash, create) = match found {
        Some(found) => (found.name_any(), found.labels().get(HASH_LABEL).cloned().unwrap_or_default(), None),
        None => {
            let new = new_revision(owner, template, data, existing, newest + 1);
            (new.name_any(), new.labels().get(HASH_LABEL).cloned().unwrap_or_default(), Some(new))
        }
    };
    let renumber = found.filter(|found| found.revision < newest).map(|found| (found.name_any(), newest + 1));
    let mut idle: Vec<_> =
        existing.iter().filter(|r| !in_use.contains(&r.name_any()) && r.name_any() != update).collect();
    idle.sort_by_key(|revision| revision.revision);
    let surplus = idle.len().saturating_sub(limit);
    let surplus = idle.into_iter().take(surplus).map(|revision| revision.name_any()).collect();
    Plan { update, hash, create, renumber, surplus }
}

fn new_revision<O: Namespaced>(
    owner: &O,
    template: &PodTemplateSpec,
    data: Value,
    existing: &[Arc<ControllerRevision>],
    number: i64,
) -> ControllerRevision {
    let name = |hash: &str| format!("{}-{hash}", owner.name_any());
    let hashes = (0..).map(|collisions| template_hash(template, collisions));
    let free = |hash: &String| existing.iter().all(|revision| revision.name_any() != name(hash));
    let hash = hashes.take(1 + existing.len()).find(free).unwrap_or_default();
    let mut labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name(&hash)),
            namespace: owner.namespace(),
            labels: Some(labels),
            owner_references: Some(vec![ownership::controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision: number,
    }
}

/// A strategic merge patch that brings the template back, as upstream keeps it.
fn data_of(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// The template that a revision stands for.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// Writes what was planned. What exists already is fine: the cache lags.
pub(crate) async fn carry_out(client: &Client, namespace: &str, plan: &Plan) -> Result<(), kube::Error> {
    let api: Api<ControllerRevision> = Api::namespaced(client.clone(), namespace);
    if let Some(new) = &plan.create {
        match api.create(&PostParams::default(), new).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => drop(other?),
        }
    }
    if let Some((name, number)) = &plan.renumber {
        let patch = Patch::Merge(json!({"revision": number}));
        api.patch(name, &PatchParams::default(), &patch).await?;
    }
    for name in &plan.surplus {
        match api.delete(name, &DeleteParams::default()).await {
            Err(error) if crate::pods::is_gone(&error) => {}
            other => drop(other?),
        }
    }
    Ok(())
}
