//! PriorityClasses.

use serde_json::Value;

use super::cells::{AGE, NAME, number};
use super::field::{Field, at, fill, same, text, truth};
use super::meta::{self, Names};
use super::{PLAIN, schema_of};
use crate::kind::{Column, Kind};
use crate::problem::Problem;

/// Above this only the system's own classes may rank.
const HIGHEST_OF_USERS: i64 = 1_000_000_000;
/// The system's own classes and their values.
const SYSTEM: [(&str, i64); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

pub(super) const PRIORITY_CLASS: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    namespaced: false,
    columns: &[
        NAME,
        Column::new("Value", "integer", "The priority of its pods.", |class, _| number(class, "/value").into()),
        Column::new("Global-Default", "boolean", "Whether pods that name no class get it.", |class, _| {
            truth(class, "/globalDefault").into()
        }),
        AGE,
        Column::new("PreemptionPolicy", "string", "Whether its pods may displace others.", |class, _| {
            text(class, "/preemptionPolicy").into()
        })
        .wide(),
    ],
    schema: || schema_of("io.k8s.api.scheduling.v1.PriorityClass"),
    default: |class| fill(class, "preemptionPolicy", "PreemptLowerPriority"),
    validate: validate_class,
    validate_update: |new, old| {
        let root = Field::root(new);
        // A class without a value has 0, so absence and 0 are the same.
        let mut problems = Vec::new();
        if number(new, "/value") != number(old, "/value") {
            problems.push(root.field("value").forbidden("may not be changed in an update."));
        }
        let policy = root.field("preemptionPolicy");
        if !same(policy.value, at(old, "/preemptionPolicy")) {
            problems.push(policy.immutable());
        }
        problems
    },
    warnings: |_| vec!["pods wait in the order of their priority, but none is preempted yet".to_owned()],
    ..PLAIN
};

fn validate_class(class: &Value) -> Vec<Problem> {
    let root = Field::root(class);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let metadata = root.field("metadata");
    let (name, value) = (metadata.field("name"), root.field("value"));
    if name.text().starts_with("system-") {
        if !SYSTEM.iter().any(|(known, its)| *known == name.text() && value.int() == Some(*its)) {
            let detail = "priority class names with 'system-' prefix are reserved for system use only";
            problems.push(name.forbidden(detail));
        }
    } else if value.int().unwrap_or_default() > HIGHEST_OF_USERS {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}");
        problems.push(value.forbidden(&detail));
    }
    root.field("preemptionPolicy").one_of(&["Never", "PreemptLowerPriority"], &mut problems);
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::kinds::tests::{cells, check_problems, check_updates, defaulted, sample};

    #[test]
    fn a_class_keeps_its_value() {
        let class = defaulted("PriorityClass", sample("PriorityClass"));
        assert_eq!(cells("PriorityClass", &class), ["web", "1000", "false", "<unknown>", "PreemptLowerPriority"]);
        check_updates(
            "PriorityClass",
            &class,
            &[
                (json!({ "description": "x" }), &[]),
                (json!({ "value": 5 }), &["value: Forbidden: may not be changed in an update."]),
                (
                    json!({ "preemptionPolicy": "Never" }),
                    &["preemptionPolicy: Invalid value: \"Never\": field is immutable"],
                ),
            ],
        );
    }

    #[test]
    fn high_values_are_the_systems() {
        check_problems(
            "PriorityClass",
            &sample("PriorityClass"),
            &[
                (json!({ "metadata": { "name": "system-node-critical" }, "value": 2_000_001_000 }), &[]),
                (
                    json!({ "metadata": { "name": "system-mine" } }),
                    &[
                        "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only",
                    ],
                ),
                (
                    json!({ "value": 1_000_000_001 }),
                    &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
                ),
            ],
        );
    }
}
