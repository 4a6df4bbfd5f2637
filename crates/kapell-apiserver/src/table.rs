//! `meta.k8s.io Table` and `PartialObjectMetadata`: what `kubectl get` prints and what metadata clients read.

use kapell_api::kind::{Kind, Now};
use kapell_api::status::Status;
use serde_json::{Value, json};

use crate::form::Form;
use crate::negotiate::MetaVersion;
use crate::path::Query;

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

pub(crate) fn table(
    kind: &Kind,
    version: MetaVersion,
    objects: Vec<Value>,
    include: Include,
    metadata: Value,
    now: Now,
) -> Value {
    let columns: Vec<Value> = kind
        .columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name, "type": column.type_, "format": column.format,
                "description": column.description, "priority": column.priority,
            })
        })
        .collect();
    let rows: Vec<Value> = objects
        .into_iter()
        .map(|mut object| {
            let cells: Vec<Value> = kind.columns.iter().map(|column| (column.cell)(&object, now)).collect();
            match include {
                Include::Nothing => json!({"cells": cells}),
                Include::Metadata => json!({"cells": cells, "object": partial(version, object)}),
                Include::Object(form) => {
                    form.show(&mut object);
                    json!({"cells": cells, "object": object})
                }
            }
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": version.api_version(),
        "metadata": metadata, "columnDefinitions": columns, "rows": rows,
    })
}

/// The object's metadata alone.
pub(crate) fn partial(version: MetaVersion, mut object: Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": version.api_version(),
        "metadata": object["metadata"].take(),
    })
}
