//! What a document needs from elsewhere: functions of catalogs, OpenAPI and protobuf documents, schemas.
//!
//! A program is compiled from its document and nothing else, so these are fetched beforehand and **pinned**: what of
//! them is needed is written into the definition that a run keeps, under [`PINNED`]. Compiling says what is needed
//! ([`Need`]); the engine fetches it when a run begins; [`reduce`] cuts out what is pinned. A run replayed next year
//! calls what it would have called on its first day.

use std::collections::BTreeMap;

use kapell_api::decode;
use serde_json::Value;
use url::Url;

use crate::openapi;
use crate::program::Authentication;

/// Where pinned resources stand in the definition that a run keeps. Not a key that a document may have.
pub(crate) const PINNED: &str = "kapell.dev/resources";

/// Pinned resources by [`Need::key`].
pub(crate) type Resources = BTreeMap<String, Value>;

/// Something that has to be fetched before the document can be compiled.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    pub(crate) uri: String,
    pub(crate) kind: Kind,
    pub(crate) authentication: Option<Authentication>,
    /// The Secrets that the authentication may name.
    pub(crate) secrets: Vec<String>,
    /// The field that asks for it.
    pub(crate) path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A task definition.
    Function,
    Schema,
    /// The operation with this id, of an OpenAPI document.
    Operation(String),
    /// Descriptors of a `.proto` file.
    Proto,
}

impl Need {
    /// Names the resource among those pinned.
    pub(crate) fn key(&self) -> String {
        key(&self.uri, &self.kind)
    }
}

pub(crate) fn key(uri: &str, kind: &Kind) -> String {
    match kind {
        Kind::Operation(id) => format!("{uri}#{id}"),
        _ => uri.to_owned(),
    }
}

/// What of a fetched document is pinned.
///
/// # Errors
/// What is wrong with the document, as the end of a sentence that begins with its address.
pub(crate) fn reduce(need: &Need, bytes: &[u8]) -> Result<Value, String> {
    if need.kind == Kind::Proto {
        return crate::grpc::pin(&need.uri, bytes);
    }
    let decoded = decode::documents(bytes).map_err(|error| format!("is neither YAML nor JSON: {error}"))?;
    let [document] = decoded.as_slice() else { return Err(format!("holds {} documents, not one", decoded.len())) };
    match &need.kind {
        Kind::Operation(id) => {
            let origin = Url::parse(&need.uri).map_err(|error| error.to_string())?;
            let operation = openapi::operation(&document.value, &origin, id).map_err(|error| error.to_string())?;
            serde_json::to_value(operation).map_err(|error| error.to_string())
        }
        Kind::Function if !document.value.is_object() => Err("is not a task definition".to_owned()),
        Kind::Function | Kind::Schema | Kind::Proto => Ok(document.value.clone()),
    }
}

/// The address under which a Git host gives a file's bytes, for the address under which it shows the file.
pub(crate) fn raw(uri: &str) -> String {
    let Ok(mut url) = Url::parse(uri) else { return uri.to_owned() };
    let segments: Vec<String> = url.path_segments().into_iter().flatten().map(str::to_owned).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (url.host_str(), segments.as_slice()) {
        (Some("github.com"), [owner, name, "blob" | "tree" | "raw", reference, path @ ..]) if !path.is_empty() => {
            format!("https://raw.githubusercontent.com/{owner}/{name}/{reference}/{}", path.join("/"))
        }
        // A repository without a branch: its head.
        (Some("github.com"), [owner, name, path @ ..]) if !path.is_empty() => {
            format!("https://raw.githubusercontent.com/{owner}/{name}/HEAD/{}", path.join("/"))
        }
        (Some("gitlab.com"), _) if url.path().contains("/-/blob/") || url.path().contains("/-/tree/") => {
            let path = url.path().replace("/-/blob/", "/-/raw/").replace("/-/tree/", "/-/raw/");
            url.set_path(&path);
            url.into()
        }
        _ => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests;
