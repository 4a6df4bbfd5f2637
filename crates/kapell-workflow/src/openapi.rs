//! One operation of an OpenAPI document, cut out of it: all that a call needs to know, and nothing else.
//!
//! Documents are Swagger 2.0, OpenAPI 3.0 or 3.1, often of megabytes; an [`Operation`] is a few hundred bytes, so a run
//! can keep it in its journal. References are followed inside of the document; one that leads out of it is refused
//! by name. How parameters become a request is in [`request`].

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::node::closest;

mod find;
pub(crate) mod request;
#[cfg(test)]
mod tests;

use find::{Document, References};

/// A callable operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operation {
    /// Upper case.
    pub(crate) method: String,
    /// The server's absolute URL, without a slash at the end.
    pub(crate) server: String,
    /// With `{name}` where a path parameter goes.
    pub(crate) path: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parameters: Vec<Parameter>,
    /// How the parameter `body` is sent; `None` when the operation has no body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Body>,
    /// What the operation can answer with, as the header `accept`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) accept: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) place: Place,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) required: bool,
    pub(crate) style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Place {
    Path,
    Query,
    Header,
    Cookie,
    /// Swagger's `formData`.
    Form,
}

/// How arrays and objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Style {
    /// `name=1&name=2`, members of objects by their own names.
    Repeated,
    /// `1,2`
    Commas,
    /// `1 2`
    Spaces,
    Tabs,
    /// `1|2`
    Pipes,
    /// `name[member]=1`
    Deep,
    /// As JSON text: `content: {application/json: …}`.
    Json,
    /// `.1.2` (path).
    Label {
        explode: bool,
    },
    /// `;name=1,2` (path).
    Matrix {
        explode: bool,
    },
    /// `a=1,b=2` for objects, commas for arrays (path and header).
    Pairs,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Body {
    pub(crate) media_type: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) required: bool,
}

/// Why a document does not yield the operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenApiError {
    #[error("is not an OpenAPI document: it has neither `swagger: \"2.0\"` nor `openapi: 3.0.x` or `3.1.x`")]
    NotOpenApi,
    #[error("is of OpenAPI version {0}, which is not supported (2.0, 3.0 and 3.1 are)")]
    Version(String),
    #[error("has no operation `{id}`{}", .meant.as_ref().map_or(String::new(), |meant| format!(", did you mean `{meant}`?")))]
    NoOperation { id: String, meant: Option<String> },
    #[error("{place}: {what} is not supported yet")]
    Unsupported { place: String, what: String },
    #[error("{place}: {what}")]
    Invalid { place: String, what: String },
}

impl OpenApiError {
    fn invalid(place: &str, what: impl Into<String>) -> Self {
        Self::Invalid { place: place.to_owned(), what: what.into() }
    }

    fn unsupported(place: &str, what: impl Into<String>) -> Self {
        Self::Unsupported { place: place.to_owned(), what: what.into() }
    }
}

/// Cuts the operation `id` out of the document that was found at `origin`.
///
/// # Errors
/// When the document has no such operation, or needs what is not supported to call it.
pub(crate) fn operation(document: &Value, origin: &Url, id: &str) -> Result<Operation, OpenApiError> {
    let document = Document::new(document)?;
    let found = document.operation(id).ok_or_else(|| {
        let ids: Vec<&str> = document.operations().filter_map(|found| found.id()).collect();
        OpenApiError::NoOperation { id: id.to_owned(), meant: closest(id, &ids).map(str::to_owned) }
    })?;
    let server = document.server(&found, origin)?;
    let mut parameters = Vec::new();
    let mut body = None;
    let mut seen = HashSet::new();
    // Those of the operation override those of its path.
    let own = References::list(found.operation, "parameters").chain(References::list(found.item, "parameters"));
    for (i, parameter) in own.enumerate() {
        let place = format!("{} {} parameters[{i}]", found.method, found.path);
        let parameter = document.resolved(parameter, &place)?;
        let text = |key: &str| parameter.get(key).and_then(Value::as_str);
        let (Some(name), Some(place_of)) = (text("name"), text("in")) else {
            return Err(OpenApiError::invalid(&place, "a parameter needs `name` and `in`"));
        };
        if !seen.insert((name.to_owned(), place_of.to_owned())) {
            continue;
        }
        let required = parameter.get("required").and_then(Value::as_bool).unwrap_or_default();
        if place_of == "body" {
            body = Some(Body { media_type: document.consumed(&found, "application/json")?, required });
            continue;
        }
        let (place, style) = document.style(parameter, place_of, &place)?;
        let required = required || place == Place::Path;
        parameters.push(Parameter { name: name.to_owned(), place, required, style });
    }
    if parameters.iter().any(|parameter| parameter.place == Place::Form) {
        let media_type = document.consumed(&found, FORM)?;
        if media_type != FORM {
            let place = format!("{} {}", found.method, found.path);
            return Err(OpenApiError::unsupported(&place, format!("a body of type {media_type}")));
        }
        body = Some(Body { media_type, required: false });
    }
    let body = match document.request_body(&found)? {
        Some(given) => Some(given),
        None => body,
    };
    let accept = document.accepted(&found);
    let (method, path) = (found.method.to_ascii_uppercase(), found.path.to_owned());
    check_path(&path, &parameters)?;
    Ok(Operation { method, server, path, parameters, body, accept })
}

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// Every `{name}` in the path is a parameter.
fn check_path(path: &str, parameters: &[Parameter]) -> Result<(), OpenApiError> {
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        if !parameters.iter().any(|parameter| parameter.place == Place::Path && parameter.name == name) {
            return Err(OpenApiError::invalid(path, format!("`{name}` is not a parameter of the operation")));
        }
        rest = after;
    }
    Ok(())
}
