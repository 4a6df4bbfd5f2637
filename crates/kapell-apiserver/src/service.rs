//! From an HTTP request to its answer: who asks, is there room, what is asked, how long may it take.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kapell_api::status::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::SemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::auth::{self, Identity, Peer, token};
use crate::authorize::attributes::OnResource;
use crate::authorize::{Action, impersonation};
use crate::connections::ToSomebody;
use crate::engine::Call;
use crate::metrics::Gauge;
use crate::path::{self, Query, Target};
use crate::record::Record;
use crate::websocket::{self, Upgrade};
use crate::{ApiServer, PassedOn, reply};

/// Largest request body, as upstream: an object is at most about half of it.
const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
/// For everything but watches and streams, as upstream.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The API as a tower service: one per connection or per service in this process.
#[derive(Clone)]
pub struct ApiService {
    server: ApiServer,
    /// Set for services of this process; otherwise each request has to prove who sends it.
    identity: Option<Identity>,
    peer: Arc<Peer>,
    shutdown: CancellationToken,
}

impl ApiService {
    pub(crate) fn new(server: ApiServer, identity: Option<Identity>, shutdown: CancellationToken) -> Self {
        Self { server, identity, peer: Arc::default(), shutdown }
    }

    /// For a connection whose requests prove who sends them.
    pub(crate) fn for_peer(server: ApiServer, peer: Peer, shutdown: CancellationToken) -> Self {
        Self { server, identity: None, peer: Arc::new(peer), shutdown }
    }

    async fn answer<B>(self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let span = tracing::info_span!(
            "request",
            method = %request.method(),
            path = request.uri().path(),
            from = self.peer.address.map(tracing::field::display),
            user = tracing::field::Empty,
        );
        async move {
            let (head, body) = request.into_parts();
            let mut record = Record::begin(&head, path::parse(head.uri.path()), self.peer.address);
            let result = self.perform(head, body, &mut record).await;
            let mut response = result.unwrap_or_else(|status| reply::status(&status));
            if record.caller.is_some() {
                response.extensions_mut().insert(ToSomebody);
            }
            record.end(&self.server, &mut response);
            tracing::debug!(status = response.status().as_u16(), "answered");
            response
        }
        .instrument(span)
        .await
    }

    async fn perform<B>(
        &self,
        mut head: http::request::Parts,
        body: B,
        record: &mut Record,
    ) -> Result<Response<Body>, Status>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // Open to everyone, as upstream: whether the server lives and what it is.
        match (record.target(), &head.method) {
            (Target::Health, _) => return Ok(reply::text(StatusCode::OK, "ok")),
            (Target::Version, _) => return Ok(reply::value(StatusCode::OK, &version(), &[])),
            _ => {}
        }
        let identity = self.identify(&head.headers, record).await?;
        tracing::Span::current().record("user", identity.user.as_str());
        let decision = self.authorize(&identity, &head, record).inspect_err(|_| {
            self.server.metrics().forbidden.fetch_add(1, Ordering::Relaxed);
        })?;
        record.decision = Some(decision);
        let path = match record.target() {
            Target::Resource(path) => path.clone(),
            Target::Metrics if !record.is_mutating() => return Ok(self.server.metrics_text().await),
            other => return self.document(other, &head, record.query()),
        };
        let query = record.query().clone();
        let watch = query.flag("watch");
        record.streams = watch || self.server.is_connect(&path);
        let (body, upgrade, passed_on) = match &path.rest {
            Some(rest) => (Bytes::new(), None, Some(self.passed_on(&head, body, rest)?)),
            None => {
                let body = read_body(body, &head.headers).await?;
                let wants = record.streams.then(|| Upgrade::wanted(&mut head, self.server.streams())).transpose()?;
                (body, wants.flatten(), None)
            }
        };
        let call = Call {
            method: head.method,
            path,
            query,
            headers: head.headers,
            body,
            identity: identity.clone(),
            upgrade: Arc::new(Mutex::new(upgrade)),
            passed_on: Arc::new(Mutex::new(passed_on)),
            shutdown: self.shutdown.clone(),
        };
        let engine = self.server.engine();
        if record.streams {
            // A stream answers its headers at once and then lasts; it is bounded by connections, not by time.
            let response = engine.handle(&call).await?;
            return match call.upgrade.lock().take() {
                Some(upgrade) => websocket::carry(upgrade, watch, response, call.shutdown.clone()),
                None => Ok(response),
            };
        }
        let work = async {
            let _slot = self.slot(&identity).await?;
            let metrics = self.server.metrics();
            let _counted = Gauge::hold(if record.is_mutating() { &metrics.mutating } else { &metrics.reading });
            engine.handle(&call).await
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, work).await {
            Ok(result) => result,
            Err(_) => Err(Status::timeout("the request was not finished in time", 0)),
        }
    }

    /// A request as a pod may see it: credentials are for us.
    fn passed_on<B>(&self, head: &http::request::Parts, body: B, rest: &str) -> Result<PassedOn, Status>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut request = Request::from_parts(head.clone(), Body::new(body));
        auth::forget_credentials(request.headers_mut());
        let slot = request.headers().contains_key(header::UPGRADE).then(|| websocket::slot(self.server.streams()));
        Ok(PassedOn {
            request,
            rest: rest.to_owned(),
            https: false,
            port: String::new(),
            client: self.peer.address.map(|address| address.ip()),
            slot: slot.transpose()?,
        })
    }

    /// Who sends a request, and as whom it is to be taken.
    async fn identify(&self, headers: &HeaderMap, record: &mut Record) -> Result<Identity, Status> {
        let engine = self.server.engine();
        let caller = match &self.identity {
            Some(identity) => identity.clone(),
            None => engine.authenticator.authenticate(headers, &self.peer).await.ok_or_else(|| {
                self.server.metrics().unauthenticated.fetch_add(1, Ordering::Relaxed);
                Status::unauthorized("Unauthorized")
            })?,
        };
        record.caller = Some(caller.clone());
        let Some(wanted) = impersonation::wanted(headers)? else { return Ok(caller) };
        let assumed = impersonation::assume(&engine.authorizer, &caller, wanted)?;
        record.impersonated = Some(assumed.clone());
        Ok(assumed)
    }

    fn authorize(&self, identity: &Identity, head: &http::request::Parts, record: &Record) -> Result<Arc<str>, Status> {
        let method = head.method.as_str().to_ascii_lowercase();
        let action = match record.target() {
            Target::Resource(path) => Action::Resource(OnResource::of_request(&head.method, path, record.query())),
            _ => Action::Path { verb: if method == "head" { "get" } else { &method }, path: head.uri.path() },
        };
        self.server.engine().authorizer.require(identity, &action)
    }

    /// Room for one more request. Strangers are sent away when there is none, our own services wait.
    async fn slot(&self, identity: &Identity) -> Result<SemaphorePermit<'_>, Status> {
        if identity.internal {
            let slots = self.server.internal_slots();
            return slots.acquire().await.map_err(|_| Status::service_unavailable("the server is stopping"));
        }
        self.server
            .slots()
            .try_acquire()
            .map_err(|_| Status::too_many_requests("the server has too many requests in flight, try again", 1))
    }

    fn document(&self, target: &Target, head: &http::request::Parts, query: &Query) -> Result<Response<Body>, Status> {
        let headers = &head.headers;
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(match target {
                Target::Unknown => Status::no_such_resource(),
                _ => Status { code: 405, ..Status::bad_request("only GET is allowed here") },
            });
        }
        let (discovery, openapi, resources) = self.server.documents();
        match target {
            Target::CoreVersions => discovery.core(headers),
            Target::Groups => discovery.groups(headers),
            Target::Group(group) => discovery.group(headers, group),
            Target::Resources { group, version } => discovery.resources(headers, group, version),
            Target::OpenApiV2 => Ok(openapi.v2(resources, headers)),
            Target::OpenApiIndex => Ok(openapi.index(resources, headers)),
            Target::OpenApiDocument { group, version } => openapi.document(resources, headers, query, group, version),
            Target::OpenIdConfiguration => Ok(reply::value(StatusCode::OK, &self.openid_configuration(), &[])),
            Target::KeySet => {
                let keys = self.server.engine().authenticator.accounts().key_set();
                let mut response = reply::value(StatusCode::OK, &keys, &[]);
                let media_type = HeaderValue::from_static("application/jwk-set+json");
                response.headers_mut().insert(header::CONTENT_TYPE, media_type);
                Ok(response)
            }
            Target::Root => Ok(reply::value(StatusCode::OK, &root(resources.group_versions()), &[])),
            Target::Health | Target::Version | Target::Metrics | Target::Resource(_) | Target::Unknown => {
                Err(Status::no_such_resource())
            }
        }
    }
}

impl ApiService {
    fn openid_configuration(&self) -> Value {
        let host = self.server.advertise().map_or_else(|| "kubernetes.default.svc".to_owned(), |at| at.to_string());
        token::discovery(&format!("https://{host}/openid/v1/jwks"))
    }
}

impl<B> tower::Service<Request<B>> for ApiService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

/// The whole body, up to the limit and within the time that any request has.
async fn read_body<B>(body: B, headers: &HeaderMap) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let too_large = || Status::too_large(format!("the request body is larger than {MAX_BODY_BYTES} bytes"));
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(too_large());
    }
    match tokio::time::timeout(REQUEST_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Status::bad_request(format!("the request body did not arrive: {error}"))),
        Err(_) => Err(Status::timeout("the request body did not arrive in time", 0)),
    }
}

/// The API level that we speak, with our own version as build metadata.
fn version() -> Value {
    json!({
        "major": "1", "minor": "33",
        "gitVersion": concat!("v1.33.0+kapell.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }),
    })
}

fn root(group_versions: Vec<(&str, &str)>) -> Value {
    let mut paths = vec!["/api".to_owned(), "/apis".to_owned()];
    for (group, version) in group_versions {
        match group {
            "" => paths.push(format!("/api/{version}")),
            group => paths.extend([format!("/apis/{group}"), format!("/apis/{group}/{version}")]),
        }
    }
    paths.extend(
        [
            "/.well-known/openid-configuration",
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    paths.dedup();
    json!({"paths": paths})
}

#[cfg(test)]
mod tests;
