//! The fields of `metadata` that belong to the server.

use jiff::Timestamp;
use kapell_api::problem::{Problem, Reason};
use kapell_api::status::Status;
use kapell_api::{names, time};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::resources::Resource;

/// Fields that only the server writes; an update carries them over from the stored object.
const SERVER_OWNED: [&str; 7] =
    ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"];
/// Fields that are never stored: one is obsolete, one is the entry's revision.
const NEVER_STORED: [&str; 2] = ["selfLink", "resourceVersion"];

pub(crate) fn of(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    object["metadata"].as_object_mut().expect("made an object above")
}

/// Lists and maps of which nothing is left, which upstream does not write.
const OMITTED_WHEN_EMPTY: [&str; 4] = ["annotations", "finalizers", "labels", "ownerReferences"];

fn drop_empty(metadata: &mut Map<String, Value>) {
    for field in OMITTED_WHEN_EMPTY {
        let empty = match metadata.get(field) {
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Object(map)) => map.is_empty(),
            _ => false,
        };
        if empty {
            metadata.shift_remove(field);
        }
    }
}

/// From the thread's own generator, which is as unpredictable as the kernel's but asks it only once.
pub(crate) fn random_uuid() -> Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}

/// Gives a new object its identity. The name is there already, unless it is to be generated.
pub(crate) fn begin(resource: &Resource, object: &mut Value, namespace: Option<&str>, now: Timestamp) {
    let uid = random_uuid().to_string();
    let has_generation = resource.kind.has_generation;
    let metadata = of(object);
    drop_empty(metadata);
    for field in NEVER_STORED.iter().chain(&["deletionTimestamp", "deletionGracePeriodSeconds", "generation"]) {
        metadata.shift_remove(*field);
    }
    match namespace {
        Some(namespace) => drop(metadata.insert("namespace".to_owned(), json!(namespace))),
        None => drop(metadata.shift_remove("namespace")),
    }
    metadata.insert("uid".to_owned(), json!(uid));
    if has_generation {
        metadata.insert("generation".to_owned(), json!(1));
    }
    metadata.insert("creationTimestamp".to_owned(), json!(time::format_time(now)));
}

/// Whether the name is to be generated.
pub(crate) fn wants_generated_name(object: &Value) -> bool {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    text("name").is_empty() && !text("generateName").is_empty()
}

pub(crate) fn generate_name(object: &mut Value, random: u64) {
    let base = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
    of(object).insert("name".to_owned(), json!(names::generate_name(&base, random)));
}

/// Restores what an update may not touch and counts the generation: of the specification, and of the wish to delete.
pub(crate) fn carry_over(resource: &Resource, new: &mut Value, old: &Value) {
    for field in ["apiVersion", "kind"] {
        new[field] = old[field].clone();
    }
    let metadata = of(new);
    drop_empty(metadata);
    for field in NEVER_STORED {
        metadata.shift_remove(field);
    }
    for field in SERVER_OWNED {
        match old["metadata"].get(field) {
            Some(value) => drop(metadata.insert(field.to_owned(), value.clone())),
            None => drop(metadata.shift_remove(field)),
        }
    }
    if resource.kind.has_generation && wish_differs(resource.kind.kind, new, old) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        of(new).insert("generation".to_owned(), json!(generation + 1));
    }
}

/// What an update says of its object's deletion that is not so. As upstream, nobody deletes by an update or sets another
/// grace period, while a `deletionTimestamp` that is there stays what it is, and `creationTimestamp` and `generation` are
/// ignored: manifests carry them along.
pub(crate) fn contradictions(new: &Value, old: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut deny = |field: &str| {
        let detail = format!("Invalid value: {}: field is immutable", new["metadata"][field]);
        problems.push(Problem::new(format!("metadata.{field}"), Reason::Invalid, detail));
    };
    let (given, present) = (&new["metadata"], &old["metadata"]);
    if !given["deletionTimestamp"].is_null() && present["deletionTimestamp"].is_null() {
        deny("deletionTimestamp");
    }
    let grace = "deletionGracePeriodSeconds";
    if !given[grace].is_null() && given[grace] != present[grace] {
        deny(grace);
    }
    problems
}

/// Whether anything outside `metadata` and `status` differs. Where a pod is placed does not count, as upstream.
fn wish_differs(kind: &str, new: &Value, old: &Value) -> bool {
    let but: &[&str] = match kind {
        "Pod" if !differ(&new["spec"], &old["spec"], &["nodeName"]) => &["metadata", "status", "spec"],
        _ => &["metadata", "status"],
    };
    differ(new, old, but)
}

/// Whether two objects differ in anything but these fields.
fn differ(new: &Value, old: &Value, but: &[&str]) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return new != old };
    let counts = |name: &&String| !but.contains(&name.as_str());
    new.keys().chain(old.keys()).filter(counts).any(|name| new.get(name) != old.get(name))
}

/// Finalizers hold a deletion up; nobody may add one to an object that is being deleted.
pub(crate) fn finalizers_allowed(resource: &Resource, new: &Value, old: &Value) -> Result<(), Status> {
    if old["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let before = finalizers(old);
    let added: Vec<String> = finalizers(new).into_iter().filter(|f| !before.contains(f)).collect();
    if added.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{added:?}}}"
    );
    let problem = Problem::forbidden("metadata.finalizers", &detail);
    Err(Status::invalid(resource.kind, super::name_of(new), &[problem]))
}

pub(crate) fn finalizers(object: &Value) -> Vec<String> {
    let list = object["metadata"]["finalizers"].as_array();
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(crate) fn set_finalizers(object: &mut Value, finalizers: &[String]) {
    let metadata = of(object);
    if finalizers.is_empty() {
        metadata.shift_remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), json!(finalizers));
    }
}
