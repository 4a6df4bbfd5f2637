//! ReplicationControllers and PodTemplates: the oldest workload, and a template that nobody uses by itself.

use serde_json::Value;

use super::apps::{CONTAINERS, IMAGES, warn_about_template};
use super::cells::{AGE, NAME, joined, labels, number};
use super::field::{Field, at, entries, fill, items, part, text};
use super::meta::{self, Names};
use super::pod::template;
use super::{PLAIN, REPLICAS, keep_status, schema_of, zero_status};
use crate::kind::{Column, Kind, SelectableField, Subresource};
use crate::problem::Problem;

pub(super) const POD_TEMPLATE: Kind = Kind {
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    columns: &[
        NAME,
        Column::new("Containers", "string", "Names of the containers.", |object, _| {
            joined(containers(object).map(|container| text(container, "/name")))
        }),
        Column::new("Images", "string", "Images of the containers.", |object, _| {
            joined(containers(object).map(|container| text(container, "/image")))
        }),
        Column::new("Pod Labels", "string", "Labels of its pods.", |object, _| {
            labels(object, "/template/metadata/labels")
        }),
    ],
    schema: || schema_of("io.k8s.api.core.v1.PodTemplate"),
    has_generation: true,
    default: |object| {
        if let Some(template) = part(object, "template") {
            template::default_template(template);
        }
    },
    validate: |object| {
        let root = Field::root(object);
        let mut problems = meta::validate(&root, Names::Subdomain);
        template::validate(&root.field("template"), &mut problems);
        problems
    },
    ..PLAIN
};

fn containers(object: &Value) -> impl Iterator<Item = &Value> {
    items(object, "/template/spec/containers").iter()
}

pub(super) const REPLICATION_CONTROLLER: Kind = Kind {
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    subresources: &[Subresource::Status, Subresource::Scale(REPLICAS)],
    columns: &[
        NAME,
        Column::new("Desired", "integer", "Replicas that should be there.", |rc, _| {
            number(rc, "/spec/replicas").into()
        }),
        Column::new("Current", "integer", "Replicas that are there.", |rc, _| number(rc, "/status/replicas").into()),
        Column::new("Ready", "integer", "Replicas that are ready.", |rc, _| number(rc, "/status/readyReplicas").into()),
        AGE,
        CONTAINERS,
        IMAGES,
        Column::new("Selector", "string", "Labels of the pods.", |rc, _| labels(rc, "/spec/selector")).wide(),
    ],
    selectable_fields: &[SelectableField {
        path: "status.replicas",
        value: |rc| number(rc, "/status/replicas").to_string(),
    }],
    schema: || schema_of("io.k8s.api.core.v1.ReplicationController"),
    has_generation: true,
    prepare_create: |object| zero_status(object, &["replicas"]),
    prepare_update: keep_status,
    default: default_controller,
    validate: validate_controller,
    warnings: warn_about_template,
    ..PLAIN
};

fn default_controller(rc: &mut Value) {
    let labels = at(rc, "/spec/template/metadata/labels").clone();
    let is_empty = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
    if !is_empty(&labels) {
        for name in ["spec", "metadata"] {
            let field = if name == "spec" { "selector" } else { "labels" };
            if let Some(place) = part(rc, name)
                && is_empty(place.get(field).unwrap_or(&Value::Null))
            {
                place[field] = labels.clone();
            }
        }
    }
    let Some(spec) = part(rc, "spec") else { return };
    fill(spec, "replicas", 1);
    if let Some(template) = part(spec, "template") {
        template::default_template(template);
    }
}

fn validate_controller(rc: &Value) -> Vec<Problem> {
    let root = Field::root(rc);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    spec.field("replicas").not_negative(&mut problems);
    spec.field("minReadySeconds").not_negative(&mut problems);
    let (selector, template) = (spec.field("selector"), spec.field("template"));
    if selector.len() == 0 {
        problems.push(selector.required(""));
    }
    meta::check_labels(&selector, &mut problems);
    if !template.is_set() {
        problems.push(template.required(""));
        return problems;
    }
    let metadata = template.field("metadata");
    let labels = metadata.field("labels");
    if entries(rc, "/spec/selector").any(|(key, value)| labels.value.get(key) != Some(value)) {
        problems.push(labels.invalid("`selector` does not match template `labels`"));
    }
    template::validate(&template, &mut problems);
    let pod = template.field("spec");
    let restart_policy = pod.field("restartPolicy");
    if !matches!(restart_policy.text(), "" | "Always") {
        restart_policy.one_of(&["Always"], &mut problems);
    }
    problems
}
