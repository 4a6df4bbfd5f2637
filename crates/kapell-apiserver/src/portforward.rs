//! `pods/portforward`: TCP connections to a pod's ports over one WebSocket, in either of the two ways that clients know.
//!
//! kubectl tunnels SPDY (`SPDY/3.1+portforward.k8s.io`), in which each connection is a pair of streams, one for its data and
//! one for what went wrong. Other clients name the ports beforehand and get a pair of channels for each (`v5.channel.k8s.io`,
//! `v4.channel.k8s.io`), which carry one connection each. How a port is reached is up to whoever answers the subresource.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{SinkExt as _, StreamExt as _};
use http::Response;
use kapell_api::status::Status;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::ConnectRequest;
use crate::channels::{self, Frame as ChannelFrame, PROTOCOLS};
use crate::spdy::{self, Decoder, Encoder, Frame};
use crate::websocket::WebSocket;

const SPDY: &str = "SPDY/3.1+portforward.k8s.io";

/// Pieces that wait for a pod to take them; then the client has to wait, too.
const BACKLOG: usize = 16;

/// Connections over one WebSocket. A browser that loads a page opens dozens.
const MOST_STREAMS: usize = 1024;

const PIECE: usize = 32 << 10;

/// Connects to a port of the pod.
pub type Dial = Arc<dyn Fn(u16) -> BoxFuture<'static, io::Result<TcpStream>> + Send + Sync>;

/// Grants the WebSocket and forwards until the client leaves or the server stops.
///
/// # Errors
/// The client does not ask for a WebSocket, for none of our protocols, or without saying for which ports.
pub fn port_forward(request: &mut ConnectRequest, dial: Dial) -> Result<Response<Body>, Status> {
    let upgrade = request.upgrade.lock().take().ok_or_else(|| {
        Status::bad_request(format!(
            "Upgrade request required: this server speaks WebSocket ({SPDY} and v5, v4.channel.k8s.io)"
        ))
    })?;
    let protocol = upgrade.choose(&[SPDY, PROTOCOLS[0], PROTOCOLS[1]])?;
    let ports: Vec<u16> = if protocol == SPDY { Vec::new() } else { ports(request)? };
    let (response, opened) = upgrade.accept(protocol);
    let shutdown = request.shutdown.clone();
    tokio::spawn(async move {
        let forwarding = async {
            let socket = opened.await?;
            match protocol {
                SPDY => forward_spdy(socket, dial).await,
                channel => forward_channels(socket, channel, &ports, dial).await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            ended = forwarding => if let Err(error) = ended {
                tracing::debug!(error = &error as &dyn std::error::Error, "port-forward ended");
            }
        }
    });
    Ok(response)
}

fn ports(request: &ConnectRequest) -> Result<Vec<u16>, Status> {
    let named = request.query.all("ports").flat_map(|list| list.split(','));
    let ports: Vec<u16> = named
        .map(|port| port.parse().ok().filter(|port| *port != 0))
        .collect::<Option<_>>()
        .ok_or_else(|| Status::bad_request("query parameter \"ports\" must name ports"))?;
    if ports.is_empty() || ports.len() > 100 {
        return Err(Status::bad_request("query parameter \"ports\" must name at least one port and at most 100"));
    }
    Ok(ports)
}

/// What a connection sends to its client.
enum Out {
    Data(Bytes),
    /// The pod will send no more.
    End,
}

/// Copies one connection: pieces from the client to the pod until their channel ends, and the pod's to `send`.
async fn copy<F: Future<Output = io::Result<()>>>(
    stream: TcpStream,
    mut pieces: mpsc::Receiver<Bytes>,
    mut send: impl FnMut(Out) -> F,
) -> io::Result<()> {
    let (mut from_pod, mut to_pod) = stream.into_split();
    let upward = async move {
        while let Some(piece) = pieces.recv().await {
            to_pod.write_all(&piece).await?;
        }
        to_pod.shutdown().await
    };
    let downward = async {
        let mut buffer = vec![0; PIECE];
        loop {
            match from_pod.read(&mut buffer).await? {
                0 => return send(Out::End).await,
                length => send(Out::Data(Bytes::copy_from_slice(&buffer[..length]))).await?,
            }
        }
    };
    // A pod that has said everything and closed is done, whatever the client still wants to say.
    let mut upward = std::pin::pin!(upward);
    let mut downward = std::pin::pin!(downward);
    tokio::select! {
        ended = downward.as_mut() => ended,
        ended = upward.as_mut() => match ended {
            Ok(()) => downward.await,
            Err(error) => Err(error),
        },
    }
}

/// A connection that waits for its second stream.
#[derive(Default)]
struct Pair {
    error: Option<u32>,
    data: Option<(u32, mpsc::Receiver<Bytes>)>,
}

type Inputs = Arc<Mutex<HashMap<u32, mpsc::Sender<Bytes>>>>;

async fn forward_spdy(socket: WebSocket, dial: Dial) -> io::Result<()> {
    let WebSocket { stream, slot: _slot } = socket;
    let (sink, mut incoming) = stream.split();
    let sink = Arc::new(tokio::sync::Mutex::new(sink));
    let send = move |frame: Bytes| {
        let sink = sink.clone();
        async move { sink.lock().await.send(Message::Binary(frame)).await.map_err(io::Error::other) }
    };
    let (mut decoder, mut encoder) = (Decoder::new(), Encoder::new());
    let mut pairs: HashMap<String, Pair> = HashMap::new();
    let inputs: Inputs = Arc::default();
    // Dropped with this future: connections end with their client.
    let mut connections = JoinSet::new();
    while let Some(Ok(message)) = incoming.next().await {
        while connections.try_join_next().is_some() {}
        match message {
            Message::Binary(bytes) => decoder.push(&bytes),
            Message::Close(_) => break,
            _ => continue,
        }
        while let Some(frame) = decoder.next()? {
            match frame {
                Frame::Ping { id } => send(spdy::pong(id)).await?,
                Frame::GoAway => return Ok(()),
                Frame::Reset { stream } => drop(inputs.lock().remove(&stream)),
                Frame::Data { stream, data, fin } => {
                    let input = inputs.lock().get(&stream).cloned();
                    if let Some(input) = input.filter(|_| !data.is_empty()) {
                        // A connection that has ended takes no more; it says so itself.
                        let _ = input.send(data).await;
                    }
                    if fin {
                        inputs.lock().remove(&stream);
                    }
                }
                Frame::Open { stream, .. } if connections.len() + pairs.len() >= MOST_STREAMS => {
                    send(spdy::refuse(stream)).await?;
                }
                Frame::Open { stream, headers, .. } => {
                    send(encoder.reply(stream)?).await?;
                    let header =
                        |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
                    let key = header("requestid").unwrap_or_default().to_owned();
                    let port = header("port").and_then(|port| port.parse::<u16>().ok()).unwrap_or(0);
                    let pair = pairs.entry(key.clone()).or_default();
                    if header("streamtype") == Some("error") {
                        pair.error = Some(stream);
                    } else {
                        let (input, pieces) = mpsc::channel(BACKLOG);
                        inputs.lock().insert(stream, input);
                        pair.data = Some((stream, pieces));
                    }
                    if let (Some(error), Some(_)) = (pair.error, &pair.data)
                        && let Some(Pair { data: Some((data, pieces)), .. }) = pairs.remove(&key)
                    {
                        let connection = connect_pair(dial.clone(), port, data, error, pieces, send.clone());
                        let inputs = inputs.clone();
                        connections.spawn(async move {
                            let ended = connection.await;
                            inputs.lock().remove(&data);
                            ended
                        });
                    }
                }
            }
        }
    }
    Ok(())
}

/// One connection: its bytes on the stream `data`, what goes wrong on the stream `error`; both end with it.
async fn connect_pair<F: Future<Output = io::Result<()>>>(
    dial: Dial,
    port: u16,
    data: u32,
    error: u32,
    pieces: mpsc::Receiver<Bytes>,
    send: impl Fn(Bytes) -> F,
) -> io::Result<()> {
    let copied = match dial(port).await {
        Ok(stream) => {
            let out = |out| match out {
                Out::Data(bytes) => send(spdy::data(data, &bytes, false)),
                Out::End => send(spdy::data(data, &[], true)),
            };
            copy(stream, pieces, out).await
        }
        Err(failure) => Err(failure),
    };
    if let Err(failure) = copied {
        let text = format!("error forwarding port {port} to the pod: {failure}");
        send(spdy::data(error, text.as_bytes(), false)).await?;
        send(spdy::data(data, &[], true)).await?;
    }
    send(spdy::data(error, &[], true)).await
}

async fn forward_channels(socket: WebSocket, protocol: &str, ports: &[u16], dial: Dial) -> io::Result<()> {
    let (mut reader, writer) = channels::split(socket, protocol);
    let mut connections = JoinSet::new();
    let mut inputs = Vec::new();
    let ended = CancellationToken::new();
    for (index, &port) in ports.iter().enumerate() {
        // At most 100 ports, see `ports`.
        let (data, error) = (index as u8 * 2, index as u8 * 2 + 1);
        for channel in [data, error] {
            writer.send(channel, &port.to_le_bytes()).await?;
        }
        let (input, pieces) = mpsc::channel(BACKLOG);
        inputs.push(Some(input));
        let (dial, writer) = (dial.clone(), writer.clone());
        connections.spawn(async move {
            let copied = match dial(port).await {
                Ok(stream) => {
                    let out = |out| {
                        let writer = writer.clone();
                        async move {
                            match out {
                                Out::Data(bytes) => writer.send(data, &bytes).await,
                                Out::End => Ok(()),
                            }
                        }
                    };
                    copy(stream, pieces, out).await
                }
                Err(failure) => Err(failure),
            };
            if let Err(failure) = copied {
                let text = format!("error forwarding port {port} to the pod: {failure}");
                let _ = writer.send(error, text.as_bytes()).await;
            }
        });
    }
    // When every connection has ended, so has the WebSocket: that is how these clients learn of it.
    let all = ended.clone();
    let waiter = tokio::spawn(async move {
        while connections.join_next().await.is_some() {}
        all.cancel();
    });
    let _abort_with_us = AbortOnDrop(waiter);
    loop {
        let frame = tokio::select! {
            frame = reader.next() => frame,
            () = ended.cancelled() => {
                writer.close().await;
                reader.drain().await;
                return Ok(());
            }
        };
        match frame {
            None => return Ok(()),
            Some(ChannelFrame::Data { channel, data }) if channel % 2 == 0 => {
                if let Some(Some(input)) = inputs.get(usize::from(channel / 2)) {
                    let _ = input.send(data).await;
                }
            }
            Some(ChannelFrame::Closed { channel }) if channel % 2 == 0 => {
                if let Some(input) = inputs.get_mut(usize::from(channel / 2)) {
                    *input = None;
                }
            }
            Some(_) => {}
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
