//! The one engine behind every resource: it turns a request about any kind into reads and compare-and-set writes.
//!
//! What distinguishes kinds is asked from their row of the table; only what Kubernetes itself treats specially (the
//! life of namespaces, graceful deletion of pods, addresses of services) is spelled out, in modules of that name.
//! A write is decided on the object as read and committed under the condition that it is still that object; where
//! another write came between, it is decided again.

mod apply;
mod binding;
mod collection;
mod connect;
mod create;
mod delete;
mod feed;
mod list;
mod metadata;
mod ownership;
mod patch;
mod read;
mod scale;
mod selection;
mod update;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use kapell_api::kind::{Kind, Subresource};
use kapell_api::status::Status;
use kapell_store::{CommitError, Entry, Expect, ReadError, Revision, Store, Transaction, Write};
use parking_lot::RwLock;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub(crate) use self::ownership::{Ownership, SERVER};
pub(crate) use self::update::Mode;
use crate::addresses::ServiceAddresses;
use crate::path::{Query, ResourcePath};
use crate::resources::{Resource, Resources};
use crate::{Connect, Feed};
use crate::{key, stored};

/// How often a write that lost against another one is decided again before the client gets 409.
const ATTEMPTS: usize = 10;

pub(crate) struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) resources: Resources,
    pub(crate) addresses: Option<ServiceAddresses>,
    connectors: RwLock<HashMap<(String, String), Arc<dyn Connect>>>,
    /// By group, version and plural.
    feeds: RwLock<HashMap<(String, String, String), Arc<dyn Feed>>>,
    /// Creates hold it shared from the look at their namespace to the commit, the deletion of a namespace holds it
    /// alone: nothing is created in a namespace after its controller was told to empty it.
    namespaces: tokio::sync::RwLock<()>,
}

/// A request about a resource, body read.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Who asks, as in `UserInfo.username`.
    pub(crate) user: String,
    /// Ends watches and streams.
    pub(crate) shutdown: CancellationToken,
}

/// One object by its name.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: &'a str,
}

impl Target<'_> {
    pub(crate) fn key(&self) -> Bytes {
        Bytes::from(key::of_object(self.resource.kind, self.namespace, self.name))
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(self.resource.kind, self.name)
    }
}

/// An object as a write left it.
pub(crate) struct Written {
    pub(crate) stored: Bytes,
    /// Absent for an object that a dry run did not create.
    pub(crate) revision: Option<Revision>,
    pub(crate) warnings: Vec<String>,
}

impl Engine {
    pub(crate) fn new(store: Arc<dyn Store>, resources: Resources, addresses: Option<ServiceAddresses>) -> Self {
        let (connectors, feeds) = (RwLock::default(), RwLock::default());
        Self { store, resources, addresses, connectors, feeds, namespaces: tokio::sync::RwLock::default() }
    }

    pub(crate) fn register_connect(&self, plural: &str, subresource: &str, connect: Arc<dyn Connect>) {
        self.connectors.write().insert((plural.to_owned(), subresource.to_owned()), connect);
    }

    pub(crate) fn register_feed(&self, [group, version, plural]: [&str; 3], feed: Arc<dyn Feed>) {
        self.feeds.write().insert((group.to_owned(), version.to_owned(), plural.to_owned()), feed);
    }

    /// Performs a request. Every failure is a `Status`.
    pub(crate) async fn handle(&self, call: &Call) -> Result<Response<Body>, Status> {
        let path = &call.path;
        let Some(resource) = self.resources.find(&path.group, &path.version, &path.plural) else {
            return self.feed(call).await;
        };
        let scope_fits = match (resource.kind.namespaced, &path.namespace, &path.name) {
            (false, Some(_), _) | (true, None, Some(_)) => false,
            (false, None, _) | (true, _, None) | (true, Some(_), _) => true,
        };
        if !scope_fits {
            return Err(Status::no_such_resource());
        }
        match (&path.name, &path.subresource) {
            (None, _) => self.handle_collection(call, resource).await,
            (Some(name), None) => {
                self.handle_object(call, Target { resource, namespace: path.namespace.as_deref(), name }).await
            }
            (Some(name), Some(subresource)) => {
                let target = Target { resource, namespace: path.namespace.as_deref(), name };
                self.handle_subresource(call, target, subresource).await
            }
        }
    }

    async fn handle_collection(&self, call: &Call, resource: &Resource) -> Result<Response<Body>, Status> {
        match call.method {
            Method::GET | Method::HEAD if call.query.flag("watch") => self.watch(call, resource, None).await,
            Method::GET | Method::HEAD => self.list(call, resource).await,
            Method::POST => self.create(call, resource).await,
            // Across namespaces there is only reading, as upstream: a slip would empty the whole server.
            Method::DELETE if !resource.kind.namespaced || call.path.namespace.is_some() => {
                self.delete_collection(call, resource).await
            }
            _ => Err(not_allowed(resource, &call.method)),
        }
    }

    async fn handle_object(&self, call: &Call, target: Target<'_>) -> Result<Response<Body>, Status> {
        match call.method {
            Method::GET | Method::HEAD if call.query.flag("watch") => {
                self.watch(call, target.resource, Some(target.name)).await
            }
            Method::GET | Method::HEAD => self.get(call, target).await,
            Method::PUT => self.put(call, target, Mode::Main).await,
            Method::PATCH => self.patch(call, target, Mode::Main).await,
            Method::DELETE => self.delete(call, target).await,
            _ => Err(not_allowed(target.resource, &call.method)),
        }
    }

    async fn handle_subresource(&self, call: &Call, target: Target<'_>, name: &str) -> Result<Response<Body>, Status> {
        let known = target.resource.kind.subresources.iter().find(|s| subresource_name(s) == name);
        let subresource = known.ok_or_else(Status::no_such_resource)?;
        match (subresource, &call.method) {
            (Subresource::Status, &Method::GET | &Method::HEAD) => self.get(call, target).await,
            (Subresource::Status, &Method::PUT) => self.put(call, target, Mode::Status).await,
            (Subresource::Status, &Method::PATCH) => self.patch(call, target, Mode::Status).await,
            (Subresource::Finalize, &Method::PUT) => self.put(call, target, Mode::Finalize).await,
            (Subresource::Scale(paths), &Method::GET | &Method::HEAD) => self.get_scale(call, target, paths).await,
            (Subresource::Scale(paths), &Method::PUT | &Method::PATCH) => self.set_scale(call, target, paths).await,
            (Subresource::Binding, &Method::POST) => self.create_binding(call, target).await,
            (Subresource::Connect(_), _) => self.connect(call, target, name).await,
            _ => Err(not_allowed(target.resource, &call.method)),
        }
    }

    /// The entry of an object, or 404.
    pub(crate) async fn fetch(&self, target: Target<'_>) -> Result<Arc<Entry>, Status> {
        let entry = self.store.get(&target.key()).await.map_err(read_failed)?;
        entry.ok_or_else(|| target.not_found())
    }

    /// Writes one key. `Ok(None)` says that the expectation did not hold.
    pub(crate) async fn commit(
        &self,
        key: Bytes,
        expect: Expect,
        value: Option<Bytes>,
    ) -> Result<Option<Revision>, Status> {
        let transaction = Transaction { writes: vec![Write { key, expect, value }], journal: Vec::new() };
        match self.store.commit(transaction).await {
            Ok(revision) => Ok(Some(revision)),
            Err(CommitError::Conflict { .. }) => Ok(None),
            Err(CommitError::Unavailable(why)) => {
                Err(Status::too_many_requests(format!("the store is busy: {why}"), 1))
            }
            Err(error @ (CommitError::Storage(_) | CommitError::Sequence { .. } | CommitError::Closed { .. })) => {
                tracing::error!(%error, "a write failed");
                Err(Status::internal(error.to_string()))
            }
        }
    }

    /// Row, schema and configured validators together; one complaint per field and sentence.
    pub(crate) fn validate(&self, resource: &Resource, object: &Value, old: Option<&Value>) -> Result<(), Status> {
        let mut problems = (resource.kind.validate)(object);
        if let Some(old) = old {
            problems.extend((resource.kind.validate_update)(object, old));
        }
        for missing in resource.schema().missing(object) {
            // What controllers write into status is theirs to complete; clients must complete the rest.
            if !missing.field.starts_with("status") && !problems.iter().any(|p| p.field == missing.field) {
                problems.push(missing);
            }
        }
        for validator in &resource.validators {
            problems.extend(validator(object));
        }
        let mut unique = Vec::with_capacity(problems.len());
        for problem in problems {
            if !unique.contains(&problem) {
                unique.push(problem);
            }
        }
        if unique.is_empty() { Ok(()) } else { Err(Status::invalid(resource.kind, name_of(object), &unique)) }
    }
}

pub(crate) fn subresource_name(subresource: &Subresource) -> &'static str {
    match subresource {
        Subresource::Status => "status",
        Subresource::Scale(_) => "scale",
        Subresource::Binding => "binding",
        Subresource::Finalize => "finalize",
        Subresource::Connect(name) => name,
    }
}

fn not_allowed(resource: &Resource, method: &Method) -> Status {
    Status::method_not_allowed(resource.kind, method.as_str())
}

pub(crate) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Read errors that no request parameter is to blame for.
pub(crate) fn read_failed(error: ReadError) -> Status {
    match error {
        ReadError::Compacted { .. } => Status::expired(format!("The resourceVersion is too old: {error}")),
        ReadError::Future { requested, latest } => Status::resource_version_too_large(requested, latest),
        ReadError::Backend(_) => {
            tracing::error!(%error, "a read failed");
            Status::internal(error.to_string())
        }
    }
}

/// The stored object is not JSON: somebody else wrote the database.
pub(crate) fn undecodable(kind: &Kind, error: &serde_json::Error) -> Status {
    tracing::error!(%error, kind = kind.kind, "a stored object cannot be decoded");
    Status::internal(format!("a stored {} cannot be decoded: {error}", kind.kind))
}

pub(crate) fn decode(kind: &Kind, entry: &Entry) -> Result<Value, Status> {
    stored::decode(entry).map_err(|error| undecodable(kind, &error))
}
