//! Request bodies into objects: decoding, the schema's verdict, and what `fieldValidation` makes of it.

use std::fmt::Display;

use bytes::Bytes;
use http::HeaderMap;
use kapell_api::decode;
use kapell_api::problem::{Problem, Reason};
use kapell_api::protobuf;
use kapell_api::schema::Findings;
use kapell_api::status::Status;
use serde_json::Value;

use crate::negotiate::{self, BodyForm};
use crate::path::Query;
use crate::resources::Resource;

/// What happens to unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Strict,
    Warn,
    Ignore,
}

impl FieldValidation {
    pub(crate) fn from_query(query: &Query) -> Result<Self, Status> {
        match query.get("fieldValidation") {
            // Upstream's default since 1.25.
            None | Some("Warn") => Ok(Self::Warn),
            Some("Strict") => Ok(Self::Strict),
            Some("Ignore") => Ok(Self::Ignore),
            Some(other) => Err(Status::bad_request(format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }
}

/// Whether `dryRun=All` is asked for, in the query or in an options object.
pub(crate) fn dry_run(query: &Query) -> Result<bool, Status> {
    check_dry_run(query.all("dryRun"))
}

pub(crate) fn check_dry_run<'a>(values: impl Iterator<Item = &'a str>) -> Result<bool, Status> {
    let mut dry = false;
    for value in values.filter(|v| !v.is_empty()) {
        if value != "All" {
            return Err(Status::bad_request(format!(
                "dryRun: Unsupported value: {value:?}: supported values: \"All\""
            )));
        }
        dry = true;
    }
    Ok(dry)
}

/// Any document, with sentences about duplicate fields and, in protobuf, unknown ones.
pub(crate) fn parse(headers: &HeaderMap, body: &Bytes) -> Result<(Value, Vec<String>), Status> {
    let form = negotiate::body_form(headers).map_err(|media_type| unreadable(&media_type))?;
    let undecodable = |error: &dyn Display| Status::bad_request(format!("the body cannot be decoded: {error}"));
    let decoded = match form {
        BodyForm::Json => decode::from_json(body),
        BodyForm::Yaml => decode::from_yaml(body),
        BodyForm::Protobuf => {
            let decoded = protobuf::decode(body).map_err(|error| undecodable(&error))?;
            return Ok((decoded.value, decoded.complaints));
        }
    }
    .map_err(|error| undecodable(&error))?;
    let duplicates = decoded.duplicates.iter().map(ToString::to_string).collect();
    Ok((decoded.value, duplicates))
}

/// 415, saying which type it was.
fn unreadable(media_type: &str) -> Status {
    let mut status = Status::unsupported_media_type(&["application/json", "application/yaml", protobuf::MEDIA_TYPE]);
    status.message = format!("{} (got {media_type:?})", status.message);
    status
}

/// An object of this resource's kind, pruned and normalised, and warnings for the client.
pub(crate) fn object(
    resource: &Resource,
    headers: &HeaderMap,
    body: &Bytes,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let (mut value, duplicates) = parse(headers, body)?;
    adopt_type(resource, &mut value)?;
    let findings = resource.schema().check(&value);
    let complaints = complaints(&findings, duplicates);
    if !findings.problems.is_empty() {
        return Err(Status::bad_request(format!("{}: {}", cannot_be_handled(resource), sentences(&findings.problems))));
    }
    let warnings = match validation {
        FieldValidation::Strict if !complaints.is_empty() => {
            return Err(Status::bad_request(format!(
                "{}: strict decoding error: {}",
                cannot_be_handled(resource),
                complaints.join(", ")
            )));
        }
        FieldValidation::Warn => complaints,
        FieldValidation::Strict | FieldValidation::Ignore => Vec::new(),
    };
    resource.schema().prune_unknown(&mut value);
    resource.schema().normalise(&mut value);
    Ok((value, warnings))
}

/// The same for an object that a patch produced: here upstream answers 422 with the patch as the culprit.
pub(crate) fn patched(
    resource: &Resource,
    value: &mut Value,
    validation: FieldValidation,
    duplicates: Vec<String>,
) -> Result<Vec<String>, Status> {
    let wrong = |detail: String| {
        let problem = Problem::new("patch", Reason::Invalid, format!("Invalid value: {detail}"));
        Status::invalid(resource.kind, "", &[problem])
    };
    if !value.is_object() {
        return Err(wrong("the patch does not leave an object".to_owned()));
    }
    adopt_type(resource, value)?;
    let findings = resource.schema().check(value);
    if !findings.problems.is_empty() {
        return Err(wrong(sentences(&findings.problems)));
    }
    let complaints = complaints(&findings, duplicates);
    let warnings = match validation {
        FieldValidation::Strict if !complaints.is_empty() => {
            return Err(wrong(format!("strict decoding error: {}", complaints.join(", "))));
        }
        FieldValidation::Warn => complaints,
        FieldValidation::Strict | FieldValidation::Ignore => Vec::new(),
    };
    resource.schema().prune_unknown(value);
    resource.schema().normalise(value);
    Ok(warnings)
}

/// `apiVersion` and `kind` may be left out, since the URL says them; they may not contradict it.
fn adopt_type(resource: &Resource, value: &mut Value) -> Result<(), Status> {
    let Value::Object(fields) = value else {
        return Err(Status::bad_request(format!("{}: the body is not an object", cannot_be_handled(resource))));
    };
    let expected = resource.kind.api_version();
    match fields.get("apiVersion").and_then(Value::as_str).unwrap_or_default() {
        "" => drop(fields.insert("apiVersion".to_owned(), Value::String(expected))),
        given if given == expected => {}
        given => {
            return Err(Status::bad_request(format!(
                "the API version in the data ({given}) does not match the expected API version ({expected})"
            )));
        }
    }
    match fields.get("kind").and_then(Value::as_str).unwrap_or_default() {
        "" => drop(fields.insert("kind".to_owned(), Value::String(resource.kind.kind.to_owned()))),
        given if given == resource.kind.kind => {}
        given => {
            return Err(Status::bad_request(format!(
                "{given} in version {:?} cannot be handled as a {}: the kind in the data does not match the URL",
                resource.kind.version, resource.kind.kind
            )));
        }
    }
    if !fields.get("metadata").is_some_and(Value::is_object) {
        match fields.get("metadata") {
            None | Some(Value::Null) => drop(fields.insert("metadata".to_owned(), Value::Object(Default::default()))),
            Some(_) => {
                return Err(Status::bad_request(format!(
                    "{}: metadata: must be an object",
                    cannot_be_handled(resource)
                )));
            }
        }
    }
    Ok(())
}

fn cannot_be_handled(resource: &Resource) -> String {
    let kind = resource.kind;
    format!("{} in version {:?} cannot be handled as a {}", kind.kind, kind.version, kind.kind)
}

fn complaints(findings: &Findings, duplicates: Vec<String>) -> Vec<String> {
    findings.unknown.iter().map(ToString::to_string).chain(duplicates).collect()
}

fn sentences(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
