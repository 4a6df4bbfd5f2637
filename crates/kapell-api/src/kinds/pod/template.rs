//! What kinds that make pods from a template share with the pod: defaults, validation and warnings of its
//! specification.

use serde_json::Value;

use super::{default, validate, warnings};
use crate::kinds::field::{Field, part_or_new};
use crate::kinds::meta;
use crate::problem::Problem;

/// Defaults of a `PodTemplateSpec`.
pub(crate) fn default_template(template: &mut Value) {
    if let Some(spec) = part_or_new(template, "spec") {
        default::default_spec(spec);
    }
}

/// Everything wrong with a `PodTemplateSpec`.
pub(crate) fn validate(template: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let metadata = template.field("metadata");
    meta::check_labels(&metadata.field("labels"), problems);
    meta::check_annotations(&metadata.field("annotations"), problems);
    let spec = template.field("spec");
    if spec.field("ephemeralContainers").len() > 0 {
        problems.push(spec.field("ephemeralContainers").forbidden("ephemeral containers not allowed in pod template"));
    }
    validate::validate_spec(&spec, problems);
}

/// Warnings about `spec.template` of an object.
pub(crate) fn warnings(object: &Value) -> Vec<String> {
    let root = Field::root(object);
    let spec = root.field("spec");
    let template = spec.field("template");
    warnings::warn_about_spec(&template.field("spec"))
}
