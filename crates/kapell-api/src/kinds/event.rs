//! Core events: what happened to an object, told by a component.

use serde_json::Value;

use super::cells::{NAME, age, number};
use super::field::{Field, at, int, is_set, text};
use super::meta::{self, Names};
use super::{PLAIN, schema_of};
use crate::kind::{Column, Kind, Now, SelectableField};
use crate::names;
use crate::problem::Problem;

pub(super) const EVENT: Kind = Kind {
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    columns: &[
        Column::new("Last Seen", "string", "Time since it last happened.", |event, now| last_seen(event, now).into()),
        Column::new("Type", "string", "`Normal` or `Warning`.", |event, _| text(event, "/type").into()),
        Column::new("Reason", "string", "Why, in one word.", |event, _| text(event, "/reason").into()),
        Column::new("Object", "string", "What it happened to.", |event, _| object(event).into()),
        Column::new("Subobject", "string", "The part that it happened to.", |event, _| {
            text(event, "/involvedObject/fieldPath").into()
        })
        .wide(),
        Column::new("Source", "string", "Who tells it.", |event, _| source(event).into()).wide(),
        Column::new("Message", "string", "What happened.", |event, _| text(event, "/message").trim().into()),
        Column::new("First Seen", "string", "Time since it first happened.", |event, now| {
            first_seen(event, now).into()
        })
        .wide(),
        Column::new("Count", "string", "How often it happened.", |event, _| count(event).into()).wide(),
        NAME.wide(),
    ],
    selectable_fields: &[
        SelectableField { path: "involvedObject.kind", value: |e| text(e, "/involvedObject/kind").to_owned() },
        SelectableField {
            path: "involvedObject.namespace",
            value: |e| text(e, "/involvedObject/namespace").to_owned(),
        },
        SelectableField { path: "involvedObject.name", value: |e| text(e, "/involvedObject/name").to_owned() },
        SelectableField { path: "involvedObject.uid", value: |e| text(e, "/involvedObject/uid").to_owned() },
        SelectableField {
            path: "involvedObject.apiVersion",
            value: |e| text(e, "/involvedObject/apiVersion").to_owned(),
        },
        SelectableField {
            path: "involvedObject.resourceVersion",
            value: |e| text(e, "/involvedObject/resourceVersion").to_owned(),
        },
        SelectableField {
            path: "involvedObject.fieldPath",
            value: |e| text(e, "/involvedObject/fieldPath").to_owned(),
        },
        SelectableField { path: "reason", value: |e| text(e, "/reason").to_owned() },
        SelectableField { path: "reportingComponent", value: |e| text(e, "/reportingComponent").to_owned() },
        SelectableField { path: "source", value: |e| component(e).to_owned() },
        SelectableField { path: "type", value: |e| text(e, "/type").to_owned() },
    ],
    schema: || schema_of("io.k8s.api.core.v1.Event"),
    validate: validate_event,
    ..PLAIN
};

fn first_seen(event: &Value, now: Now) -> String {
    let first = at(event, "/firstTimestamp");
    age(if first.is_null() { at(event, "/eventTime") } else { first }, now)
}

fn last_seen(event: &Value, now: Now) -> String {
    let last = at(event, "/lastTimestamp");
    if is_set(event, "/series") {
        age(at(event, "/series/lastObservedTime"), now)
    } else if last.is_null() {
        first_seen(event, now)
    } else {
        age(last, now)
    }
}

fn count(event: &Value) -> i64 {
    // An event that happened once need not say so.
    int(event, "/series/count").unwrap_or_else(|| number(event, "/count").max(1))
}

fn object(event: &Value) -> String {
    let kind = text(event, "/involvedObject/kind").to_lowercase();
    match text(event, "/involvedObject/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn component(event: &Value) -> &str {
    match text(event, "/source/component") {
        "" => text(event, "/reportingComponent"),
        component => component,
    }
}

fn source(event: &Value) -> String {
    let host = match text(event, "/source/host") {
        "" => text(event, "/reportingInstance"),
        host => host,
    };
    if host.is_empty() { component(event).to_owned() } else { format!("{}, {host}", component(event)) }
}

fn validate_event(event: &Value) -> Vec<Problem> {
    let root = Field::root(event);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let namespace = text(event, "/metadata/namespace");
    let involved = root.field("involvedObject");
    let of_object = involved.field("namespace");
    // Events about objects outside of any namespace live in `default`.
    let agrees =
        if of_object.text().is_empty() { matches!(namespace, "" | "default") } else { of_object.text() == namespace };
    if !agrees {
        problems.push(of_object.invalid("does not match event.namespace"));
    }
    if is_set(event, "/eventTime") {
        for (name, longest) in [("reportingInstance", 128), ("action", 128), ("reason", 128)] {
            let field = root.field(name);
            if field.text().is_empty() {
                problems.push(field.required(""));
            } else if field.text().len() > longest {
                problems.push(field.too_long(longest));
            }
        }
        let reporter = root.field("reportingComponent");
        meta::check_required(&reporter, names::qualified_name, &mut problems);
        let message = root.field("message");
        if message.text().len() > 1024 {
            problems.push(message.too_long(1024));
        }
    }
    problems
}
