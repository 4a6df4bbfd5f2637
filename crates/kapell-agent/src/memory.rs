//! Volumes in memory: a directory for each pod on the machine's tmpfs, which goes with the pod.
//!
//! Everybody may write in `/dev/shm`. A pod's directory there has the pod's UID in its name, which nobody can guess, is
//! never taken over from somebody else, and is closed like the pod's own.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FsWord;

/// Where Linux has its tmpfs for everybody.
const TMPFS: &str = "/dev/shm";
/// `TMPFS_MAGIC` of `linux/magic.h`.
const TMPFS_MAGIC: FsWord = 0x0102_1994;

const CLOSED: u32 = 0o700;

/// The directory of a pod, whose own is given.
pub(crate) fn directory(pod: &Path) -> PathBuf {
    let uid = pod.file_name().unwrap_or_default().to_string_lossy();
    Path::new(TMPFS).join(format!("kapell-{uid}"))
}

/// Makes the pod's directory unless it is there.
pub(crate) fn prepare(pod: &Path) -> io::Result<()> {
    if !rustix::fs::statfs(TMPFS).is_ok_and(|found| found.f_type == TMPFS_MAGIC) {
        return Err(io::Error::other(format!("there is no tmpfs at {TMPFS}, where volumes in memory are")));
    }
    let directory = directory(pod);
    match DirBuilder::new().mode(CLOSED).create(&directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_ours(&directory)? => Ok(()),
        other => other,
    }
}

/// Gives the memory back.
pub(crate) fn remove(pod: &Path) -> io::Result<()> {
    let directory = directory(pod);
    match is_ours(&directory) {
        Ok(true) => fs::remove_dir_all(directory),
        Ok(false) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether it is a directory, and no link to one, that we have made.
fn is_ours(directory: &Path) -> io::Result<bool> {
    let meta = fs::symlink_metadata(directory)?;
    Ok(meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests;
