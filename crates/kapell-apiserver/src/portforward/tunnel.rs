//! SPDY inside a WebSocket: a pair of streams for each connection, opened when the client has one.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::{Input, Out, Pieces, Pod, TAKES_NOTHING};
use crate::spdy::{self, Decoder, Encoder, Frame};
use crate::websocket::{WebSocket, Writer};

/// Connections over one WebSocket. A browser that loads a page opens dozens.
const MOST_STREAMS: usize = 1024;

/// A stream whose partner has not come by then is forgotten, as upstream.
const PARTNER_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn forward(socket: WebSocket, pod: Pod) -> io::Result<()> {
    let WebSocket { stream, slot: _slot } = socket;
    let (sink, mut incoming) = stream.split();
    let client = Writer::new(sink);
    let mut tunnel = Tunnel::new(pod, client.clone());
    let forwarding = async {
        let mut decoder = Decoder::new();
        while let Some(Ok(message)) = incoming.next().await {
            match message {
                Message::Binary(bytes) => decoder.push(&bytes),
                Message::Close(_) => break,
                _ => continue,
            }
            while let Some(frame) = decoder.next()? {
                match frame {
                    Frame::Ping { id } => client.send(spdy::pong(id)).await?,
                    Frame::GoAway => return Ok(()),
                    Frame::Reset { stream } => tunnel.on_reset(stream),
                    Frame::Data { stream, data, fin } => tunnel.on_data(stream, data, fin).await?,
                    Frame::Open { stream, headers, fin } => tunnel.on_open(stream, &headers, fin).await?,
                }
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = forwarding => ended,
        () = client.gone() => Ok(()),
    }
}

/// A connection that waits for its second stream.
struct Pair {
    error: Option<u32>,
    data: Option<(u32, Pieces)>,
    since: Instant,
}

struct Tunnel {
    pod: Pod,
    client: Writer,
    encoder: Encoder,
    /// By `requestid`.
    pairs: HashMap<String, Pair>,
    /// By data stream, until its client or its pod has said everything.
    inputs: HashMap<u32, Input>,
    /// Dropped with the tunnel: connections end with their client.
    connections: JoinSet<io::Result<()>>,
}

impl Tunnel {
    fn new(pod: Pod, client: Writer) -> Self {
        let (pairs, inputs, connections) = (HashMap::new(), HashMap::new(), JoinSet::new());
        Self { pod, client, encoder: Encoder::new(), pairs, inputs, connections }
    }

    /// Forgets what has ended, and who waits for a partner in vain.
    fn tidy(&mut self) {
        while self.connections.try_join_next().is_some() {}
        self.pairs.retain(|_, pair| pair.since.elapsed() < PARTNER_TIMEOUT);
        self.inputs.retain(|_, input| !input.has_ended());
    }

    /// `fin`: the client will send nothing on the stream.
    async fn on_open(&mut self, stream: u32, headers: &[(String, String)], fin: bool) -> io::Result<()> {
        self.tidy();
        if self.connections.len() + self.pairs.len() >= MOST_STREAMS {
            return self.client.send(spdy::refuse(stream)).await;
        }
        self.client.send(self.encoder.reply(stream)?).await?;
        let header = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let key = header("requestid").unwrap_or_default().to_owned();
        let port = header("port").and_then(|port| port.parse::<u16>().ok()).unwrap_or(0);
        let new = || Pair { error: None, data: None, since: Instant::now() };
        let pair = self.pairs.entry(key.clone()).or_insert_with(new);
        if header("streamtype") == Some("error") {
            pair.error = Some(stream);
        } else {
            let (input, pieces) = self.pod.input();
            pair.data = Some((stream, pieces));
            if !fin {
                self.inputs.insert(stream, input);
            }
        }
        if let (Some(error), Some(_)) = (pair.error, &pair.data)
            && let Some(Pair { data: Some((data, pieces)), .. }) = self.pairs.remove(&key)
        {
            self.connections.spawn(connect(self.pod.clone(), port, data, error, pieces, self.client.clone()));
        }
        Ok(())
    }

    /// Whoever has ended, or was never opened, hears nothing.
    async fn on_data(&mut self, stream: u32, data: Bytes, fin: bool) -> io::Result<()> {
        if let Some(input) = self.inputs.get(&stream).filter(|_| !data.is_empty()) {
            if input.is_full(&data) && self.pairs.values().any(|pair| pair.is_of(stream)) {
                // Nobody will ever take it, so nobody else is to wait for that.
                self.on_reset(stream);
                return self.client.send(spdy::refuse(stream)).await;
            }
            if !input.send(data).await
                && let Some(stuck) = self.inputs.remove(&stream)
            {
                stuck.quit(TAKES_NOTHING);
            }
        }
        if fin {
            self.inputs.remove(&stream);
        }
        Ok(())
    }

    fn on_reset(&mut self, stream: u32) {
        self.pairs.retain(|_, pair| !pair.is_of(stream));
        if let Some(input) = self.inputs.remove(&stream) {
            input.quit("the client has given it up");
        }
    }
}

impl Pair {
    fn is_of(&self, stream: u32) -> bool {
        self.error == Some(stream) || self.data.as_ref().is_some_and(|(data, _)| *data == stream)
    }
}

/// One connection: its bytes on the stream `data`, what goes wrong on the stream `error`; both end with it.
async fn connect(pod: Pod, port: u16, data: u32, error: u32, pieces: Pieces, client: Writer) -> io::Result<()> {
    let connection = pod.connection(port, pieces, |out| match out {
        Out::Data(bytes) => client.send(spdy::data(data, &bytes, false)),
        Out::End => client.send(spdy::data(data, &[], true)),
    });
    if let Err(text) = connection.await {
        client.send(spdy::data(error, text.as_bytes(), false)).await?;
        client.send(spdy::data(data, &[], true)).await?;
    }
    client.send(spdy::data(error, &[], true)).await
}
