//! ControllerRevisions: what a StatefulSet's or DaemonSet's template was, for going back to it.

use serde_json::Value;

use crate::kind::{Column, Kind};
use crate::kinds::cells::{AGE, NAME, number};
use crate::kinds::field::{Field, at, items, text, truth};
use crate::kinds::meta::{self, Names};
use crate::kinds::{PLAIN, schema_of};
use crate::problem::Problem;

pub(in crate::kinds) const CONTROLLER_REVISION: Kind = Kind {
    group: "apps",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    columns: &[
        NAME,
        Column::new("Controller", "string", "Whose revision it is.", |revision, _| controller(revision).into()),
        Column::new("Revision", "integer", "Its number.", |revision, _| number(revision, "/revision").into()),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.apps.v1.ControllerRevision"),
    validate: |revision| {
        let root = Field::root(revision);
        let mut problems = meta::validate(&root, Names::Subdomain);
        root.field("revision").not_negative(&mut problems);
        if !root.field("data").is_set() {
            problems.push(root.field("data").required("data is mandatory"));
        }
        problems
    },
    validate_update: |new, old| {
        let mut problems: Vec<Problem> = Vec::new();
        meta::immutable(&Field::root(new).field("data"), at(old, "/data"), &mut problems);
        problems
    },
    ..PLAIN
};

/// `statefulset.apps/web`, else `<none>`.
fn controller(revision: &Value) -> String {
    let owner = items(revision, "/metadata/ownerReferences").iter().find(|owner| truth(owner, "/controller"));
    let Some(owner) = owner else { return "<none>".to_owned() };
    let kind = text(owner, "/kind").to_lowercase();
    match text(owner, "/apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "/name")),
        None => format!("{kind}/{}", text(owner, "/name")),
    }
}
