//! Defaults of Jobs.

use serde_json::{Value, json};

use crate::kinds::field::{at, fill, fill_text, is_set, part, part_or_new, text, truth};
use crate::kinds::pod::template;

pub(super) fn default_job(job: &mut Value) {
    let uid = text(job, "/metadata/uid").to_owned();
    let name = text(job, "/metadata/name").to_owned();
    let Some(spec) = part(job, "spec") else { return };
    let parallelism = is_set(spec, "/parallelism");
    if !parallelism && !is_set(spec, "/completions") {
        fill(spec, "completions", 1);
    }
    fill(spec, "parallelism", 1);
    let by_index = is_set(spec, "/backoffLimitPerIndex");
    fill(spec, "backoffLimit", if by_index { i64::from(i32::MAX) } else { 6 });
    fill_text(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    fill(spec, "manualSelector", false);
    let replacement = if is_set(spec, "/podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    fill_text(spec, "podReplacementPolicy", replacement);
    if let Some(template) = part(spec, "template") {
        template::default_template(template);
    }
    if !truth(spec, "/manualSelector") && !uid.is_empty() && !is_set(spec, "/selector") {
        own_pods_by_uid(spec, &uid, &name);
    }
    let labels = at(job, "/spec/template/metadata/labels").clone();
    if let Some(metadata) = part(job, "metadata")
        && at(metadata, "/labels").as_object().is_none_or(serde_json::Map::is_empty)
        && labels.is_object()
    {
        metadata["labels"] = labels;
    }
}

/// A Job's pods are those that carry its uid: no other Job can be meant, whatever the labels of the template.
fn own_pods_by_uid(spec: &mut Value, uid: &str, name: &str) {
    fill(spec, "selector", json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": uid } }));
    let Some(template) = part_or_new(spec, "template") else { return };
    let Some(metadata) = part_or_new(template, "metadata") else { return };
    let Some(Value::Object(labels)) = part_or_new(metadata, "labels") else { return };
    for (key, value) in [("controller-uid", uid), ("job-name", name)] {
        labels.insert(key.to_owned(), value.into());
        labels.insert(format!("batch.kubernetes.io/{key}"), value.into());
    }
}
