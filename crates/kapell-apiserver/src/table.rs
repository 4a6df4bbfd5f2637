//! `meta.k8s.io Table` and `PartialObjectMetadata`: what `kubectl get` prints and what metadata clients read.

use kapell_api::kind::{Kind, Now};
use kapell_api::status::Status;
use kapell_store::{Entry, Revision};
use serde_json::{Value, json};

use crate::engine::undecodable;
use crate::form::Form;
use crate::negotiate::MetaVersion;
use crate::path::Query;
use crate::stored;

/// What a row carries besides its cells.
#[derive(Clone, Copy)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object(Form),
}

impl Include {
    pub(crate) fn from_query(query: &Query, form: Form) -> Result<Self, Status> {
        match query.get("includeObject") {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::Nothing),
            Some("Object") => Ok(Self::Object(form)),
            Some(other) => Err(Status::bad_request(format!(
                "includeObject: Unsupported value: {other:?}: supported values: \"Metadata\", \"None\", \"Object\""
            ))),
        }
    }
}

/// A table of one object, or of none.
pub(crate) fn table(
    kind: &Kind,
    version: MetaVersion,
    objects: Vec<Value>,
    include: Include,
    metadata: Value,
    now: Now,
) -> Value {
    let rows = objects.into_iter().map(|mut object| {
        let cells = cells(kind, &object, now);
        match include {
            Include::Nothing => json!({"cells": cells}),
            Include::Metadata => json!({"cells": cells, "object": partial(version, object)}),
            Include::Object(form) => {
                form.show(&mut object);
                json!({"cells": cells, "object": object})
            }
        }
    });
    let rows = Value::Array(rows.collect());
    let mut table = head(kind, version, metadata);
    table["rows"] = rows;
    table
}

/// All of a table but its rows.
pub(crate) fn head(kind: &Kind, version: MetaVersion, metadata: Value) -> Value {
    let columns = kind.columns.iter().map(|column| {
        json!({
            "name": column.name, "type": column.type_, "format": column.format,
            "description": column.description, "priority": column.priority,
        })
    });
    json!({
        "kind": "Table", "apiVersion": version.api_version(),
        "metadata": metadata, "columnDefinitions": columns.collect::<Vec<_>>(),
    })
}

fn cells(kind: &Kind, object: &Value, now: Now) -> Vec<Value> {
    kind.columns.iter().map(|column| (column.cell)(object, now)).collect()
}

/// Appends the row of a stored object: a table of ten thousand is never a value as a whole.
pub(crate) fn write_row(
    out: &mut Vec<u8>,
    version: MetaVersion,
    kind: &Kind,
    entry: &Entry,
    include: Include,
    now: Now,
) -> Result<(), Status> {
    let object = stored::decode(entry).map_err(|error| undecodable(kind, &error))?;
    out.extend_from_slice(b"{\"cells\":");
    out.extend_from_slice(Value::Array(cells(kind, &object, now)).to_string().as_bytes());
    match include {
        Include::Nothing => {}
        Include::Metadata => {
            out.extend_from_slice(b",\"object\":");
            write_partial(out, version, kind, entry, entry.modified)?;
        }
        Include::Object(form) => {
            out.extend_from_slice(b",\"object\":");
            form.write(out, entry, entry.modified);
        }
    }
    out.push(b'}');
    Ok(())
}

/// Appends a stored object's metadata alone, at a revision: its bytes are copied, not parsed.
pub(crate) fn write_partial(
    out: &mut Vec<u8>,
    version: MetaVersion,
    kind: &Kind,
    entry: &Entry,
    revision: Revision,
) -> Result<(), Status> {
    let Some(metadata) = stored::metadata(&entry.value) else {
        let object = stored::decode_at(entry, revision).map_err(|error| undecodable(kind, &error))?;
        out.extend_from_slice(partial(version, object).to_string().as_bytes());
        return Ok(());
    };
    out.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":""#);
    out.extend_from_slice(version.api_version().as_bytes());
    out.extend_from_slice(br#"","metadata":{"resourceVersion":""#);
    out.extend_from_slice(revision.to_string().as_bytes());
    out.extend_from_slice(b"\",");
    out.extend_from_slice(metadata);
    out.push(b'}');
    Ok(())
}

/// The object's metadata alone.
pub(crate) fn partial(version: MetaVersion, mut object: Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": version.api_version(),
        "metadata": object["metadata"].take(),
    })
}
