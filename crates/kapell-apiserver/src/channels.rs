//! Several streams over one WebSocket (`v5.channel.k8s.io`, `v4.channel.k8s.io`): each message begins with the number of its
//! channel. Version 5 can also say that a channel has ended.

use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::SplitStream;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::websocket::{CLOSE_TIMEOUT, WebSocket, Writer, is_gone};

pub(crate) const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// The channel of version 5 whose messages name a channel that has ended.
const CLOSE: u8 = 255;

/// What comes from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Data {
        channel: u8,
        data: Bytes,
    },
    /// No more data will come on this channel.
    Closed {
        channel: u8,
    },
}

/// The client's side.
pub struct ChannelReader {
    stream: SplitStream<WebSocketStream<TokioIo<Upgraded>>>,
    closes: bool,
    _slot: OwnedSemaphorePermit,
}

/// Our side. Clones write to the same client, a message at a time.
#[derive(Clone)]
pub struct ChannelWriter(Writer);

pub(crate) fn split(socket: WebSocket, protocol: &str) -> (ChannelReader, ChannelWriter) {
    let WebSocket { stream, slot } = socket;
    let (sink, stream) = stream.split();
    let reader = ChannelReader { stream, closes: protocol == PROTOCOLS[0], _slot: slot };
    (reader, ChannelWriter(Writer::new(sink)))
}

impl ChannelReader {
    /// `None` when the client has gone.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let data = match self.stream.next().await? {
                Ok(Message::Binary(data)) => data,
                Ok(Message::Text(text)) => Bytes::copy_from_slice(text.as_bytes()),
                Ok(Message::Close(_)) => return None,
                Ok(_) => continue,
                Err(error) => {
                    if !is_gone(&error) {
                        tracing::debug!(error = &error as &dyn std::error::Error, "WebSocket broke");
                    }
                    return None;
                }
            };
            if let Some(frame) = parse(data, self.closes) {
                return Some(frame);
            }
        }
    }

    /// Waits until the client has agreed to [`ChannelWriter::close`], for a moment.
    pub async fn drain(mut self) {
        let agreed = async { while self.next().await.is_some() {} };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, agreed).await;
    }
}

fn parse(mut data: Bytes, closes: bool) -> Option<Frame> {
    if data.is_empty() {
        return None;
    }
    let channel = data.split_to(1)[0];
    if closes && channel == CLOSE {
        return data.first().map(|channel| Frame::Closed { channel: *channel });
    }
    Some(Frame::Data { channel, data })
}

impl ChannelWriter {
    /// # Errors
    /// When the client has gone.
    pub async fn send(&self, channel: u8, data: &[u8]) -> io::Result<()> {
        let mut message = BytesMut::with_capacity(data.len() + 1);
        message.put_u8(channel);
        message.extend_from_slice(data);
        self.0.send(message.freeze()).await
    }

    /// Returns when the client is no more.
    pub async fn gone(&self) {
        self.0.gone().await;
    }

    pub async fn close(&self) {
        self.0.close().await;
    }
}

#[cfg(test)]
mod tests;
