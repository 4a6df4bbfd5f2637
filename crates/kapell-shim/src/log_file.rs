//! One container's log in the CRI format: `TIME STREAM TAG CONTENT`, where tag `F` ends a line and `P` does not.
//!
//! Writing never blocks on anything but the disk and never fails the container: what a full disk refuses is counted, and
//! the log says so as soon as it can be written again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::clock;
use crate::protocol::LogLimits;

/// Longer lines are split into `P` records of this size, as container runtimes do.
const LONGEST_RECORD: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) const BOTH: [Self; 2] = [Self::Stdout, Self::Stderr];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

pub(crate) struct LogFile {
    path: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    size: u64,
    /// The beginning of a line whose end has not come yet, per stream.
    pending: [Vec<u8>; 2],
    /// What has no line end yet is written at once, too: somebody may be looking at a prompt.
    at_once: bool,
    lost_bytes: u64,
}

impl LogFile {
    /// Appends to what is there: a shim that takes over continues its predecessor's file.
    pub(crate) fn open(path: PathBuf, limits: LogLimits) -> io::Result<Self> {
        let file = append_to(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, limits, file: Some(file), size, pending: Default::default(), at_once: false, lost_bytes: 0 })
    }

    /// The log of a terminal.
    pub(crate) fn of_terminal(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// Takes in output as it comes; complete lines are written at once.
    pub(crate) fn append(&mut self, stream: Stream, mut bytes: &[u8]) {
        let time = clock::now_rfc3339_nano();
        let mut records = Vec::with_capacity(bytes.len() + 256);
        let mut pending = std::mem::take(&mut self.pending[stream as usize]);
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            pending.extend_from_slice(&bytes[..end]);
            push_line(&mut records, &time, stream, &mut pending, "F");
            bytes = &bytes[end + 1..];
        }
        pending.extend_from_slice(bytes);
        while pending.len() >= LONGEST_RECORD {
            let rest = pending.split_off(LONGEST_RECORD);
            push_line(&mut records, &time, stream, &mut pending, "P");
            pending = rest;
        }
        if self.at_once && !pending.is_empty() {
            push_line(&mut records, &time, stream, &mut pending, "P");
        }
        self.pending[stream as usize] = pending;
        self.write(&records);
    }

    /// Writes what has no line end yet; the container is gone.
    pub(crate) fn finish(&mut self) {
        let time = clock::now_rfc3339_nano();
        let mut records = Vec::new();
        for stream in Stream::BOTH {
            if !self.pending[stream as usize].is_empty() {
                let mut pending = std::mem::take(&mut self.pending[stream as usize]);
                push_line(&mut records, &time, stream, &mut pending, "P");
            }
        }
        self.write(&records);
    }

    fn write(&mut self, records: &[u8]) {
        if records.is_empty() {
            return;
        }
        if self.size >= self.limits.max_bytes {
            self.rotate();
        }
        if self.lost_bytes > 0 {
            let note =
                format!("{} stderr F kapell: {} bytes of log lost\n", clock::now_rfc3339_nano(), self.lost_bytes);
            if !self.try_write(note.as_bytes()) {
                self.lost_bytes += records.len() as u64;
                return;
            }
            self.lost_bytes = 0;
        }
        if !self.try_write(records) {
            self.lost_bytes += records.len() as u64;
        }
    }

    /// A write that fails half-way is cut off again, so that the file holds whole records only.
    fn try_write(&mut self, records: &[u8]) -> bool {
        if self.file.is_none() {
            self.file = append_to(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return false };
        if file.write_all(records).is_err() {
            let _ = file.set_len(self.size);
            return false;
        }
        self.size += records.len() as u64;
        true
    }

    /// `0.log` → `0.log.1` → `0.log.2` …; the oldest is overwritten.
    fn rotate(&mut self) {
        let oldest = self.limits.max_files.saturating_sub(1);
        for index in (1..oldest).rev() {
            let _ = fs::rename(rotated(&self.path, index), rotated(&self.path, index + 1));
        }
        let gone =
            if oldest == 0 { fs::remove_file(&self.path) } else { fs::rename(&self.path, rotated(&self.path, 1)) };
        if gone.is_ok() {
            self.file = append_to(&self.path).ok();
            self.size = 0;
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn rotated(path: &Path, index: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{index}"));
    name.into()
}

/// Writes `content` as one record, or several if it is too long, and empties it.
fn push_line(records: &mut Vec<u8>, time: &str, stream: Stream, content: &mut Vec<u8>, last_tag: &str) {
    let mut rest = content.as_slice();
    loop {
        let (piece, tag) = if rest.len() > LONGEST_RECORD { (&rest[..LONGEST_RECORD], "P") } else { (rest, last_tag) };
        for part in [time.as_bytes(), b" ", stream.name().as_bytes(), b" ", tag.as_bytes(), b" ", piece, b"\n"] {
            records.extend_from_slice(part);
        }
        rest = &rest[piece.len()..];
        if rest.is_empty() {
            break;
        }
    }
    content.clear();
}

#[cfg(test)]
mod tests;
