//! The Kubernetes API over a [`Store`]: authentication → authorization → admission → store → watch, with discovery, OpenAPI and tables.
//!
//! One generic `engine` serves every row of [`kapell_api::kinds::KINDS`]; there is no handler per kind. The same
//! [`ApiServer`] answers HTTPS clients ([`ApiServer::serve`]) and the services of this process, which reach it through
//! a `kube::Client` over [`ApiServer::service`] without a socket. What a subresource like `pods/log` says comes from
//! other services through [`Connect`]; nothing here knows them.
//!
//! Bodies are read as JSON, YAML and Kubernetes' protobuf; answers are JSON. It refuses by name what it cannot do yet:
//! server-side apply is answered with 415.

#![allow(
    clippy::result_large_err,
    reason = "errors are answers here: each is made once and written out, never passed through hot loops"
)]

mod addresses;
mod admission;
mod audit;
mod auth;
mod authorize;
mod body;
mod bootstrap;
mod channels;
mod coalesce;
mod connections;
mod der;
mod discovery;
mod engine;
mod form;
#[cfg(fuzzing)]
pub mod fuzzing;
mod held;
mod key;
mod listen;
mod metrics;
mod negotiate;
mod openapi;
mod path;
pub mod pki;
mod portforward;
mod record;
mod remote_command;
mod reply;
mod resources;
mod scrape;
mod service;
mod spdy;
mod stored;
mod table;
mod tls;
mod websocket;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use kapell_api::kind::Subresource;
use kapell_api::kinds;
use kapell_api::net::LoopbackBlock;
use kapell_api::status::Status;
use kapell_store::Store;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use crate::audit::AuditConfig;
pub use crate::auth::{Identity, KeyError, ServiceAccountKey};
pub use crate::bootstrap::StartError;
pub use crate::channels::{ChannelReader, ChannelWriter, Frame};
pub use crate::engine::usage::{Consumption, UsageSource};
pub use crate::metrics::MetricsSource;
pub use crate::path::Query;
pub use crate::portforward::{Dial, port_forward};
pub use crate::remote_command::{Channel, RemoteCommand, outcome, remote_command};
pub use crate::resources::Validator;
pub use crate::service::ApiService;
pub use crate::tls::Tls;
pub use crate::websocket::Upgrade;

use crate::addresses::ServiceAddresses;
use crate::audit::AuditLog;
use crate::auth::{Authenticator, Peer};
use crate::authorize::Authorizer;
use crate::discovery::DiscoveryDocuments;
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::openapi::OpenApi;
use crate::path::ResourcePath;
use crate::resources::Resources;

/// Requests of this process that are worked on at a time; more wait. Enough to fill the store's group commit.
const INTERNAL_IN_FLIGHT: usize = 512;

/// What a server needs to know before it starts.
pub struct Config {
    /// The bearer token of the administrator, see [`pki::Pki::admin_token`].
    pub admin_token: String,
    /// Signs the tokens of ServiceAccounts, see [`pki::Pki::service_account_key`]. Without it a key is made that ends
    /// with the process.
    pub account_key: Option<ServiceAccountKey>,
    /// Where mutations are recorded; without it they are not.
    pub audit: Option<AuditConfig>,
    /// Where Services get their addresses from; without it none are given.
    pub block: Option<LoopbackBlock>,
    /// Where clients reach this server: the endpoint of the Service `kubernetes`. Without it there is no such Service.
    pub advertise: Option<SocketAddr>,
    /// Checks besides those of the table, by group and kind.
    pub validators: Vec<((String, String), Validator)>,
    /// Requests from outside that are worked on at a time; more are answered 429. Watches do not count.
    pub max_in_flight: usize,
}

impl Config {
    pub fn new(admin_token: impl Into<String>) -> Self {
        Self {
            admin_token: admin_token.into(),
            account_key: None,
            audit: None,
            block: None,
            advertise: None,
            validators: Vec::new(),
            max_in_flight: 400,
        }
    }
}

/// WebSockets that are open at a time: `exec` and the like, and watches of browsers. Each holds a connection and buffers.
const MAX_STREAMS: usize = 1024;

/// What a connect subresource is asked.
#[derive(Debug)]
pub struct ConnectRequest {
    pub method: http::Method,
    /// `None` for cluster-wide kinds.
    pub namespace: Option<String>,
    pub name: String,
    /// The object as it is now, with its `resourceVersion`.
    pub object: Value,
    /// E.g. `log`.
    pub subresource: String,
    pub query: Query,
    /// Something is in it when the client wants a WebSocket. What is left there carries a plain response.
    pub upgrade: Arc<Mutex<Option<Upgrade>>>,
    /// Only for `proxy`.
    pub passed_on: Option<PassedOn>,
    /// Ends what goes on after the response.
    pub shutdown: CancellationToken,
}

/// A request that is meant for what an object stands for, without what proves to us who sends it.
#[derive(Debug)]
pub struct PassedOn {
    /// With the URL that it came with. An [`hyper::upgrade::OnUpgrade`] is among its extensions if the connection can be had.
    pub request: http::Request<axum::body::Body>,
    /// What follows `proxy` in the URL, as it is written: empty, or with a slash at its beginning.
    pub rest: String,
    /// `https:NAME:PORT` instead of `http:NAME:PORT` or `NAME:PORT`.
    pub https: bool,
    /// Number or name; empty when the URL has none.
    pub port: String,
    /// Who sends it.
    pub client: Option<IpAddr>,
    /// A place among the streams, for a connection that leaves HTTP.
    pub slot: Option<OwnedSemaphorePermit>,
}

/// Answers a subresource that is not in the store, such as `pods/log`. The response may stream for as long as the
/// client stays; it is cut off when the server stops.
#[async_trait]
pub trait Connect: Send + Sync + 'static {
    async fn connect(&self, request: ConnectRequest) -> Result<http::Response<axum::body::Body>, Status>;
}

/// What a collection that is no set of objects is asked: `/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL`.
#[derive(Clone, Debug)]
pub struct FeedRequest {
    pub method: http::Method,
    /// It exists and is not being terminated.
    pub namespace: String,
    pub query: Query,
    pub headers: http::HeaderMap,
    pub body: bytes::Bytes,
}

/// Answers for a collection that is not in the store, such as the CloudEvents of a namespace. Who asks is known, and
/// there is room for the request.
#[async_trait]
pub trait Feed: Send + Sync + 'static {
    async fn answer(&self, request: FeedRequest) -> Result<http::Response<axum::body::Body>, Status>;
}

/// Whether whoever works off a kind's objects has room for more of them.
pub trait Intake: Send + Sync + 'static {
    /// # Errors
    /// Why not, as 429 with a time after which to try again.
    fn admit(&self, namespace: &str) -> Result<(), Status>;
}

struct Inner {
    engine: Engine,
    audit: Option<AuditLog>,
    /// Where clients are told to find this server.
    advertise: Option<SocketAddr>,
    discovery: DiscoveryDocuments,
    openapi: OpenApi,
    slots: Semaphore,
    internal_slots: Semaphore,
    streams: Arc<Semaphore>,
    /// Ends the streams of this process's own clients.
    stopped: CancellationToken,
    /// Ends what follows the store, also when nobody says [`ApiServer::stop`].
    _guard: DropGuard,
}

/// The API server; a handle that is cheap to clone.
#[derive(Clone)]
pub struct ApiServer(Arc<Inner>);

impl ApiServer {
    /// Builds the server over `store` and makes the objects that have to exist (see the module `bootstrap`).
    pub async fn new(config: Config, store: Arc<dyn Store>) -> Result<Self, StartError> {
        let resources = Resources::new(kinds::all().chain(kinds::REVIEWS), &config.validators);
        let discovery = DiscoveryDocuments::new(&resources);
        let audit = config.audit.map(AuditLog::open).transpose().map_err(StartError::Audit)?;
        let stopped = CancellationToken::new();
        let account_key = config.account_key.map_or_else(ServiceAccountKey::ephemeral, Ok)?;
        let authenticator = Authenticator::new(&config.admin_token, account_key, store.clone());
        let authorizer = Authorizer::start(store.clone(), stopped.clone()).await?;
        let addresses = config.block.map(ServiceAddresses::new);
        let engine = Engine::new(store, resources, addresses, authenticator, authorizer);
        engine.bootstrap(config.advertise).await?;
        let server = Self(Arc::new(Inner {
            engine,
            audit,
            advertise: config.advertise,
            discovery,
            openapi: OpenApi::default(),
            slots: Semaphore::new(config.max_in_flight),
            internal_slots: Semaphore::new(INTERNAL_IN_FLIGHT),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            _guard: stopped.clone().drop_guard(),
            stopped,
        }));
        server.follow_roles();
        Ok(server)
    }

    /// Keeps aggregated roles up to date, until the server stops or nobody holds it any more.
    fn follow_roles(&self) {
        let (server, stopped) = (Arc::downgrade(&self.0), self.0.stopped.clone());
        let mut changes = self.0.engine.authorizer.changes();
        let follow = async move {
            loop {
                match server.upgrade() {
                    Some(server) => server.engine.aggregate_roles().await,
                    None => return,
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = follow => {}
            }
        });
    }

    /// Lets `connect` answer `PLURAL/NAME/SUBRESOURCE`; until then such requests get 503. The row must list the
    /// subresource.
    pub fn register_connect(&self, plural: &str, subresource: &str, connect: Arc<dyn Connect>) {
        self.0.engine.register_connect(plural, subresource, connect);
    }

    /// Lets `source` say what `metrics.k8s.io` serves; until then such requests get 503.
    pub fn register_usage(&self, source: Arc<dyn UsageSource>) {
        self.0.engine.register_usage(source);
    }

    /// Lets `feed` answer for the collection of this group, version and plural, which no kind may have.
    pub fn register_feed(&self, collection: [&str; 3], feed: Arc<dyn Feed>) {
        self.0.engine.register_feed(collection, feed);
    }

    /// Lets `intake` decide whether a new object of this group and plural is taken. Services of this process are not asked:
    /// what they create belongs to what was accepted before.
    pub fn register_intake(&self, group: &str, plural: &str, intake: Arc<dyn Intake>) {
        self.0.engine.register_intake(group, plural, intake);
    }

    /// The API without a socket, for a service of this process: `kube::Client::new(server.service(identity), "default")`.
    pub fn service(&self, identity: Identity) -> ApiService {
        ApiService::new(self.clone(), Some(identity), self.0.stopped.clone())
    }

    /// Serves HTTPS until `shutdown`, then ends watches, lets requests finish, and returns.
    pub async fn serve(&self, listener: TcpListener, tls: Tls, shutdown: CancellationToken) -> io::Result<()> {
        listen::run(self.clone(), listener, tls, shutdown).await
    }

    /// Adds another service's metrics to `/metrics`.
    pub fn add_metrics(&self, source: MetricsSource) {
        self.metrics().add_source(source);
    }

    /// Ends the watches of this process's own clients and closes the audit log. Called last, when the services that use
    /// them are done.
    pub fn stop(&self) {
        self.0.stopped.cancel();
        if let Some(audit) = self.audit() {
            audit.close();
        }
    }

    /// The API for a connection whose requests prove who sends them.
    pub(crate) fn remote_service(&self, peer: Peer, shutdown: CancellationToken) -> ApiService {
        ApiService::for_peer(self.clone(), peer, shutdown)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn audit(&self) -> Option<&AuditLog> {
        self.0.audit.as_ref()
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.engine.metrics
    }

    pub(crate) fn advertise(&self) -> Option<SocketAddr> {
        self.0.advertise
    }

    pub(crate) fn slots(&self) -> &Semaphore {
        &self.0.slots
    }

    pub(crate) fn internal_slots(&self) -> &Semaphore {
        &self.0.internal_slots
    }

    pub(crate) fn streams(&self) -> &Arc<Semaphore> {
        &self.0.streams
    }

    pub(crate) fn documents(&self) -> (&DiscoveryDocuments, &OpenApi, &Resources) {
        (&self.0.discovery, &self.0.openapi, &self.0.engine.resources)
    }

    /// Whether a path is answered through [`Connect`], and so may stream.
    pub(crate) fn is_connect(&self, path: &ResourcePath) -> bool {
        let (Some(name), Some(resource)) =
            (path.subresource.as_deref(), self.0.engine.resources.find(&path.group, &path.version, &path.plural))
        else {
            return false;
        };
        resource.kind.subresources.iter().any(|s| matches!(s, Subresource::Connect(n) if *n == name))
    }
}
