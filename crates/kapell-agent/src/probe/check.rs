//! One question to a container, and its answer or the reason why there is none. Lifecycle hooks ask the same way.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ExecAction, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::grpc;
use crate::shim_client::ShimClient;

/// Where a container's probes and hooks go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) shim: ShimClient,
}

/// The container as the network sees it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) ip: Ipv4Addr,
    pub(crate) ports: BTreeMap<String, u16>,
}

impl Target {
    /// An error is a sentence as the kubelet would put it into the Unhealthy event.
    pub(crate) async fn check(&self, container: &str, probe: &Probe, timeout: Duration) -> Result<(), String> {
        match &probe.exec {
            Some(action) => self.exec(container, action, timeout).await,
            None => self.endpoint.check(probe, timeout).await,
        }
    }

    /// Runs a lifecycle hook to its end. Of an HTTP request any answer will do, as for the kubelet.
    pub(crate) async fn run_hook(
        &self,
        container: &str,
        hook: &LifecycleHandler,
        limit: Duration,
    ) -> Result<(), String> {
        if let Some(action) = &hook.exec {
            return self.exec(container, action, limit).await;
        }
        let run = async {
            if let Some(action) = &hook.http_get {
                self.endpoint.http_get(action).await.map(drop)
            } else if let Some(sleep) = &hook.sleep {
                tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
                Ok(())
            } else {
                Err("the hook has no supported handler (exec, httpGet, sleep)".to_owned())
            }
        };
        tokio::time::timeout(limit, run).await.unwrap_or_else(|_| Err(format!("not done within {limit:?}")))
    }

    async fn exec(&self, container: &str, action: &ExecAction, timeout: Duration) -> Result<(), String> {
        let command = action.command.clone().unwrap_or_default();
        let executed = self.shim.exec(container, command.clone(), timeout).await.map_err(|error| error.to_string())?;
        match executed.code {
            Some(0) => Ok(()),
            Some(code) => Err(format!("command {command:?} exited with {code}: {}", executed.output.trim())),
            None => Err(format!("command {command:?} timed out after {timeout:?}")),
        }
    }
}

impl Endpoint {
    async fn check(&self, probe: &Probe, timeout: Duration) -> Result<(), String> {
        if let Some(action) = &probe.grpc {
            let address = format!("{}:{}", self.ip, action.port);
            return grpc::check(&address, action.service.as_deref().unwrap_or_default(), timeout).await;
        }
        let network = async {
            if let Some(action) = &probe.http_get {
                let (url, status) = self.http_get(action).await?;
                if status.is_success() || status.is_redirection() {
                    return Ok(());
                }
                Err(format!("GET {url}: HTTP probe failed with statuscode: {}", status.as_u16()))
            } else if let Some(action) = &probe.tcp_socket {
                let (host, port) = (self.host(action.host.as_deref()), self.port(&action.port)?);
                connect(&host, port).await.map(drop)
            } else {
                Err("the probe has no supported handler (exec, grpc, httpGet, tcpSocket)".to_owned())
            }
        };
        tokio::time::timeout(timeout, network).await.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")))
    }

    fn host(&self, given: Option<&str>) -> String {
        given.filter(|host| !host.is_empty()).map_or_else(|| self.ip.to_string(), str::to_owned)
    }

    fn port(&self, port: &IntOrString) -> Result<u16, String> {
        match port {
            IntOrString::Int(number) => u16::try_from(*number).map_err(|_| format!("{number} is not a port")),
            IntOrString::String(name) => {
                let port = self.ports.get(name).copied().or_else(|| name.parse().ok());
                port.ok_or_else(|| format!("the container has no port named \"{name}\""))
            }
        }
    }

    /// What was asked for, and the answer's status.
    async fn http_get(&self, action: &HTTPGetAction) -> Result<(String, http::StatusCode), String> {
        let (host, port) = (self.host(action.host.as_deref()), self.port(&action.port)?);
        let tls = action.scheme.as_deref() == Some("HTTPS");
        let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let mut request = http::Request::get(&path)
            .header("user-agent", concat!("kube-probe/kapell-", env!("CARGO_PKG_VERSION")))
            .header("accept", "*/*")
            .header("connection", "close");
        let headers = action.http_headers.iter().flatten();
        let own_host = action.http_headers.iter().flatten().any(|header| header.name.eq_ignore_ascii_case("host"));
        for header in headers {
            request = request.header(&header.name, &header.value);
        }
        if !own_host {
            request = request.header("host", format!("{host}:{port}"));
        }
        let request = request.body(Empty::new()).map_err(|error| format!("not a request: {error}"))?;
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://{host}:{port}{path}");
        let stream = connect(&host, port).await?;
        let status = if tls {
            let name = ServerName::try_from(host).map_err(|error| format!("GET {url}: {error}"))?;
            let stream = tls_connector().connect(name, stream).await.map_err(|error| format!("GET {url}: {error}"))?;
            ask(stream, request).await
        } else {
            ask(stream, request).await
        };
        match status {
            Ok(status) => Ok((url, status)),
            Err(error) => Err(format!("GET {url}: {error}")),
        }
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((host, port)).await.map_err(|error| format!("dial tcp {host}:{port}: {error}"))
}

async fn ask<S>(stream: S, request: http::Request<Empty<bytes::Bytes>>) -> Result<http::StatusCode, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move { sender.send_request(request).await.map(|response| response.status()) };
    let connection = async move {
        // Its error is the exchange's error, too.
        let _ = connection.await;
    };
    // Driving the connection beside the exchange: it ends with it, and must not end the exchange before its answer.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        status = &mut exchange => status,
        () = &mut connection => exchange.await,
    }
}

/// For HTTPS to containers, whose certificates nobody checks, as upstream: it is asked whether they answer, not who they are.
pub fn tls_connector() -> tokio_rustls::TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.clone()));
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(rustls::DEFAULT_VERSIONS);
    let config = match builder {
        Ok(builder) => builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth(),
        Err(error) => unreachable!("ring supports the default versions: {error}"),
    };
    Arc::new(config).into()
}

#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
