//! PodDisruptionBudgets. Eviction honours them, a controller counts.

use serde_json::Value;

use super::cells::{AGE, NAME, number};
use super::field::{Field, at};
use super::meta::{self, Names};
use super::{PLAIN, keep_status, schema_of, share, zero_status};
use crate::kind::{Column, Kind, Subresource};
use crate::problem::Problem;

pub(super) const POD_DISRUPTION_BUDGET: Kind = Kind {
    group: "policy",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("Min Available", "string", "How many pods have to stay.", |budget, _| {
            share::shown(at(budget, "/spec/minAvailable"))
        }),
        Column::new("Max Unavailable", "string", "How many pods may be missing.", |budget, _| {
            share::shown(at(budget, "/spec/maxUnavailable"))
        }),
        Column::new("Allowed Disruptions", "integer", "How many pods may be evicted now.", |budget, _| {
            number(budget, "/status/disruptionsAllowed").into()
        }),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.policy.v1.PodDisruptionBudget"),
    has_generation: true,
    prepare_create: |object| {
        zero_status(object, &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"])
    },
    prepare_update: keep_status,
    validate: validate_budget,
    ..PLAIN
};

fn validate_budget(budget: &Value) -> Vec<Problem> {
    let root = Field::root(budget);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    let (least, most) = (spec.field("minAvailable"), spec.field("maxUnavailable"));
    if least.is_set() && most.is_set() {
        problems.push(spec.invalid("minAvailable and maxUnavailable cannot be both set"));
    }
    for field in [&least, &most] {
        share::check(field, &mut problems);
        share::check_at_most_all(field, &mut problems);
    }
    meta::check_label_selector(&spec.field("selector"), &mut problems);
    let policy = spec.field("unhealthyPodEvictionPolicy");
    if policy.is_set() {
        policy.one_of(&["AlwaysAllow", "IfHealthyBudget"], &mut problems);
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::kinds::tests::{cells, check_problems, sample};

    #[test]
    fn a_budget_says_one_bound() {
        check_problems(
            "PodDisruptionBudget",
            &sample("PodDisruptionBudget"),
            &[
                (json!({ "spec": { "minAvailable": "50%" } }), &[]),
                (
                    json!({ "spec": { "minAvailable": -1 } }),
                    &["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"],
                ),
                (
                    json!({ "spec": { "minAvailable": "150%" } }),
                    &["spec.minAvailable: Invalid value: \"150%\": must not be greater than 100%"],
                ),
                (
                    json!({ "spec": { "unhealthyPodEvictionPolicy": "Perhaps" } }),
                    &["spec.unhealthyPodEvictionPolicy: Unsupported value: \"Perhaps\": supported values: \
                       \"AlwaysAllow\", \"IfHealthyBudget\""],
                ),
            ],
        );
        let both = crate::kinds::tests::problems(
            "PodDisruptionBudget",
            crate::kinds::tests::with(&sample("PodDisruptionBudget"), json!({ "spec": { "maxUnavailable": 1 } })),
        );
        assert!(both[0].ends_with("minAvailable and maxUnavailable cannot be both set"), "{both:?}");
    }

    #[test]
    fn columns_say_what_may_go() {
        assert_eq!(cells("PodDisruptionBudget", &sample("PodDisruptionBudget")), ["web", "1", "N/A", "0", "<unknown>"]);
    }
}
