//! DaemonSets: their row, defaults and validation.

use serde_json::Value;

use super::{CONTAINERS, IMAGES, SELECTOR, validate, warn_about_template};
use crate::kind::{Column, Kind, Subresource};
use crate::kinds::cells::{AGE, NAME, labels, number};
use crate::kinds::field::{Field, fill, fill_text, part, part_or_new, text};
use crate::kinds::meta::{self, Names};
use crate::kinds::pod::template;
use crate::kinds::{PLAIN, keep_status, schema_of, share, zero_status};
use crate::problem::Problem;

pub(in crate::kinds) const DAEMON_SET: Kind = Kind {
    group: "apps",
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("Desired", "integer", "Nodes that should run a pod.", |set, _| {
            number(set, "/status/desiredNumberScheduled").into()
        }),
        Column::new("Current", "integer", "Nodes that run one.", |set, _| {
            number(set, "/status/currentNumberScheduled").into()
        }),
        Column::new("Ready", "integer", "Pods that are ready.", |set, _| number(set, "/status/numberReady").into()),
        Column::new("Up-to-date", "integer", "Pods made from the current template.", |set, _| {
            number(set, "/status/updatedNumberScheduled").into()
        }),
        Column::new("Available", "integer", "Pods that have been ready for long enough.", |set, _| {
            number(set, "/status/numberAvailable").into()
        }),
        Column::new("Node Selector", "string", "Labels of the nodes that it is for.", |set, _| {
            labels(set, "/spec/template/spec/nodeSelector")
        }),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    schema: || schema_of("io.k8s.api.apps.v1.DaemonSet"),
    has_generation: true,
    prepare_create: |object| {
        zero_status(object, &["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"])
    },
    prepare_update: keep_status,
    default: default_set,
    validate: validate_set,
    validate_update: validate::selector_is_kept,
    warnings: warn_about_template,
    ..PLAIN
};

fn default_set(set: &mut Value) {
    let Some(spec) = part(set, "spec") else { return };
    if let Some(strategy) = part_or_new(spec, "updateStrategy") {
        fill_text(strategy, "type", "RollingUpdate");
        if text(strategy, "/type") == "RollingUpdate"
            && let Some(rolling_update) = part_or_new(strategy, "rollingUpdate")
        {
            fill(rolling_update, "maxUnavailable", 1);
            fill(rolling_update, "maxSurge", 0);
        }
    }
    fill(spec, "revisionHistoryLimit", 10);
    if let Some(template) = part(spec, "template") {
        template::default_template(template);
    }
}

fn validate_set(set: &Value) -> Vec<Problem> {
    let root = Field::root(set);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    validate::check_replicated(&spec, "daemonset", &mut problems);
    for name in ["minReadySeconds", "revisionHistoryLimit"] {
        spec.field(name).not_negative(&mut problems);
    }
    let strategy = spec.field("updateStrategy");
    let rolling_update = strategy.field("rollingUpdate");
    match strategy.field("type").text() {
        "OnDelete" => {}
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling_update.field("maxUnavailable"), rolling_update.field("maxSurge"));
            let at_most = share::check(&unavailable, &mut problems);
            let more = share::check(&surge, &mut problems);
            share::check_at_most_all(&unavailable, &mut problems);
            share::check_at_most_all(&surge, &mut problems);
            match (at_most, more) {
                (Some(0), Some(0)) => problems.push(unavailable.invalid("cannot be 0 when maxSurge is 0")),
                (_, Some(more)) if more > 0 => {
                    problems
                        .push(surge.unsupported_yet("the old pod goes before the new one comes; use maxUnavailable"));
                }
                _ => {}
            }
        }
        _ => strategy.field("type").one_of(&["OnDelete", "RollingUpdate"], &mut problems),
    }
    problems
}
