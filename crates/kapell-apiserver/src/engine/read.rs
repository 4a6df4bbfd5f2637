//! `GET` of one object, and the answer that shows one object in the shape that the client asked for.

use axum::body::Body;
use http::{Response, StatusCode};
use jiff::Timestamp;
use kapell_api::kind::Now;
use kapell_api::status::Status;
use kapell_store::Revision;
use serde_json::Value;

use super::{Call, Engine, Target, Written, undecodable};
use crate::form::Form;
use crate::negotiate::{self, Shape};
use crate::resources::Resource;
use crate::table::{self, Include};
use crate::{reply, stored};

impl Engine {
    pub(super) async fn get(&self, call: &Call, target: Target<'_>) -> Result<Response<Body>, Status> {
        let least = call.query.get("resourceVersion").map(parse_revision).transpose()?.unwrap_or(0);
        let latest = self.store.revision();
        if least > latest {
            return Err(Status::resource_version_too_large(least, latest));
        }
        let entry = self.fetch(target).await?;
        let written = Written { stored: entry.value.clone(), revision: Some(entry.modified), warnings: Vec::new() };
        self.answer(call, target.resource, StatusCode::OK, &written)
    }

    /// One object as JSON, as a table with one row, or as its metadata.
    pub(super) fn answer(
        &self,
        call: &Call,
        resource: &Resource,
        code: StatusCode,
        written: &Written,
    ) -> Result<Response<Body>, Status> {
        let shape = shape_of(call)?;
        let form = Form::of(self.served(call)?.kind);
        let body = match shape {
            Shape::Object if form.is_kept() => {
                let mut body = Vec::with_capacity(written.stored.len() + 48);
                match written.revision {
                    Some(revision) => stored::write_with_revision(&mut body, &written.stored, revision),
                    None => body.extend_from_slice(&written.stored),
                }
                body
            }
            Shape::Object | Shape::Table(_) | Shape::Metadata(_) => {
                let mut object: Value =
                    serde_json::from_slice(&written.stored).map_err(|error| undecodable(resource.kind, &error))?;
                if let Some(revision) = written.revision {
                    stored::set_revision(&mut object, revision);
                }
                let value = match shape {
                    Shape::Table(version) => {
                        let include = Include::from_query(&call.query, form)?;
                        let metadata = serde_json::json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                        table::table(resource.kind, version, vec![object], include, metadata, now())
                    }
                    Shape::Metadata(version) => table::partial(version, object),
                    Shape::Object => {
                        form.show(&mut object);
                        object
                    }
                };
                value.to_string().into_bytes()
            }
        };
        let response = reply::json(code, Vec::new(), &written.warnings);
        Ok(reply::compressed(&call.headers, response, body))
    }
}

pub(super) fn shape_of(call: &Call) -> Result<Shape, Status> {
    negotiate::shape(&call.headers, true).ok_or_else(|| Status::not_acceptable(&["application/json"]))
}

pub(super) fn now() -> Now {
    Now(Timestamp::now().as_second())
}

pub(super) fn parse_revision(text: &str) -> Result<Revision, Status> {
    text.parse().map_err(|_| {
        Status::bad_request(format!("Invalid value: {text:?}: resourceVersion must be an unsigned integer"))
    })
}
