//! Workflows and their runs. What the document says beyond its head is checked by the validator that the server
//! hands to the API server.

use serde_json::{Value, json};

use super::cells::{AGE, NAME, or_none, seconds};
use super::field::{Field, at, carry_over, drop_key, same, text, truth};
use super::meta::{self, Names};
use super::{PLAIN, drop_status, keep_status, schema_of};
use crate::kind::{Column, Kind, Now, SelectableField, Subresource};
use crate::names;
use crate::problem::Problem;
use crate::time;
use crate::workflow::{GROUP, RUN_FINALIZER, VERSION, Workflow, WorkflowRun};

pub(super) const WORKFLOW: Kind = Kind {
    group: GROUP,
    version: VERSION,
    kind: "Workflow",
    plural: "workflows",
    singular: "workflow",
    short_names: &["wf"],
    columns: &[
        NAME,
        Column::new("Version", "string", "Version of the document.", |workflow, _| {
            or_none(text(workflow, "/spec/document/version"))
        }),
        AGE,
    ],
    schema: schema_of::<Workflow>,
    has_generation: true,
    unconditional_update: false,
    validate: validate_workflow,
    ..PLAIN
};

pub(super) const WORKFLOW_RUN: Kind = Kind {
    group: GROUP,
    version: VERSION,
    kind: "WorkflowRun",
    plural: "workflowruns",
    singular: "workflowrun",
    short_names: &["run", "wfr"],
    subresources: &[Subresource::Status, Subresource::Connect("timeline")],
    columns: &[
        NAME,
        Column::new("Workflow", "string", "What it runs.", |run, _| text(run, "/spec/workflow").into()),
        Column::new("Phase", "string", "Where it stands.", |run, _| match text(run, "/status/phase") {
            "" => "Pending".into(),
            phase => phase.into(),
        }),
        Column::new("Duration", "string", "Time from start to end, or until now.", duration),
        AGE,
        Column::new("Error", "string", "Why it faulted.", |run, _| match text(run, "/status/error/detail") {
            "" => or_none(text(run, "/status/error/title")),
            detail => detail.into(),
        })
        .wide(),
    ],
    selectable_fields: &[
        SelectableField { path: "status.phase", value: |run| text(run, "/status/phase").to_owned() },
        SelectableField { path: "spec.workflow", value: |run| text(run, "/spec/workflow").to_owned() },
    ],
    schema: schema_of::<WorkflowRun>,
    has_generation: true,
    unconditional_update: false,
    prepare_create: prepare_run,
    prepare_update: keep_status,
    validate: validate_run,
    validate_update: validate_run_update,
    ..PLAIN
};

/// The finalizer is there from the start, which saves the engine a write.
fn prepare_run(run: &mut Value) {
    drop_status(run);
    let Some(metadata) = run.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let finalizers = metadata.entry("finalizers").or_insert(Value::Null);
    match finalizers {
        Value::Null => *finalizers = json!([RUN_FINALIZER]),
        Value::Array(present) if !present.iter().any(|finalizer| finalizer == RUN_FINALIZER) => {
            present.push(json!(RUN_FINALIZER));
        }
        // Anything that is not a list is refused later.
        _ => {}
    }
}

fn duration(run: &Value, now: Now) -> Value {
    match seconds(at(run, "/status/startTime")) {
        None => "".into(),
        Some(start) => time::human_duration(seconds(at(run, "/status/completionTime")).unwrap_or(now.0) - start).into(),
    }
}

fn validate_workflow(workflow: &Value) -> Vec<Problem> {
    let root = Field::root(workflow);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    let document = spec.field("document");
    if !document.value.is_object() {
        problems.push(document.required("the spec is a Serverless Workflow document, which begins with `document`"));
        return problems;
    }
    for name in ["dsl", "namespace", "name", "version"] {
        let field = document.field(name);
        if field.is_set() && !field.value.is_string() {
            problems.push(field.invalid("must be a string; quote it"));
        } else {
            meta::require(&field, &mut problems);
        }
    }
    problems
}

fn validate_run(run: &Value) -> Vec<Problem> {
    let root = Field::root(run);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    meta::check_required(&spec.field("workflow"), names::dns1123_subdomain, &mut problems);
    problems
}

fn validate_run_update(new: &Value, old: &Value) -> Vec<Problem> {
    let root = Field::root(new);
    let spec = root.field("spec");
    let cancel = spec.field("cancel");
    if truth(old, "/spec/cancel") && !cancel.truth() {
        return vec![cancel.invalid("a cancelled run cannot be resumed; start another one")];
    }
    let mut asked = spec.value.clone();
    match at(old, "/spec") {
        before if before.get("cancel").is_some() => carry_over(&mut asked, before, "cancel"),
        _ => drop_key(&mut asked, "cancel"),
    }
    // `input: null` and no input are the same; `input: {}` is not, as the workflow can tell.
    let (input, before) = (at(&asked, "/input"), at(old, "/spec/input"));
    if same(&asked, at(old, "/spec")) && input == before {
        Vec::new()
    } else {
        vec![Problem::forbidden("spec", "only `cancel` may change after creation; start another run instead")]
    }
}

#[cfg(test)]
mod tests;
