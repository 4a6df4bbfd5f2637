//! Validation of Jobs.

use serde_json::Value;

use crate::kinds::apps::check_match;
use crate::kinds::field::{Field, at, same, text, truth};
use crate::kinds::meta::{self, Names};
use crate::kinds::pod::template;
use crate::problem::Problem;

/// How many completions or pods at a time an indexed job may have, as upstream.
const MAX_INDEXED: i64 = 100_000;

pub(super) fn validate_job(job: &Value) -> Vec<Problem> {
    let root = Field::root(job);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    let selector = spec.field("selector");
    if selector.is_set() {
        meta::check_label_selector(&selector, &mut problems);
        check_match(&selector, &spec.field("template"), &mut problems);
    } else if spec.field("manualSelector").truth() {
        problems.push(selector.required("must be specified when `manualSelector` is true"));
    }
    check_spec(&spec, &mut problems);
    problems
}

/// What Jobs and the templates of CronJobs have in common.
pub(super) fn check_spec(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.field(name).not_negative(problems);
    }
    let mode = spec.field("completionMode");
    let indexed = mode.text() == "Indexed";
    if mode.is_set() {
        mode.one_of(&["Indexed", "NonIndexed"], problems);
    }
    if indexed {
        let completions = spec.field("completions");
        if !completions.is_set() {
            problems.push(completions.required("when completion mode is Indexed"));
        }
        for field in [completions, spec.field("parallelism")] {
            if field.int().is_some_and(|number| number > MAX_INDEXED) {
                problems.push(field.invalid(&format!("must be less than or equal to {MAX_INDEXED}")));
            }
        }
    } else {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"] {
            if spec.field(name).is_set() {
                problems.push(spec.field(name).invalid("requires indexed completion mode"));
            }
        }
    }
    let replacement = spec.field("podReplacementPolicy");
    if replacement.is_set() {
        replacement.one_of(&["Failed", "TerminatingOrFailed"], problems);
    }
    check_template(spec, problems);
}

fn check_template(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let template = spec.field("template");
    if !template.is_set() {
        problems.push(template.required(""));
        return;
    }
    template::validate(&template, problems);
    let pod = template.field("spec");
    let restart_policy = pod.field("restartPolicy");
    match restart_policy.text() {
        "" => {}
        "Always" => problems.push(restart_policy.not_supported(&["OnFailure", "Never"])),
        "OnFailure" if spec.field("podFailurePolicy").is_set() => {
            problems.push(restart_policy.invalid("only \"Never\" is supported when podFailurePolicy is specified"));
        }
        "OnFailure" if spec.field("backoffLimitPerIndex").is_set() => {
            problems.push(restart_policy.invalid("only \"Never\" is supported when backoffLimitPerIndex is specified"));
        }
        _ => {}
    }
}

pub(super) fn validate_job_update(new: &Value, old: &Value) -> Vec<Problem> {
    let root = Field::root(new);
    let spec = root.field("spec");
    let mut problems = Vec::new();
    for name in ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "successPolicy"] {
        meta::immutable(&spec.field(name), at(old, &format!("/spec/{name}")), &mut problems);
    }
    // An indexed job may grow or shrink when both figures move together.
    let completions = spec.field("completions");
    let elastic = text(new, "/spec/completionMode") == "Indexed"
        && same(at(new, "/spec/completions"), at(new, "/spec/parallelism"));
    if !elastic {
        meta::immutable(&completions, at(old, "/spec/completions"), &mut problems);
    }
    // A job that never ran may still be told where its pods belong.
    let unstarted = truth(old, "/spec/suspend") && at(old, "/status/startTime").is_null();
    let template = spec.field("template");
    if !same(&what_stays(template.value, unstarted), &what_stays(at(old, "/spec/template"), unstarted)) {
        problems.push(template.immutable());
    }
    problems
}

/// The template without what may change before the start.
fn what_stays(template: &Value, unstarted: bool) -> Value {
    let mut template = template.clone();
    if unstarted {
        if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
            for name in ["nodeSelector", "affinity", "tolerations", "schedulingGates"] {
                spec.shift_remove(name);
            }
        }
        if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove("labels");
            metadata.shift_remove("annotations");
        }
    }
    template
}
