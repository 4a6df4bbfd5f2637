//! `PATCH`: the object as it stands, changed by a JSON patch, a merge patch or a strategic merge patch, then taken like
//! a `PUT` of the result. A patch that carries a `resourceVersion` is conditional; any other is applied again when
//! another write came between.

use axum::body::Body;
use http::{Response, StatusCode};
use kapell_api::decode;
use kapell_api::patch::{self, PatchError};
use kapell_api::problem::Problem;
use kapell_api::status::Status;
use serde_json::Value;

use super::update::check_identity;
use super::{Call, Engine, Mode, Ownership, Target, ownership};
use crate::body::{self, FieldValidation};
use crate::form::Form;
use crate::negotiate::{self, PatchForm};
use crate::resources::Resource;

/// A patch body with its form.
pub(super) struct Patch {
    form: PatchForm,
    content: Value,
    pub(super) duplicates: Vec<String>,
}

impl Patch {
    pub(super) fn parse(call: &Call) -> Result<Self, Status> {
        let form = form(call)?;
        if call.query.get("force").is_some() {
            return Err(ownership::wrong_option(Problem::forbidden(
                "force",
                "may not be specified for non-apply patch",
            )));
        }
        let decoded = decode::from_json(&call.body)
            .map_err(|error| Status::bad_request(format!("the patch cannot be decoded: {error}")))?;
        let duplicates = decoded.duplicates.iter().map(|d| format!("duplicate field {:?}", d.path)).collect();
        Ok(Self { form, content: decoded.value, duplicates })
    }

    /// Only built-in lists have merge keys, so only they can be merged strategically.
    pub(super) fn apply(&self, resource: &Resource, name: &str, current: &Value) -> Result<Value, Status> {
        let patched = match self.form {
            PatchForm::Json => patch::json_patch(current, &self.content),
            PatchForm::Merge | PatchForm::Apply => Ok(patch::merge_patch(current, &self.content)),
            PatchForm::Strategic => patch::strategic_merge(resource.schema(), current, &self.content),
        };
        patched.map_err(|error| match error {
            PatchError::Malformed(why) => Status::bad_request(why),
            PatchError::Inapplicable(why) => Status::unprocessable(resource.kind, name, &why),
            PatchError::TooLarge(why) => Status::too_large(why),
        })
    }

    /// For objects without a schema of their own (`Scale`).
    pub(super) fn apply_plainly(&self, resource: &Resource, name: &str, current: &Value) -> Result<Value, Status> {
        match self.form {
            PatchForm::Json => self.apply(resource, name, current),
            // `Scale` has no lists: merging strategically is merging.
            PatchForm::Merge | PatchForm::Strategic | PatchForm::Apply => {
                Ok(patch::merge_patch(current, &self.content))
            }
        }
    }
}

/// The form of a patch, or 415.
pub(super) fn form(call: &Call) -> Result<PatchForm, Status> {
    const ACCEPTED: [&str; 4] = [
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
    ];
    negotiate::patch_form(&call.headers).map_err(|_| Status::unsupported_media_type(&ACCEPTED))
}

impl Engine {
    pub(super) async fn patch(&self, call: &Call, target: Target<'_>, mode: Mode) -> Result<Response<Body>, Status> {
        if form(call)? == PatchForm::Apply {
            return self.apply(call, target, mode).await;
        }
        let validation = FieldValidation::from_query(&call.query)?;
        let dry_run = body::dry_run(&call.query)?;
        let patch = Patch::parse(call)?;
        let manager = ownership::manager(call)?;
        let ownership = Ownership::Changed { by: &manager, subresource: mode.subresource() };
        let (resource, served) = (target.resource, self.served(call)?);
        let form = Form::of(served.kind);
        let written = self
            .update(&call.identity, target, mode, ownership, dry_run, |old| {
                let mut new = if form.is_kept() {
                    patch.apply(resource, target.name, old)?
                } else {
                    let mut shown = old.clone();
                    form.show(&mut shown);
                    patch.apply(served, target.name, &shown)?
                };
                check_identity(target, &new)?;
                let warnings = body::patched(served, &mut new, validation, patch.duplicates.clone())?;
                form.keep(resource, &mut new);
                Ok((new, warnings))
            })
            .await?;
        self.answer(call, resource, StatusCode::OK, &written)
    }
}
