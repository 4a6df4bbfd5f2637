//! One connection: lines in, lines out, never waiting for the other side.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use crate::protocol::{Answer, Body, Request, VERSION};

/// A start carries a whole environment, ConfigMaps included (1 MiB each); more is a mistake.
const LONGEST_LINE: usize = 16 << 20;

/// Somebody who subscribes and does not read is cut off at this backlog; it can connect again and get the state anew.
const LARGEST_BACKLOG: usize = 4 << 20;

pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) stream: UnixStream,
    pub(crate) subscribed: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    pub(crate) closed: bool,
}

impl Connection {
    pub(crate) fn new(id: u64, stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { id, stream, subscribed: false, input: Vec::new(), output: Vec::new(), closed: false })
    }

    pub(crate) fn wants_to_write(&self) -> bool {
        !self.output.is_empty()
    }

    /// Reads what has come and returns the complete requests in it. A line that is none is answered at once.
    pub(crate) fn receive(&mut self) -> Vec<Request> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
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
