//! Termination messages: what a container leaves behind about its end, in a file or, where it asks for that, in its log.
//!
//! Upstream mounts the file at `terminationMessagePath`. A process has no mounts of its own, so [`VARIABLE`] names the file,
//! and a relative path leads there as a volume's does. Each start has a file of its own, in a directory beside the working
//! directory; what the container does to the file is its own business, and nothing but a plain file is read here.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Container;
use kapell_shim::layout;
use kapell_shim::protocol::{ContainerState, Exit};
use rustix::fs::OFlags;

use crate::logs;

/// The environment variable that names the file.
pub(crate) const VARIABLE: &str = "KAPELL_TERMINATION_LOG";

/// Of the file, its end (Kubernetes API, `Container.terminationMessagePath`).
const MOST_OF_FILE: u64 = 4096;
/// Of the log, its end (`Container.terminationMessagePolicy`).
const MOST_OF_LOG: usize = 2048;
const MOST_LINES: u64 = 80;
/// Of all containers of a pod together; each has the same share of it, as the kubelet deals it out.
const MOST_OF_POD: usize = 12 << 10;

/// Whoever a container runs as may write. The pod's own directory is closed to others.
const MODE: u32 = 0o666;

/// The bytes that one of so many containers may leave behind.
pub(crate) fn share(containers: usize) -> usize {
    MOST_OF_POD / containers.max(1)
}

/// The path at which the container finds its file, where it has one below its working directory.
pub(crate) fn relative_path(container: &Container) -> Option<&str> {
    container.termination_message_path.as_deref().filter(|path| !path.is_empty() && !path.starts_with('/'))
}

/// Makes the empty file of a start, and removes those of starts that nothing tells of any more.
pub(crate) fn prepare(pod: &Path, container: &str, attempt: u32) -> io::Result<PathBuf> {
    let file = layout::termination_file(pod, container, attempt);
    let directory = file.parent().unwrap_or(pod);
    fs::create_dir_all(directory)?;
    for entry in fs::read_dir(directory)?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if number.is_none_or(|number| number.saturating_add(1) != attempt) {
            remove(&entry.path())?;
        }
    }
    let made = OpenOptions::new().write(true).create_new(true).open(&file)?;
    made.set_permissions(fs::Permissions::from_mode(MODE))?;
    Ok(file)
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Brings the messages up to date with the ends that are known. What was read stays as it was.
pub(crate) fn keep(
    messages: &mut BTreeMap<u32, String>,
    pod: &Path,
    container: &Container,
    state: &ContainerState,
    share: usize,
) {
    let ends = || state.exit.iter().filter(|_| state.running.is_none()).chain(&state.previous);
    messages.retain(|attempt, _| ends().any(|exit| exit.attempt == *attempt));
    for exit in ends() {
        let message = || cut(&message(pod, container, exit), share).to_owned();
        messages.entry(exit.attempt).or_insert_with(message);
    }
}

/// What the container has left behind about this end; often nothing.
fn message(pod: &Path, container: &Container, exit: &Exit) -> String {
    let file = layout::termination_file(pod, &container.name, exit.attempt);
    let left = match read_end(&file) {
        Ok(left) => left,
        Err(error) => return format!("cannot read the termination message in {}: {error}", file.display()),
    };
    let fall_back = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    if !left.is_empty() || !fall_back || exit.code == 0 {
        return String::from_utf8_lossy(&left).into_owned();
    }
    match logs::last_lines(pod, &container.name, exit.attempt, MOST_LINES) {
        Ok(log) => String::from_utf8_lossy(&log[log.len().saturating_sub(MOST_OF_LOG)..]).into_owned(),
        Err(error) => format!("cannot read the log for the termination message: {error}"),
    }
}

/// The end of a plain file. The container may have put anything in its place: opening a FIFO must not wait for a writer,
/// and a link must not show a file that the container could not have read.
fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let mut file = match OpenOptions::new().read(true).custom_flags(flags as i32).open(path) {
        // Nothing was prepared by an agent that did not know of messages yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(io::Error::other("it is a symbolic link"));
        }
        other => other?,
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    file.seek(SeekFrom::Start(meta.len().saturating_sub(MOST_OF_FILE)))?;
    let mut end = Vec::new();
    file.take(MOST_OF_FILE).read_to_end(&mut end)?;
    Ok(end)
}

/// The beginning, without half a character at its end.
fn cut(message: &str, most: usize) -> &str {
    let end = (0..=most.min(message.len())).rev().find(|end| message.is_char_boundary(*end));
    &message[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests;
