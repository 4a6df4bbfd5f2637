//! Validation of pods and of the specification that templates share with them.

use serde_json::Value;

use crate::kinds::field::Field;
use crate::kinds::meta::{self, Names};
use crate::problem::Problem;

pub(super) fn validate_pod(pod: &Value) -> Vec<Problem> {
    let root = Field::root(pod);
    let mut problems = meta::validate(&root, Names::Subdomain);
    validate_spec(&root.field("spec"), &mut problems);
    problems
}

pub(super) fn validate_spec(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if spec.field("containers").len() == 0 {
        problems.push(spec.field("containers").required(""));
    }
}
