//! Object metadata and label selectors, checked for every kind alike.

use serde_json::Value;

use super::field::Field;
use crate::names;
use crate::problem::{Problem, Reason};

/// What all annotations of an object may weigh together.
const MAX_ANNOTATION_BYTES: usize = 256 << 10;

/// The rule that a kind's names follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Dots allowed, up to 253 bytes.
    Subdomain,
    /// A DNS label, up to 63 bytes.
    Label,
    /// A DNS label that begins with a letter, so that it can also be part of a variable's name.
    Label1035,
    /// Anything that can be part of a URL: colons and capitals too.
    PathSegment,
}

impl Names {
    fn faults(self, name: &str) -> Vec<String> {
        match self {
            Names::Subdomain => names::dns1123_subdomain(name),
            Names::Label => names::dns1123_label(name),
            Names::Label1035 => names::dns1035_label(name),
            Names::PathSegment => names::path_segment(name),
        }
    }
}

/// Everything wrong with `metadata`.
pub(crate) fn validate(root: &Field<'_, '_>, rule: Names) -> Vec<Problem> {
    let metadata = root.field("metadata");
    let mut problems = Vec::new();
    let (name, prefix) = (metadata.field("name"), metadata.field("generateName"));
    if !prefix.text().is_empty() {
        // What follows the prefix is alphanumeric, so a dash at its end is fine.
        let masked = prefix.text().strip_suffix('-').map(|head| format!("{head}a"));
        for fault in rule.faults(masked.as_deref().unwrap_or(prefix.text())) {
            problems.push(prefix.invalid(&fault));
        }
    }
    if name.text().is_empty() {
        if prefix.text().is_empty() {
            problems.push(name.required("name or generateName is required"));
        }
    } else {
        problems.extend(rule.faults(name.text()).iter().map(|fault| name.invalid(fault)));
    }
    metadata.field("generation").not_negative(&mut problems);
    check_labels(&metadata.field("labels"), &mut problems);
    check_annotations(&metadata.field("annotations"), &mut problems);
    check_owners(&metadata.field("ownerReferences"), &mut problems);
    for finalizer in metadata.field("finalizers").items() {
        check(&finalizer, names::qualified_name, &mut problems);
    }
    problems
}

/// Applies a rule of [`names`] to a string.
pub(crate) fn check(field: &Field<'_, '_>, rule: fn(&str) -> Vec<String>, problems: &mut Vec<Problem>) {
    problems.extend(rule(field.text()).iter().map(|fault| field.invalid(fault)));
}

/// The same for a string that may be absent or empty.
pub(crate) fn check_if_set(field: &Field<'_, '_>, rule: fn(&str) -> Vec<String>, problems: &mut Vec<Problem>) {
    if !field.text().is_empty() {
        check(field, rule, problems);
    }
}

/// The same for a string that has to be there.
pub(crate) fn check_required(field: &Field<'_, '_>, rule: fn(&str) -> Vec<String>, problems: &mut Vec<Problem>) {
    if field.text().is_empty() {
        problems.push(field.required(""));
    } else {
        check(field, rule, problems);
    }
}

/// Requires that a string is there.
pub(crate) fn require(field: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if field.text().is_empty() {
        problems.push(field.required(""));
    }
}

/// Keys and values of a map of labels. Complaints name the map, as upstream's do.
pub(crate) fn check_labels(labels: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    for (key, entry) in labels.entries() {
        let faults = names::qualified_name(key);
        problems.extend(faults.iter().map(|fault| Problem::invalid(labels.path(), key, fault)));
        let faults = names::label_value(entry.text());
        problems.extend(faults.iter().map(|fault| Problem::invalid(labels.path(), entry.text(), fault)));
    }
}

/// Keys and the total size of a map of annotations.
pub(crate) fn check_annotations(annotations: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let mut bytes = 0;
    for (key, entry) in annotations.entries() {
        // The key's case is free, unlike that of labels' prefixes.
        let faults = names::qualified_name(&key.to_lowercase());
        problems.extend(faults.iter().map(|fault| Problem::invalid(annotations.path(), key, fault)));
        bytes += key.len() + entry.text().len();
    }
    if bytes > MAX_ANNOTATION_BYTES {
        problems.push(annotations.too_long(MAX_ANNOTATION_BYTES));
    }
}

fn check_owners(owners: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let mut controllers = 0;
    for owner in owners.items() {
        for name in ["apiVersion", "kind", "name", "uid"] {
            let field = owner.field(name);
            if field.text().is_empty() {
                problems.push(field.invalid("must not be empty"));
            }
        }
        controllers += usize::from(owner.field("controller").truth());
    }
    if controllers > 1 {
        problems.push(owners.invalid("only one reference can have `controller` set to true"));
    }
}

/// A `LabelSelector`; whether it may be absent or empty is the caller's business.
pub(crate) fn check_label_selector(selector: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    check_labels(&selector.field("matchLabels"), problems);
    for expression in selector.field("matchExpressions").items() {
        let values = expression.field("values");
        match expression.field("operator").text() {
            "In" | "NotIn" => {
                if values.len() == 0 {
                    problems.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
                }
            }
            "Exists" | "DoesNotExist" => {
                if values.len() > 0 {
                    problems
                        .push(values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
                }
            }
            _ => problems.push(expression.field("operator").invalid("not a valid selector operator")),
        }
        check(&expression.field("key"), names::qualified_name, problems);
        for value in values.items() {
            check(&value, names::label_value, problems);
        }
    }
}

/// Requires that what is set in `old` is the same in `new`.
pub(crate) fn immutable(new: &Field<'_, '_>, old: &Value, problems: &mut Vec<Problem>) {
    if !super::field::same(new.value, old) {
        problems.push(new.immutable());
    }
}

/// A port number: required, 1–65535.
pub(crate) fn check_port(port: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    match port.int() {
        None => problems.push(Problem::new(port.path(), Reason::Required, "Required value")),
        Some(number) => problems.extend(names::port_number(number).iter().map(|fault| port.invalid(fault))),
    }
}
