//! LimitRanges and ResourceQuotas: what a namespace's objects may ask for, each and together. Admission enforces them.

use serde_json::{Map, Value};

use super::cells::{AGE, CREATED_AT, NAME};
use super::field::{Field, at, each, entries, part_or_new, same, text};
use super::meta::{self, Names};
use super::{PLAIN, empty_status, keep_status, quantities, schema_of};
use crate::kind::{Column, Kind, Subresource};
use crate::names;
use crate::problem::Problem;

pub(super) const LIMIT_RANGE: Kind = Kind {
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    columns: &[NAME, CREATED_AT],
    schema: || schema_of("io.k8s.api.core.v1.LimitRange"),
    default: default_limit_range,
    validate: validate_limit_range,
    ..PLAIN
};

pub(super) const RESOURCE_QUOTA: Kind = Kind {
    kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("Request", "string", "What is used of what may be requested.", |quota, _| usage(quota, false)),
        Column::new("Limit", "string", "What is used of what limits may add up to.", |quota, _| usage(quota, true)),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.core.v1.ResourceQuota"),
    prepare_create: empty_status,
    prepare_update: keep_status,
    validate: validate_quota,
    validate_update: |new, old| {
        let root = Field::root(new);
        let scopes = root.field("spec");
        let scopes = scopes.field("scopes");
        if same(scopes.value, at(old, "/spec/scopes")) { Vec::new() } else { vec![scopes.immutable()] }
    },
    ..PLAIN
};

/// `pods: 3/10, requests.cpu: 500m/2`, sorted by name.
fn usage(quota: &Value, limits: bool) -> Value {
    let mut parts: Vec<(String, String)> = entries(quota, "/status/hard")
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, hard)| {
            let used = at(quota, "/status/used").get(name).map_or("0", |used| used.as_str().unwrap_or("0"));
            (name.to_owned(), format!("{name}: {used}/{}", hard.as_str().unwrap_or_default()))
        })
        .collect();
    parts.sort();
    parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(", ").into()
}

/// What a limit for containers leaves out follows from its other columns: the default is the maximum, the default
/// request is the default, else the minimum.
fn default_limit_range(range: &mut Value) {
    let Some(spec) = range.get_mut("spec") else { return };
    for limit in each(spec, "limits") {
        if text(limit, "/type") != "Container" {
            continue;
        }
        for (target, source) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
            let source = limit.get(source).and_then(Value::as_object).cloned().unwrap_or_default();
            if source.is_empty() {
                continue;
            }
            if let Some(Value::Object(target)) = part_or_new(limit, target) {
                add_missing(target, source);
            }
        }
    }
}

fn add_missing(target: &mut Map<String, Value>, source: Map<String, Value>) {
    for (name, amount) in source {
        target.entry(name).or_insert(amount);
    }
}

fn validate_limit_range(range: &Value) -> Vec<Problem> {
    let root = Field::root(range);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let mut seen = Vec::new();
    let spec = root.field("spec");
    for limit in spec.field("limits").items() {
        let type_ = limit.field("type");
        check_limit_type(&type_, &mut problems);
        if seen.contains(&type_.text()) {
            problems.push(type_.duplicate());
        }
        seen.push(type_.text());
        check_limit(&limit, &mut problems);
    }
    problems
}

fn check_limit_type(type_: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if matches!(type_.text(), "Pod" | "Container" | "PersistentVolumeClaim") {
        return;
    }
    meta::check_required(type_, names::qualified_name, problems);
    if !type_.text().is_empty() && !type_.text().contains('/') {
        problems.push(type_.invalid("must be a standard limit type or fully qualified"));
    }
}

fn check_limit(limit: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    const LISTS: [&str; 5] = ["min", "max", "default", "defaultRequest", "maxLimitRequestRatio"];
    let type_ = limit.field("type");
    for list in LISTS {
        for (name, amount) in limit.field(list).entries() {
            check_resource_name(&amount, name, problems);
            quantities::check(&amount, problems);
        }
    }
    for list in ["default", "defaultRequest"] {
        let field = limit.field(list);
        if type_.text() == "Pod" && field.len() > 0 {
            problems.push(field.forbidden("may not be specified when `type` is 'Pod'"));
        }
    }
    if type_.text() == "PersistentVolumeClaim" && !limit.field("min").is_set() && !limit.field("max").is_set() {
        problems.push(limit.required("either minimum or maximum storage value is required, but neither was provided"));
    }
    let at_most = |low: &str, high: &str, problems: &mut Vec<Problem>| {
        for (name, amount) in limit.field(low).entries() {
            let top = limit.field(high);
            let top = top.field(name);
            if let (Some(less), Some(more)) = (quantities::parse(&amount), quantities::parse(&top))
                && less > more
            {
                problems.push(amount.invalid(&format!("{low} value {less} is greater than {high} value {more}")));
            }
        }
    };
    for (low, high) in [
        ("min", "max"),
        ("min", "default"),
        ("default", "max"),
        ("min", "defaultRequest"),
        ("defaultRequest", "max"),
        ("defaultRequest", "default"),
    ] {
        at_most(low, high, problems);
    }
    for (_, ratio) in limit.field("maxLimitRequestRatio").entries() {
        if quantities::parse(&ratio).is_some_and(|ratio| ratio.milli() < 1000) {
            problems.push(ratio.invalid("ratio must be greater than or equal to 1"));
        }
    }
}

fn check_resource_name(entry: &Field<'_, '_>, name: &str, problems: &mut Vec<Problem>) {
    problems.extend(names::qualified_name(name).iter().map(|fault| Problem::invalid(entry.path(), name, fault)));
}

/// What a quota can be about without a prefix; `count/PLURAL[.GROUP]` and extended resources come besides.
const QUOTA_RESOURCES: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

const SCOPES: &[&str] =
    &["BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating"];

fn validate_quota(quota: &Value) -> Vec<Problem> {
    let root = Field::root(quota);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    for (name, amount) in spec.field("hard").entries() {
        check_resource_name(&amount, name, &mut problems);
        if !name.contains('/') && !QUOTA_RESOURCES.contains(&name) && !name.starts_with("hugepages-") {
            problems.push(Problem::invalid(amount.path(), name, "must be a standard resource for quota"));
        }
        quantities::check(&amount, &mut problems);
        if is_counted(name) && quantities::parse(&amount).is_some_and(|amount| amount.milli() % 1000 != 0) {
            problems.push(amount.invalid("must be an integer"));
        }
    }
    let scopes = spec.field("scopes");
    for scope in scopes.items() {
        scope.one_of(SCOPES, &mut problems);
    }
    let has = |name: &str| scopes.items().any(|scope| scope.text() == name);
    for (a, b) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if has(a) && has(b) {
            problems.push(scopes.invalid("conflicting scopes"));
        }
    }
    let selector = spec.field("scopeSelector");
    for term in selector.field("matchExpressions").items() {
        check_scope_term(&term, &mut problems);
    }
    problems
}

fn check_scope_term(term: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let (scope, operator, values) = (term.field("scopeName"), term.field("operator"), term.field("values"));
    scope.one_of(SCOPES, problems);
    operator.one_of(&["DoesNotExist", "Exists", "In", "NotIn"], problems);
    match operator.text() {
        "In" | "NotIn" if values.len() == 0 => {
            problems.push(values.required("must be at least one value when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if values.len() > 0 => {
            problems.push(values.invalid("must be no value when `operator` is 'Exists' or 'DoesNotExist'"));
        }
        _ => {}
    }
    if scope.text() != "PriorityClass" && operator.text() != "Exists" {
        problems.push(operator.invalid("must be 'Exists' when scope is any of Terminating, NotTerminating, BestEffort, NotBestEffort or CrossNamespacePodAffinity"));
    }
}

/// Whether a quota counts objects, of which there are no fractions.
fn is_counted(name: &str) -> bool {
    name.starts_with("count/")
        || matches!(
            name,
            "pods"
                | "resourcequotas"
                | "services"
                | "replicationcontrollers"
                | "secrets"
                | "configmaps"
                | "persistentvolumeclaims"
                | "services.nodeports"
                | "services.loadbalancers"
        )
}

#[cfg(test)]
mod tests;
