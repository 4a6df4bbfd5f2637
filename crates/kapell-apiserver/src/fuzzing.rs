//! What the fuzz targets need of decoders that are nobody else's business. Only there when the compiler is told to build for them.

use std::io;

use crate::auth::certificate;
use crate::pki::signer;
use crate::spdy::Decoder;

/// Reads bytes as a certificate of a client, as a request for one, and as the subject of either.
pub fn certificates(bytes: &[u8]) {
    let _ = certificate::identity(bytes);
    let _ = certificate::named(bytes);
    signer::look_at(bytes);
}

/// The frames of a SPDY connection whose bytes come in pieces of this many, as text, and how it ends when it does not go on.
pub fn spdy(bytes: &[u8], piece: usize) -> (Vec<String>, Option<io::ErrorKind>) {
    let (mut decoder, mut frames) = (Decoder::new(), Vec::<String>::new());
    for piece in bytes.chunks(piece.max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(format!("{frame:?}")),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.kind())),
            }
        }
    }
    (frames, None)
}
