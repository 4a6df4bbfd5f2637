//! Warnings.
use serde_json::Value;

use crate::kinds::field::Field;

pub(super) fn warn_about_pod(pod: &Value) -> Vec<String> {
    warn_about_spec(&Field::root(pod).field("spec"))
}

pub(super) fn warn_about_spec(_spec: &Field<'_, '_>) -> Vec<String> {
    Vec::new()
}
