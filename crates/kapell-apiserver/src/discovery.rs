//! What this server serves, derived from the table of kinds: the aggregated form that kubectl prefers, and the older
//! lists, one per group and version.

use axum::body::Body;
use http::{HeaderMap, Response};
use kapell_api::kind::{Kind, Subresource};
use kapell_api::status::Status;
use serde_json::{Value, json};

use crate::engine::{subresource_name, usage};
use crate::negotiate::{self, Discovery};
use crate::reply::Document;
use crate::resources::Resources;

const JSON: &str = "application/json";
const AGGREGATED_V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_V2BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// A document in its three forms.
struct Forms {
    v2: Document,
    v2beta1: Document,
    legacy: Document,
}

impl Forms {
    fn new(groups: &[Value], legacy: &Value) -> Self {
        let list = |version: &str| {
            Document::new(&json!({
                "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
                "metadata": {}, "items": groups,
            }))
        };
        Self { v2: list("v2"), v2beta1: list("v2beta1"), legacy: Document::new(legacy) }
    }

    fn respond(&self, headers: &HeaderMap) -> Result<Response<Body>, Status> {
        match negotiate::discovery(headers) {
            Some(Discovery::Aggregated("v2")) => Ok(self.v2.respond(headers, AGGREGATED_V2)),
            Some(Discovery::Aggregated(_)) => Ok(self.v2beta1.respond(headers, AGGREGATED_V2BETA1)),
            Some(Discovery::Legacy) => Ok(self.legacy.respond(headers, JSON)),
            None => Err(Status::not_acceptable(&[JSON])),
        }
    }
}

/// All discovery documents, made once: the table does not change while the server runs.
pub(crate) struct DiscoveryDocuments {
    core: Forms,
    named: Forms,
    /// `APIGroup` by group.
    groups: Vec<(String, Document)>,
    /// `APIResourceList` by group and version.
    resources: Vec<((String, String), Document)>,
}

impl DiscoveryDocuments {
    pub(crate) fn new(resources: &Resources) -> Self {
        let pairs = resources.group_versions();
        let mut names: Vec<&str> = Vec::new();
        for (group, _) in &pairs {
            if !names.contains(group) {
                names.push(group);
            }
        }
        let versions_of = |group: &str| pairs.iter().filter(|(g, _)| *g == group).map(|(_, v)| *v).collect::<Vec<_>>();
        let aggregated = |group: &str| {
            let versions: Vec<Value> =
                versions_of(group).iter().map(|v| aggregated_version(resources, group, v)).collect();
            let mut metadata = json!({"creationTimestamp": null});
            if !group.is_empty() {
                metadata["name"] = json!(group);
            }
            json!({"metadata": metadata, "versions": versions})
        };
        let (core, named): (Vec<&str>, Vec<&str>) = names.iter().copied().partition(|group| group.is_empty());
        let [metrics_aggregated, metrics_group, metrics_list] = usage::discovery();
        let mut group_values: Vec<(String, Value)> =
            named.iter().map(|group| ((*group).to_owned(), api_group(group, &versions_of(group)))).collect();
        group_values.push((usage::GROUP.to_owned(), metrics_group));
        let mut named: Vec<Value> = named.iter().map(|group| aggregated(group)).collect();
        named.push(metrics_aggregated);
        let metrics_key = (usage::GROUP.to_owned(), usage::VERSION.to_owned());
        let core_versions = json!({
            "kind": "APIVersions", "versions": versions_of(""), "serverAddressByClientCIDRs": [],
        });
        let group_list = json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": group_values.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>(),
        });
        Self {
            core: Forms::new(&core.iter().map(|g| aggregated(g)).collect::<Vec<_>>(), &core_versions),
            named: Forms::new(&named, &group_list),
            groups: group_values
                .into_iter()
                .map(|(name, mut value)| {
                    value["kind"] = json!("APIGroup");
                    value["apiVersion"] = json!("v1");
                    (name, Document::new(&value))
                })
                .collect(),
            resources: pairs
                .iter()
                .map(|(group, version)| {
                    let list = resource_list(resources, group, version);
                    (((*group).to_owned(), (*version).to_owned()), Document::new(&list))
                })
                .chain([(metrics_key, Document::new(&metrics_list))])
                .collect(),
        }
    }

    /// `/api`.
    pub(crate) fn core(&self, headers: &HeaderMap) -> Result<Response<Body>, Status> {
        self.core.respond(headers)
    }

    /// `/apis`.
    pub(crate) fn groups(&self, headers: &HeaderMap) -> Result<Response<Body>, Status> {
        self.named.respond(headers)
    }

    /// `/apis/GROUP`.
    pub(crate) fn group(&self, headers: &HeaderMap, name: &str) -> Result<Response<Body>, Status> {
        let found = self.groups.iter().find(|(group, _)| group == name);
        found.map(|(_, document)| document.respond(headers, JSON)).ok_or_else(Status::no_such_resource)
    }

    /// `/api/v1`, `/apis/GROUP/VERSION`.
    pub(crate) fn resources(&self, headers: &HeaderMap, group: &str, version: &str) -> Result<Response<Body>, Status> {
        let found = self.resources.iter().find(|((g, v), _)| g == group && v == version);
        found.map(|(_, document)| document.respond(headers, JSON)).ok_or_else(Status::no_such_resource)
    }
}

fn api_group(group: &str, versions: &[&str]) -> Value {
    let entry = |version: &&str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({
        "name": group,
        "versions": versions.iter().map(entry).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(entry),
    })
}

fn of_version<'a>(
    resources: &'a Resources,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'static Kind> + 'a {
    resources.iter().map(|r| r.kind).filter(move |kind| kind.group == group && kind.version == version)
}

fn aggregated_version(resources: &Resources, group: &str, version: &str) -> Value {
    let entries: Vec<Value> = of_version(resources, group, version)
        .map(|kind| {
            let mut entry = json!({
                "resource": kind.plural,
                "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
                "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
                "singularResource": kind.singular,
                "verbs": kind.verbs,
            });
            if !kind.short_names.is_empty() {
                entry["shortNames"] = json!(kind.short_names);
            }
            if !kind.categories.is_empty() {
                entry["categories"] = json!(kind.categories);
            }
            let subresources: Vec<Value> = kind
                .subresources
                .iter()
                .map(|subresource| {
                    let (group, version, name) = response_kind(kind, subresource);
                    json!({
                        "subresource": subresource_name(subresource),
                        "responseKind": {"group": group, "version": version, "kind": name},
                        "verbs": verbs_of(subresource),
                    })
                })
                .collect();
            if !subresources.is_empty() {
                entry["subresources"] = json!(subresources);
            }
            entry
        })
        .collect();
    json!({"version": version, "freshness": "Current", "resources": entries})
}

fn resource_list(resources: &Resources, group: &str, version: &str) -> Value {
    let mut entries = Vec::new();
    for kind in of_version(resources, group, version) {
        let mut entry = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": kind.verbs,
        });
        if !kind.short_names.is_empty() {
            entry["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            entry["categories"] = json!(kind.categories);
        }
        entries.push(entry);
        for subresource in kind.subresources {
            let (group, version, name) = response_kind(kind, subresource);
            let mut entry = json!({
                "name": format!("{}/{}", kind.plural, subresource_name(subresource)), "singularName": "",
                "namespaced": kind.namespaced, "kind": name, "verbs": verbs_of(subresource),
            });
            if (group, version) != (kind.group, kind.version) {
                entry["group"] = json!(group);
                entry["version"] = json!(version);
            }
            entries.push(entry);
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries})
}

fn response_kind(kind: &Kind, subresource: &Subresource) -> (&'static str, &'static str, &'static str) {
    match subresource {
        Subresource::Scale(_) => ("autoscaling", "v1", "Scale"),
        Subresource::Binding => ("", "v1", "Binding"),
        Subresource::Token => ("authentication.k8s.io", "v1", "TokenRequest"),
        Subresource::Eviction => ("policy", "v1", "Eviction"),
        Subresource::Status
        | Subresource::Finalize
        | Subresource::Approval
        | Subresource::EphemeralContainers
        | Subresource::Connect(_) => (kind.group, kind.version, kind.kind),
    }
}

fn verbs_of(subresource: &Subresource) -> &'static [&'static str] {
    match subresource {
        Subresource::Status | Subresource::Approval | Subresource::EphemeralContainers | Subresource::Scale(_) => {
            &["get", "patch", "update"]
        }
        Subresource::Binding | Subresource::Token | Subresource::Eviction => &["create"],
        Subresource::Finalize => &["update"],
        // Asked for by GET as a WebSocket and, by older clients, by POST; roles name the latter.
        Subresource::Connect("exec" | "attach" | "portforward") => &["create", "get"],
        Subresource::Connect("proxy") => &["create", "delete", "get", "patch", "update"],
        Subresource::Connect(_) => &["get"],
    }
}
