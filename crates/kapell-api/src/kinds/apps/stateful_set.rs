//! StatefulSets: their row, defaults and validation.

use serde_json::Value;

use super::{CONTAINERS, IMAGES, validate, warn_about_template};
use crate::kind::{Column, Kind, Subresource};
use crate::kinds::cells::{AGE, NAME, number};
use crate::kinds::field::{Field, at, fill, fill_text, part, part_or_new, same, text};
use crate::kinds::meta::{self, Names};
use crate::kinds::pod::template;
use crate::kinds::{PLAIN, REPLICAS, keep_status, schema_of, zero_status};
use crate::problem::Problem;

pub(in crate::kinds) const STATEFUL_SET: Kind = Kind {
    group: "apps",
    kind: "StatefulSet",
    plural: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    subresources: &[Subresource::Status, Subresource::Scale(REPLICAS)],
    columns: &[
        NAME,
        Column::new("Ready", "string", "Replicas that are ready, of all that should be.", |set, _| {
            format!("{}/{}", number(set, "/status/readyReplicas"), number(set, "/spec/replicas")).into()
        }),
        AGE,
        CONTAINERS,
        IMAGES,
    ],
    schema: || schema_of("io.k8s.api.apps.v1.StatefulSet"),
    has_generation: true,
    prepare_create: |object| zero_status(object, &["replicas", "availableReplicas"]),
    prepare_update: keep_status,
    default: default_set,
    validate: validate_set,
    validate_update: only_some_may_change,
    warnings: warn_about_template,
    ..PLAIN
};

fn default_set(set: &mut Value) {
    let Some(spec) = part(set, "spec") else { return };
    fill_text(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = part_or_new(spec, "updateStrategy") {
        fill_text(strategy, "type", "RollingUpdate");
        if text(strategy, "/type") == "RollingUpdate"
            && let Some(rolling_update) = part_or_new(strategy, "rollingUpdate")
        {
            fill(rolling_update, "partition", 0);
        }
    }
    if let Some(retention) = part_or_new(spec, "persistentVolumeClaimRetentionPolicy") {
        fill_text(retention, "whenDeleted", "Retain");
        fill_text(retention, "whenScaled", "Retain");
    }
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    if let Some(template) = part(spec, "template") {
        template::default_template(template);
    }
}

fn validate_set(set: &Value) -> Vec<Problem> {
    let root = Field::root(set);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    validate::check_replicated(&spec, "statefulset", &mut problems);
    for name in ["minReadySeconds", "revisionHistoryLimit"] {
        spec.field(name).not_negative(&mut problems);
    }
    spec.field("podManagementPolicy").one_of(&["OrderedReady", "Parallel"], &mut problems);
    let ordinals = spec.field("ordinals");
    ordinals.field("start").not_negative(&mut problems);
    check_strategy(&spec.field("updateStrategy"), &mut problems);
    let claims = spec.field("volumeClaimTemplates");
    if claims.len() > 0 {
        problems.push(claims.unsupported_yet("no claim is bound to a volume; use a hostPath volume"));
    }
    let retention = spec.field("persistentVolumeClaimRetentionPolicy");
    for (_, policy) in retention.entries() {
        policy.one_of(&["Delete", "Retain"], &mut problems);
    }
    problems
}

fn check_strategy(strategy: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let rolling_update = strategy.field("rollingUpdate");
    match strategy.field("type").text() {
        "OnDelete" => {
            if rolling_update.is_set() {
                problems.push(rolling_update.invalid("only allowed for updateStrategy 'RollingUpdate'"));
            }
        }
        "RollingUpdate" => {
            rolling_update.field("partition").not_negative(problems);
            let unavailable = rolling_update.field("maxUnavailable");
            if unavailable.is_set() {
                problems.push(unavailable.unsupported_yet("pods are replaced one at a time"));
            }
        }
        _ => strategy.field("type").one_of(&["OnDelete", "RollingUpdate"], problems),
    }
}

/// What identifies the pods stays; what they are may change.
fn only_some_may_change(new: &Value, old: &Value) -> Vec<Problem> {
    const MAY: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let stays = |object: &Value| {
        let mut spec = at(object, "/spec").clone();
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|name, _| !MAY.contains(&name.as_str()));
        }
        spec
    };
    if same(&stays(new), &stays(old)) {
        return Vec::new();
    }
    vec![Problem::forbidden(
        "spec",
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
         'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
    )]
}
