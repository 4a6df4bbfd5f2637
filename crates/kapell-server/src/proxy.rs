//! `pods/NAME/proxy` and `services/NAME/proxy`: passes requests on to what a pod, or an endpoint of a Service, serves itself. As
//! upstream, whoever may `get`, `create`, … the subresource may do so with any path.
//!
//! Answers come back as they are. Links in HTML are not rewritten, which upstream does for pages that know nothing of the prefix.

use std::net::SocketAddr;

use async_trait::async_trait;
use axum::body::Body;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use kapell_api::net::LoopbackBlock;
use kapell_api::status::Status;
use kapell_apiserver::{Connect, ConnectRequest, PassedOn};
use kapell_gateway::{EndpointConnection, Gateway, ServiceTarget, TargetPort, pass};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::streams::{dial, pod_address};

static FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// `pods/NAME/proxy`, to the pod's own address.
pub(crate) struct PodProxy(pub(crate) LoopbackBlock);

#[async_trait]
impl Connect for PodProxy {
    async fn connect(&self, mut request: ConnectRequest) -> Result<Response<Body>, Status> {
        let passed_on = taken(&mut request)?;
        if let Some(redirect) = redirect(&passed_on)? {
            return Ok(redirect);
        }
        let ip = pod_address(&request, self.0)
            .ok_or_else(|| Status::service_unavailable(format!("pod {:?} has no address yet", request.name)))?;
        let port = pod_port(&request.object, &passed_on.port)?;
        let stream = dial(SocketAddr::new(ip, port)).await.map_err(|error| unreachable(&error))?;
        let name = request.object["metadata"]["name"].as_str().unwrap_or_default();
        send(stream, name, passed_on, (), request.shutdown).await
    }
}

/// `services/NAME/proxy`, to an endpoint that the balancer chooses.
pub(crate) struct ServiceProxy(pub(crate) Gateway);

#[async_trait]
impl Connect for ServiceProxy {
    async fn connect(&self, mut request: ConnectRequest) -> Result<Response<Body>, Status> {
        let passed_on = taken(&mut request)?;
        if let Some(redirect) = redirect(&passed_on)? {
            return Ok(redirect);
        }
        // Before the first look at the Services a name would seem to be nobody's.
        self.0.synced().await;
        let name = request.object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let target = ServiceTarget {
            namespace: request.namespace.unwrap_or_default(),
            port: (!passed_on.port.is_empty()).then(|| service_port(&passed_on.port)),
            name,
        };
        let connection = self.0.connect(&target).await;
        let EndpointConnection { stream, lease } = connection
            .map_err(|error| Status::service_unavailable(format!("error trying to reach service: {error}")))?;
        send(stream, &target.name, passed_on, lease, request.shutdown).await
    }
}

fn taken(request: &mut ConnectRequest) -> Result<PassedOn, Status> {
    request.passed_on.take().ok_or_else(|| Status::internal("a request for a proxy came without itself"))
}

/// A browser that asks for `…/proxy` would look for what is beside it one level too high: as upstream, it is told to ask for
/// `…/proxy/`.
fn redirect(passed_on: &PassedOn) -> Result<Option<Response<Body>>, Status> {
    if !passed_on.rest.is_empty() || !matches!(*passed_on.request.method(), Method::GET | Method::HEAD) {
        return Ok(None);
    }
    let uri = passed_on.request.uri();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let response = Response::builder()
        .status(StatusCode::MOVED_PERMANENTLY)
        .header(header::LOCATION, format!("{}/{query}", uri.path()))
        .body(Body::empty());
    response.map(Some).map_err(|error| Status::internal(error.to_string()))
}

/// A number; else the name of a port of any container; without either the first port that the pod declares, or 80.
fn pod_port(pod: &Value, wanted: &str) -> Result<u16, Status> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let number = |port: &Value| port["containerPort"].as_u64().and_then(|number| u16::try_from(number).ok());
    if wanted.is_empty() {
        return Ok(ports.find_map(number).unwrap_or(80));
    }
    let named = || ports.find(|port| port["name"] == wanted).and_then(number);
    wanted.parse().ok().filter(|port| *port != 0).or_else(named).ok_or_else(|| {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        Status::bad_request(format!("pod {name:?} has no port {wanted:?}"))
    })
}

fn service_port(wanted: &str) -> TargetPort {
    wanted.parse().map_or_else(|_| TargetPort::Name(wanted.to_owned()), TargetPort::Number)
}

fn unreachable(error: &dyn std::error::Error) -> Status {
    Status::service_unavailable(format!("error trying to reach service: {error}"))
}

/// `keep` lives until the answer has been taken.
async fn send<K: Send + Sync + 'static>(
    stream: TcpStream,
    host: &str,
    passed_on: PassedOn,
    keep: K,
    shutdown: CancellationToken,
) -> Result<Response<Body>, Status> {
    let PassedOn { mut request, rest, https, client, slot, .. } = passed_on;
    let asked = request.uri().path().to_owned();
    request.headers_mut().extend(HeaderValue::from_str(&asked).ok().map(|path| (FORWARDED_URI.clone(), path)));
    *request.uri_mut() = within(request.uri(), &rest)?;
    let kept = (keep, slot);
    let answered = if https {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| unreachable(&error))?;
        let stream = kapell_agent::tls_connector().connect(name, stream).await.map_err(|error| unreachable(&error))?;
        pass(stream, request, client, kept, shutdown).await
    } else {
        pass(stream, request, client, kept, shutdown).await
    };
    let (response, kept) = answered.map_err(|error| unreachable(&error))?;
    Ok(response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _until_the_last = &kept;
            frame
        }))
    }))
}

/// The URL as the pod sees it. The host stays the one that the client named, as upstream.
fn within(uri: &Uri, rest: &str) -> Result<Uri, Status> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = if rest.is_empty() { "/" } else { rest };
    let mut parts = uri.clone().into_parts();
    let joined = PathAndQuery::try_from(format!("{path}{query}"));
    parts.path_and_query = Some(joined.map_err(|error| Status::bad_request(error.to_string()))?);
    Uri::from_parts(parts).map_err(|error| Status::bad_request(error.to_string()))
}

#[cfg(test)]
mod tests;
