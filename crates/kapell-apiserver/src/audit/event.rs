//! One event in upstream's form.

use std::net::SocketAddr;

use jiff::Timestamp;
use kapell_api::time;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::Identity;
use crate::authorize::attributes::OnResource;

/// Longest URI and user agent that are kept; the rest would be the client's way to fill the disk.
const LONGEST_TEXT: usize = 2_048;

/// The name of what a request created, as the engine tells it along with the answer.
#[derive(Clone, Debug)]
pub(crate) struct ObjectName(pub(crate) String);

/// What one request did.
pub(crate) struct Event<'a> {
    pub(crate) id: Uuid,
    pub(crate) uri: &'a str,
    pub(crate) verb: &'a str,
    /// Who sent it; absent when nobody knows.
    pub(crate) caller: Option<&'a Identity>,
    /// As whom it was taken, if that was somebody else.
    pub(crate) impersonated: Option<&'a Identity>,
    pub(crate) source: Option<SocketAddr>,
    pub(crate) user_agent: Option<&'a str>,
    pub(crate) object: Option<OnResource<'a>>,
    /// Why it was allowed, if it was.
    pub(crate) decision: Option<&'a str>,
    pub(crate) code: u16,
    /// The answer is a stream that has only begun.
    pub(crate) streams: bool,
    pub(crate) received: Timestamp,
    pub(crate) answered: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    audit_id: Uuid,
    stage: &'static str,
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    verb: &'a str,
    user: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<Value>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    source_ips: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<Value>,
    response_status: Value,
    request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Value>,
}

fn bounded(text: &str) -> &str {
    let end = (0..=LONGEST_TEXT.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

fn object_ref(on: &OnResource<'_>) -> Value {
    let mut reference = serde_json::Map::new();
    for (field, value) in [
        ("resource", on.resource),
        ("namespace", on.namespace),
        ("name", on.name),
        ("apiGroup", on.group),
        ("apiVersion", on.version),
        ("subresource", on.subresource),
    ] {
        if !value.is_empty() {
            reference.insert(field.to_owned(), json!(value));
        }
    }
    Value::Object(reference)
}

impl Event<'_> {
    pub(super) fn to_line(&self) -> Vec<u8> {
        let annotations = self
            .decision
            .map(|reason| json!({"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": reason}));
        let line = Line {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: "Metadata",
            audit_id: self.id,
            stage: if self.streams { "ResponseStarted" } else { "ResponseComplete" },
            request_uri: bounded(self.uri),
            verb: self.verb,
            user: self.caller.map_or_else(|| json!({}), Identity::user_info),
            impersonated_user: self.impersonated.map(Identity::user_info),
            source_ips: self.source.map(|address| address.ip().to_string()).into_iter().collect(),
            user_agent: self.user_agent.map(bounded),
            object_ref: self.object.as_ref().map(object_ref),
            response_status: json!({"metadata": {}, "code": self.code}),
            request_received_timestamp: time::format_micro_time(self.received),
            stage_timestamp: time::format_micro_time(self.answered),
            annotations,
        };
        // Strings and numbers can always be written to memory.
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}
