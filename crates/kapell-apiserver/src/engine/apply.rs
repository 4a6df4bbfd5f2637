//! Server-side apply: `PATCH` with `application/apply-patch+yaml`, which creates what is not there.

use axum::body::Body;
use http::{Response, StatusCode};
use kapell_api::decode;
use kapell_api::kind::Subresource;
use kapell_api::managed::{self, Applier, ApplyError, Owners};
use kapell_api::status::{Cause, Details, Status};
use serde_json::{Value, json};

use super::ownership::{self, Ownership};
use super::update::check_identity;
use super::{ATTEMPTS, Call, Engine, Mode, Target, Written, read_failed};
use crate::auth::Identity;
use crate::body::{self, FieldValidation};
use crate::form::Form;
use crate::resources::Resource;

/// What an applied configuration needs to say about whose part it is.
const IDENTITY: &[&str] = &["name", "namespace", "uid", "resourceVersion", "managedFields"];

/// What a request asks to apply, and as whom.
pub(super) struct Application {
    manager: String,
    force: bool,
    subresource: &'static str,
    pub(super) config: Value,
    duplicates: Vec<String>,
}

impl Application {
    pub(super) fn from_call(call: &Call, subresource: &'static str) -> Result<Self, Status> {
        let manager = ownership::applier(call)?;
        let decoded = decode::from_yaml(&call.body)
            .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
        let duplicates = decoded.duplicates.iter().map(|d| format!("duplicate field {:?}", d.path)).collect();
        if !decoded.value.is_object() {
            return Err(Status::bad_request("error decoding YAML: the body is not an object"));
        }
        Ok(Self { manager, force: call.query.flag("force"), subresource, config: decoded.value, duplicates })
    }

    /// Applies to a live object, or to none; the result carries its owners.
    pub(super) fn apply(&self, resource: &Resource, live: &Value) -> Result<Value, Status> {
        let notes = &live["metadata"]["managedFields"];
        let mut owners = Owners::from_managed_fields(notes)
            .map_err(|why| Status::internal(format!("the stored owners of fields cannot be read: {why}")))?;
        let api_version = resource.kind.api_version();
        let applier = Applier {
            name: &self.manager,
            api_version: &api_version,
            subresource: self.subresource,
            force: self.force,
        };
        let now = ownership::now();
        let mut applied = managed::apply(resource.schema(), live, &self.config, &mut owners, applier, &now)
            .map_err(|error| refused(&error))?;
        applied["metadata"]["managedFields"] = owners.to_managed_fields();
        Ok(applied)
    }

    /// Refuses what the schema does not know, whatever `fieldValidation` says, as upstream: what is not declared has no
    /// owner. Then takes out what this endpoint does not touch.
    fn check(&mut self, target: Target<'_>, mode: Mode, validation: FieldValidation) -> Result<(), Status> {
        let kind = target.resource.kind;
        let named = |name: &str| self.config[name].as_str().unwrap_or_default().to_owned();
        let (version, given) = (named("apiVersion"), named("kind"));
        if version.is_empty() || given.is_empty() {
            return Err(Status::bad_request("an applied configuration must say its apiVersion and kind"));
        }
        if version != kind.api_version() {
            return Err(Status::bad_request(format!(
                "incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
                kind.api_version()
            )));
        }
        if given != kind.kind {
            return Err(Status::bad_request(format!("{given} cannot be applied as a {}", kind.kind)));
        }
        check_identity(target, &self.config)?;
        let findings = target.resource.schema().check(&self.config);
        let wrong = findings.problems.iter().map(ToString::to_string);
        let unknown = findings.unknown.iter().map(|unknown| format!(".{}: field not declared in schema", unknown.path));
        if let Some(complaint) = unknown.chain(wrong).next() {
            let place = target.namespace.map_or(String::new(), |namespace| format!("{namespace}/"));
            return Err(Status::bad_request(format!(
                "failed to create typed patch object ({place}{}; {version}, Kind={given}): {complaint}",
                target.name
            )));
        }
        if validation == FieldValidation::Strict && !self.duplicates.is_empty() {
            let duplicates = self.duplicates.join(", ");
            return Err(Status::bad_request(format!("error strict decoding patch: {duplicates}")));
        }
        let Some(fields) = self.config.as_object_mut() else { return Ok(()) };
        match mode {
            Mode::Status | Mode::Approval => {
                fields.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status"))
            }
            Mode::Main if kind.subresources.contains(&Subresource::Status) => drop(fields.shift_remove("status")),
            Mode::EphemeralContainers => {
                fields.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "spec"));
                for (part, kept) in [("spec", &["ephemeralContainers"][..]), ("metadata", IDENTITY)] {
                    if let Some(part) = fields.get_mut(part).and_then(Value::as_object_mut) {
                        part.retain(|name, _| kept.contains(&name.as_str()));
                    }
                }
            }
            Mode::Main | Mode::Finalize | Mode::Own => {}
        }
        Ok(())
    }
}

fn refused(error: &ApplyError) -> Status {
    let conflicts = match error {
        ApplyError::Malformed(why) => return Status::bad_request(why),
        ApplyError::Conflicts(conflicts) => conflicts,
    };
    let cause = |conflict: &managed::Conflict| Cause {
        reason: "FieldManagerConflict".to_owned(),
        message: format!("conflict with {}", conflict.with()),
        field: conflict.path.clone(),
    };
    let details = Details { causes: conflicts.iter().map(cause).collect(), ..Details::default() };
    Status::failure(409, "Conflict", error.to_string()).with_details(details)
}

impl Engine {
    pub(super) async fn apply(&self, call: &Call, target: Target<'_>, mode: Mode) -> Result<Response<Body>, Status> {
        let validation = FieldValidation::from_query(&call.query)?;
        let dry_run = body::dry_run(&call.query)?;
        let subresource = mode.subresource();
        let mut application = Application::from_call(call, subresource)?;
        let (resource, served) = (target.resource, self.served(call)?);
        application.check(Target { resource: served, ..target }, mode, validation)?;
        Form::of(served.kind).keep(resource, &mut application.config);
        for _ in 0..ATTEMPTS {
            let present = self.store.get(&target.key()).await.map_err(read_failed)?.is_some();
            if present {
                let applied =
                    self.apply_to_present(&call.identity, target, mode, dry_run, &application, validation).await;
                match applied {
                    // Deleted meanwhile.
                    Err(status) if status.code == StatusCode::NOT_FOUND.as_u16() => continue,
                    other => return self.answer(call, resource, StatusCode::OK, &other?),
                }
            }
            if !subresource.is_empty() {
                return Err(target.not_found());
            }
            match self.apply_to_nothing(&call.identity, target, dry_run, &application, validation).await {
                // Created meanwhile.
                Err(status) if status.reason == "AlreadyExists" => {}
                other => return self.answer(call, resource, StatusCode::CREATED, &other?),
            }
        }
        Err(Status::modified(resource.kind, target.name))
    }

    async fn apply_to_present(
        &self,
        by: &Identity,
        target: Target<'_>,
        mode: Mode,
        dry_run: bool,
        application: &Application,
        validation: FieldValidation,
    ) -> Result<Written, Status> {
        let resource = target.resource;
        self.update(by, target, mode, Ownership::Applied, dry_run, |old| {
            let mut new = application.apply(resource, old)?;
            let warnings = body::patched(resource, &mut new, validation, application.duplicates.clone())?;
            Ok((new, warnings))
        })
        .await
    }

    async fn apply_to_nothing(
        &self,
        by: &Identity,
        target: Target<'_>,
        dry_run: bool,
        application: &Application,
        validation: FieldValidation,
    ) -> Result<Written, Status> {
        let resource = target.resource;
        let metadata = &application.config["metadata"];
        for precondition in ["uid", "resourceVersion"] {
            if let Some(given) = metadata[precondition].as_str().filter(|given| !given.is_empty()) {
                let why = format!(
                    "{precondition} mismatch: the provided object specified {precondition} {given}, and no existing object was found"
                );
                return Err(Status::conflict(resource.kind, target.name, &why));
            }
        }
        let mut object = application.apply(resource, &json!({}))?;
        let mut warnings = body::patched(resource, &mut object, validation, application.duplicates.clone())?;
        object["metadata"]["name"] = json!(target.name);
        let mut written = self.create_named(by, target, object, dry_run).await?;
        warnings.append(&mut written.warnings);
        written.warnings = warnings;
        Ok(written)
    }

    async fn create_named(
        &self,
        by: &Identity,
        target: Target<'_>,
        object: Value,
        dry_run: bool,
    ) -> Result<Written, Status> {
        let written =
            self.create_object(by, target.resource, target.namespace, object, Ownership::Applied, dry_run).await?;
        self.follow_create(target.resource, &written, dry_run).await?;
        Ok(written)
    }
}
