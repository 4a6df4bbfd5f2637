//! `DELETE`: at once when nothing holds the object, otherwise marked, and gone when the last holder lets go.
//!
//! What holds an object: finalizers (also those that a propagation policy adds), the grace period of a pod that runs
//! somewhere, and the content of a namespace.

use axum::body::Body;
use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kapell_api::status::Status;
use kapell_api::time;
use kapell_store::{Expect, Revision};
use serde::Deserialize;
use serde_json::{Value, json};

use super::admit::Change;
use super::create::Steady;
use super::update::{namespace_is_held, uid_differs};
use super::{ATTEMPTS, Call, Engine, Target, Written, decode, metadata};
use crate::body;
use crate::resources::Resource;
use crate::{reply, stored};

/// A pod's grace period when neither the request nor the pod says one, as upstream.
const DEFAULT_GRACE_SECONDS: i64 = 30;
/// Namespaces that the system cannot be without, as upstream.
const IMMORTAL_NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// `metav1.DeleteOptions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct DeleteOptions {
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    kind: Option<String>,
    grace_period_seconds: Option<i64>,
    preconditions: Option<Preconditions>,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<Propagation>,
    dry_run: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// From the body, and from the query where the body says nothing (the Python client uses the query).
    pub(super) fn from_call(call: &Call) -> Result<Self, Status> {
        let refused = |detail: String| Status::bad_request(format!("the delete options cannot be decoded: {detail}"));
        let mut options = if call.body.is_empty() {
            Self::default()
        } else {
            let (value, duplicates) = body::parse(&call.headers, &call.body)?;
            if let Some(duplicate) = duplicates.first() {
                return Err(refused(duplicate.clone()));
            }
            Self::from_value(value)?
        };
        if let (None, Some(text)) = (options.grace_period_seconds, call.query.get("gracePeriodSeconds")) {
            let seconds = text.parse().map_err(|_| refused(format!("gracePeriodSeconds: {text:?} is not a number")))?;
            options.grace_period_seconds = Some(seconds);
        }
        if let (None, Some(text)) = (options.propagation_policy, call.query.get("propagationPolicy")) {
            let policy = serde_json::from_value(json!(text))
                .map_err(|_| refused(format!("propagationPolicy: {text:?} is not Background, Foreground or Orphan")))?;
            options.propagation_policy = Some(policy);
        }
        if options.orphan_dependents.is_none() && call.query.get("orphanDependents").is_some() {
            options.orphan_dependents = Some(call.query.flag("orphanDependents"));
        }
        if options.orphan_dependents.is_some() && options.propagation_policy.is_some() {
            return Err(refused("orphanDependents and propagationPolicy exclude each other".to_owned()));
        }
        Ok(options)
    }

    /// From a decoded object; null means no wishes.
    pub(super) fn from_value(value: Value) -> Result<Self, Status> {
        let refused = |detail: String| Status::bad_request(format!("the delete options cannot be decoded: {detail}"));
        let options = serde_json::from_value::<Option<Self>>(value).map_err(|error| refused(error.to_string()))?;
        let options = options.unwrap_or_default();
        match options.kind.as_deref() {
            None | Some("" | "DeleteOptions") => Ok(options),
            Some(kind) => Err(refused(format!("a {kind} is not DeleteOptions"))),
        }
    }

    /// Demands this very object, unless the client has demanded one itself.
    pub(super) fn require_uid(&mut self, uid: &str) {
        self.preconditions.get_or_insert_default().uid.get_or_insert_with(|| uid.to_owned());
    }

    /// Demands the object as it is, unless the client has demanded a version itself.
    pub(super) fn require_version(&mut self, version: &str) {
        self.preconditions.get_or_insert_default().resource_version.get_or_insert_with(|| version.to_owned());
    }

    pub(super) fn dry_run(&self, call: &Call) -> Result<bool, Status> {
        let own = body::check_dry_run(self.dry_run.iter().flatten().map(String::as_str))?;
        Ok(body::dry_run(&call.query)? || own)
    }

    pub(super) fn check_preconditions(&self, target: Target<'_>, object: &Value) -> Result<(), Status> {
        let Some(preconditions) = &self.preconditions else { return Ok(()) };
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let conflict = |why: String| Err(Status::conflict(target.resource.kind, target.name, &why));
        match &preconditions.uid {
            Some(uid) if uid != text("uid") => return conflict(uid_differs(uid, text("uid"))),
            _ => {}
        }
        match &preconditions.resource_version {
            Some(version) if version != text("resourceVersion") => conflict(format!(
                "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
                text("resourceVersion")
            )),
            _ => Ok(()),
        }
    }
}

/// What a deletion does to an object.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// Nothing holds it.
    Remove,
    /// Keep it, marked like this.
    Mark(Value),
    /// It is marked already and nothing changes.
    Wait,
}

/// Decides on a deletion at `now`.
pub(super) fn plan(resource: &Resource, object: &Value, options: &DeleteOptions, now: Timestamp) -> Plan {
    let finalizers = finalizers_after(object, options);
    let grace = if resource.is_core("Pod") { pod_grace(object, options) } else { 0 };
    let held = !finalizers.is_empty() || (resource.is_core("Namespace") && namespace_is_held(object));
    let metadata = &object["metadata"];
    let marked = !metadata["deletionTimestamp"].is_null();
    // A deletion under way can only be hurried, never slowed down.
    let remaining = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let grace = if marked { grace.min(remaining) } else { grace };
    if !held && grace == 0 {
        return Plan::Remove;
    }
    if marked && grace == remaining && finalizers == metadata::finalizers(object) {
        return Plan::Wait;
    }
    let mut new = object.clone();
    metadata::set_finalizers(&mut new, &finalizers);
    if !marked || grace < remaining {
        let at = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
        let fields = metadata::of(&mut new);
        fields.insert("deletionTimestamp".to_owned(), json!(time::format_time(at)));
        fields.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    }
    if !marked && resource.kind.has_generation {
        let generation = metadata["generation"].as_i64().unwrap_or(0) + 1;
        metadata::of(&mut new).insert("generation".to_owned(), json!(generation));
    }
    if resource.is_core("Namespace") {
        new["status"]["phase"] = json!("Terminating");
    }
    Plan::Mark(new)
}

/// The propagation policy is remembered as a finalizer, which the garbage collector honours and removes.
fn finalizers_after(object: &Value, options: &DeleteOptions) -> Vec<String> {
    let policy = options.propagation_policy.or(match options.orphan_dependents {
        Some(true) => Some(Propagation::Orphan),
        Some(false) => Some(Propagation::Background),
        None => None,
    });
    let mut finalizers = metadata::finalizers(object);
    // Without a word from the client, what an earlier request or the creator asked for stays.
    let Some(policy) = policy else { return finalizers };
    let wanted = match policy {
        Propagation::Background => None,
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Orphan => Some(ORPHAN),
    };
    finalizers.retain(|f| Some(f.as_str()) == wanted || (f != FOREGROUND && f != ORPHAN));
    if let Some(wanted) = wanted.filter(|wanted| !finalizers.iter().any(|f| f == wanted)) {
        finalizers.push(wanted.to_owned());
    }
    finalizers
}

/// Seconds that a pod gets to end: none when it runs nowhere or has ended already.
fn pod_grace(pod: &Value, options: &DeleteOptions) -> i64 {
    let bound = pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !bound || ended {
        return 0;
    }
    let wish = options.grace_period_seconds.or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64());
    match wish.unwrap_or(DEFAULT_GRACE_SECONDS) {
        // Upstream's reading of a negative period.
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}

/// What became of a deletion.
pub(super) enum Deleted {
    Gone(Value),
    Marked(Written),
}

impl Engine {
    pub(super) async fn delete(&self, call: &Call, target: Target<'_>) -> Result<Response<Body>, Status> {
        let options = DeleteOptions::from_call(call)?;
        let dry_run = options.dry_run(call)?;
        match self.delete_object(target, &options, dry_run).await? {
            Deleted::Gone(object) => {
                let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
                let status = Status::deleted(target.resource.kind, target.name, uid);
                Ok(reply::status(&status))
            }
            Deleted::Marked(written) => self.answer(call, target.resource, StatusCode::OK, &written),
        }
    }

    pub(super) async fn delete_object(
        &self,
        target: Target<'_>,
        options: &DeleteOptions,
        dry_run: bool,
    ) -> Result<Deleted, Status> {
        let resource = target.resource;
        if resource.is_core("Namespace") && IMMORTAL_NAMESPACES.contains(&target.name) {
            return Err(Status::forbidden(resource.kind, target.name, "this namespace may not be deleted"));
        }
        let _nothing_is_created_meanwhile = match resource.is_core("Namespace") {
            true => Steady::Alone(self.namespaces.write().await),
            false => self.steady(resource).await,
        };
        for _ in 0..ATTEMPTS {
            let entry = self.fetch(target).await?;
            let object = decode(resource.kind, &entry)?;
            options.check_preconditions(target, &object)?;
            let plan = plan(resource, &object, options, Timestamp::now());
            let (value, revision): (_, Revision) = match &plan {
                Plan::Wait => {
                    let written =
                        Written { stored: entry.value.clone(), revision: Some(entry.modified), warnings: Vec::new() };
                    return Ok(Deleted::Marked(written));
                }
                Plan::Remove => (None, entry.modified),
                Plan::Mark(new) => (Some(stored::encode(new)), entry.modified),
            };
            let revision = if dry_run {
                revision
            } else {
                let new = if let Plan::Mark(new) = &plan { Some(new) } else { None };
                let expect = Expect::Revision(revision);
                let change = Change { key: target.key(), expect, value: value.clone(), old: Some(&object), new };
                match self.commit_charged(resource, target.namespace, change).await? {
                    Some(revision) => revision,
                    None => continue,
                }
            };
            return Ok(match value {
                Some(stored) => Deleted::Marked(Written { stored, revision: Some(revision), warnings: Vec::new() }),
                None => {
                    if !dry_run {
                        self.release_addresses(resource, &object);
                    }
                    Deleted::Gone(object)
                }
            });
        }
        Err(Status::modified(resource.kind, target.name))
    }
}

#[cfg(test)]
mod tests;
