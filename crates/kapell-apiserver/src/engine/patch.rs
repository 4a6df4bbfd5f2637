//! `PATCH`: the object as it stands, changed by a JSON patch, a merge patch or a strategic merge patch, then taken like
//! a `PUT` of the result. A patch that carries a `resourceVersion` is conditional; any other is applied again when
//! another write came between.

use axum::body::Body;
use http::{Response, StatusCode};
use kapell_api::decode;
use kapell_api::patch::{self, PatchError};
use kapell_api::status::Status;
use serde_json::Value;

use super::update::check_identity;
use super::{Call, Engine, Mode, Target};
use crate::body::{self, FieldValidation};
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
        const ACCEPTED: [&str; 3] =
            ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];
        let form = match negotiate::patch_form(&call.headers) {
            Ok(PatchForm::Apply) => {
                let mut status = Status::unsupported_media_type(&ACCEPTED);
                status.message = "server-side apply (application/apply-patch+yaml) is not supported yet; \
                                  use client-side apply or one of the other patch types"
                    .to_owned();
                return Err(status);
            }
            Ok(form) => form,
            Err(_) => return Err(Status::unsupported_media_type(&ACCEPTED)),
        };
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

impl Engine {
    pub(super) async fn patch(&self, call: &Call, target: Target<'_>, mode: Mode) -> Result<Response<Body>, Status> {
        let validation = FieldValidation::from_query(&call.query)?;
        let dry_run = body::dry_run(&call.query)?;
        let patch = Patch::parse(call)?;
        let resource = target.resource;
        let written = self
            .update(target, mode, dry_run, |old| {
                let mut new = patch.apply(resource, target.name, old)?;
                check_identity(target, &new)?;
                let warnings = body::patched(resource, &mut new, validation, patch.duplicates.clone())?;
                Ok((new, warnings))
            })
            .await?;
        self.answer(call, resource, StatusCode::OK, &written)
    }
}
