//! [`EventSink`], `kapell.dev/v1alpha1`: an address that the events of a namespace are delivered to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::{ListableResource, Metadata, NamespaceResourceScope, Resource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::workflow::{API_VERSION, ApiVersion, GROUP, VERSION, namespaced_resource};

/// Always `EventSink`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EventSinkKind {
    #[default]
    EventSink,
}

/// Where events of the namespace are delivered to, by HTTP, in their order and at least once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.EventSink")]
pub struct EventSink {
    /// Version of this representation.
    #[serde(default)]
    #[schemars(with = "String")]
    pub api_version: ApiVersion,
    /// Kind of this object.
    #[serde(default)]
    #[schemars(with = "String")]
    pub kind: EventSinkKind,
    /// Standard object's metadata.
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::object_meta")]
    pub metadata: ObjectMeta,
    /// What is delivered, and where to.
    pub spec: EventSinkSpec,
    /// How far deliveries are; written by the workflow engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<EventSinkStatus>,
}

/// What is delivered, and where to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.EventSinkSpec")]
pub struct EventSinkSpec {
    /// Each event is a POST to this URI: a Service of the cluster, or whoever the server's egress rules allow.
    pub uri: String,
    /// Only events of these types, each exact or the beginning of types followed by `*`. Without any, all but lifecycle
    /// events of workflows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// How events are written: `Structured` (one JSON document each), `Binary` (attributes as headers) or `Batched` (as many as
    /// there are, at most 64 and about 1 MiB, in one request).
    #[serde(default)]
    pub mode: EventSinkMode,
    /// Which events count for a new sink: `Latest` (those to come) or `Earliest` (all that the log has).
    #[serde(default)]
    pub from: EventSinkStart,
    /// What becomes of an event that the sink refuses with a status from 400 to 499 (but 408, 425 and 429): `Retry` until it
    /// takes it, or `Skip`.
    #[serde(default)]
    pub on_refusal: OnRefusal,
    /// Headers of each request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<EventSinkHeader>,
    /// Nothing is delivered while this is true; what comes meanwhile is delivered later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "dev.kapell.v1alpha1.EventSinkMode")]
pub enum EventSinkMode {
    #[default]
    Structured,
    Binary,
    Batched,
}

/// Which events count for a new sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "dev.kapell.v1alpha1.EventSinkStart")]
pub enum EventSinkStart {
    #[default]
    Latest,
    Earliest,
}

/// What becomes of an event that a sink refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "dev.kapell.v1alpha1.OnRefusal")]
pub enum OnRefusal {
    #[default]
    Retry,
    Skip,
}

/// A header with its value, or with where its value is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.EventSinkHeader")]
pub struct EventSinkHeader {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<HeaderSource>,
}

/// Where the value of a header is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.HeaderSource")]
pub struct HeaderSource {
    /// A key of a Secret of the namespace, read for each request.
    pub secret_key_ref: SecretKey,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.SecretKey")]
pub struct SecretKey {
    pub name: String,
    pub key: String,
}

/// How far deliveries are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "dev.kapell.v1alpha1.EventSinkStatus")]
pub struct EventSinkStatus {
    /// `Delivering`, `Retrying` (the sink does not take what it is sent) or `Suspended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Events before this position of the namespace's log have been dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// How many events it has taken.
    #[serde(default)]
    pub delivered: u64,
    /// How many it has refused for good (`onRefusal: Skip`).
    #[serde(default)]
    pub skipped: u64,
    /// How many positions the log has forgotten before they could be looked at.
    #[serde(default)]
    pub lost: u64,
    /// When it has taken the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub last_delivery_time: Option<Time>,
    /// Why the latest attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

namespaced_resource!(EventSink, "EventSink", "EventSinkList", "eventsinks");
