//! Where a pod may and should run: affinity and tolerations.

use crate::kinds::field::Field;
use crate::kinds::meta;
use crate::kinds::node::EFFECTS;
use crate::names;
use crate::problem::Problem;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn validate(affinity: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let node_affinity = affinity.field("nodeAffinity");
    let required = node_affinity.field(REQUIRED);
    if required.is_set() {
        let terms = required.field("nodeSelectorTerms");
        if terms.len() == 0 {
            problems.push(terms.required("must have at least one node selector term"));
        }
        for term in terms.items() {
            check_term(&term, problems);
        }
    }
    for preferred in node_affinity.field(PREFERRED).items() {
        check_weight(&preferred.field("weight"), problems);
        check_term(&preferred.field("preference"), problems);
    }
    for (name, detail) in [
        ("podAffinity", "the pod would not be placed beside the pods that it needs"),
        ("podAntiAffinity", "the pod could be placed beside pods that it must not share a node with"),
    ] {
        let pods = affinity.field(name);
        let required = pods.field(REQUIRED);
        if required.len() > 0 {
            problems.push(required.unsupported_yet(detail));
        }
        for preferred in pods.field(PREFERRED).items() {
            check_weight(&preferred.field("weight"), problems);
        }
    }
}

fn check_weight(weight: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if !weight.int().is_some_and(|weight| (1..=100).contains(&weight)) {
        problems.push(weight.invalid("must be in the range 1-100"));
    }
}

fn check_term(term: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    for expression in term.field("matchExpressions").items() {
        check_expression(&expression, problems);
        meta::check(&expression.field("key"), names::qualified_name, problems);
    }
    for expression in term.field("matchFields").items() {
        let (key, operator, values) =
            (expression.field("key"), expression.field("operator"), expression.field("values"));
        if key.text() != "metadata.name" {
            problems.push(key.invalid("not a valid field selector key"));
        }
        if !matches!(operator.text(), "In" | "NotIn") {
            problems.push(operator.invalid("not a valid selector operator"));
        } else if values.len() != 1 {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            problems.push(values.required(detail));
        }
    }
}

fn check_expression(expression: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let (operator, values) = (expression.field("operator"), expression.field("values"));
    match operator.text() {
        "In" | "NotIn" => {
            if values.len() == 0 {
                problems.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
        }
        "Exists" | "DoesNotExist" => {
            if values.len() > 0 {
                problems.push(values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
            }
        }
        "Gt" | "Lt" => {
            let single = values.items().next().filter(|_| values.len() == 1);
            match single {
                None => {
                    problems.push(values.required("must be specified single value when `operator` is 'Lt' or 'Gt'"))
                }
                Some(value) if value.text().parse::<i64>().is_err() => {
                    problems.push(value.invalid("must be an integer when `operator` is 'Lt' or 'Gt'"));
                }
                Some(_) => {}
            }
        }
        _ => problems.push(operator.invalid("not a valid selector operator")),
    }
}

pub(super) fn check_toleration(toleration: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let (key, operator) = (toleration.field("key"), toleration.field("operator"));
    let (value, effect) = (toleration.field("value"), toleration.field("effect"));
    meta::check_if_set(&key, names::qualified_name, problems);
    if key.text().is_empty() && operator.text() != "Exists" {
        problems.push(
            operator
                .invalid("operator must be Exists when `key` is empty, which means \"match all values and all keys\""),
        );
    }
    if toleration.field("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
        problems.push(effect.invalid("effect must be 'NoExecute' when `tolerationSeconds` is set"));
    }
    match operator.text() {
        "" | "Equal" => meta::check(&value, names::label_value, problems),
        "Exists" => {
            if !value.text().is_empty() {
                problems.push(value.invalid("value must be empty when `operator` is 'Exists'"));
            }
        }
        _ => operator.one_of(&["Equal", "Exists"], problems),
    }
    if !effect.text().is_empty() {
        effect.one_of(EFFECTS, problems);
    }
}
