//! `kapell apply`: creates what is missing and changes what differs, field by field, as `kubectl apply` does on the
//! client side: fields that an earlier file set and this one no longer has are removed, all others are left alone.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::cli::{ApplyArgs, DryRun};
use crate::cluster::{Cluster, query};
use crate::error::Outcome;
use crate::manifest::{self, Manifest};
use crate::print;

/// Where kubectl keeps the file it applied last; sharing it lets people change tools.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    Created,
    Configured,
    Unchanged,
}

impl Applied {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Applied::Created => "created",
            Applied::Configured => "configured",
            Applied::Unchanged => "unchanged",
        }
    }
}

pub(crate) async fn run(cluster: &Cluster, args: &ApplyArgs) -> Outcome {
    let manifests = manifest::read(&args.filename)?;
    for manifest in &manifests {
        let (applied, object) = apply(cluster, manifest, args.dry_run).await?;
        match args.output {
            Some(output) => print::value(&object, output)?,
            None => {
                let note = if args.dry_run == DryRun::Server { " (server dry run)" } else { "" };
                print::out(&format!("{} {}{note}\n", manifest.label(), applied.as_str()))?;
            }
        }
    }
    Ok(())
}

/// Applies one object and returns it as the server now has it.
pub(crate) async fn apply(cluster: &Cluster, manifest: &Manifest, dry_run: DryRun) -> Outcome<(Applied, Value)> {
    let mut pairs = vec![("fieldManager", "kapell"), ("fieldValidation", "Strict")];
    if dry_run == DryRun::Server {
        pairs.push(("dryRun", "All"));
    }
    let query = query(&pairs);
    let located = |failure| manifest.locate(failure);
    let namespace = match manifest.kind.namespaced {
        true => Some(cluster.namespace_for(manifest.namespace()).map_err(located)?),
        false => None,
    };
    let collection = cluster.path(manifest.kind, namespace, None);
    if manifest.name().is_empty() {
        let created = cluster.post(&format!("{collection}{query}"), &manifest.value).await.map_err(located)?;
        return Ok((Applied::Created, created));
    }
    let path = format!("{collection}/{}", manifest.name());
    let wanted = annotated(&manifest.value, namespace);
    let Some(live) = cluster.get_if_exists(&path).await? else {
        let created = cluster.post(&format!("{collection}{query}"), &wanted).await.map_err(located)?;
        return Ok((Applied::Created, created));
    };
    let last = live["metadata"]["annotations"][LAST_APPLIED].as_str().and_then(|text| serde_json::from_str(text).ok());
    let patch = three_way(&last.unwrap_or(Value::Null), &wanted, &live);
    if patch.as_object().is_some_and(Map::is_empty) {
        return Ok((Applied::Unchanged, live));
    }
    let after = cluster.merge_patch(&format!("{path}{query}"), &patch).await.map_err(located)?;
    // The server writes nothing when a patch leads to the object that it has, defaults included.
    let same = after["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"];
    let would_change = dry_run == DryRun::Server && after != live;
    Ok((if same && !would_change { Applied::Unchanged } else { Applied::Configured }, after))
}

/// The object with what kubectl would remember of it, byte for byte, so that either tool finds the other's work unchanged:
/// keys in order, the namespace filled in, an empty `annotations`, a newline at the end.
fn annotated(value: &Value, namespace: Option<&str>) -> Value {
    let mut value = value.clone();
    if let Some(namespace) = namespace {
        value["metadata"]["namespace"] = namespace.into();
    }
    if !value["metadata"]["annotations"].is_object() {
        value["metadata"]["annotations"] = json!({});
    }
    if let Some(annotations) = value["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    let text = as_go_writes(&sorted(&value)) + "\n";
    value["metadata"]["annotations"][LAST_APPLIED] = text.into();
    value
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// Go's encoder escapes what HTML or JavaScript could misread; outside strings these characters do not occur in JSON.
fn as_go_writes(value: &Value) -> String {
    let mut text = String::new();
    for character in value.to_string().chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => text.push(other),
        }
    }
    text
}

/// The merge patch (RFC 7386) that brings `live` to `wanted`: sets what differs, and removes what `last` had and
/// `wanted` has no more. Lists are replaced whole; where the result is the same after defaulting, the server notices.
fn three_way(last: &Value, wanted: &Value, live: &Value) -> Value {
    let mut patch = Map::new();
    for (key, value) in wanted.as_object().into_iter().flatten() {
        match (value, &live[key]) {
            (Value::Object(_), Value::Object(_)) => {
                let inner = three_way(&last[key], value, &live[key]);
                if inner.as_object().is_some_and(|inner| !inner.is_empty()) {
                    patch.insert(key.clone(), inner);
                }
            }
            (value, live) if value == live => {}
            (value, _) => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for (key, _) in last.as_object().into_iter().flatten() {
        if wanted.get(key).is_none() && live.get(key).is_some() {
            patch.insert(key.clone(), Value::Null);
        }
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests;
