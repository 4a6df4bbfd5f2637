//! The workflow engine's way to Services, through the balancer, and to everybody else whom the egress rules allow.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioExecutor;
use kapell_gateway::{CallError, CallOptions, ForwardError, Gateway, is_grpc, whole};
use kapell_workflow::egress::{Chosen, Egress, Refused};
use kapell_workflow::{CallFailure, ServiceCaller};
use parking_lot::Mutex;
use tower_service::Service;

/// Largest response that a workflow takes in: it becomes part of the run's data.
const RESPONSE_LIMIT: usize = 16 << 20;

type Direct = Client<HttpsConnector<HttpConnector<Guarded>>, Full<Bytes>>;

pub(crate) struct Caller {
    gateway: Gateway,
    egress: Arc<Egress>,
    /// Each made at the first call that needs it: reading the system's certificates takes milliseconds.
    direct: Mutex<HashMap<Way, Direct>>,
}

/// What calls that share connections have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Way {
    http2: bool,
    /// The operator has chosen the destination.
    chosen: bool,
    /// The port, where it is one that the server's own API listens on: only then it matters for the rules.
    own_port: Option<u16>,
}

impl Caller {
    pub(crate) fn new(gateway: Gateway, egress: Egress) -> Self {
        Self { gateway, egress: Arc::new(egress), direct: Mutex::default() }
    }

    fn direct(&self, way: Way) -> Result<Direct, CallFailure> {
        let mut clients = self.direct.lock();
        if let Some(client) = clients.get(&way) {
            return Ok(client.clone());
        }
        let egress = (!way.chosen).then(|| self.egress.clone());
        let mut http = HttpConnector::new_with_resolver(Guarded { egress, port: way.own_port.unwrap_or(0) });
        http.enforce_http(false);
        let provider = rustls::crypto::ring::default_provider();
        let builder =
            HttpsConnectorBuilder::new().with_provider_and_native_roots(provider).map_err(|error| CallFailure {
                maybe_processed: false,
                message: format!("the system's certificates cannot be read: {error}"),
            })?;
        let builder = builder.https_or_http();
        let connector = if way.http2 {
            builder.enable_http2().wrap_connector(http)
        } else {
            builder.enable_http1().wrap_connector(http)
        };
        let client = Client::builder(TokioExecutor::new()).http2_only(way.http2).build(connector);
        clients.insert(way, client.clone());
        Ok(client)
    }

    /// Calls somebody who is not a Service.
    async fn call_directly(
        &self,
        request: http::Request<Bytes>,
        deadline: Option<Instant>,
    ) -> Result<http::Response<Bytes>, CallFailure> {
        let chosen = request.extensions().get::<Chosen>().is_some();
        let default = if request.uri().scheme_str() == Some("https") { 443 } else { 80 };
        let port = request.uri().port_u16().unwrap_or(default);
        let host = request.uri().host().unwrap_or_default();
        if !chosen && let Err(refused) = self.egress.check_host(host, port) {
            return Ok(no(refused));
        }
        let own_port = self.egress.own.iter().any(|own| own.port() == port).then_some(port);
        let client = self.direct(Way { http2: is_grpc(&request), chosen, own_port })?;
        let call = async {
            let response = match client.request(request.map(Full::new)).await {
                Ok(response) => response,
                Err(error) => {
                    return match refusal(&error) {
                        Some(refused) => Ok(no(refused)),
                        None => Err(CallFailure { maybe_processed: !error.is_connect(), message: deepest(&error) }),
                    };
                }
            };
            whole(response, RESPONSE_LIMIT).await.map_err(|error| CallFailure {
                maybe_processed: true,
                message: format!("the response broke off: {error}"),
            })
        };
        match deadline {
            None => call.await,
            Some(at) => tokio::time::timeout_at(at.into(), call).await.unwrap_or_else(|_| {
                Err(CallFailure { maybe_processed: true, message: "no answer in time".to_owned() })
            }),
        }
    }
}

#[async_trait]
impl ServiceCaller for Caller {
    async fn call(
        &self,
        namespace: &str,
        request: http::Request<Bytes>,
        deadline: Option<Instant>,
    ) -> Result<http::Response<Bytes>, CallFailure> {
        let host = request.uri().host().unwrap_or_default();
        // Before the first look at the Services a name would seem to be nobody's.
        self.gateway.synced().await;
        if request.uri().scheme_str() == Some("http")
            && let Some(target) = self.gateway.resolve(host, request.uri().port_u16(), namespace)
        {
            let deadline = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let options = CallOptions { deadline, response_limit: RESPONSE_LIMIT };
            return self.gateway.call(&target, request, options).await.map_err(|error| call_failure(&error));
        }
        self.call_directly(request, deadline).await
    }
}

/// The answer to a call that is not made.
fn no(refused: Refused) -> http::Response<Bytes> {
    let mut response = http::Response::new(Bytes::new());
    *response.status_mut() = http::StatusCode::FORBIDDEN;
    response.extensions_mut().insert(refused);
    response
}

/// Resolves names, to addresses that may be called.
#[derive(Clone)]
struct Guarded {
    /// `None` allows every address.
    egress: Option<Arc<Egress>>,
    port: u16,
}

#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error(transparent)]
    Refused(Refused),
    #[error(transparent)]
    Unknown(std::io::Error),
}

impl Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolveError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Guarded { egress, port } = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let addresses = GaiResolver::new().call(name).await.map_err(ResolveError::Unknown)?;
            let Some(egress) = egress else { return Ok(addresses.collect::<Vec<_>>().into_iter()) };
            let (mut allowed, mut refused) = (Vec::new(), None);
            for address in addresses {
                match egress.check_address(&host, SocketAddr::new(address.ip(), port)) {
                    Ok(()) => allowed.push(address),
                    Err(why) => refused = Some(why),
                }
            }
            match refused {
                Some(refused) if allowed.is_empty() => Err(ResolveError::Refused(refused)),
                _ => Ok(allowed.into_iter()),
            }
        })
    }
}

fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<Refused> {
    let mut error = Some(error);
    while let Some(inner) = error {
        if let Some(ResolveError::Refused(refused)) = inner.downcast_ref() {
            return Some(refused.clone());
        }
        error = inner.source();
    }
    None
}

fn call_failure(error: &CallError) -> CallFailure {
    let never_sent = matches!(
        error,
        CallError::NoService(_)
            | CallError::NoPort { .. }
            | CallError::NotHttp(_)
            | CallError::Forward(ForwardError::NoEndpoint(_) | ForwardError::Connect { .. })
    );
    CallFailure { maybe_processed: !never_sent, message: error.to_string() }
}

fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
