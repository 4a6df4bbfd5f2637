//! Where events are delivered to.

use serde_json::Value;

use super::cells::{AGE, NAME, number, or_none};
use super::field::{Field, drop_key, text};
use super::meta::{self, Names};
use super::{PLAIN, keep_status, own_schema};
use crate::event_sink::EventSink;
use crate::kind::{Column, Kind, Subresource};
use crate::problem::Problem;
use crate::workflow::{GROUP, VERSION};

/// Types and headers of one sink: each event is compared with the former and carries the latter.
const MOST: usize = 64;

pub(super) const EVENT_SINK: Kind = Kind {
    group: GROUP,
    version: VERSION,
    kind: "EventSink",
    plural: "eventsinks",
    singular: "eventsink",
    short_names: &["sink"],
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("URI", "string", "Where events are delivered to.", |sink, _| text(sink, "/spec/uri").into()),
        Column::new("Phase", "string", "Whether it takes them.", |sink, _| or_none(text(sink, "/status/phase"))),
        Column::new("Delivered", "integer", "Events that it has taken.", |sink, _| {
            number(sink, "/status/delivered").into()
        }),
        Column::new("Position", "integer", "How far in the log it is.", |sink, _| {
            number(sink, "/status/position").into()
        }),
        AGE,
        Column::new("Message", "string", "Why the latest attempt failed.", |sink, _| {
            or_none(text(sink, "/status/message"))
        })
        .wide(),
    ],
    schema: own_schema::<EventSink>,
    has_generation: true,
    unconditional_update: false,
    prepare_create: |sink| drop_key(sink, "status"),
    prepare_update: keep_status,
    validate,
    ..PLAIN
};

fn validate(sink: &Value) -> Vec<Problem> {
    let root = Field::root(sink);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    let uri = spec.field("uri");
    meta::require(&uri, &mut problems);
    let http = uri
        .text()
        .split_once("://")
        .is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && !rest.is_empty() && !rest.starts_with('/'));
    if uri.is_set() && !http {
        problems.push(uri.invalid("must be an absolute http or https URI"));
    }
    let choices: [(&str, &[&str]); 3] = [
        ("mode", &["Structured", "Binary", "Batched"]),
        ("from", &["Latest", "Earliest"]),
        ("onRefusal", &["Retry", "Skip"]),
    ];
    for (name, supported) in choices {
        let field = spec.field(name);
        if field.is_set() {
            field.one_of(supported, &mut problems);
        }
    }
    for name in ["types", "headers"] {
        if spec.field(name).len() > MOST {
            problems.push(spec.field(name).too_many(MOST));
        }
    }
    for type_ in spec.field("types").items() {
        let pattern = type_.text();
        if pattern.is_empty() || pattern.strip_suffix('*').unwrap_or(pattern).contains('*') {
            problems.push(type_.invalid("must be a type, or the beginning of one followed by *"));
        }
    }
    for header in spec.field("headers").items() {
        validate_header(&header, &mut problems);
    }
    problems
}

fn validate_header(header: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let name = header.field("name");
    meta::require(&name, problems);
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_set() && !name.text().bytes().all(token) {
        problems.push(name.invalid("must be the name of a header"));
    }
    let ours = |name: &str| name.starts_with("ce-") || ["content-type", "content-length", "host"].contains(&name);
    if ours(&name.text().to_ascii_lowercase()) {
        problems.push(name.invalid("is set for each event"));
    }
    let (value, from) = (header.field("value"), header.field("valueFrom"));
    if value.is_set() == from.is_set() {
        problems.push(header.required("either `value` or `valueFrom`"));
    }
    if from.is_set() {
        let reference = from.field("secretKeyRef");
        meta::require(&reference.field("name"), problems);
        meta::require(&reference.field("key"), problems);
    }
}

#[cfg(test)]
mod tests;
