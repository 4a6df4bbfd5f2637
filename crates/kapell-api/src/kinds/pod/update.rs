//! What may change in a pod that exists: images, deadlines that get shorter, more tolerations, fewer scheduling gates.

use serde_json::{Map, Value};

use crate::kinds::field::{Field, at, int, items, same, text};
use crate::problem::Problem;

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`, \
                       `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions \
                       to existing tolerations), `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                       previously negative)";

pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<Problem> {
    let root = Field::root(new);
    let spec = root.field("spec");
    let mut problems = Vec::new();
    for list in ["initContainers", "containers"] {
        let containers = spec.field(list);
        if containers.len() != items(old, &format!("/spec/{list}")).len() {
            problems.push(containers.forbidden("pod updates may not add or remove containers"));
            return problems;
        }
    }
    check_deadline(&spec.field("activeDeadlineSeconds"), int(old, "/spec/activeDeadlineSeconds"), &mut problems);
    check_tolerations(&spec.field("tolerations"), items(old, "/spec/tolerations"), &mut problems);
    check_gates(&spec.field("schedulingGates"), items(old, "/spec/schedulingGates"), &mut problems);
    if !same(&without_mutable(spec.value, old, new), &without_mutable(at(old, "/spec"), old, new)) {
        problems.push(spec.forbidden(ALLOWED));
    }
    problems
}

fn check_deadline(deadline: &Field<'_, '_>, before: Option<i64>, problems: &mut Vec<Problem>) {
    match (deadline.int(), before) {
        (Some(after), Some(before)) if after > before => {
            problems.push(deadline.invalid("must be less than or equal to previous value"));
        }
        (None, Some(_)) => {
            problems.push(deadline.invalid("must not update from a positive integer to nil value"));
        }
        _ => {}
    }
}

fn check_tolerations(tolerations: &Field<'_, '_>, before: &[Value], problems: &mut Vec<Problem>) {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.as_object().cloned().unwrap_or_default();
        toleration.shift_remove("tolerationSeconds");
        Value::Object(toleration)
    };
    // How long a taint is tolerated may change; that it is tolerated may not.
    let kept = |old: &Value| tolerations.items().any(|new| same(&without_seconds(new.value), &without_seconds(old)));
    if !before.iter().all(kept) {
        problems.push(tolerations.forbidden("existing toleration can not be modified except its tolerationSeconds"));
    }
}

/// Gates only open: one that appeared later could find the pod scheduled.
fn check_gates(gates: &Field<'_, '_>, before: &[Value], problems: &mut Vec<Problem>) {
    for gate in gates.items() {
        let name = gate.field("name").text();
        if !before.iter().any(|old| text(old, "/name") == name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            problems.push(gates.forbidden(&detail));
        }
    }
}

/// The specification without what may change.
fn without_mutable(spec: &Value, old: &Value, new: &Value) -> Value {
    let mut spec: Map<String, Value> = spec.as_object().cloned().unwrap_or_default();
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            container.shift_remove("image");
        }
    }
    for name in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        spec.shift_remove(name);
    }
    let grace = "/spec/terminationGracePeriodSeconds";
    if int(old, grace).is_some_and(|seconds| seconds < 0) && int(new, grace) == Some(1) {
        spec.shift_remove("terminationGracePeriodSeconds");
    }
    Value::Object(spec)
}
