//! `events.k8s.io/v1`: the same events under newer names.

use serde_json::Value;

use super::event::EVENT;
use super::field::text;
use super::schema_of;
use crate::kind::{Kind, SelectableField, View};

pub(super) const EVENT_V1: Kind = Kind {
    group: "events.k8s.io",
    selectable_fields: &[
        SelectableField { path: "regarding.kind", value: |e| text(e, "/involvedObject/kind").to_owned() },
        SelectableField { path: "regarding.namespace", value: |e| text(e, "/involvedObject/namespace").to_owned() },
        SelectableField { path: "regarding.name", value: |e| text(e, "/involvedObject/name").to_owned() },
        SelectableField { path: "regarding.uid", value: |e| text(e, "/involvedObject/uid").to_owned() },
        SelectableField { path: "regarding.apiVersion", value: |e| text(e, "/involvedObject/apiVersion").to_owned() },
        SelectableField {
            path: "regarding.resourceVersion",
            value: |e| text(e, "/involvedObject/resourceVersion").to_owned(),
        },
        SelectableField { path: "regarding.fieldPath", value: |e| text(e, "/involvedObject/fieldPath").to_owned() },
        SelectableField { path: "reason", value: |e| text(e, "/reason").to_owned() },
        SelectableField { path: "reportingController", value: |e| text(e, "/reportingComponent").to_owned() },
        SelectableField { path: "type", value: |e| text(e, "/type").to_owned() },
    ],
    schema: || schema_of("io.k8s.api.events.v1.Event"),
    view: Some(View { of: ("", "v1"), to_stored, from_stored, gone: None }),
    ..EVENT
};

/// Names here and in core/v1.
const NAMES: [(&str, &str); 7] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
];

fn to_stored(event: &mut Value) {
    rename(event, NAMES.iter().map(|(here, there)| (*here, *there)));
}

fn from_stored(event: &mut Value) {
    rename(event, NAMES.iter().map(|(here, there)| (*there, *here)));
}

fn rename<'n>(event: &mut Value, names: impl Iterator<Item = (&'n str, &'n str)>) {
    let Value::Object(event) = event else { return };
    for (from, to) in names {
        if let Some(value) = event.shift_remove(from) {
            event.insert(to.to_owned(), value);
        }
    }
}
