//! RuntimeClasses. The class `process` needs no object.

use super::cells::{AGE, NAME};
use super::field::{Field, at, text};
use super::meta::{self, Names};
use super::{PLAIN, schema_of};
use crate::kind::{Column, Kind};
use crate::names;

pub(super) const RUNTIME_CLASS: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    namespaced: false,
    columns: &[
        NAME,
        Column::new("Handler", "string", "The runtime that runs its pods.", |class, _| text(class, "/handler").into()),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.node.v1.RuntimeClass"),
    validate: |class| {
        let root = Field::root(class);
        let mut problems = meta::validate(&root, Names::Subdomain);
        meta::check_required(&root.field("handler"), names::dns1123_label, &mut problems);
        problems
    },
    validate_update: |new, old| {
        let mut problems = Vec::new();
        meta::immutable(&Field::root(new).field("handler"), at(old, "/handler"), &mut problems);
        problems
    },
    warnings: |_| {
        vec!["pods get what a runtime class states, but nodes have no runtime besides \"process\" yet".to_owned()]
    },
    ..PLAIN
};
