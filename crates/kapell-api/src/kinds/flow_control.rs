//! FlowSchemas and PriorityLevelConfigurations, as objects: requests are not queued by flow yet, which creating one says.

use super::cells::{AGE, NAME};
use super::field::{Field, at, fill_number, part, text};
use super::meta::{self, Names};
use super::{PLAIN, empty_status, keep_status, schema_of};
use crate::kind::{Column, Kind, Subresource};
use crate::problem::Problem;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const UNUSED: &str = "stored; requests are not queued by flow yet, a server that is busy refuses the newest";

/// Upstream's numbers.
const PRECEDENCE: i64 = 1000;
const MOST_PRECEDENCE: i64 = 10_000;
const SHARES: i64 = 30;
const QUEUES: [(&str, i64); 3] = [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)];

pub(super) const FLOW_SCHEMA: Kind = Kind {
    group: GROUP,
    kind: "FlowSchema",
    plural: "flowschemas",
    singular: "flowschema",
    namespaced: false,
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("PriorityLevel", "string", "The level of its requests.", |schema, _| {
            text(schema, "/spec/priorityLevelConfiguration/name").into()
        }),
        Column::new("MatchingPrecedence", "integer", "Lower ones are asked first.", |schema, _| {
            at(schema, "/spec/matchingPrecedence").clone()
        }),
        Column::new("DistinguisherMethod", "string", "What makes one flow of it.", |schema, _| {
            super::cells::or_none(text(schema, "/spec/distinguisherMethod/type"))
        }),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.flowcontrol.v1.FlowSchema"),
    has_generation: true,
    prepare_create: empty_status,
    prepare_update: keep_status,
    default: |schema| {
        if let Some(spec) = part(schema, "spec") {
            fill_number(spec, "matchingPrecedence", PRECEDENCE);
        }
    },
    validate: |schema| {
        let root = Field::root(schema);
        let mut problems = meta::validate(&root, Names::Subdomain);
        let spec = root.field("spec");
        meta::require(&spec.field("priorityLevelConfiguration").field("name"), &mut problems);
        let precedence = spec.field("matchingPrecedence");
        if precedence.int().is_some_and(|number| !(1..=MOST_PRECEDENCE).contains(&number)) {
            problems.push(precedence.invalid("must be between 1 and 10000, inclusive"));
        }
        let distinguisher = spec.field("distinguisherMethod");
        let method = distinguisher.field("type");
        if method.is_set() {
            method.one_of(&["ByNamespace", "ByUser"], &mut problems);
        }
        for rule in spec.field("rules").items() {
            check_rule(&rule, &mut problems);
        }
        problems
    },
    warnings: |_| vec![format!("flow schemas are {UNUSED}")],
    ..PLAIN
};

fn check_rule(rule: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let subjects = rule.field("subjects");
    if subjects.len() == 0 {
        problems.push(subjects.required("subjects must contain at least one value"));
    }
    for subject in subjects.items() {
        subject.field("kind").one_of(&["Group", "ServiceAccount", "User"], problems);
    }
    if rule.field("resourceRules").len() + rule.field("nonResourceRules").len() == 0 {
        problems.push(rule.required("at least one of resourceRules and nonResourceRules has to be non-empty"));
    }
}

pub(super) const PRIORITY_LEVEL_CONFIGURATION: Kind = Kind {
    group: GROUP,
    kind: "PriorityLevelConfiguration",
    plural: "prioritylevelconfigurations",
    singular: "prioritylevelconfiguration",
    namespaced: false,
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("Type", "string", "Whether its requests are limited.", |level, _| text(level, "/spec/type").into()),
        Column::new("NominalConcurrencyShares", "string", "Its share of the server's places.", |level, _| {
            let limited = at(level, "/spec/limited/nominalConcurrencyShares");
            if limited.is_null() { at(level, "/spec/exempt/nominalConcurrencyShares") } else { limited }.clone()
        }),
        queuing_column("Queues", |level, _| at(level, "/spec/limited/limitResponse/queuing/queues").clone()),
        queuing_column("HandSize", |level, _| at(level, "/spec/limited/limitResponse/queuing/handSize").clone()),
        queuing_column("QueueLengthLimit", |level, _| {
            at(level, "/spec/limited/limitResponse/queuing/queueLengthLimit").clone()
        }),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration"),
    has_generation: true,
    prepare_create: empty_status,
    prepare_update: keep_status,
    default: |level| {
        let Some(spec) = part(level, "spec") else { return };
        if let Some(exempt) = part(spec, "exempt") {
            super::field::fill(exempt, "nominalConcurrencyShares", 0);
            super::field::fill(exempt, "lendablePercent", 0);
        }
        let Some(limited) = part(spec, "limited") else { return };
        super::field::fill(limited, "nominalConcurrencyShares", SHARES);
        super::field::fill(limited, "lendablePercent", 0);
        let response = part(limited, "limitResponse").and_then(|response| part(response, "queuing"));
        if let Some(queuing) = response {
            for (field, default) in QUEUES {
                fill_number(queuing, field, default);
            }
        }
    },
    validate: |level| {
        let root = Field::root(level);
        let mut problems = meta::validate(&root, Names::Subdomain);
        let spec = root.field("spec");
        let (type_, limited) = (spec.field("type"), spec.field("limited"));
        type_.one_of(&["Exempt", "Limited"], &mut problems);
        match (type_.text(), limited.is_set()) {
            ("Exempt", true) => problems.push(limited.forbidden("must be nil if the type is not Limited")),
            ("Limited", false) => problems.push(limited.required("must not be empty when type is Limited")),
            ("Limited", true) => check_response(&limited.field("limitResponse"), &mut problems),
            _ => {}
        }
        problems
    },
    warnings: |_| vec![format!("priority levels are {UNUSED}")],
    ..PLAIN
};

const fn queuing_column(
    name: &'static str,
    cell: fn(&serde_json::Value, crate::kind::Now) -> serde_json::Value,
) -> Column {
    Column::new(name, "integer", "How requests would be queued.", cell)
}

fn check_response(response: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let (type_, queuing) = (response.field("type"), response.field("queuing"));
    type_.one_of(&["Queue", "Reject"], problems);
    match (type_.text(), queuing.is_set()) {
        ("Reject", true) => {
            problems.push(queuing.forbidden("must be nil if limited.limitResponse.type is not Limited"))
        }
        ("Queue", false) => {
            problems.push(queuing.required("must not be empty if limited.limitResponse.type is Limited"));
        }
        _ => {}
    }
}
