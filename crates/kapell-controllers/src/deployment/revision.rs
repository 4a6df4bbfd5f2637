//! What makes a ReplicaSet a revision of a Deployment: its template's hash, its number and the annotations it shares.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::size;
use crate::ownership::controller_reference;

pub(super) const HASH_LABEL: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations of the Deployment that say something about it alone.
const NOT_SHARED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
];

/// `kubectl rollout history` has no use for more than this, and annotations are bounded.
const LONGEST_HISTORY: usize = 2000;

/// A short name for a template that is safe in names and labels: FNV-1a over its JSON (whose order is that of the type)
/// and over the count of collisions that the Deployment has met so far.
pub(crate) fn template_hash(template: &PodTemplateSpec, collisions: i32) -> String {
    // No vowels and nothing that looks like one, so that no words come out.
    const DIGITS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let json = serde_json::to_vec(template).unwrap_or_default();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in json.iter().chain(collisions.to_le_bytes().iter().filter(|_| collisions > 0)) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut folded = (hash >> 32 ^ hash) & 0xffff_ffff;
    let mut text = String::new();
    for _ in 0..7 {
        text.push(char::from(DIGITS[(folded % DIGITS.len() as u64) as usize]));
        folded /= DIGITS.len() as u64;
    }
    text
}

/// Whether two templates ask for the same pods.
pub(super) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let bare = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        if let Some(meta) = &mut template.metadata {
            if let Some(labels) = &mut meta.labels {
                labels.remove(HASH_LABEL);
            }
            meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
            meta.annotations = meta.annotations.take().filter(|annotations| !annotations.is_empty());
            meta.creation_timestamp = None;
        }
        template
    };
    bare(a) == bare(b)
}

pub(super) fn created(rs: &ReplicaSet) -> Option<Timestamp> {
    rs.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// A number kept in an annotation.
pub(super) fn number(meta: &ObjectMeta, annotation: &str) -> Option<i64> {
    meta.annotations.as_ref()?.get(annotation)?.parse().ok()
}

pub(super) fn revision(rs: &ReplicaSet) -> i64 {
    number(&rs.metadata, REVISION).unwrap_or(0)
}

/// The newest revision that is not the new ReplicaSet's, plus one.
pub(super) fn next_revision(old: &[Arc<ReplicaSet>]) -> i64 {
    old.iter().map(|rs| revision(rs)).max().unwrap_or(0) + 1
}

/// The annotations in which `rs` (a set of the current template) has to change; nothing when it has all.
pub(super) fn missing_annotations(deployment: &Deployment, rs: &ReplicaSet, next: i64) -> BTreeMap<String, String> {
    let empty = BTreeMap::new();
    let has = rs.metadata.annotations.as_ref().unwrap_or(&empty);
    let mut missing: BTreeMap<String, String> = shared_annotations(deployment)
        .filter(|(key, value)| has.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let before = revision(rs);
    if before < next {
        missing.insert(REVISION.to_owned(), next.to_string());
        if before > 0 {
            let history = has.get(REVISION_HISTORY).filter(|history| !history.is_empty());
            let history = history.map_or_else(|| before.to_string(), |history| format!("{history},{before}"));
            // The oldest numbers are the ones to lose.
            let start = history.len().saturating_sub(LONGEST_HISTORY);
            let start =
                if start == 0 { 0 } else { history[start..].find(',').map_or(start, |comma| start + comma + 1) };
            missing.insert(REVISION_HISTORY.to_owned(), history[start..].to_owned());
        }
    }
    missing
}

fn shared_annotations(deployment: &Deployment) -> impl Iterator<Item = (&String, &String)> {
    deployment.metadata.annotations.iter().flatten().filter(|(key, _)| !NOT_SHARED.contains(&key.as_str()))
}

/// What a scaled ReplicaSet notes about the Deployment's size, for proportional scaling later.
pub(super) fn size_annotations(deployment: &Deployment) -> [(String, String); 2] {
    [
        (DESIRED_REPLICAS.to_owned(), size::replicas(deployment).to_string()),
        (MAX_REPLICAS.to_owned(), size::ceiling(deployment).to_string()),
    ]
}

/// A ReplicaSet for the current template.
pub(super) fn new_replica_set(deployment: &Deployment, next: i64, replicas: i32) -> Option<ReplicaSet> {
    let spec = deployment.spec.as_ref()?;
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    let hash = template_hash(&spec.template, collisions);
    let labelled = |labels: &Option<BTreeMap<String, String>>| {
        let mut labels = labels.clone().unwrap_or_default();
        labels.insert(HASH_LABEL.to_owned(), hash.clone());
        Some(labels)
    };
    let mut template = spec.template.clone();
    let meta = template.metadata.get_or_insert_default();
    meta.labels = labelled(&meta.labels);
    let mut annotations: BTreeMap<String, String> =
        shared_annotations(deployment).map(|(key, value)| (key.clone(), value.clone())).collect();
    annotations.insert(REVISION.to_owned(), next.to_string());
    annotations.extend(size_annotations(deployment));
    Some(ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default())),
            namespace: deployment.metadata.namespace.clone(),
            labels: meta.labels.clone(),
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector: LabelSelector {
                match_labels: labelled(&spec.selector.match_labels),
                match_expressions: spec.selector.match_expressions.clone(),
            },
            template: Some(template),
        }),
        status: None,
    })
}
