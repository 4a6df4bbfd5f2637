//! Requests that originate in this process: the workflow engine's calls take the same path as everybody's, without a socket
//! between caller and balancer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::balance::Backend;
use crate::core::Core;
use crate::forward::{self, ForwardError, Version};
use crate::headers;
use crate::link::RequestBody;
use crate::table::Protocol;
use crate::target::ServiceTarget;

/// Whatever broke a body.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response is held in memory; more than this is refused unless the caller allows it.
const DEFAULT_RESPONSE_LIMIT: usize = 16 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct CallOptions {
    /// For the whole call, waiting for an endpoint and retries included. `None`: for ever.
    pub deadline: Option<Duration>,
    /// Largest body of a response in bytes.
    pub response_limit: usize,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self { deadline: None, response_limit: DEFAULT_RESPONSE_LIMIT }
    }
}

/// Why a call has no response. Any HTTP status from the service is a response.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("there is no service {0}")]
    NoService(ServiceTarget),
    #[error("service {target} has no such port, only {ports:?}")]
    NoPort { target: ServiceTarget, ports: Vec<u16> },
    #[error("service {0} does not speak HTTP on this port (appProtocol or the port's name says so)")]
    NotHttp(ServiceTarget),
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error("service {target} did not answer within {deadline:?}")]
    Deadline { target: ServiceTarget, deadline: Duration },
    #[error("the response of service {target} is larger than {limit} bytes")]
    TooLarge { target: ServiceTarget, limit: usize },
    #[error("the response of service {target} broke off")]
    BrokenOff { target: ServiceTarget, source: Box<dyn std::error::Error + Send + Sync> },
}

/// See [`crate::Gateway::call`].
pub(crate) async fn call(
    core: &Core,
    target: &ServiceTarget,
    request: Request<Bytes>,
    options: CallOptions,
) -> Result<Response<Bytes>, CallError> {
    let answered = perform(core, target, request, options.response_limit);
    match options.deadline {
        None => answered.await,
        Some(deadline) => match tokio::time::timeout(deadline, answered).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(CallError::Deadline { target: target.clone(), deadline }),
        },
    }
}

/// The endpoints behind a target.
pub(crate) fn backend(core: &Core, target: &ServiceTarget) -> Result<Arc<Backend>, CallError> {
    match core.backend(target) {
        None => Err(CallError::NoService(target.clone())),
        Some(Err(ports)) => Err(CallError::NoPort { target: target.clone(), ports }),
        Some(Ok(backend)) => Ok(backend),
    }
}

async fn perform(
    core: &Core,
    target: &ServiceTarget,
    request: Request<Bytes>,
    limit: usize,
) -> Result<Response<Bytes>, CallError> {
    let backend = backend(core, target)?;
    let version = match backend.set().protocol {
        // Whoever is asked in gRPC speaks HTTP/2, whether or not its Service says so.
        Protocol::Http | Protocol::Detect if is_grpc(&request) => Version::Http2,
        Protocol::Http | Protocol::Detect => Version::Http1,
        Protocol::H2c => Version::Http2,
        Protocol::Tcp => return Err(CallError::NotHttp(target.clone())),
    };
    let mut request = request.map(|body| if body.is_empty() { RequestBody::Empty } else { RequestBody::Full(body) });
    if request.uri().authority().is_none() && !request.headers().contains_key(header::HOST) {
        let host = HeaderValue::from_str(&format!("{}.{}", target.name, target.namespace));
        request.headers_mut().extend(host.ok().map(|host| (header::HOST, host)));
    }
    headers::prepare_request(&mut request, None);
    let begun = Instant::now();
    let answered = forward::forward(&backend, request, version, None).await;
    let status = answered.as_ref().map_or_else(ForwardError::status, Response::status);
    backend.metrics.answered(status, begun.elapsed());
    let response = answered?;
    match whole(response, limit).await {
        Ok(response) => Ok(response),
        Err(error) if error.is::<LengthLimitError>() => Err(CallError::TooLarge { target: target.clone(), limit }),
        Err(source) => Err(CallError::BrokenOff { target: target.clone(), source }),
    }
}

/// The whole response. Its trailers are among its headers: who has all of it has no use for the difference.
///
/// # Errors
/// It breaks off, or is larger than `limit` bytes ([`LengthLimitError`]).
pub async fn whole<B>(response: Response<B>, limit: usize) -> Result<Response<Bytes>, BoxError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (mut parts, body) = response.into_parts();
    let body = Limited::new(body, limit).collect().await?;
    if let Some(trailers) = body.trailers() {
        parts.headers.extend(trailers.clone());
    }
    Ok(Response::from_parts(parts, body.to_bytes()))
}

/// Whether a request is one of gRPC, which takes HTTP/2.
pub fn is_grpc<B>(request: &Request<B>) -> bool {
    request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
