//! Validation of Deployments and ReplicaSets.

use serde_json::Value;

use crate::kinds::field::{Field, at};
use crate::kinds::meta::{self, Names};
use crate::kinds::pod::template;
use crate::kinds::share;
use crate::problem::Problem;
use crate::selector::Selector;

pub(super) fn validate_deployment(deployment: &Value) -> Vec<Problem> {
    let root = Field::root(deployment);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    check_replicated(&spec, "deployment", &mut problems);
    for name in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        spec.field(name).not_negative(&mut problems);
    }
    let deadline = spec.field("progressDeadlineSeconds");
    if deadline.int() <= spec.field("minReadySeconds").int().or(Some(0)) && deadline.is_set() {
        problems.push(deadline.invalid("must be greater than minReadySeconds"));
    }
    check_strategy(&spec.field("strategy"), &mut problems);
    problems
}

pub(super) fn validate_replica_set(set: &Value) -> Vec<Problem> {
    let root = Field::root(set);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    check_replicated(&spec, "replicaset", &mut problems);
    spec.field("minReadySeconds").not_negative(&mut problems);
    problems
}

/// The selector identifies the pods, so another selector would be another workload.
pub(super) fn selector_is_kept(new: &Value, old: &Value) -> Vec<Problem> {
    let root = Field::root(new);
    let mut problems = Vec::new();
    meta::immutable(&root.field("spec").field("selector"), at(old, "/spec/selector"), &mut problems);
    problems
}

pub(in crate::kinds) fn check_replicated(spec: &Field<'_, '_>, kind: &str, problems: &mut Vec<Problem>) {
    spec.field("replicas").not_negative(problems);
    let (selector, template) = (spec.field("selector"), spec.field("template"));
    if !selector.is_set() {
        problems.push(selector.required(""));
    } else if selector.field("matchLabels").len() + selector.field("matchExpressions").len() == 0 {
        problems.push(selector.invalid(&format!("empty selector is invalid for {kind}")));
    } else {
        meta::check_label_selector(&selector, problems);
        check_match(&selector, &template, problems);
    }
    if !template.is_set() {
        problems.push(template.required(""));
        return;
    }
    template::validate(&template, problems);
    let template_spec = template.field("spec");
    let restart_policy = template_spec.field("restartPolicy");
    if !matches!(restart_policy.text(), "" | "Always") {
        restart_policy.one_of(&["Always"], problems);
    }
    let deadline = template_spec.field("activeDeadlineSeconds");
    if deadline.is_set() {
        problems.push(deadline.forbidden(&format!("activeDeadlineSeconds in {kind} is not supported")));
    }
}

pub(in crate::kinds) fn check_match(selector: &Field<'_, '_>, template: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let metadata = template.field("metadata");
    let labels = metadata.field("labels");
    // A selector that does not parse was complained about above.
    if let Ok(Some(parsed)) = Selector::from_label_selector(selector.value)
        && !parsed.matches_by(|key| labels.value.get(key).and_then(Value::as_str))
    {
        problems.push(labels.invalid("`selector` does not match template `labels`"));
    }
}

fn check_strategy(strategy: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let rolling_update = strategy.field("rollingUpdate");
    match strategy.field("type").text() {
        "Recreate" => {
            if rolling_update.is_set() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                problems.push(rolling_update.forbidden(detail));
            }
        }
        "RollingUpdate" => {
            let (surge, unavailable) = (rolling_update.field("maxSurge"), rolling_update.field("maxUnavailable"));
            let surge = share::check(&surge, problems);
            let at_most = share::check(&unavailable, problems);
            if at_most == Some(0) && surge == Some(0) {
                problems.push(unavailable.invalid("may not be 0 when `maxSurge` is 0"));
            }
            share::check_at_most_all(&unavailable, problems);
        }
        _ => strategy.field("type").one_of(&["Recreate", "RollingUpdate"], problems),
    }
}
