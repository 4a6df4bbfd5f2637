//! The exclusive lock on a data directory: two servers on one database would each believe to be the only writer.
//!
//! The lock is `flock` on `DIR/lock`, so it ends with the process however that ends. The file's text (pid, then a
//! description) is only for the message that the second server shows; the file itself stays, because removing it would
//! let a third server lock a new file while the second still waits on the old one.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::OpenError;

#[derive(Debug)]
pub(crate) struct DirectoryLock {
    file: File,
}

impl DirectoryLock {
    pub(crate) fn acquire(directory: &Path, holder: &str) -> Result<Self, OpenError> {
        let path = directory.join("lock");
        let io = |source| OpenError::from_io(&path, source);
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let (holder_pid, holder) = read_holder(&mut file);
                return Err(OpenError::Locked { path, holder_pid, holder });
            }
            Err(errno) => return Err(io(errno.into())),
        }
        let text = format!("{}\n{}\n", std::process::id(), holder.replace('\n', " "));
        // Written in one piece over what was there; a reader in between sees either text.
        file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(io)?;
        Ok(Self { file })
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Best effort: the name of a holder that is gone would mislead.
        let _ = self.file.set_len(0);
        // Closing is not enough: a child that is being spawned at this moment has the file too until it is executed.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn read_holder(file: &mut File) -> (Option<u32>, String) {
    let mut text = String::new();
    // The holder may be writing just now, or be an unknown program: then nothing is known about it.
    if file.rewind().is_err() || file.take(4096).read_to_string(&mut text).is_err() {
        return (None, String::new());
    }
    let mut lines = text.lines();
    let pid = lines.next().and_then(|line| line.parse().ok());
    (pid, lines.next().unwrap_or_default().to_owned())
}
