//! Namespaces.

use serde_json::{Value, json};

use super::cells::{AGE, NAME};
use super::field::{Field, carry_over, fill_text, part_or_new, text};
use super::meta::{self, Names};
use super::{PLAIN, keep_status, schema_of};
use crate::kind::{Column, Kind, SelectableField, Subresource};
use crate::names;
use crate::problem::Problem;

/// The label by which selectors can name a namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) const NAMESPACE: Kind = Kind {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    namespaced: false,
    subresources: &[Subresource::Status, Subresource::Finalize],
    columns: &[
        NAME,
        Column::new("Status", "string", "`Active` or `Terminating`.", |namespace, _| {
            text(namespace, "/status/phase").into()
        }),
        AGE,
    ],
    selectable_fields: &[SelectableField {
        path: "status.phase",
        value: |namespace| text(namespace, "/status/phase").to_owned(),
    }],
    schema: || schema_of("io.k8s.api.core.v1.Namespace"),
    // Only here, never in `default`: once the controller has emptied the list it has to stay empty.
    prepare_create: |namespace| {
        if let Value::Object(namespace) = namespace {
            namespace.insert("spec".to_owned(), json!({ "finalizers": ["kubernetes"] }));
            namespace.insert("status".to_owned(), json!({ "phase": "Active" }));
        }
    },
    prepare_update: |new, old| {
        keep_status(new, old);
        carry_over(new, old, "spec");
    },
    default: default_namespace,
    validate: validate_namespace,
    ..PLAIN
};

fn default_namespace(namespace: &mut Value) {
    let name = text(namespace, "/metadata/name").to_owned();
    // Without a name (it may be generated yet) the label would be wrong.
    if !name.is_empty()
        && let Some(metadata) = part_or_new(namespace, "metadata")
        && let Some(Value::Object(labels)) = part_or_new(metadata, "labels")
    {
        labels.insert(NAME_LABEL.to_owned(), name.into());
    }
    if let Some(status) = part_or_new(namespace, "status") {
        fill_text(status, "phase", "Active");
    }
}

fn validate_namespace(namespace: &Value) -> Vec<Problem> {
    let root = Field::root(namespace);
    let mut problems = meta::validate(&root, Names::Label);
    for finalizer in root.field("spec").field("finalizers").items() {
        meta::check(&finalizer, names::qualified_name, &mut problems);
        // Unqualified names are Kubernetes' own.
        if !finalizer.text().contains('/') && finalizer.text() != "kubernetes" {
            problems.push(finalizer.invalid("name is neither a standard finalizer name nor is it fully qualified"));
        }
    }
    problems
}
