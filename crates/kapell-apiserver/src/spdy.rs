//! As much of SPDY/3.1 as `kubectl port-forward` speaks inside a WebSocket: frames in, frames out.
//!
//! Frames are values; who sends and receives them is [`crate::portforward`]. Streams are only ever opened by the client.
//! There is no flow control, as the client has none either; what becomes of a stream that nobody takes is decided there, too.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

mod headers;

use headers::{Packer, Unpacker};

/// Frames carry at most this much; clients send 32 KiB at a time.
const LARGEST_FRAME: usize = 4 << 20;
const HEAD: usize = 8;

const CONTROL: u8 = 0x80;
const VERSION: u16 = 3;
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;

/// What the client says, as far as it concerns a port-forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A new stream with its headers; `fin`: the client will send nothing on it.
    Open {
        stream: u32,
        headers: Vec<(String, String)>,
        fin: bool,
    },
    Data {
        stream: u32,
        data: Bytes,
        fin: bool,
    },
    Reset {
        stream: u32,
    },
    /// To be answered with the same number.
    Ping {
        id: u32,
    },
    /// The client is done.
    GoAway,
}

/// Finds frames in the bytes of a connection.
pub(crate) struct Decoder {
    buffer: BytesMut,
    unpacker: Unpacker,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { buffer: BytesMut::new(), unpacker: Unpacker::new() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame if it has come as a whole.
    ///
    /// # Errors
    /// What comes is not SPDY/3.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let Some(head) = self.buffer.first_chunk::<HEAD>().copied() else { return Ok(None) };
            let length = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
            if length > LARGEST_FRAME {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a SPDY frame is too large"));
            }
            if self.buffer.len() < HEAD + length {
                return Ok(None);
            }
            self.buffer.advance(HEAD);
            let payload = self.buffer.split_to(length).freeze();
            if let Some(frame) = self.frame(head, payload)? {
                return Ok(Some(frame));
            }
        }
    }

    fn frame(&mut self, head: [u8; HEAD], mut payload: Bytes) -> io::Result<Option<Frame>> {
        let fin = head[4] & FIN != 0;
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        if head[0] & CONTROL == 0 {
            return Ok(Some(Frame::Data { stream: first, data: payload, fin }));
        }
        let (version, kind) = ((first >> 16) as u16 & 0x7fff, first as u16);
        if version != VERSION {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("SPDY/{version} is not supported")));
        }
        let short = || io::Error::new(io::ErrorKind::InvalidData, "a SPDY frame is cut off");
        Ok(match kind {
            SYN_STREAM => {
                let stream = payload.try_get_u32().map_err(|_| short())? & 0x7fff_ffff;
                // The stream that it belongs to, a priority and a slot mean nothing here.
                if payload.len() < 6 {
                    return Err(short());
                }
                payload.advance(6);
                Some(Frame::Open { stream, headers: self.unpacker.read(&payload)?, fin })
            }
            RST_STREAM => Some(Frame::Reset { stream: payload.try_get_u32().map_err(|_| short())? & 0x7fff_ffff }),
            PING => Some(Frame::Ping { id: payload.try_get_u32().map_err(|_| short())? }),
            GOAWAY => Some(Frame::GoAway),
            // Settings, window updates and the like: nothing that a port-forward depends on.
            _ => None,
        })
    }
}

/// Writes the server's frames.
pub(crate) struct Encoder(Packer);

impl Encoder {
    pub(crate) fn new() -> Self {
        Self(Packer::new())
    }

    /// Accepts a stream.
    pub(crate) fn reply(&mut self, stream: u32) -> io::Result<Bytes> {
        let block = self.0.empty()?;
        let mut payload = stream.to_be_bytes().to_vec();
        payload.extend_from_slice(&block);
        Ok(control(SYN_REPLY, &payload))
    }
}

pub(crate) fn data(stream: u32, bytes: &[u8], fin: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + bytes.len());
    frame.put_u32(stream & 0x7fff_ffff);
    frame.put_u32(u32::from(u8::from(fin)) << 24 | bytes.len() as u32);
    frame.extend_from_slice(bytes);
    frame.freeze()
}

pub(crate) fn pong(id: u32) -> Bytes {
    control(PING, &id.to_be_bytes())
}

/// Refuses a stream (`REFUSED_STREAM`).
pub(crate) fn refuse(stream: u32) -> Bytes {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend_from_slice(&3_u32.to_be_bytes());
    control(RST_STREAM, &payload)
}

fn control(kind: u16, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + payload.len());
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(kind);
    frame.put_u32(payload.len() as u32);
    frame.extend_from_slice(payload);
    frame.freeze()
}

#[cfg(test)]
mod tests;
