//! One connection: lines in, lines out, never waiting for the other side.

use std::io::{self, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::protocol::{Answer, Body, Request, VERSION};

/// A start carries a whole environment, ConfigMaps included (1 MiB each); more is a mistake.
const LONGEST_LINE: usize = 16 << 20;

/// Somebody who subscribes and does not read is cut off at this backlog; it can connect again and get the state anew.
const LARGEST_BACKLOG: usize = 4 << 20;

/// A session has three streams; whoever sends more descriptors than one request can use does not get to keep them open.
const MOST_DESCRIPTORS: usize = 4;

pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) stream: UnixStream,
    pub(crate) subscribed: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    /// That have come and are not taken yet.
    descriptors: Vec<OwnedFd>,
    pub(crate) closed: bool,
}

impl Connection {
    pub(crate) fn new(id: u64, stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (input, output, descriptors) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { id, stream, subscribed: false, input, output, descriptors, closed: false })
    }

    pub(crate) fn wants_to_write(&self) -> bool {
        !self.output.is_empty()
    }

    /// Reads what has come and returns the complete requests in it. A line that is none is answered at once.
    pub(crate) fn receive(&mut self) -> Vec<Request> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => {
                    self.closed = true;
                    break;
                }
                Ok(length) => self.input.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.closed |= error.kind() != io::ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        let mut requests = Vec::new();
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            match serde_json::from_slice::<Request>(&line) {
                Ok(request) if request.v == VERSION => requests.push(request),
                Ok(request) => {
                    let message =
                        format!("protocol version {} is not supported, this shim speaks {VERSION}", request.v);
                    self.send(request.id, Body::Failed { message });
                }
                Err(error) => self.send(0, Body::Failed { message: format!("not a request: {error}") }),
            }
        }
        self.closed |= self.input.len() > LONGEST_LINE;
        requests
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(buffer)];
        let received = recvmsg(&self.stream, parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.descriptors.truncate(MOST_DESCRIPTORS);
        Ok(received.bytes)
    }

    /// The descriptors that came with a request that needs `count` of them.
    pub(crate) fn take_descriptors(&mut self, count: usize) -> Option<Vec<OwnedFd>> {
        let descriptors = std::mem::take(&mut self.descriptors);
        (descriptors.len() == count).then_some(descriptors)
    }

    pub(crate) fn send(&mut self, id: u64, body: Body) {
        if let Ok(mut line) = serde_json::to_vec(&Answer { v: VERSION, id, body }) {
            line.push(b'\n');
            self.output.append(&mut line);
        }
        self.flush();
        self.closed |= self.output.len() > LARGEST_BACKLOG;
    }

    pub(crate) fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.closed |= error.kind() != io::ErrorKind::WouldBlock;
                    return;
                }
            }
        }
    }
}
