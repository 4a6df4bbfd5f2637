//! One client connection: what it speaks, and its requests until it ends or the listener drains.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::balance::Backend;
use crate::body::ResponseBody;
use crate::detect::{Spoken, spoken};
use crate::endpoint::Lease;
use crate::forward::{self, ForwardError, Version};
use crate::headers;
use crate::table::Protocol;

/// On a port of undeclared protocol, how long a client may be silent before its connection is opened upstream as well, in
/// case it is the server that speaks first. A declared `appProtocol` or port name spares servers of that sort the wait.
const SILENCE: Duration = Duration::from_millis(100);

/// From the start of a connection, or the end of the request before, to the end of a request's head. So it also ends idle
/// connections, and must be longer than the time for which common clients keep these (Go and hyper: 90 s): else a request
/// would be sent into a connection that is just being closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// As in common servers; a larger head is answered with 431.
const HEAD_SIZE: usize = 64 * 1024;

/// Streams that one HTTP/2 client may have open, as RFC 9113 §6.5.2 recommends at least.
const HTTP2_STREAMS: u32 = 256;

/// Requests that are under way when their listener closes may finish for this long.
const DRAIN: Duration = Duration::from_secs(30);

/// A tunnel has no requests that could be waited for, only a chance to end by itself.
const TUNNEL_DRAIN: Duration = Duration::from_secs(2);

/// What all requests of one connection share.
struct Client {
    backend: Arc<Backend>,
    ip: IpAddr,
    forwarded_for: Option<HeaderValue>,
    upstream: Version,
    drain: CancellationToken,
}

/// Serves a connection until it ends. `drain`: the listener closes.
pub(crate) async fn serve(stream: TcpStream, ip: IpAddr, backend: Arc<Backend>, drain: CancellationToken) {
    let served = match backend.set().protocol {
        Protocol::Tcp => tunnel(stream, None, ip, &backend, &drain).await,
        Protocol::Http => serve_declared(stream, ip, backend, Version::Http1, drain).await,
        Protocol::H2c => serve_declared(stream, ip, backend, Version::Http2, drain).await,
        Protocol::Detect => serve_detected(stream, ip, backend, drain).await,
    };
    if let Err(error) = served {
        // The clients' and endpoints' affair: what could be told to anyone has been told in a response.
        tracing::debug!(error = &*error, "connection ended");
    }
}

type Served = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// HTTP by declaration: only the version is up to the client, whatever is spoken to the endpoints.
async fn serve_declared(
    stream: TcpStream,
    ip: IpAddr,
    backend: Arc<Backend>,
    upstream: Version,
    drain: CancellationToken,
) -> Served {
    let first = tokio::select! {
        first = tokio::time::timeout(HEAD_TIMEOUT, spoken(&stream)) => first??,
        () = drain.cancelled() => return Ok(()),
    };
    let version = if first == Spoken::Http2 { Version::Http2 } else { Version::Http1 };
    serve_http(stream, version, ip, backend, upstream, drain).await
}

/// The first to speak decides. A silent client may be waiting for the server, so after [`SILENCE`] the connection is
/// opened upstream and both are listened to.
async fn serve_detected(stream: TcpStream, ip: IpAddr, backend: Arc<Backend>, drain: CancellationToken) -> Served {
    let (first, upstream) = match tokio::time::timeout(SILENCE, spoken(&stream)).await {
        Ok(first) => (first?, None),
        Err(_elapsed) => {
            let (lease, upstream) = forward::open_tunnel(&backend, Some(ip)).await?;
            let first = tokio::select! {
                first = spoken(&stream) => first?,
                readable = upstream.readable() => readable.map(|()| Spoken::Other)?,
                () = drain.cancelled() => return Ok(()),
            };
            (first, Some((lease, upstream)))
        }
    };
    match first {
        Spoken::Http1 => serve_http(stream, Version::Http1, ip, backend, Version::Http1, drain).await,
        Spoken::Http2 => serve_http(stream, Version::Http2, ip, backend, Version::Http2, drain).await,
        Spoken::Other => tunnel(stream, upstream, ip, &backend, &drain).await,
    }
}

/// Bytes in both directions; each direction is closed on its own, as its sender does.
async fn tunnel(
    mut stream: TcpStream,
    upstream: Option<(Lease, TcpStream)>,
    ip: IpAddr,
    backend: &Arc<Backend>,
    drain: &CancellationToken,
) -> Served {
    let (lease, mut upstream) = match upstream {
        Some(upstream) => upstream,
        None => forward::open_tunnel(backend, Some(ip)).await?,
    };
    copy_until(drain, &lease, &mut stream, &mut upstream).await?;
    Ok(())
}

/// Copies until both sides have ended, the listener has drained, or an endpoint that left the table has had its time.
async fn copy_until<A, B>(drain: &CancellationToken, lease: &Lease, a: &mut A, b: &mut B) -> std::io::Result<()>
where
    A: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    B: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut copy = pin!(tokio::io::copy_bidirectional(a, b));
    tokio::select! {
        copied = copy.as_mut() => return copied.map(drop),
        () = lease.0.gone.cancelled() => return Ok(()),
        () = drain.cancelled() => {}
    }
    match tokio::time::timeout(TUNNEL_DRAIN, copy).await {
        Ok(copied) => copied.map(drop),
        Err(_elapsed) => Ok(()),
    }
}

async fn serve_http(
    stream: TcpStream,
    version: Version,
    ip: IpAddr,
    backend: Arc<Backend>,
    upstream: Version,
    drain: CancellationToken,
) -> Served {
    let client =
        Arc::new(Client { backend, ip, forwarded_for: headers::client_value(ip), upstream, drain: drain.clone() });
    let service = service_fn(move |request| {
        let client = client.clone();
        async move { Ok::<_, Infallible>(client.answer(request).await) }
    });
    let io = TokioIo::new(stream);
    match version {
        Version::Http1 => {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_SIZE);
            let connection = builder.serve_connection(io, service).with_upgrades();
            until_drained(connection, &drain, |connection| connection.graceful_shutdown()).await
        }
        Version::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(HTTP2_STREAMS).max_header_list_size(HEAD_SIZE as u32);
            let connection = builder.serve_connection(io, service);
            until_drained(connection, &drain, |connection| connection.graceful_shutdown()).await
        }
    }
}

async fn until_drained<C>(connection: C, drain: &CancellationToken, shut: impl FnOnce(Pin<&mut C>)) -> Served
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return Ok(ended?),
        () = drain.cancelled() => shut(connection.as_mut()),
    }
    Ok(tokio::time::timeout(DRAIN, connection).await??)
}

impl Client {
    async fn answer(&self, mut request: Request<Incoming>) -> Response<ResponseBody> {
        if request.method() == Method::CONNECT {
            return text(StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served here: this is a Service, not a proxy");
        }
        let begun = Instant::now();
        let upgrade = headers::wanted_upgrade(request.headers()).filter(|_| self.upstream == Version::Http1);
        let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        headers::prepare_request(&mut request, self.forwarded_for.as_ref());
        let answered = match (upgrade, client_side) {
            (Some(upgrade), Some(client_side)) => self.upgrade(request, upgrade, client_side).await,
            _ => self.forward(request).await,
        };
        let response = answered.unwrap_or_else(|error| refusal(&error));
        self.backend.metrics.answered(response.status(), begun.elapsed());
        response
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<ResponseBody>, ForwardError> {
        let request = forward::keep_body(request).await?;
        forward::forward(&self.backend, request, self.upstream, Some(self.ip)).await
    }

    /// WebSocket and the like: once the endpoint agrees, both connections become one tunnel.
    async fn upgrade(
        &self,
        mut request: Request<Incoming>,
        protocol: HeaderValue,
        client_side: hyper::upgrade::OnUpgrade,
    ) -> Result<Response<ResponseBody>, ForwardError> {
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(header::UPGRADE, protocol);
        let request = request.map(crate::link::RequestBody::Stream);
        let (mut response, lease) = forward::forward_upgrade(&self.backend, request, Some(self.ip)).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            headers::strip_hop_by_hop(response.headers_mut());
            return Ok(response.map(|body| ResponseBody::driven(body, lease)));
        }
        let endpoint_side = hyper::upgrade::on(&mut response);
        let drain = self.drain.clone();
        self.backend.tasks.spawn_draining(async move {
            match tokio::try_join!(client_side, endpoint_side) {
                Ok((client, endpoint)) => {
                    let copied =
                        copy_until(&drain, &lease, &mut TokioIo::new(client), &mut TokioIo::new(endpoint)).await;
                    if let Err(error) = copied {
                        tracing::debug!(error = &error as &dyn std::error::Error, "tunnel ended");
                    }
                }
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "no tunnel after an upgrade"),
            }
        });
        Ok(response.map(|_| ResponseBody::text(Bytes::new())))
    }
}

fn refusal(error: &ForwardError) -> Response<ResponseBody> {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    text(error.status(), &message)
}

fn text(status: StatusCode, message: &str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(Bytes::from(format!("{message}\n"))));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
