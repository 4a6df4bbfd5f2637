//! A small service for tests: answers who it is, counts what it did, and misbehaves on request.
//!
//! `kapell-e2e-pod [--ready-after MS] [--tls]` listens on `$HOST:$PORT`. `GET /` answers `pod pid`; `/healthz` is 503 until the
//! given time has passed; `/hit` is counted, and `/hits` tells how often; `/slow?MS` answers late; `/echo` returns the
//! request's headers, what is below `/request/` the request as it came, in JSON; `/count` counts the bytes of a body of any
//! length. It also speaks gRPC's health protocol and is healthy.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{any, get, post};
use futures::StreamExt as _;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

static HITS: AtomicU32 = AtomicU32::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let host: IpAddr = std::env::var("HOST")?.parse()?;
    let port: u16 = std::env::var("PORT")?.parse()?;
    let arguments: Vec<String> = std::env::args().collect();
    let ready_after =
        arguments.iter().position(|word| word == "--ready-after").and_then(|at| arguments.get(at + 1)?.parse().ok());
    let ready_at = Instant::now() + Duration::from_millis(ready_after.unwrap_or(0));

    let name = std::env::var("HOSTNAME").unwrap_or_default();
    let who = format!("{name} {}\n", std::process::id());
    let app = Router::new()
        .route("/", any(move || async move { who }))
        .route(
            "/healthz",
            get(move || async move {
                if Instant::now() >= ready_at { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
            }),
        )
        .route("/hit", any(|| async { HITS.fetch_add(1, Ordering::Relaxed).to_string() }))
        .route("/hits", get(|| async { HITS.load(Ordering::Relaxed).to_string() }))
        .route("/slow", get(slow))
        .route("/echo", any(echo))
        .route("/request/{*below}", any(request))
        .route("/count", post(count))
        .route("/grpc.health.v1.Health/Check", post(serving));
    let listener = TcpListener::bind((host, port)).await?;
    eprintln!("listening on {host}:{port}");
    if arguments.iter().any(|word| word == "--tls") {
        return serve_tls(listener, app).await;
    }
    axum::serve(listener, app).with_graceful_shutdown(terminated()).await?;
    Ok(())
}

async fn terminated() {
    let mut signal =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("signals can be received");
    signal.recv().await;
}

async fn serve_tls(listener: TcpListener, app: Router) -> anyhow::Result<()> {
    let certified = rcgen::generate_simple_self_signed(["pod.test".to_owned()])?;
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(app.clone()));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = connection.await;
        });
    }
}

async fn count(body: Body) -> String {
    let mut body = body.into_data_stream();
    let mut count = 0;
    while let Some(Ok(piece)) = body.next().await {
        count += piece.len();
    }
    count.to_string()
}

async fn request(method: Method, uri: Uri, headers: HeaderMap, body: String) -> String {
    let headers: serde_json::Map<String, serde_json::Value> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    serde_json::json!({"method": method.as_str(), "uri": uri.to_string(), "headers": headers, "body": body}).to_string()
}

async fn slow(uri: Uri) -> String {
    let millis = uri.query().and_then(|query| query.parse().ok()).unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    format!("{millis}\n")
}

async fn echo(headers: HeaderMap, body: String) -> String {
    let mut text = String::new();
    for (name, value) in &headers {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    text + "\n" + &body
}

/// `HealthCheckResponse {status: SERVING}`.
async fn serving() -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from_static(b"\0\0\0\0\x02\x08\x01")), Frame::trailers(trailers)];
    let body = StreamBody::new(futures::stream::iter(frames.map(Ok::<_, std::convert::Infallible>)));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
