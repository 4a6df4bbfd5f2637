//! The gRPC health protocol (`grpc.health.v1.Health/Check`), spoken as far as a probe needs it: one unary call without TLS.
//!
//! Its two messages have a field each, so they are written and read by hand.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

const METHOD: &str = "/grpc.health.v1.Health/Check";

/// A frame's header: a flag for compression and the length of the message.
const HEADER: usize = 5;

/// An answer has a dozen bytes; who sends more is no health service.
const LONGEST_ANSWER: usize = 64 << 10;

/// `HealthCheckResponse.ServingStatus`, by number.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u64 = 1;

/// Codes by number, as Go's messages name them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const DEADLINE_EXCEEDED: usize = 4;
const UNIMPLEMENTED: usize = 12;
const INTERNAL: usize = 13;

/// Why the call gave no answer.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    code: usize,
    message: String,
}

impl Failure {
    fn internal(message: impl Into<String>) -> Self {
        Self { code: INTERNAL, message: message.into() }
    }

    /// As the kubelet tells it.
    fn tell(&self, timeout: Duration) -> String {
        match self.code {
            UNIMPLEMENTED => format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                self.message
            ),
            DEADLINE_EXCEEDED => too_late(timeout),
            code => format!(
                "error: health rpc probe failed: rpc error: code = {} desc = {}",
                CODES.get(code).copied().unwrap_or("Unknown"),
                self.message
            ),
        }
    }
}

fn too_late(timeout: Duration) -> String {
    format!("timeout: health rpc did not complete within {timeout:?}")
}

/// Asks whether a service is healthy; the empty name means all of the server. An error is a sentence.
pub(super) async fn check(address: &str, service: &str, timeout: Duration) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + timeout;
    let stream = match tokio::time::timeout_at(deadline, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(format!("error: failed to connect service at {address:?}: {error}")),
        Err(_) => return Err(format!("timeout: failed to connect service {address:?} within {timeout:?}")),
    };
    let status = match tokio::time::timeout_at(deadline, call(stream, address, service)).await {
        Ok(answer) => answer.map_err(|failure| failure.tell(timeout))?,
        Err(_) => return Err(too_late(timeout)),
    };
    if status == SERVING {
        return Ok(());
    }
    let name = usize::try_from(status).ok().and_then(|number| STATUSES.get(number).copied());
    Err(format!("service unhealthy (responded with {:?})", name.map_or_else(|| status.to_string(), str::to_owned)))
}

/// The status that the answer gives.
async fn call(stream: TcpStream, address: &str, service: &str) -> Result<u64, Failure> {
    let broken = |error: hyper::Error| Failure::internal(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(broken)?;
    let request = http::Request::post(format!("http://{address}{METHOD}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", concat!("kube-probe/kapell-", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(request(service))))
        .map_err(|error| Failure::internal(error.to_string()))?;
    let exchange = async move {
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| Failure::internal(error.to_string()))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        if head.status != http::StatusCode::OK {
            return Err(Failure::internal(format!("unexpected HTTP status code {}", head.status.as_u16())));
        }
        // An answer without a message has its status in its head.
        let status = if trailers.contains_key("grpc-status") { &trailers } else { &head.headers };
        outcome(status)?;
        serving_status(&body.to_bytes()).ok_or_else(|| Failure::internal("the answer is no HealthCheckResponse"))
    };
    let connection = async move {
        // Its error is the exchange's error, too.
        let _ = connection.await;
    };
    let (mut connection, mut exchange) = (std::pin::pin!(connection), std::pin::pin!(exchange));
    tokio::select! {
        status = &mut exchange => status,
        () = &mut connection => exchange.await,
    }
}

fn outcome(headers: &http::HeaderMap) -> Result<(), Failure> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").and_then(|code| code.parse().ok()) {
        Some(0) => Ok(()),
        Some(code) => Err(Failure { code, message: decoded(text("grpc-message").unwrap_or_default()) }),
        None => Err(Failure::internal("the answer has no grpc-status")),
    }
}

/// A framed `HealthCheckRequest {service}`.
fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

/// Of a framed `HealthCheckResponse {status}`. A field that is not there is 0; `None` when it is no such message.
fn serving_status(framed: &[u8]) -> Option<u64> {
    let (header, mut message) = framed.split_at_checked(HEADER)?;
    let length = u32::from_be_bytes(header[1..].try_into().ok()?);
    if header[0] != 0 || usize::try_from(length).ok()? != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => {
                let value = varint(&mut message)?;
                if key >> 3 == 1 {
                    status = value;
                }
            }
            // Fields of a later version.
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// `grpc-message` is percent-encoded.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
