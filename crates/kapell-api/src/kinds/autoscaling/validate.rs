//! Validation of autoscalers. Metrics that nobody here measures are refused, since nothing would ever scale by them.

use serde_json::Value;

use crate::kinds::field::Field;
use crate::kinds::meta::{self, Names};
use crate::kinds::quantities;
use crate::names;
use crate::problem::Problem;

/// The longest window and period, as upstream.
const MAX_WINDOW: i64 = 3600;
const MAX_PERIOD: i64 = 1800;

pub(super) fn validate_autoscaler(hpa: &Value) -> Vec<Problem> {
    let root = Field::root(hpa);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    let (least, most) = (spec.field("minReplicas"), spec.field("maxReplicas"));
    if least.int().is_some_and(|least| least == 0) {
        problems.push(least.unsupported_yet("scaling to zero needs a metric that does not come from the pods"));
    } else if least.int().is_some_and(|least| least < 0) {
        problems.push(least.invalid("must be greater than or equal to 1"));
    }
    if most.int().unwrap_or_default() < 1 {
        problems.push(most.invalid("must be greater than 0"));
    } else if most.int() < least.int() {
        problems.push(most.invalid("must be greater than or equal to `minReplicas`"));
    }
    let target = spec.field("scaleTargetRef");
    for name in ["kind", "name"] {
        meta::check_required(&target.field(name), names::path_segment, &mut problems);
    }
    for metric in spec.field("metrics").items() {
        check_metric(&metric, &mut problems);
    }
    let behavior = spec.field("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        check_rules(&behavior.field(direction), &mut problems);
    }
    problems
}

fn check_metric(metric: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let type_ = metric.field("type");
    let place = match type_.text() {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" | "Object" | "External" => {
            problems
                .push(type_.unsupported_yet("only the metrics of pods are measured; use Resource with cpu or memory"));
            return;
        }
        _ => {
            return type_.one_of(&["ContainerResource", "External", "Object", "Pods", "Resource"], problems);
        }
    };
    let source = metric.field(place);
    if !source.is_set() {
        return problems.push(
            source.required(&format!("must populate information for the given metric source ({})", type_.text())),
        );
    }
    let name = source.field("name");
    if name.text().is_empty() {
        problems.push(name.required("must specify a resource name"));
    } else if !matches!(name.text(), "cpu" | "memory") {
        problems.push(name.unsupported_yet("cpu and memory are measured"));
    }
    if place == "containerResource" {
        meta::check_required(&source.field("container"), names::dns1123_label, problems);
    }
    check_target(&source.field("target"), problems);
}

fn check_target(target: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let (utilization, average) = (target.field("averageUtilization"), target.field("averageValue"));
    target.field("type").one_of(&["Utilization", "Value", "AverageValue"], problems);
    if utilization.int().is_some_and(|percent| percent < 1) {
        problems.push(utilization.invalid("must be greater than 0"));
    }
    if average.is_set() {
        match quantities::parse(&average) {
            Some(amount) if amount.is_negative() || amount.is_zero() => {
                problems.push(average.invalid("must be positive"));
            }
            Some(_) => {}
            None => quantities::check(&average, problems),
        }
    }
    match (utilization.is_set(), average.is_set()) {
        (false, false) => {
            problems.push(utilization.required("must set either a target raw value or a target utilization"))
        }
        (true, true) => {
            problems.push(average.forbidden("may not set both a target raw value and a target utilization"));
        }
        _ => {}
    }
}

fn check_rules(rules: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if !rules.is_set() {
        return;
    }
    let window = rules.field("stabilizationWindowSeconds");
    if window.int().is_some_and(|seconds| !(0..=MAX_WINDOW).contains(&seconds)) {
        problems.push(window.invalid(&format!("must be between 0 and {MAX_WINDOW}")));
    }
    let select = rules.field("selectPolicy");
    if select.is_set() {
        select.one_of(&["Disabled", "Max", "Min"], problems);
    }
    let tolerance = rules.field("tolerance");
    if tolerance.is_set() {
        quantities::check(&tolerance, problems);
    }
    if rules.field("policies").len() == 0 {
        problems.push(rules.field("policies").required("must specify at least one Policy"));
    }
    for policy in rules.field("policies").items() {
        policy.field("type").one_of(&["Percent", "Pods"], problems);
        let (value, period) = (policy.field("value"), policy.field("periodSeconds"));
        if value.int().unwrap_or_default() < 1 {
            problems.push(value.invalid("must be greater than zero"));
        }
        if !(1..=MAX_PERIOD).contains(&period.int().unwrap_or_default()) {
            problems.push(period.invalid(&format!("must be greater than zero and at most {MAX_PERIOD}")));
        }
    }
}
