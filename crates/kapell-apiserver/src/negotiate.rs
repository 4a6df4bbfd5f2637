//! In which form a client wants its answer, and in which form its body arrives.
//!
//! The server writes JSON only. Clients that prefer protobuf accept JSON too, so they get JSON; a client that
//! accepts nothing we write gets 406, a body that we cannot read 415.

use http::{HeaderMap, header};
use kapell_api::protobuf;

/// The shape of a resource answer; the encoding is always JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    /// `meta.k8s.io/VERSION Table`.
    Table(MetaVersion),
    /// `PartialObjectMetadata`, or its list.
    Metadata(MetaVersion),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaVersion {
    V1,
    V1Beta1,
}

impl MetaVersion {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1Beta1),
            _ => None,
        }
    }

    pub(crate) fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// The form of a discovery answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// `APIGroupDiscoveryList` of this version of `apidiscovery.k8s.io`.
    Aggregated(&'static str),
    Legacy,
}

/// The encoding of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyForm {
    Json,
    Yaml,
    Protobuf,
}

/// The kinds of patch, by their media types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchForm {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// One clause of an `Accept` header.
struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Clause<'a> {
    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(k, _)| *k == name).map(|(_, v)| *v)
    }

    fn covers_json(&self) -> bool {
        matches!(self.media_type, "application/json" | "application/*" | "*/*")
    }
}

/// The clauses in the client's order of preference.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept
        .split(',')
        .filter_map(|part| {
            let mut fields = part.split(';').map(str::trim);
            let media_type = fields.next().filter(|m| !m.is_empty())?;
            let mut parameters = Vec::new();
            let mut quality = 1.0;
            for (name, value) in fields.filter_map(|field| field.split_once('=')) {
                match name.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(1.0),
                    name => parameters.push((name, value.trim().trim_matches('"'))),
                }
            }
            (quality > 0.0).then_some(Clause { media_type, parameters, quality })
        })
        .collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

fn accept_of(headers: &HeaderMap) -> String {
    let values: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    values.join(",")
}

/// The shape that an endpoint of resources answers in; `None` when nothing acceptable can be written.
pub(crate) fn shape(headers: &HeaderMap, tables: bool) -> Option<Shape> {
    let accept = accept_of(headers);
    if accept.trim().is_empty() {
        return Some(Shape::Object);
    }
    clauses(&accept).into_iter().find_map(|clause| {
        if !clause.covers_json() {
            return None;
        }
        let Some(form) = clause.parameter("as") else { return Some(Shape::Object) };
        let version = MetaVersion::parse(clause.parameter("v")?)?;
        if clause.parameter("g") != Some("meta.k8s.io") {
            return None;
        }
        match form {
            "Table" if tables => Some(Shape::Table(version)),
            "PartialObjectMetadata" | "PartialObjectMetadataList" if tables => Some(Shape::Metadata(version)),
            _ => None,
        }
    })
}

/// The form of `/api` and `/apis`; `None` when nothing acceptable can be written.
pub(crate) fn discovery(headers: &HeaderMap) -> Option<Discovery> {
    let accept = accept_of(headers);
    if accept.trim().is_empty() {
        return Some(Discovery::Legacy);
    }
    clauses(&accept).into_iter().filter(Clause::covers_json).find_map(|clause| match clause.parameter("as") {
        None => Some(Discovery::Legacy),
        Some("APIGroupDiscoveryList") if clause.parameter("g") == Some("apidiscovery.k8s.io") => {
            match clause.parameter("v") {
                Some("v2") => Some(Discovery::Aggregated("v2")),
                Some("v2beta1") => Some(Discovery::Aggregated("v2beta1")),
                _ => None,
            }
        }
        Some(_) => None,
    })
}

/// Whether the client names this media type, exactly, in its `Accept` header.
pub(crate) fn accepts_exactly(headers: &HeaderMap, media_type: &str) -> bool {
    clauses(&accept_of(headers)).iter().any(|clause| clause.media_type == media_type)
}

pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(clauses)
        .any(|clause| clause.media_type == "gzip")
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or("(not text)");
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    (!media_type.is_empty()).then_some(media_type)
}

/// A missing content type means JSON (the Python client sends none); `Err` is the media type that we cannot read.
pub(crate) fn body_form(headers: &HeaderMap) -> Result<BodyForm, String> {
    match content_type(headers).as_deref() {
        None | Some("application/json") => Ok(BodyForm::Json),
        Some("application/yaml" | "application/x-yaml" | "text/yaml") => Ok(BodyForm::Yaml),
        Some(protobuf::MEDIA_TYPE) => Ok(BodyForm::Protobuf),
        Some(other) => Err(other.to_owned()),
    }
}

/// `Err` is the media type that is none of the patch types.
pub(crate) fn patch_form(headers: &HeaderMap) -> Result<PatchForm, String> {
    match content_type(headers).as_deref() {
        Some("application/json-patch+json") => Ok(PatchForm::Json),
        Some("application/merge-patch+json") => Ok(PatchForm::Merge),
        Some("application/strategic-merge-patch+json") => Ok(PatchForm::Strategic),
        Some("application/apply-patch+yaml") => Ok(PatchForm::Apply),
        other => Err(other.unwrap_or_default().to_owned()),
    }
}

#[cfg(test)]
mod tests;
