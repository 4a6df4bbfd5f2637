//! Validation of roles and bindings.

use serde_json::Value;

use super::GROUP;
use crate::kinds::field::{Field, at, same};
use crate::kinds::meta::{self, Names};
use crate::names;
use crate::problem::Problem;

pub(super) fn validate_role(role: &Value) -> Vec<Problem> {
    let root = Field::root(role);
    let mut problems = meta::validate(&root, Names::PathSegment);
    for rule in root.field("rules").items() {
        check_rule(&rule, true, &mut problems);
    }
    problems
}

pub(super) fn validate_cluster_role(role: &Value) -> Vec<Problem> {
    let root = Field::root(role);
    let mut problems = meta::validate(&root, Names::PathSegment);
    for rule in root.field("rules").items() {
        check_rule(&rule, false, &mut problems);
    }
    let aggregation = root.field("aggregationRule");
    if aggregation.is_set() {
        let selectors = aggregation.field("clusterRoleSelectors");
        if selectors.len() == 0 {
            problems.push(selectors.required("at least one selector is needed to aggregate by"));
        }
        for selector in selectors.items() {
            meta::check_label_selector(&selector, &mut problems);
        }
    }
    problems
}

fn check_rule(rule: &Field<'_, '_>, namespaced: bool, problems: &mut Vec<Problem>) {
    if rule.field("verbs").len() == 0 {
        problems.push(rule.field("verbs").required("verbs must contain at least one value"));
    }
    let urls = rule.field("nonResourceURLs");
    if urls.len() > 0 {
        if namespaced {
            problems.push(urls.invalid("namespaced rules cannot apply to non-resource URLs"));
        }
        if ["apiGroups", "resources", "resourceNames"].iter().any(|name| rule.field(name).len() > 0) {
            problems.push(urls.invalid("rules cannot apply to both regular resources and non-resource URLs"));
        }
        return;
    }
    if rule.field("apiGroups").len() == 0 {
        problems.push(rule.field("apiGroups").required("resource rules must supply at least one api group"));
    }
    if rule.field("resources").len() == 0 {
        problems.push(rule.field("resources").required("resource rules must supply at least one resource"));
    }
}

pub(super) fn validate_role_binding(binding: &Value) -> Vec<Problem> {
    validate_binding(binding, &["Role", "ClusterRole"], true)
}

pub(super) fn validate_cluster_role_binding(binding: &Value) -> Vec<Problem> {
    validate_binding(binding, &["ClusterRole"], false)
}

fn validate_binding(binding: &Value, roles: &[&str], namespaced: bool) -> Vec<Problem> {
    let root = Field::root(binding);
    let mut problems = meta::validate(&root, Names::PathSegment);
    let role = root.field("roleRef");
    role.field("apiGroup").one_of(&[GROUP], &mut problems);
    role.field("kind").one_of(roles, &mut problems);
    meta::check_required(&role.field("name"), names::path_segment, &mut problems);
    for subject in root.field("subjects").items() {
        check_subject(&subject, namespaced, &mut problems);
    }
    problems
}

fn check_subject(subject: &Field<'_, '_>, namespaced: bool, problems: &mut Vec<Problem>) {
    let name = subject.field("name");
    meta::require(&name, problems);
    match subject.field("kind").text() {
        "ServiceAccount" => {
            meta::check_if_set(&name, names::dns1123_subdomain, problems);
            if !subject.field("apiGroup").text().is_empty() {
                subject.field("apiGroup").one_of(&[""], problems);
            }
            // In a RoleBinding the namespace may be left out: then nobody is granted anything, as upstream.
            if !namespaced {
                meta::require(&subject.field("namespace"), problems);
            }
        }
        "User" | "Group" => subject.field("apiGroup").one_of(&[GROUP], problems),
        _ => subject.field("kind").one_of(&["ServiceAccount", "User", "Group"], problems),
    }
}

/// Another role would be another grant; whoever may update a binding need not be allowed that.
pub(super) fn role_is_kept(new: &Value, old: &Value) -> Vec<Problem> {
    let root = Field::root(new);
    let role = root.field("roleRef");
    if same(role.value, at(old, "/roleRef")) { Vec::new() } else { vec![role.invalid("cannot change roleRef")] }
}
