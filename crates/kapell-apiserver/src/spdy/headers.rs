//! Header blocks of SPDY/3: names and values with their lengths, compressed by one zlib stream for the whole connection that
//! begins with a dictionary known to both sides (SPDY/3 §2.6.10).

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The dictionary's words; each stands in it after its length in four bytes.
const WORDS: [&str; 65] = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// What follows the words, without lengths.
const VALUES: &str = concat!(
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505",
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized",
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable",
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT",
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,",
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.",
);

/// How a zlib stream begins that uses a dictionary: two bytes, and the dictionary's checksum.
const ZLIB_HEADER: usize = 6;
const ZLIB_HAS_DICTIONARY: u8 = 0x20;
/// Adler-32 of the dictionary.
const DICTIONARY_ID: [u8; 4] = [0xe3, 0xc6, 0xa7, 0xc2];

/// More than this in one block is no port-forward.
const LARGEST_BLOCK: usize = 16 << 10;

fn dictionary() -> Vec<u8> {
    let mut dictionary = Vec::with_capacity(1423);
    for word in WORDS {
        // None is longer than a line.
        dictionary.extend_from_slice(&(word.len() as u32).to_be_bytes());
        dictionary.extend_from_slice(word.as_bytes());
    }
    dictionary.extend_from_slice(VALUES.as_bytes());
    dictionary
}

/// Reads the header blocks of one direction, in order.
pub(super) struct Unpacker {
    inflate: Decompress,
    begun: bool,
}

impl Unpacker {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new(false), begun: false }
    }

    pub(super) fn read(&mut self, mut block: &[u8]) -> io::Result<Vec<(String, String)>> {
        if !self.begun {
            block = self.begin(block)?;
        }
        parse(&self.inflate(block)?).ok_or_else(|| bad("a header block is cut off"))
    }

    /// Checks the stream's beginning and puts the dictionary where the data that follows refers to: as if it had come as
    /// uncompressed data, which is how any deflate implementation takes one.
    fn begin<'a>(&mut self, block: &'a [u8]) -> io::Result<&'a [u8]> {
        let header = block.get(..ZLIB_HEADER).ok_or_else(|| bad("a header block is cut off"))?;
        if header[1] & ZLIB_HAS_DICTIONARY == 0 || header[2..] != DICTIONARY_ID {
            return Err(bad("header blocks must use the dictionary of SPDY/3"));
        }
        let dictionary = dictionary();
        let length = dictionary.len() as u16;
        let mut stored = vec![0];
        stored.extend_from_slice(&length.to_le_bytes());
        stored.extend_from_slice(&(!length).to_le_bytes());
        stored.extend_from_slice(&dictionary);
        self.inflate(&stored)?;
        self.begun = true;
        Ok(&block[ZLIB_HEADER..])
    }

    fn inflate(&mut self, mut input: &[u8]) -> io::Result<Vec<u8>> {
        let mut output = Vec::with_capacity(2048);
        loop {
            let before = self.inflate.total_in();
            let status = self.inflate.decompress_vec(input, &mut output, FlushDecompress::Sync);
            let status = status.map_err(|error| bad(&error.to_string()))?;
            input = &input[(self.inflate.total_in() - before) as usize..];
            let full = output.len() == output.capacity();
            if output.len() > LARGEST_BLOCK {
                return Err(bad("a header block is too large"));
            }
            if !full && (input.is_empty() || status != Status::Ok) {
                return Ok(output);
            }
            output.reserve(2048);
        }
    }
}

/// Writes header blocks. It does without the dictionary, which zlib leaves to the writer.
pub(super) struct Packer(Compress);

impl Packer {
    pub(super) fn new() -> Self {
        Self(Compress::new(Compression::fast(), true))
    }

    /// A block without headers: all that a port-forward answers.
    pub(super) fn empty(&mut self) -> io::Result<Vec<u8>> {
        let mut output = Vec::with_capacity(64);
        self.0.compress_vec(&[0; 4], &mut output, FlushCompress::Sync).map_err(|error| bad(&error.to_string()))?;
        Ok(output)
    }
}

fn parse(mut block: &[u8]) -> Option<Vec<(String, String)>> {
    fn number(block: &mut &[u8]) -> Option<usize> {
        let (number, rest) = block.split_first_chunk::<4>()?;
        *block = rest;
        usize::try_from(u32::from_be_bytes(*number)).ok()
    }
    fn text(block: &mut &[u8]) -> Option<String> {
        let length = number(block)?;
        let (text, rest) = block.split_at_checked(length)?;
        let text = String::from_utf8(text.to_vec()).ok()?;
        *block = rest;
        Some(text)
    }
    let count = number(&mut block)?;
    (0..count).map(|_| Some((text(&mut block)?, text(&mut block)?))).collect()
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests;
