//! Defaults of Deployments and ReplicaSets.

use serde_json::Value;

use crate::kinds::field::{fill, fill_text, part, part_or_new, text};
use crate::kinds::pod::template;

pub(super) fn default_deployment(deployment: &mut Value) {
    let Some(spec) = part(deployment, "spec") else { return };
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "progressDeadlineSeconds", 600);
    if let Some(strategy) = part_or_new(spec, "strategy") {
        fill_text(strategy, "type", "RollingUpdate");
        if text(strategy, "/type") == "RollingUpdate"
            && let Some(rolling_update) = part_or_new(strategy, "rollingUpdate")
        {
            fill(rolling_update, "maxUnavailable", "25%");
            fill(rolling_update, "maxSurge", "25%");
        }
    }
    default_template(spec);
}

pub(super) fn default_replica_set(set: &mut Value) {
    let Some(spec) = part(set, "spec") else { return };
    fill(spec, "replicas", 1);
    default_template(spec);
}

fn default_template(spec: &mut Value) {
    if let Some(template) = part(spec, "template") {
        template::default_template(template);
    }
}
