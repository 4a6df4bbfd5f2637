//! `GET` of a collection: consistent pages of one revision.

use std::sync::Arc;

use axum::body::Body;
use http::{Response, StatusCode};
use kapell_api::kind::Kind;
use kapell_api::page::Continue;
use kapell_api::problem::Problem;
use kapell_api::status::Status;
use kapell_store::{Entry, ReadError, Revision};
use serde_json::{Map, Value, json};

use super::read::{now, parse_revision, shape_of};
use super::selection::Selection;
use super::{Call, Engine, decode, read_failed};
use crate::form::Form;
use crate::negotiate::Shape;
use crate::path::Query;
use crate::resources::Resource;
use crate::table::{self, Include};
use crate::{key, reply};

/// How many entries are looked at in one read when a selector leaves out most of them.
const SCAN: usize = 500;

/// Where a list begins and at which revision.
#[derive(Debug, Default)]
struct Start {
    /// `None`: the latest.
    at: Option<Revision>,
    after: Option<String>,
    continued: bool,
}

/// The selected entries of one page.
pub(super) struct Selected {
    pub(super) revision: Revision,
    pub(super) entries: Vec<Arc<Entry>>,
    /// How many more entries follow; a selector may leave out some of them.
    remaining: usize,
}

impl Engine {
    pub(super) async fn list(&self, call: &Call, resource: &Resource) -> Result<Response<Body>, Status> {
        let kind = resource.kind;
        let shape = shape_of(call)?;
        let form = Form::of(self.served(call)?.kind);
        let selection = Selection::from_query(form.kind(), &call.query, None)?;
        let limit = match call.query.get("limit") {
            None => 0,
            Some(text) => text.parse::<usize>().map_err(|_| {
                Status::bad_request(format!("Invalid value: {text:?}: limit must be a non-negative integer"))
            })?,
        };
        let start = start(kind, &call.query, limit, self.store.revision())?;
        let prefix = key::of_collection(kind, call.path.namespace.as_deref());
        let selected = match self.select(&prefix, &start, limit, &selection).await {
            Ok(selected) => selected,
            Err(SelectError::Read(ReadError::Compacted { .. })) if start.continued => {
                return Ok(continue_expired(&start));
            }
            Err(error) => return Err(error.into_status()),
        };
        let metadata = list_metadata(kind, &selected, selection.is_everything());
        let body = match shape {
            Shape::Object => list_body(form, &metadata, &selected.entries),
            Shape::Table(version) => {
                let include = Include::from_query(&call.query, form)?;
                let objects = decode_all(kind, &selected.entries)?;
                let metadata = Value::Object(metadata);
                table::table(kind, version, objects, include, metadata, now()).to_string().into_bytes()
            }
            Shape::Metadata(version) => {
                let items = decode_all(kind, &selected.entries)?.into_iter().map(|o| table::partial(version, o));
                json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": version.api_version(),
                    "metadata": metadata, "items": items.collect::<Vec<_>>(),
                })
                .to_string()
                .into_bytes()
            }
        };
        Ok(reply::compressed(&call.headers, reply::json(StatusCode::OK, Vec::new(), &[]), body))
    }

    /// Reads on until `limit` (0: all) entries are selected or there are no more, all at one revision.
    async fn select(
        &self,
        prefix: &str,
        start: &Start,
        limit: usize,
        selection: &Selection,
    ) -> Result<Selected, SelectError> {
        let everything = selection.is_everything();
        let scan = if everything || limit == 0 { limit } else { limit.max(SCAN) };
        let mut at = start.at;
        let mut after = start.after.clone().map(String::into_bytes);
        let mut entries = Vec::new();
        loop {
            let page = self.store.list(prefix.as_bytes(), after.as_deref(), scan, at).await?;
            let revision = page.revision;
            at = Some(revision);
            if everything {
                return Ok(Selected { revision, entries: page.entries, remaining: page.remaining });
            }
            let read = page.entries.len();
            for (position, entry) in page.entries.iter().enumerate() {
                if !selection.matches(entry)? {
                    continue;
                }
                entries.push(entry.clone());
                if entries.len() == limit {
                    let remaining = page.remaining + (read - position - 1);
                    return Ok(Selected { revision, entries, remaining });
                }
            }
            match page.entries.last() {
                Some(last) if page.remaining > 0 => after = Some(last.key.to_vec()),
                _ => return Ok(Selected { revision, entries, remaining: 0 }),
            }
        }
    }

    /// Everything that is selected, as it is now.
    pub(super) async fn select_all(&self, prefix: &str, selection: &Selection) -> Result<Selected, Status> {
        self.select(prefix, &Start::default(), 0, selection).await.map_err(SelectError::into_status)
    }
}

enum SelectError {
    Read(ReadError),
    Refused(Box<Status>),
}

impl SelectError {
    fn into_status(self) -> Status {
        match self {
            Self::Read(error) => read_failed(error),
            Self::Refused(status) => *status,
        }
    }
}

impl From<ReadError> for SelectError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<Status> for SelectError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// What `resourceVersion`, `resourceVersionMatch` and `continue` mean together.
fn start(kind: &Kind, query: &Query, limit: usize, latest: Revision) -> Result<Start, Status> {
    let (version, matching) = (query.get("resourceVersion"), query.get("resourceVersionMatch"));
    if let Some(token) = query.get("continue") {
        if version.is_some_and(|v| v != "0") {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        return continue_from(kind, token);
    }
    let forbidden = |why: &str| Err(Status::invalid(kind, "", &[Problem::forbidden("resourceVersionMatch", why)]));
    let revision = version.map(parse_revision).transpose()?;
    let exactly = match (matching, revision) {
        (Some(_), None) => return forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"),
        (Some("Exact"), Some(0)) => {
            return forbidden("resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"");
        }
        (Some("Exact"), Some(_)) => true,
        (Some("NotOlderThan"), Some(_)) | (None, None) => false,
        // The legacy meaning of a limited list at a revision.
        (None, Some(revision)) => limit > 0 && revision > 0,
        (Some(other), Some(_)) => {
            return forbidden(&format!("{other:?} is neither \"Exact\" nor \"NotOlderThan\""));
        }
    };
    match revision {
        Some(revision) if revision > latest => Err(Status::resource_version_too_large(revision, latest)),
        Some(revision) if exactly => Ok(Start { at: Some(revision), ..Start::default() }),
        _ => Ok(Start::default()),
    }
}

fn continue_from(kind: &Kind, token: &str) -> Result<Start, Status> {
    let token = Continue::parse(token).map_err(|error| Status::bad_request(error.to_string()))?;
    Ok(Start { at: token.revision, after: Some(format!("{}{}", key::of_kind(kind), token.after)), continued: true })
}

/// 410 with a token for those who prefer an inconsistent rest to starting again.
fn continue_expired(start: &Start) -> Response<Body> {
    let status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. \
         Start a new list without it, or go on with the token in this answer and accept that \
         objects may be missing or changed in between.",
    );
    let mut body = serde_json::to_value(&status).unwrap_or_default();
    let after = start.after.as_deref().and_then(|key| key::namespace_and_name(key.as_bytes()));
    if let Some((namespace, name)) = after {
        body["metadata"]["continue"] =
            json!(Continue { revision: None, after: format!("{namespace}/{name}") }.to_string());
    }
    reply::value(StatusCode::GONE, &body, &[])
}

fn list_metadata(kind: &Kind, selected: &Selected, everything: bool) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".to_owned(), Value::String(selected.revision.to_string()));
    if selected.remaining > 0
        && let Some(last) = selected.entries.last()
        && let Some(start) = std::str::from_utf8(&last.key).ok().and_then(|k| k.strip_prefix(&key::of_kind(kind)))
    {
        let token = Continue { revision: Some(selected.revision), after: start.to_owned() };
        metadata.insert("continue".to_owned(), Value::String(token.to_string()));
        // With a selector nobody has counted the rest.
        if everything {
            metadata.insert("remainingItemCount".to_owned(), json!(selected.remaining));
        }
    }
    metadata
}

/// The list's bytes: objects are copied, not parsed, unless they are seen through a view.
pub(super) fn list_body(form: Form, metadata: &Map<String, Value>, entries: &[Arc<Entry>]) -> Vec<u8> {
    let size = entries.iter().map(|entry| entry.value.len() + 40).sum::<usize>();
    let mut body = Vec::with_capacity(size + 256);
    let head = format!(
        r#"{{"kind":"{}List","apiVersion":"{}","metadata":{},"items":["#,
        form.kind().kind,
        form.kind().api_version(),
        Value::Object(metadata.clone())
    );
    body.extend_from_slice(head.as_bytes());
    for (position, entry) in entries.iter().enumerate() {
        if position > 0 {
            body.push(b',');
        }
        form.write(&mut body, entry, entry.modified);
    }
    body.extend_from_slice(b"]}");
    body
}

fn decode_all(kind: &Kind, entries: &[Arc<Entry>]) -> Result<Vec<Value>, Status> {
    entries.iter().map(|entry| decode(kind, entry)).collect()
}
