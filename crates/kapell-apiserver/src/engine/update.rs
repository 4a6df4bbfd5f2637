//! Changing an object that exists: the loop under `PUT`, `PATCH`, `scale`, `binding` and marking for deletion.

use std::sync::Arc;

use axum::body::Body;
use http::{Response, StatusCode};
use kapell_api::kind::Subresource;
use kapell_api::kinds::pod;
use kapell_api::problem::{Problem, Reason};
use kapell_api::status::Status;
use kapell_store::{Entry, Expect};
use serde_json::{Map, Value};

use super::admit::Change;
use super::{ATTEMPTS, Call, Engine, Ownership, Target, Written, certificates, decode, metadata, ownership};
use crate::auth::Identity;
use crate::authorize::escalation;
use crate::body::{self, FieldValidation};
use crate::form::Form;
use crate::resources::Resource;
use crate::stored;

/// Which part of the object a request may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything but what the row keeps for subresources.
    Main,
    /// `status`, and metadata.
    Status,
    /// `spec.finalizers` of a Namespace.
    Finalize,
    /// `status.conditions` of a CertificateSigningRequest.
    Approval,
    /// `spec.ephemeralContainers` of a Pod.
    EphemeralContainers,
    /// The server's own change (a binding); taken as it is, server-owned metadata apart.
    Own,
}

impl Mode {
    /// How a subresource changes its object, if it is a part of it.
    pub(super) fn by_way_of(subresource: &Subresource) -> Option<Self> {
        match subresource {
            Subresource::Status => Some(Mode::Status),
            Subresource::Finalize => Some(Mode::Finalize),
            Subresource::Approval => Some(Mode::Approval),
            Subresource::EphemeralContainers => Some(Mode::EphemeralContainers),
            _ => None,
        }
    }

    /// The subresource under whose name owners of fields are noted.
    pub(super) fn subresource(self) -> &'static str {
        match self {
            Mode::Main | Mode::Own => "",
            Mode::Status => "status",
            Mode::Finalize => "finalize",
            Mode::Approval => "approval",
            Mode::EphemeralContainers => "ephemeralcontainers",
        }
    }
}

impl Engine {
    pub(super) async fn put(&self, call: &Call, target: Target<'_>, mode: Mode) -> Result<Response<Body>, Status> {
        let validation = FieldValidation::from_query(&call.query)?;
        let dry_run = body::dry_run(&call.query)?;
        let resource = target.resource;
        let served = self.served(call)?;
        let (mut object, warnings) = body::object(served, &call.headers, &call.body, validation)?;
        Form::of(served.kind).keep(resource, &mut object);
        check_identity(target, &object)?;
        let conditional = object["metadata"]["resourceVersion"].as_str().is_some_and(|rv| !rv.is_empty());
        if !conditional && !resource.kind.unconditional_update {
            let detail = "Invalid value: 0: must be specified for an update";
            let problem = Problem::new("metadata.resourceVersion", Reason::Invalid, detail);
            return Err(Status::invalid(resource.kind, target.name, &[problem]));
        }
        let manager = ownership::manager(call)?;
        let ownership = Ownership::Changed { by: &manager, subresource: mode.subresource() };
        let mut written = self
            .update(&call.identity, target, mode, ownership, dry_run, |_| Ok((object.clone(), warnings.clone())))
            .await?;
        written.warnings.dedup();
        self.answer(call, resource, StatusCode::OK, &written)
    }

    /// Decides by `compute` what becomes of the object as it stands, and commits that, again when another write came
    /// between. What `compute` returns may carry `resourceVersion` and `uid`: then they are preconditions.
    pub(crate) async fn update(
        &self,
        by: &Identity,
        target: Target<'_>,
        mode: Mode,
        ownership: Ownership<'_>,
        dry_run: bool,
        compute: impl Fn(&Value) -> Result<(Value, Vec<String>), Status> + Send + Sync,
    ) -> Result<Written, Status> {
        let resource = target.resource;
        let _steady = self.steady(resource).await;
        for _ in 0..ATTEMPTS {
            let entry = self.fetch(target).await?;
            let old = decode(resource.kind, &entry)?;
            let (mut new, mut warnings) = compute(&old)?;
            check_preconditions(target, &new, &old)?;
            let contradictions = if mode == Mode::Own { Vec::new() } else { metadata::contradictions(&new, &old) };
            if !contradictions.is_empty() {
                return Err(Status::invalid(resource.kind, target.name, &contradictions));
            }
            let given = metadata::of(&mut new).shift_remove("managedFields");
            self.settle(resource, mode, &mut new, &old)?;
            escalation::check(&self.authorizer, by, &new, Some(&old))?;
            certificates::check(&self.authorizer, resource, by, mode, &new, &old)?;
            ownership.of_changed(resource, &mut new, &old, given);
            warnings.extend(warnings_of(resource, mode, &new, &old));
            if let Some(written) = self.try_update(target, &entry, &old, new, dry_run, warnings).await? {
                return Ok(written);
            }
        }
        Err(Status::modified(resource.kind, target.name))
    }

    /// Makes of what was asked for what may be stored.
    fn settle(&self, resource: &Resource, mode: Mode, new: &mut Value, old: &Value) -> Result<(), Status> {
        match mode {
            Mode::Main => (resource.kind.prepare_update)(new, old),
            Mode::Status => *new = only(new, old, |kept, new| replace(kept, new, "status")),
            Mode::Finalize => {
                *new = only(new, old, |kept, new| {
                    if let (Some(kept), Some(new)) = (kept["spec"].as_object_mut(), new["spec"].as_object()) {
                        replace_in(kept, new, "finalizers");
                    }
                });
            }
            Mode::Approval => {
                *new = only(new, old, |kept, new| {
                    kept["status"]["conditions"] = new["status"]["conditions"].clone();
                });
            }
            Mode::EphemeralContainers => {
                // Not even its labels change here, as upstream.
                let mut kept = old.clone();
                metadata::of(&mut kept).shift_remove("managedFields");
                if let (Some(kept), Some(new)) = (kept["spec"].as_object_mut(), new["spec"].as_object()) {
                    replace_in(kept, new, "ephemeralContainers");
                }
                *new = kept;
            }
            Mode::Own => {}
        }
        certificates::settle(resource, mode, new, old);
        (resource.kind.default)(new);
        metadata::carry_over(resource, new, old);
        metadata::finalizers_allowed(resource, new, old)?;
        let of_change = match mode {
            // What users may not change, the server may: a binding sets a field that is immutable for everyone else.
            Mode::Own => Vec::new(),
            Mode::EphemeralContainers => pod::validate_ephemeral_containers_update(new, old),
            _ => (resource.kind.validate_update)(new, old),
        };
        self.validate(resource, new, of_change)
    }

    /// `None` when another write came between.
    async fn try_update(
        &self,
        target: Target<'_>,
        entry: &Arc<Entry>,
        old: &Value,
        mut new: Value,
        dry_run: bool,
        warnings: Vec<String>,
    ) -> Result<Option<Written>, Status> {
        let resource = target.resource;
        let claims = self.claim_addresses(resource, &mut new, Some(old))?;
        if resource.is_core("ResourceQuota") {
            // Whoever wrote it: the server itself keeps count.
            self.count_usage(target.namespace, &mut new).await?;
        }
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        let nothing_to_do = new == *old && !may_go(resource, &new);
        let stored = if nothing_to_do { entry.value.clone() } else { stored::encode(&new) };
        if nothing_to_do || dry_run {
            return Ok(Some(Written { stored, revision: Some(entry.modified), warnings }));
        }
        let value = (!may_go(resource, &new)).then(|| stored.clone());
        let (expect, after) = (Expect::Revision(entry.modified), value.is_some().then_some(&new));
        let change = Change { key: target.key(), expect, value, old: Some(old), new: after };
        let removed = after.is_none();
        let Some(revision) = self.commit_charged(resource, target.namespace, change).await? else { return Ok(None) };
        if let Some(claims) = claims {
            claims.keep();
        }
        if removed {
            self.release_addresses(resource, old);
        }
        Ok(Some(Written { stored, revision: Some(revision), warnings }))
    }
}

/// What the client should know of what it has written.
fn warnings_of(resource: &Resource, mode: Mode, new: &Value, old: &Value) -> Vec<String> {
    let all = || (resource.kind.warnings)(new);
    match mode {
        Mode::Main => all(),
        Mode::EphemeralContainers => {
            // Of the new ones only: the others were spoken of when they came.
            let before = (resource.kind.warnings)(old);
            all().into_iter().filter(|warning| !before.contains(warning)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether an object that was to be deleted has nothing left that holds it.
pub(super) fn may_go(resource: &Resource, object: &Value) -> bool {
    let metadata = &object["metadata"];
    !metadata["deletionTimestamp"].is_null()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && metadata::finalizers(object).is_empty()
        && !(resource.is_core("Namespace") && namespace_is_held(object))
}

/// A Namespace has finalizers of its own in `spec`, which only `finalize` removes.
pub(super) fn namespace_is_held(namespace: &Value) -> bool {
    namespace["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

/// The old object with new metadata and with what `take` takes over.
fn only(new: &Value, old: &Value, take: impl Fn(&mut Value, &Value)) -> Value {
    let mut kept = old.clone();
    kept["metadata"] = new["metadata"].clone();
    take(&mut kept, new);
    kept
}

fn replace(kept: &mut Value, new: &Value, field: &str) {
    if let (Some(kept), Some(new)) = (kept.as_object_mut(), new.as_object()) {
        replace_in(kept, new, field);
    }
}

fn replace_in(kept: &mut Map<String, Value>, new: &Map<String, Value>, field: &str) {
    match new.get(field) {
        Some(value) => drop(kept.insert(field.to_owned(), value.clone())),
        None => drop(kept.shift_remove(field)),
    }
}

/// The body may repeat the URL's name and namespace but not contradict them.
pub(super) fn check_identity(target: Target<'_>, object: &Value) -> Result<(), Status> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let (name, namespace) = (text("name"), text("namespace"));
    if !name.is_empty() && name != target.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    if !namespace.is_empty() && Some(namespace) != target.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

fn check_preconditions(target: Target<'_>, new: &Value, old: &Value) -> Result<(), Status> {
    let text = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (wanted, present) = (text(new, "resourceVersion"), text(old, "resourceVersion"));
    if !wanted.is_empty() && wanted != present {
        if wanted.parse::<u64>().is_err() {
            let detail = format!("Invalid value: {wanted:?}: must be an unsigned integer");
            let problem = Problem::new("metadata.resourceVersion", Reason::Invalid, detail);
            return Err(Status::invalid(target.resource.kind, target.name, &[problem]));
        }
        return Err(Status::modified(target.resource.kind, target.name));
    }
    let (wanted, present) = (text(new, "uid"), text(old, "uid"));
    if !wanted.is_empty() && wanted != present {
        return Err(Status::conflict(target.resource.kind, target.name, &uid_differs(&wanted, &present)));
    }
    Ok(())
}

pub(super) fn uid_differs(wanted: &str, present: &str) -> String {
    format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {present}")
}
