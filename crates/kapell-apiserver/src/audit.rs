//! The audit log: who wanted to change what, from where, and what came of it.
//!
//! Every mutation leaves one event, refused ones included, in upstream's `audit.k8s.io/v1` form at level `Metadata`:
//! no bodies, so no secrets. Events go through a bounded queue to a thread that appends them as JSON lines and rotates the
//! file. A request never waits for the disk: when the queue is full its event is dropped, counted, and the loss is
//! written down where the events continue.

mod event;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use jiff::Timestamp;
use kapell_api::time;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, Receiver, Sender};

pub(crate) use self::event::{Event, ObjectName};

/// Events that may wait: some seconds of the fastest writers that we measured, below 10 MB.
const QUEUE: usize = 8_192;

/// Where the audit log is and how much of it is kept.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// `DATA/audit`: `audit.log`, and `audit.log.1` (the latest) and so on.
    pub directory: PathBuf,
    /// A file that has grown beyond this is put aside.
    pub file_bytes: u64,
    /// So many files that were put aside are kept.
    pub files: usize,
}

impl AuditConfig {
    /// 9 files of 64 MiB: some 1.5 million events.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), file_bytes: 64 << 20, files: 8 }
    }
}

/// What the log has done, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) written: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

/// The log; dropping it writes what still waits.
pub(crate) struct AuditLog {
    queue: Mutex<Option<Sender<Vec<u8>>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<Counts>,
}

impl AuditLog {
    pub(crate) fn open(config: AuditConfig) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.directory)?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let counts = Arc::<Counts>::default();
        let mut writer = Writer { files: Files::open(config)?, counts: counts.clone(), noted: 0, failing: false };
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(receiver))?;
        Ok(Self { queue: Mutex::new(Some(sender)), writer: Mutex::new(Some(thread)), counts })
    }

    /// Never waits.
    pub(crate) fn record(&self, event: &Event<'_>) {
        let line = event.to_line();
        let queue = self.queue.lock();
        if queue.as_ref().is_none_or(|queue| queue.try_send(line).is_err()) {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Writes what waits, and takes no more.
    pub(crate) fn close(&self) {
        drop(self.queue.lock().take());
        if let Some(thread) = self.writer.lock().take() {
            // A panic there has been reported by its own message; there is nothing left to write with.
            let _ = thread.join();
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.close();
    }
}

/// The thread that owns the files.
struct Writer {
    files: Files,
    counts: Arc<Counts>,
    /// How many dropped events have been written down.
    noted: u64,
    /// The disk refuses: said once, until it works again.
    failing: bool,
}

impl Writer {
    fn run(&mut self, mut queue: Receiver<Vec<u8>>) {
        loop {
            let next = match queue.try_recv() {
                Ok(line) => Some(line),
                Err(TryRecvError::Disconnected) => None,
                // Nothing waits: readers may see everything so far.
                Err(TryRecvError::Empty) => {
                    let flushed = self.files.flush();
                    self.note(flushed, 0);
                    queue.blocking_recv()
                }
            };
            let Some(line) = next else { break };
            self.note_losses();
            let written = self.files.append(&line);
            self.note(written, 1);
        }
        self.note_losses();
        let flushed = self.files.flush();
        self.note(flushed, 0);
    }

    /// Counts `events` by what became of them.
    fn note(&mut self, result: io::Result<()>, events: u64) {
        match result {
            Ok(()) => {
                self.counts.written.fetch_add(events, Ordering::Relaxed);
                if events > 0 {
                    self.failing = false;
                }
            }
            Err(error) => {
                self.counts.dropped.fetch_add(events, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the audit log cannot be written: events are lost and counted");
                }
            }
        }
    }

    /// A line in the log for events that are not in it.
    fn note_losses(&mut self) {
        let dropped = self.counts.dropped.load(Ordering::Relaxed);
        if dropped == self.noted || self.failing {
            return;
        }
        let now = time::format_micro_time(Timestamp::now());
        let note = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "Panic", "stageTimestamp": now,
            "annotations": {"kapell.dev/dropped-events": (dropped - self.noted).to_string()},
        });
        tracing::error!(
            dropped = dropped - self.noted,
            "audit events were lost: they came faster than the disk takes them"
        );
        if self.files.append(format!("{note}\n").as_bytes()).is_ok() {
            self.noted = dropped;
        }
    }
}

/// The file that is written, and those that were put aside.
struct Files {
    config: AuditConfig,
    file: BufWriter<File>,
    bytes: u64,
}

impl Files {
    fn open(config: AuditConfig) -> io::Result<Self> {
        let (file, bytes) = open(&config.directory)?;
        Ok(Self { config, file, bytes })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.config.file_bytes {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// `audit.log.7` becomes `audit.log.8`, …, `audit.log` becomes `audit.log.1`.
    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let name = |number: usize| match number {
            0 => self.config.directory.join("audit.log"),
            number => self.config.directory.join(format!("audit.log.{number}")),
        };
        for number in (0..self.config.files).rev() {
            match fs::rename(name(number), name(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.config.files == 0 {
            fs::remove_file(name(0))?;
        }
        (self.file, self.bytes) = open(&self.config.directory)?;
        Ok(())
    }
}

fn open(directory: &Path) -> io::Result<(BufWriter<File>, u64)> {
    let path = directory.join("audit.log");
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((BufWriter::with_capacity(64 << 10, file), bytes))
}

#[cfg(test)]
mod tests;
