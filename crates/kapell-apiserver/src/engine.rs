//! The one engine behind every resource: it turns a request about any kind into reads and compare-and-set writes.
//!
//! What distinguishes kinds is asked from their row of the table; only what Kubernetes itself treats specially (the
//! life of namespaces, graceful deletion of pods, addresses of services) is spelled out, in modules of that name.
//! A write is decided on the object as read and committed under the condition that it is still that object; where
//! another write came between, it is decided again.

mod admit;
mod apply;
mod binding;
mod certificates;
mod collection;
mod connect;
mod create;
mod delete;
mod eviction;
mod feed;
mod list;
mod metadata;
mod ownership;
mod patch;
mod read;
mod review;
mod roles;
mod scale;
mod selection;
mod shared_events;
mod token;
mod update;
pub(crate) mod usage;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use kapell_api::kind::{Kind, Subresource};
use kapell_api::problem::Problem;
use kapell_api::status::Status;
use kapell_store::{CommitError, Entry, ReadError, Revision, Store, Transaction, Write};
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::admit::QuotaLocks;
pub(crate) use self::metadata::random_uuid;
pub(crate) use self::ownership::{Ownership, SERVER};
use self::shared_events::SharedEvents;
pub(crate) use self::update::Mode;
use crate::addresses::ServiceAddresses;
use crate::auth::{Authenticator, Identity};
use crate::authorize::{self, Authorizer};
use crate::form::Form;
use crate::metrics::Metrics;
use crate::path::{Query, ResourcePath};
use crate::resources::{Resource, Resources};
use crate::websocket::Upgrade;
use crate::{Connect, Feed, Intake, PassedOn, key, reply, stored};

/// How often a write that lost against another one is decided again before the client gets 409.
const ATTEMPTS: usize = 10;

/// Group, version and plural, as in a URL.
type GroupVersionPlural = (String, String, String);

pub(crate) struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) resources: Resources,
    pub(crate) addresses: Option<ServiceAddresses>,
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: Authorizer,
    pub(crate) metrics: Arc<Metrics>,
    connectors: RwLock<HashMap<(String, String), Arc<dyn Connect>>>,
    usage: RwLock<Option<Arc<dyn usage::UsageSource>>>,
    feeds: RwLock<HashMap<GroupVersionPlural, Arc<dyn Feed>>>,
    intakes: RwLock<HashMap<(String, String), Arc<dyn Intake>>>,
    /// Creates hold it shared from the look at their namespace to the commit, the deletion of a namespace holds it
    /// alone: nothing is created in a namespace after its controller was told to empty it.
    /// Whoever changes something in a namespace holds it shared too, and a new quota holds it alone: it counts what
    /// there is while nothing changes.
    namespaces: tokio::sync::RwLock<()>,
    quota_locks: QuotaLocks,
    pub(crate) events: Arc<SharedEvents>,
}

/// What became of a transaction.
pub(crate) enum Committed {
    At(Revision),
    /// This key is not what was expected.
    Conflict(Bytes),
}

/// A request about a resource, body read.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Who asks, and may.
    pub(crate) identity: Identity,
    /// Taken by what can be a WebSocket.
    pub(crate) upgrade: Arc<Mutex<Option<Upgrade>>>,
    /// Taken by what passes requests on.
    pub(crate) passed_on: Arc<Mutex<Option<PassedOn>>>,
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
    pub(crate) fn new(
        store: Arc<dyn Store>,
        resources: Resources,
        addresses: Option<ServiceAddresses>,
        authenticator: Authenticator,
        authorizer: Authorizer,
    ) -> Self {
        Self {
            store,
            resources,
            addresses,
            authenticator,
            authorizer,
            metrics: Arc::default(),
            connectors: RwLock::default(),
            usage: RwLock::default(),
            feeds: RwLock::default(),
            intakes: RwLock::default(),
            namespaces: tokio::sync::RwLock::default(),
            quota_locks: QuotaLocks::default(),
            events: Arc::default(),
        }
    }

    pub(crate) fn register_connect(&self, plural: &str, subresource: &str, connect: Arc<dyn Connect>) {
        self.connectors.write().insert((plural.to_owned(), subresource.to_owned()), connect);
    }

    pub(crate) fn register_feed(&self, [group, version, plural]: [&str; 3], feed: Arc<dyn Feed>) {
        self.feeds.write().insert((group.to_owned(), version.to_owned(), plural.to_owned()), feed);
    }

    pub(crate) fn register_intake(&self, group: &str, plural: &str, intake: Arc<dyn Intake>) {
        self.intakes.write().insert((group.to_owned(), plural.to_owned()), intake);
    }

    /// Performs a request. Every failure is a `Status`.
    pub(crate) async fn handle(&self, call: &Call) -> Result<Response<Body>, Status> {
        let path = &call.path;
        let Ok(served) = self.served(call) else {
            return if path.group == usage::GROUP { self.usage(call).await } else { self.feed(call).await };
        };
        let resource = self.kept(served);
        let scope_fits = match (resource.kind.namespaced, &path.namespace, &path.name) {
            (false, Some(_), _) | (true, None, Some(_)) => false,
            (false, None, _) | (true, _, None) | (true, Some(_), _) => true,
        };
        if !scope_fits || (path.name.is_some() && !resource.kind.is_stored()) {
            return Err(Status::no_such_resource());
        }
        let mut response = match (&path.name, &path.subresource) {
            (None, _) => self.handle_collection(call, resource).await,
            (Some(name), None) => {
                self.handle_object(call, Target { resource, namespace: path.namespace.as_deref(), name }).await
            }
            (Some(name), Some(subresource)) => {
                let target = Target { resource, namespace: path.namespace.as_deref(), name };
                self.handle_subresource(call, target, subresource).await
            }
        }?;
        if let Some(warning) = Form::of(served.kind).warning() {
            reply::warn(&mut response, &warning);
        }
        Ok(response)
    }

    /// The resource that the URL names, be it kept in that form or not.
    fn served(&self, call: &Call) -> Result<&Resource, Status> {
        let path = &call.path;
        self.resources.find(&path.group, &path.version, &path.plural).ok_or_else(Status::no_such_resource)
    }

    /// The resource in whose form the objects of `served` are kept.
    fn kept<'a>(&'a self, served: &'a Resource) -> &'a Resource {
        let kept = served.kind.view.and_then(|view| self.resources.find(view.of.0, view.of.1, served.kind.plural));
        kept.unwrap_or(served)
    }

    async fn handle_collection(&self, call: &Call, resource: &Resource) -> Result<Response<Body>, Status> {
        match call.method {
            Method::POST if !resource.kind.is_stored() => self.review(call, resource).await,
            _ if !resource.kind.is_stored() => Err(not_allowed(resource, &call.method)),
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
        if let Some(mode) = Mode::by_way_of(subresource) {
            return match call.method {
                // Of these, that of the finalizers alone cannot be read.
                Method::GET | Method::HEAD if mode != Mode::Finalize => self.get(call, target).await,
                Method::PUT => self.put(call, target, mode).await,
                Method::PATCH if mode != Mode::Finalize => self.patch(call, target, mode).await,
                _ => Err(not_allowed(target.resource, &call.method)),
            };
        }
        match (subresource, &call.method) {
            (Subresource::Scale(paths), &Method::GET | &Method::HEAD) => self.get_scale(call, target, paths).await,
            (Subresource::Scale(paths), &Method::PUT | &Method::PATCH) => self.set_scale(call, target, paths).await,
            (Subresource::Binding, &Method::POST) => self.create_binding(call, target).await,
            (Subresource::Eviction, &Method::POST) => self.evict(call, target).await,
            (Subresource::Token, &Method::POST) => self.create_token(call, target).await,
            (Subresource::Connect(_), _) => self.connect(call, target, name).await,
            _ => Err(not_allowed(target.resource, &call.method)),
        }
    }

    /// The entry of an object, or 404.
    pub(crate) async fn fetch(&self, target: Target<'_>) -> Result<Arc<Entry>, Status> {
        let entry = self.store.get(&target.key()).await.map_err(read_failed)?;
        entry.ok_or_else(|| target.not_found())
    }

    /// Commits writes, all or none.
    pub(crate) async fn commit_all(&self, writes: Vec<Write>) -> Result<Committed, Status> {
        let of_roles = writes.iter().any(|write| write.key.starts_with(authorize::PREFIX));
        let begun = Instant::now();
        match self.store.commit(Transaction { writes, journal: Vec::new() }).await {
            Ok(revision) => {
                self.metrics.committed(begun.elapsed());
                if of_roles {
                    self.authorizer.caught_up(revision).await;
                }
                Ok(Committed::At(revision))
            }
            Err(CommitError::Conflict { key, .. }) => Ok(Committed::Conflict(key)),
            Err(CommitError::Unavailable(why)) => {
                Err(Status::too_many_requests(format!("the store is busy: {why}"), 1))
            }
            Err(error @ (CommitError::Storage(_) | CommitError::Sequence { .. } | CommitError::Closed { .. })) => {
                tracing::error!(%error, "a write failed");
                Err(Status::internal(error.to_string()))
            }
        }
    }

    /// Row, schema and configured validators together with what is wrong with creating the object, or with its change; one complaint
    /// per field and sentence.
    pub(crate) fn validate(&self, resource: &Resource, object: &Value, of_change: Vec<Problem>) -> Result<(), Status> {
        let mut problems = (resource.kind.validate)(object);
        problems.extend(of_change);
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
        Subresource::Token => "token",
        Subresource::Eviction => "eviction",
        Subresource::Finalize => "finalize",
        Subresource::Approval => "approval",
        Subresource::EphemeralContainers => "ephemeralcontainers",
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
