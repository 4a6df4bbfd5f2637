//! What a client speaks, from the first bytes that it sends. They are only looked at: whoever serves the connection
//! reads them again.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

/// The connection preface of HTTP/2 (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests in other methods are rare enough to be forwarded as bytes; and a bare "capital letters, then a space"
/// would also fit SMTP, FTP or Redis.
const HTTP1_METHODS: [&[u8]; 8] = [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE "];

/// A first segment that ends within a method's name is so rare that looking again a little later is good enough.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http1,
    Http2,
    /// Anything else, also a client that closes without a word.
    Other,
}

/// Waits for the client's first bytes.
pub(crate) async fn spoken(stream: &TcpStream) -> io::Result<Spoken> {
    let mut first = [0; HTTP2_PREFACE.len()];
    loop {
        let length = stream.peek(&mut first).await?;
        if let Some(spoken) = classify(&first[..length]) {
            return Ok(spoken);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// `None`: more bytes are needed.
fn classify(first: &[u8]) -> Option<Spoken> {
    let is = |start: &[u8]| first.starts_with(start);
    let may_become = |start: &[u8]| start.starts_with(first);
    match () {
        () if first.is_empty() => Some(Spoken::Other),
        () if is(HTTP2_PREFACE) => Some(Spoken::Http2),
        () if HTTP1_METHODS.into_iter().any(is) => Some(Spoken::Http1),
        () if may_become(HTTP2_PREFACE) || HTTP1_METHODS.into_iter().any(may_become) => None,
        () => Some(Spoken::Other),
    }
}

#[cfg(test)]
mod tests;
