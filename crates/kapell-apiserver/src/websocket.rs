//! WebSockets (RFC 6455): who asks for one, the answer that grants it, and watches and logs as messages.
//!
//! A connection that becomes a WebSocket leaves the HTTP server's care: its place among the streams bounds how many there
//! are, and whoever uses it ends it when the server stops.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::stream::SplitSink;
use futures::{SinkExt as _, StreamExt as _};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use kapell_api::status::Status;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

/// Largest message that is taken. kubectl sends 32 KiB at a time, other clients whole files.
const LARGEST_MESSAGE: usize = 16 << 20;

/// A peer that has been told that we close has this long to agree.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a quiet client is asked whether it is still there. One that has gone without a word is noticed by the second
/// time.
const PING: Duration = Duration::from_secs(20);

/// The protocols that watches may be asked for in; browsers offer the first, and all mean one JSON document a message.
const WATCH_PROTOCOLS: [&str; 2] = [BASE64, "v1.watch.k8s.io"];
/// Bytes as they are, and for browsers as text.
const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";

/// A request that asks to become a WebSocket.
#[derive(Debug)]
pub struct Upgrade {
    on: OnUpgrade,
    key: HeaderValue,
    protocols: Vec<String>,
    slot: OwnedSemaphorePermit,
}

/// An open WebSocket, and its place among the streams of the server.
pub(crate) struct WebSocket {
    pub(crate) stream: WebSocketStream<TokioIo<Upgraded>>,
    pub(crate) slot: OwnedSemaphorePermit,
}

/// Our side of a WebSocket. Clones write to the same client, a message at a time.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Mutex<Sink>>);

type Sink = SplitSink<WebSocketStream<TokioIo<Upgraded>>, Message>;

impl Writer {
    pub(crate) fn new(sink: Sink) -> Self {
        Self(Arc::new(Mutex::new(sink)))
    }

    /// # Errors
    /// When the client has gone.
    pub(crate) fn send(&self, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send + use<> {
        let sink = self.0.clone();
        async move { sink.lock().await.send(Message::Binary(bytes)).await.map_err(io::Error::other) }
    }

    /// Returns when the client does not take pings any more, which it answers by itself.
    pub(crate) async fn gone(&self) {
        let mut ticks = tokio::time::interval(PING);
        loop {
            ticks.tick().await;
            if self.0.lock().await.send(Message::Ping(Bytes::new())).await.is_err() {
                return;
            }
        }
    }

    pub(crate) async fn close(&self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        // One who has gone needs no goodbye.
        let _ = self.0.lock().await.send(Message::Close(Some(frame))).await;
    }
}

impl Upgrade {
    /// `None` for requests that do not ask, and for those of this process, which have no connection.
    ///
    /// # Errors
    /// A WebSocket of another version, or one too many.
    pub(crate) fn wanted(head: &mut Parts, slots: &Arc<Semaphore>) -> Result<Option<Self>, Status> {
        let Some(on) = head.extensions.remove::<OnUpgrade>() else { return Ok(None) };
        let headers = &head.headers;
        if head.method != Method::GET || !names(headers, &header::UPGRADE, "websocket") {
            return Ok(None);
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).cloned();
        let version = headers.get(header::SEC_WEBSOCKET_VERSION);
        let (Some(key), true) = (key, version.is_some_and(|version| version == "13")) else {
            return Err(Status::bad_request("only WebSockets of version 13 are supported"));
        };
        let slot = slot(slots)?;
        let protocols = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        let protocols = protocols.flat_map(|value| value.split(',')).map(|name| name.trim().to_owned());
        let protocols = protocols.filter(|name| !name.is_empty()).collect();
        Ok(Some(Self { on, key, protocols, slot }))
    }

    /// The first of our protocols that the client offers.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn choose(&self, ours: &[&'static str]) -> Result<&'static str, Status> {
        let chosen = ours.iter().find(|name| self.protocols.iter().any(|offered| offered == *name));
        chosen.copied().ok_or_else(|| {
            let text = format!("none of the WebSocket protocols [{}] is supported", self.protocols.join(", "));
            Status::bad_request(format!("{text}; this server speaks {}", ours.join(", ")))
        })
    }

    /// The answer, and the WebSocket once that has been sent.
    pub(crate) fn accept(self, protocol: &str) -> (Response<Body>, impl Future<Output = io::Result<WebSocket>> + Send) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let accepted = HeaderValue::from_str(&derive_accept_key(self.key.as_bytes()));
        headers.extend(accepted.ok().map(|accepted| (header::SEC_WEBSOCKET_ACCEPT, accepted)));
        if let Some(protocol) = HeaderValue::from_str(protocol).ok().filter(|protocol| !protocol.is_empty()) {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        let Self { on, slot, .. } = self;
        let opened = async move {
            let io = TokioIo::new(on.await.map_err(io::Error::other)?);
            let config = WebSocketConfig::default()
                .max_message_size(Some(LARGEST_MESSAGE))
                .max_frame_size(Some(LARGEST_MESSAGE));
            let stream = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
            Ok(WebSocket { stream, slot })
        };
        (response, opened)
    }
}

/// A place among the streams.
///
/// # Errors
/// There is none.
pub(crate) fn slot(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    let slot = slots.clone().try_acquire_owned();
    slot.map_err(|_| Status::too_many_requests("the server has too many streams open, try again", 1))
}

fn names(headers: &HeaderMap, name: &header::HeaderName, value: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|text| text.to_str().ok());
    values.flat_map(|text| text.split(',')).any(|word| word.trim().eq_ignore_ascii_case(value))
}

/// How the bytes of a response become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One text message for each line, of which a watch has only whole ones.
    Lines,
    Binary,
    Base64,
}

/// A watch or a log as a WebSocket. Answers that are not what was asked for stay as they are.
pub(crate) fn carry(
    upgrade: Upgrade,
    watch: bool,
    response: Response<Body>,
    shutdown: CancellationToken,
) -> Result<Response<Body>, Status> {
    if response.status() != StatusCode::OK {
        return Ok(response);
    }
    let (shape, protocol) = if watch { of_watch(&upgrade.protocols) } else { of_log(&upgrade)? };
    let (answer, opened) = upgrade.accept(protocol);
    tokio::spawn(async move {
        let sent = async { send_all(opened.await?, response.into_body(), shape, shutdown).await };
        if let Err(error) = sent.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "WebSocket ended");
        }
    });
    Ok(answer)
}

/// Watches come as text in any protocol, and in none.
fn of_watch(offered: &[String]) -> (Shape, &'static str) {
    let chosen = WATCH_PROTOCOLS.into_iter().find(|name| offered.iter().any(|offered| offered == name));
    (Shape::Lines, chosen.unwrap_or_default())
}

/// Logs come as bytes, unless somebody wants them as text. As upstream, who offers only what we do not speak is refused: what
/// he expects (channels, say) is something else.
fn of_log(upgrade: &Upgrade) -> Result<(Shape, &'static str), Status> {
    let of = |name: &String| match name.as_str() {
        BINARY => Some((Shape::Binary, BINARY)),
        BASE64 => Some((Shape::Base64, BASE64)),
        _ => None,
    };
    match upgrade.protocols.iter().find_map(of) {
        Some(chosen) => Ok(chosen),
        None if upgrade.protocols.is_empty() => Ok((Shape::Binary, "")),
        None => upgrade.choose(&[BINARY, BASE64]).map(|name| (Shape::Binary, name)),
    }
}

async fn send_all(socket: WebSocket, body: Body, shape: Shape, shutdown: CancellationToken) -> io::Result<()> {
    let WebSocket { stream, slot: _slot } = socket;
    let (mut sink, mut incoming) = stream.split();
    let mut body = body.into_data_stream();
    let mut line = BytesMut::new();
    loop {
        let piece = tokio::select! {
            () = shutdown.cancelled() => break,
            // What clients say is of no interest, but that they leave is; pings are answered on the way.
            message = incoming.next() => match message {
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return Ok(()),
            },
            piece = body.next() => piece,
        };
        let Some(piece) = piece else { break };
        let piece: Bytes = piece.map_err(io::Error::other)?;
        for message in messages(&piece, shape, &mut line) {
            sink.send(message).await.map_err(io::Error::other)?;
        }
    }
    let bye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    sink.send(Message::Close(Some(bye))).await.map_err(io::Error::other)?;
    let agreed = async { while let Some(Ok(_)) = incoming.next().await {} };
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, agreed).await;
    Ok(())
}

/// `line` keeps what has no end yet.
fn messages(piece: &[u8], shape: Shape, line: &mut BytesMut) -> Vec<Message> {
    use base64::Engine as _;
    match shape {
        Shape::Binary => vec![Message::Binary(Bytes::copy_from_slice(piece))],
        Shape::Base64 => vec![Message::text(base64::engine::general_purpose::STANDARD.encode(piece))],
        Shape::Lines => {
            let mut messages = Vec::new();
            for part in piece.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    messages.push(Message::text(String::from_utf8_lossy(&line.split()).into_owned()));
                }
            }
            messages
        }
    }
}

/// Whether the error says no more than that the other side has gone.
pub(crate) fn is_gone(error: &Error) -> bool {
    matches!(error, Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_) | Error::Protocol(_))
}

#[cfg(test)]
mod tests;
