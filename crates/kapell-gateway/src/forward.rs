//! One HTTP request on its way to an endpoint, and on to another one when that is safe.
//!
//! | what happened | the endpoint | the request |
//! |---|---|---|
//! | no connection (refused, 1 s timeout) | ejected | goes to another, always |
//! | kept connection closed, nothing sent | its idle connections are dropped | goes on, always |
//! | kept connection closed, no byte of answer | its idle connections are dropped | goes on if repeatable |
//! | new connection closed, no byte of answer | ejected | goes to another if repeatable |
//! | no byte of answer for 2 s, of none of its requests | ejected if there are others | goes to another, too, if repeatable: the first answer counts |
//! | no byte of answer for 5 minutes | – | 504 |
//! | left the table 30 s ago | – | 504, or the client sees the answer break off |
//! | answer broken off in the middle | – | the client sees it break off |
//!
//! Repeatable is a request that is idempotent by method or carries an `Idempotency-Key`, and whose body is still there:
//! empty, or announced to be small enough to be kept.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use crate::balance::{Backend, NoEndpoint};
use crate::body::{Http1Body, ResponseBody};
use crate::endpoint::{Endpoint, Lease, connect};
use crate::headers;
use crate::link::{Broken, RequestBody};

/// Bodies up to this size are read before they are sent, so that they can be sent again. Larger ones stream: holding
/// them would cost memory for each request, and large requests are seldom the ones worth repeating.
const KEPT_BODY: u64 = 64 * 1024;

/// Each failure removes an endpoint or its stale connections, so a request soon finds a good one or none. This bounds
/// what a pathological service (accepts, then resets) can cost.
const ATTEMPTS: usize = 10;

/// Which HTTP an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error(transparent)]
    NoEndpoint(#[from] NoEndpoint),
    #[error("cannot connect to endpoint {address}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("endpoint {address} closed the connection before it answered")]
    NoAnswer { address: SocketAddr, source: hyper::Error },
    #[error("endpoint {address} did not answer in HTTP")]
    NotHttp { address: SocketAddr, source: hyper::Error },
    #[error("endpoint {address} did not answer within {waited:?}")]
    Silent { address: SocketAddr, waited: Duration },
    #[error("endpoint {address} has left the service and did not finish the request in time")]
    Departed { address: SocketAddr },
    #[error("the request's body broke off")]
    RequestBody(#[source] hyper::Error),
    #[error("the request's target cannot be expressed in HTTP/2")]
    Target(#[source] http::Error),
}

impl ForwardError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoEndpoint(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Silent { .. } | Self::Departed { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Connect { .. } | Self::NoAnswer { .. } | Self::NotHttp { .. } => StatusCode::BAD_GATEWAY,
            Self::RequestBody(_) | Self::Target(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Decides how a client's body travels: kept when that makes the request repeatable, streamed otherwise.
pub(crate) async fn keep_body(request: Request<Incoming>) -> Result<Request<RequestBody>, ForwardError> {
    let (parts, body) = request.into_parts();
    let small = body.size_hint().upper().is_some_and(|size| size <= KEPT_BODY);
    let body = match () {
        () if body.is_end_stream() => RequestBody::Empty,
        () if small && headers::is_idempotent(&parts.method, &parts.headers) => {
            let collected = body.collect().await.map_err(ForwardError::RequestBody)?;
            RequestBody::Full(collected.to_bytes())
        }
        () => RequestBody::Stream(body),
    };
    Ok(Request::from_parts(parts, body))
}

/// Sends a prepared request (see [`headers::prepare_request`]) to an endpoint of `backend`.
pub(crate) async fn forward(
    backend: &Arc<Backend>,
    mut request: Request<RequestBody>,
    version: Version,
    client: Option<IpAddr>,
) -> Result<Response<ResponseBody>, ForwardError> {
    match version {
        Version::Http1 => headers::origin_form(&mut request),
        Version::Http2 => headers::absolute_form(&mut request).map_err(ForwardError::Target)?,
    }
    let repeatable = headers::is_idempotent(request.method(), request.headers());
    let mut attempt = 1;
    loop {
        let lease = backend.acquire(client).await?;
        let copy = if repeatable && attempt < ATTEMPTS { again(&request) } else { None };
        let (error, unsent) = match send_patiently(backend, lease, request, copy.as_ref(), version, client).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let copy = copy.filter(|_| matches!(error, ForwardError::NoAnswer { .. }));
        request = match unsent.map(|unsent| *unsent).or(copy) {
            Some(request) if attempt < ATTEMPTS => request,
            _ => return Err(error),
        };
        attempt += 1;
    }
}

/// The failure of one attempt, and the request if it certainly never left.
type Failed = (ForwardError, Option<Box<Request<RequestBody>>>);

type Sent = Result<Response<ResponseBody>, Failed>;

/// Nearly every request is answered within the first look at the clock; what is not is looked after.
async fn send_patiently(
    backend: &Arc<Backend>,
    lease: Lease,
    request: Request<RequestBody>,
    copy: Option<&Request<RequestBody>>,
    version: Version,
    client: Option<IpAddr>,
) -> Sent {
    let endpoint = lease.0.clone();
    let mut first = pin!(send(backend, lease, request, version));
    match tokio::time::timeout(backend.patience.silence, first.as_mut()).await {
        Ok(sent) => sent,
        Err(_elapsed) => Box::pin(look_after(backend, &endpoint, first, copy, version, client)).await,
    }
}

/// Waits on for a request whose answer has not begun, sends it elsewhere as well once the endpoint seems not to answer
/// anybody, and gives up in the end.
async fn look_after<F: Future<Output = Sent>>(
    backend: &Arc<Backend>,
    endpoint: &Arc<Endpoint>,
    mut first: Pin<&mut F>,
    copy: Option<&Request<RequestBody>>,
    version: Version,
    client: Option<IpAddr>,
) -> Sent {
    let patience = backend.patience;
    let address = endpoint.address;
    let mut left = pin!(tokio::time::sleep(patience.answer.saturating_sub(patience.silence)));
    let mut second: Option<Pin<Box<dyn Future<Output = Sent> + Send + '_>>> = None;
    let mut first_failed = None;
    loop {
        if second.is_none() && endpoint.silence() >= patience.silence {
            backend.suspect(endpoint, version);
            if let Some(request) = copy.and_then(again)
                && let Some(lease) = backend.other(endpoint, client)
            {
                second = Some(Box::pin(send(backend, lease, request, version)));
            }
        }
        let hedged = second.is_some();
        let elsewhere = async {
            match &mut second {
                Some(second) => second.await,
                None => std::future::pending().await,
            }
        };
        let (which, sent) = tokio::select! {
            sent = first.as_mut(), if first_failed.is_none() => (1, sent),
            sent = elsewhere => (2, sent),
            () = endpoint.gone.cancelled(), if first_failed.is_none() => {
                (1, Err((ForwardError::Departed { address }, None)))
            }
            () = left.as_mut() => return Err((ForwardError::Silent { address, waited: patience.answer }, None)),
            () = tokio::time::sleep(patience.silence), if !hedged => continue,
        };
        // The first answer counts; a failure only when the other has failed, too.
        match (which, sent) {
            (_, Ok(response)) => return Ok(response),
            (1, Err(failed)) if second.is_some() => first_failed = Some(failed),
            (1, Err(failed)) => return Err(failed),
            (_, Err(failed)) => match first_failed {
                Some(failed) => return Err(failed),
                None => {
                    tracing::debug!(error = &failed.0 as &dyn std::error::Error, "no answer elsewhere, either");
                    second = Some(Box::pin(std::future::pending()));
                }
            },
        }
    }
}

async fn send(backend: &Arc<Backend>, lease: Lease, request: Request<RequestBody>, version: Version) -> Sent {
    match version {
        Version::Http1 => send_http1(backend, lease, request).await,
        Version::Http2 => send_http2(backend, lease, request).await,
    }
}

async fn send_http1(backend: &Arc<Backend>, lease: Lease, request: Request<RequestBody>) -> Sent {
    let kept = lease.0.take_idle();
    let reused = kept.is_some();
    let mut link = match kept {
        Some(link) => link,
        None => match lease.0.open().await {
            Ok(link) => link,
            Err(error) => return Err(no_connection(backend, &lease, error, request)),
        },
    };
    match link.exchange(request).await {
        Ok(response) => {
            backend.answered(&lease.0);
            let (mut parts, body) = response.into_parts();
            headers::strip_hop_by_hop(&mut parts.headers);
            // The version is each connection's own: an HTTP/1.0 endpoint does not make the client's connection so.
            parts.version = http::Version::HTTP_11;
            let body = Http1Body::new(body, link, lease, backend.tasks.clone());
            Ok(Response::from_parts(parts, ResponseBody::http1(body)))
        }
        Err(broken) => Err(broken_exchange(backend, &lease, broken, reused)),
    }
}

async fn send_http2(backend: &Arc<Backend>, lease: Lease, request: Request<RequestBody>) -> Sent {
    let (mut sender, reused) = match lease.0.http2(&backend.tasks).await {
        Ok(opened) => opened,
        Err(error) => return Err(no_connection(backend, &lease, error, request)),
    };
    match sender.try_send_request(request).await {
        Ok(response) => {
            backend.answered(&lease.0);
            let (mut parts, body) = response.into_parts();
            headers::strip_hop_by_hop(&mut parts.headers);
            Ok(Response::from_parts(parts, ResponseBody::driven(body, lease)))
        }
        Err(error) => Err(broken_exchange(backend, &lease, Broken::from(error), reused)),
    }
}

/// A connection that the endpoint switches to another protocol. It is opened for this request alone and belongs to the
/// client afterwards, so nothing of it is pooled or repeated once the request has been sent.
pub(crate) async fn forward_upgrade(
    backend: &Arc<Backend>,
    mut request: Request<RequestBody>,
    client: Option<IpAddr>,
) -> Result<(Response<Incoming>, Lease), ForwardError> {
    headers::origin_form(&mut request);
    let (lease, stream) = open_tunnel(backend, client).await?;
    let address = lease.0.address;
    let no_answer = |source| ForwardError::NoAnswer { address, source };
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(no_answer)?;
    backend.tasks.spawn_background(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(error = &error as &dyn std::error::Error, "connection to an endpoint ended");
        }
    });
    let waited = backend.patience.answer;
    let response = tokio::time::timeout(waited, sender.send_request(request)).await;
    let response = response.map_err(|_elapsed| ForwardError::Silent { address, waited })?.map_err(no_answer)?;
    backend.answered(&lease.0);
    Ok((response, lease))
}

/// A fresh connection to whichever endpoint takes one.
pub(crate) async fn open_tunnel(
    backend: &Arc<Backend>,
    client: Option<IpAddr>,
) -> Result<(Lease, tokio::net::TcpStream), ForwardError> {
    let mut attempt = 1;
    loop {
        let lease = backend.acquire(client).await?;
        match connect(lease.0.address).await {
            Ok(stream) => {
                return Ok((lease, stream));
            }
            Err(error) => {
                let error = connect_failed(backend, &lease, error);
                if attempt == ATTEMPTS || is_own_fault(&error) {
                    return Err(error);
                }
            }
        }
        attempt += 1;
    }
}

fn no_connection(backend: &Arc<Backend>, lease: &Lease, error: io::Error, request: Request<RequestBody>) -> Failed {
    let error = connect_failed(backend, lease, error);
    let unsent = (!is_own_fault(&error)).then(|| Box::new(request));
    (error, unsent)
}

fn connect_failed(backend: &Arc<Backend>, lease: &Lease, source: io::Error) -> ForwardError {
    let error = ForwardError::Connect { address: lease.0.address, source };
    if !is_own_fault(&error) {
        backend.eject(&lease.0);
    }
    error
}

/// Out of file descriptors or local ports: no other endpoint would do better, and none is to blame.
fn is_own_fault(error: &ForwardError) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    match error {
        ForwardError::Connect { source, .. } => {
            source.kind() == io::ErrorKind::AddrNotAvailable || matches!(source.raw_os_error(), Some(ENFILE | EMFILE))
        }
        _ => false,
    }
}

fn broken_exchange(backend: &Arc<Backend>, lease: &Lease, broken: Broken, reused: bool) -> Failed {
    let address = lease.0.address;
    match broken {
        Broken::NotSent(request) => {
            lease.0.forget_connections();
            let source = io::Error::from(io::ErrorKind::ConnectionAborted);
            (ForwardError::Connect { address, source }, Some(request))
        }
        Broken::NoAnswer(source) => {
            if reused {
                lease.0.forget_connections();
            } else {
                backend.eject(&lease.0);
            }
            (ForwardError::NoAnswer { address, source }, None)
        }
        Broken::RequestBody(source) => (ForwardError::RequestBody(source), None),
        Broken::NotHttp(source) => (ForwardError::NotHttp { address, source }, None),
    }
}

fn again(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let mut copy = Request::new(request.body().again()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
