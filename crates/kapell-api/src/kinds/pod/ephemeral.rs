//! Ephemeral containers: what somebody puts beside a pod's containers later, to look at them. They come by a subresource of
//! their own and stay as long as the pod; a pod is never made with them.

use serde_json::Value;

use super::container::{self, Surroundings};
use crate::kinds::field::{Field, items, same, text};
use crate::problem::Problem;

/// What would make the pod rely on something that is there for a person.
const FORBIDDEN: &[&str] = &[
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

const NOT_HERE: &str = "cannot be set for an Ephemeral Container";

pub(super) fn validate(spec: &Field<'_, '_>, around: &Surroundings<'_>, problems: &mut Vec<Problem>) {
    let others = ["containers", "initContainers"];
    let of = |list: &str| items(spec.value, &format!("/{list}")).iter().map(|container| text(container, "/name"));
    let targets: Vec<&str> = others.into_iter().flat_map(of).collect();
    let mut taken = targets.clone();
    for container in spec.field("ephemeralContainers").items() {
        container::check_container(&container, around, problems);
        let name = container.field("name");
        if !name.text().is_empty() && taken.contains(&name.text()) {
            problems.push(name.duplicate());
        }
        taken.push(name.text());
        let target = container.field("targetContainerName");
        if !target.text().is_empty() && !targets.contains(&target.text()) {
            problems.push(target.not_found());
        }
        forbid(&container, problems);
    }
}

fn forbid(container: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    for name in FORBIDDEN {
        let field = container.field(name);
        // Defaults write `resources: {}`, which is as good as nothing.
        if field.is_set() && !same(field.value, &Value::Null) {
            problems.push(field.forbidden(NOT_HERE));
        }
    }
    for mount in container.field("volumeMounts").items() {
        for name in ["subPath", "subPathExpr"] {
            if !mount.field(name).text().is_empty() {
                problems.push(mount.field(name).forbidden(NOT_HERE));
            }
        }
    }
}

pub(super) fn refuse_on_create(pod: &Value) -> Vec<Problem> {
    let root = Field::root(pod);
    let spec = root.field("spec");
    let containers = spec.field("ephemeralContainers");
    if containers.len() > 0 { vec![containers.forbidden("cannot be set on create")] } else { Vec::new() }
}

/// Everything wrong with a change of the ephemeral containers: there may be more of them, in any order, and no other change.
pub fn validate_update(new: &Value, old: &Value) -> Vec<Problem> {
    let root = Field::root(new);
    let spec = root.field("spec");
    let containers = spec.field("ephemeralContainers");
    let mut problems = Vec::new();
    for before in items(old, "/spec/ephemeralContainers") {
        let name = text(before, "/name");
        let detail = match containers.items().find(|container| container.field("name").text() == name) {
            None => "removed",
            Some(container) if !same(container.value, before) => "changed",
            Some(_) => continue,
        };
        problems.push(containers.forbidden(&format!("existing ephemeral containers {name:?} may not be {detail}")));
    }
    problems
}
