//! Workflows and their runs. What the document says beyond its head is checked by the validator that the server
//! hands to the API server.

use serde_json::{Value, json};

use super::cells::{AGE, NAME, or_none, seconds};
use super::field::{Field, at, carry_over, drop_key, int, items, same, text, truth};
use super::meta::{self, Names};
use super::{PLAIN, keep_status, own_schema};
use crate::kind::{Column, Kind, Now, SelectableField, Subresource};
use crate::names;
use crate::problem::Problem;
use crate::time;
use crate::workflow::{GROUP, MOST_SIGNALS, RUN_FINALIZER, VERSION, Workflow, WorkflowRun};

pub(super) const WORKFLOW: Kind = Kind {
    group: GROUP,
    version: VERSION,
    kind: "Workflow",
    plural: "workflows",
    singular: "workflow",
    short_names: &["wf"],
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("Version", "string", "Version of the document.", |workflow, _| {
            or_none(text(workflow, "/spec/document/version"))
        }),
        Column::new("Next Run", "string", "When its schedule is due next.", |workflow, _| {
            or_none(text(workflow, "/status/schedule/nextTime"))
        }),
        AGE,
    ],
    schema: own_schema::<Workflow>,
    has_generation: true,
    unconditional_update: false,
    prepare_create: |workflow| drop_key(workflow, "status"),
    prepare_update: keep_status,
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
    schema: own_schema::<WorkflowRun>,
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
    drop_key(run, "status");
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
    let retry = spec.field("retry");
    let number = retry.field("number");
    if retry.is_set() && number.int().is_none_or(|number| number < 1) {
        problems.push(number.invalid("must be 1 or more"));
    }
    for skip in spec.field("skip").items() {
        meta::require(&skip.field("task"), &mut problems);
    }
    let signals = spec.field("signals");
    if signals.len() > MOST_SIGNALS {
        problems.push(signals.too_many(MOST_SIGNALS));
    }
    for signal in signals.items() {
        for attribute in ["specversion", "id", "source", "type"] {
            meta::require(&signal.field(attribute), &mut problems);
        }
    }
    problems
}

/// `workflow` and `input` stay; `cancel` goes from false to true, and back only together with a retry; a retry has a
/// greater number than the one before; entries of `skip` and `signals` are only added, no signals to a run that has ended;
/// `suspend` comes and goes.
fn validate_run_update(new: &Value, old: &Value) -> Vec<Problem> {
    let root = Field::root(new);
    let spec = root.field("spec");
    let before = at(old, "/spec");
    let mut problems = Vec::new();

    let retry = spec.field("retry");
    let retries = !same(retry.value, at(before, "/retry"));
    let last = int(before, "/retry/number").max(int(old, "/status/retried")).unwrap_or(0);
    if retries && retry.field("number").int().is_none_or(|number| number <= last) {
        let message = format!("must be greater than {last}, the number of the latest retry");
        problems.push(retry.field("number").invalid(&message));
    }
    let phase = text(old, "/status/phase");
    if retries && !matches!(phase, "Faulted" | "Cancelled") {
        let message = format!("only a faulted or cancelled run can be retried, this one is {phase}");
        problems.push(Problem::forbidden("spec.retry", &message));
    }
    let cancel = spec.field("cancel");
    if truth(before, "/cancel") && !cancel.truth() && !retries {
        problems.push(cancel.invalid("a cancelled run goes on only by a retry (`spec.retry`)"));
    }
    if retries && cancel.truth() {
        problems.push(cancel.invalid("must be false, or the retried run is cancelled again"));
    }
    let (skips, asked) = (items(before, "/skip"), items(new, "/spec/skip"));
    if !asked.starts_with(skips) {
        problems.push(Problem::forbidden("spec.skip", "entries can only be added"));
    }
    let (signals, sent) = (items(before, "/signals"), items(new, "/spec/signals"));
    if !sent.starts_with(signals) {
        problems.push(Problem::forbidden("spec.signals", "entries can only be added"));
    } else if sent.len() > signals.len() && matches!(phase, "Completed" | "Faulted" | "Cancelled") {
        problems.push(Problem::forbidden("spec.signals", &format!("the run has ended, it is {phase}")));
    }

    let mut kept = spec.value.clone();
    for key in ["cancel", "suspend", "retry", "skip", "signals"] {
        carry_over(&mut kept, before, key);
    }
    // `input: null` and no input are the same; `input: {}` is not, as the workflow can tell.
    if !same(&kept, before) || at(&kept, "/input") != at(before, "/input") {
        let message = "of a run's spec only `cancel`, `suspend`, `retry`, `skip` and `signals` may change; start another run instead";
        problems.push(Problem::forbidden("spec", message));
    }
    problems
}

#[cfg(test)]
mod tests;
