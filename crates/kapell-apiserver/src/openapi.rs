//! OpenAPI: the documents from which kubectl validates, explains, and computes its patches.
//!
//! Everything is derived from the table: schemas from the rows' JSON Schemas, paths from what the engine serves, merge
//! keys from the compiled schema. Documents are made when first asked for, since they are the largest thing
//! that this server computes and many runs never need them.

mod schemas;

use std::sync::OnceLock;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use kapell_api::kind::{Kind, Subresource};
use kapell_api::protobuf;
use kapell_api::status::Status;
use serde_json::{Map, Value, json};

use crate::engine::usage;
use crate::negotiate;
use crate::path::Query;
use crate::reply::Document;
use crate::resources::Resources;

const JSON: &str = "application/json";
/// In what form objects can be sent.
const BODIES: [&str; 3] = [JSON, "application/yaml", protobuf::MEDIA_TYPE];
const GNOSTIC: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// What the answer is called: the `@` in the name that clients ask for is not allowed in a `Content-Type`, and Go's parser
/// insists.
const GNOSTIC_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// An empty gnostic `Document` (`swagger: "2.0"`, an info, no paths). kubectl asks for it when a file holds a `List` and
/// then looks only at whether it can be decoded.
const EMPTY_GNOSTIC: [u8; 16] =
    [0x0a, 0x03, b'2', b'.', b'0', 0x12, 0x07, 0x0a, 0x01, b'x', 0x12, 0x02, b'v', b'1', 0x42, 0x00];

/// The documents, each made at first use.
#[derive(Default)]
pub(crate) struct OpenApi {
    documents: OnceLock<Vec<((&'static str, &'static str), Document)>>,
    index: OnceLock<Document>,
    v2: OnceLock<Document>,
}

impl OpenApi {
    fn documents(&self, resources: &Resources) -> &[((&'static str, &'static str), Document)] {
        self.documents.get_or_init(|| {
            let stored = resources.group_versions().into_iter().map(|(g, v)| ((g, v), document(resources, g, v)));
            let measured = ((usage::GROUP, usage::VERSION), usage_document(resources));
            stored.chain([measured]).map(|(of, document)| (of, Document::new(&document))).collect()
        })
    }

    /// `/openapi/v3`: where each group and version has its document, with the hash of its content in the URL.
    pub(crate) fn index(&self, resources: &Resources, headers: &HeaderMap) -> Response<Body> {
        let index = self.index.get_or_init(|| {
            let mut paths = Map::new();
            for ((group, version), document) in self.documents(resources) {
                let path = base_path(group, version);
                let url = format!("/openapi/v3{path}?hash={}", document.hash);
                paths.insert(path.trim_start_matches('/').to_owned(), json!({"serverRelativeURL": url}));
            }
            Document::new(&json!({"paths": paths}))
        });
        index.respond(headers, JSON)
    }

    /// One document. With its hash in the URL it may be kept for ever.
    pub(crate) fn document(
        &self,
        resources: &Resources,
        headers: &HeaderMap,
        query: &Query,
        group: &str,
        version: &str,
    ) -> Result<Response<Body>, Status> {
        let found = self.documents(resources).iter().find(|((g, v), _)| *g == group && *v == version);
        let (_, document) = found.ok_or_else(Status::no_such_resource)?;
        let mut response = document.respond(headers, JSON);
        if query.get("hash") == Some(document.hash.as_str()) {
            let year = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(365 * 24);
            let expires = year.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            if let Ok(expires) = HeaderValue::from_str(&expires) {
                headers.insert(header::EXPIRES, expires);
            }
        }
        Ok(response)
    }

    /// `/openapi/v2`: the definitions as JSON, or, in protobuf, a document that says nothing.
    pub(crate) fn v2(&self, resources: &Resources, headers: &HeaderMap) -> Response<Body> {
        if negotiate::accepts_exactly(headers, GNOSTIC) || negotiate::accepts_exactly(headers, GNOSTIC_ANSWER) {
            return Document::from_bytes(Bytes::from_static(&EMPTY_GNOSTIC)).respond(headers, GNOSTIC_ANSWER);
        }
        let v2 = self.v2.get_or_init(|| {
            let mut definitions = Map::new();
            // Removed versions share the names of their successors' types, but not always their fields.
            for resource in resources.iter().filter(|r| r.kind.view.is_none_or(|view| view.gone.is_none())) {
                definitions.extend(schemas::of(resource, "#/definitions/"));
            }
            Document::new(&json!({
                "swagger": "2.0", "info": {"title": "Kapell", "version": env!("CARGO_PKG_VERSION")},
                "paths": {}, "definitions": definitions,
            }))
        });
        v2.respond(headers, JSON)
    }
}

fn base_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

fn document(resources: &Resources, group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    let mut components = Map::new();
    for resource in resources.iter().filter(|r| r.kind.group == group && r.kind.version == version) {
        components.extend(schemas::of(resource, "#/components/schemas/"));
        add_paths(&mut paths, resource.kind);
    }
    version_3(&json!(paths), &json!(components))
}

/// The document of what is measured, whose kinds are no rows of the table. What metadata is, it has from the row of pods.
fn usage_document(resources: &Resources) -> Value {
    const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    const PREFIX: &str = "#/components/schemas/";
    let (paths, mut components) = usage::openapi(&json!({"$ref": format!("{PREFIX}{OBJECT_META}")}));
    let pods = resources.find("", "v1", "pods").map(|pods| schemas::of(pods, PREFIX)).unwrap_or_default();
    for (name, schema) in pods.into_iter().filter(|(name, _)| name.starts_with("io.k8s.apimachinery.")) {
        components[name] = schema;
    }
    version_3(&paths, &components)
}

fn version_3(paths: &Value, schemas: &Value) -> Value {
    json!({
        "openapi": "3.0.0", "info": {"title": "Kapell", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths, "components": {"schemas": schemas},
    })
}

fn add_paths(paths: &mut Map<String, Value>, kind: &Kind) {
    let base = base_path(kind.group, kind.version);
    let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{base}{scope}/{}", kind.plural);
    let object = format!("{collection}/{{name}}");
    let parameters = |with_name: bool| {
        let names = [("namespace", kind.namespaced), ("name", with_name)];
        let all = names.iter().filter(|(_, present)| *present).map(|(name, _)| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
        });
        all.collect::<Vec<_>>()
    };
    if !kind.is_stored() {
        let post = operation(kind, "post", Some(&BODIES));
        paths.insert(collection, json!({"parameters": parameters(false), "post": post}));
        return;
    }
    paths.insert(
        collection,
        json!({
            "parameters": parameters(false),
            "get": operation(kind, "list", None),
            "post": operation(kind, "post", Some(&BODIES)),
            "delete": operation(kind, "deletecollection", None),
        }),
    );
    paths.insert(
        object.clone(),
        json!({
            "parameters": parameters(true),
            "get": operation(kind, "get", None),
            "put": operation(kind, "put", Some(&BODIES)),
            "patch": operation(kind, "patch", Some(&PATCHES)),
            "delete": operation(kind, "delete", None),
        }),
    );
    let writable = [
        (Subresource::Status, "status"),
        (Subresource::Approval, "approval"),
        (Subresource::EphemeralContainers, "ephemeralcontainers"),
    ];
    for (_, name) in writable.iter().filter(|(subresource, _)| kind.subresources.contains(subresource)) {
        paths.insert(
            format!("{object}/{name}"),
            json!({
                "parameters": parameters(true),
                "get": operation(kind, "get", None),
                "put": operation(kind, "put", Some(&BODIES)),
                "patch": operation(kind, "patch", Some(&PATCHES)),
            }),
        );
    }
}

const PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

/// One operation; `body` are the media types that it takes.
fn operation(kind: &Kind, action: &str, body: Option<&[&str]>) -> Value {
    let reference = json!({"$ref": format!("#/components/schemas/{}", schemas::name_of(kind))});
    let mut operation = json!({
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "responses": {"200": {"description": "OK", "content": {JSON: {"schema": reference}}}},
    });
    if let Some(types) = body {
        let mut content = Map::new();
        for media_type in types {
            let schema = if action == "patch" { json!({"type": "object"}) } else { reference.clone() };
            content.insert((*media_type).to_owned(), json!({"schema": schema}));
        }
        operation["requestBody"] = json!({"required": true, "content": content});
        let parameters = ["dryRun", "fieldManager", "fieldValidation"]
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}));
        operation["parameters"] = json!(parameters);
    }
    operation
}
