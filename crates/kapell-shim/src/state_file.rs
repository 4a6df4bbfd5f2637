//! `state.json`: replaced in one rename, so that a reader sees one whole state or the one before.
//!
//! It is not synced: after a power cut its processes are gone anyway, and an unreadable file means the same.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::layout;
use crate::protocol::{PodState, VERSION};

#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    #[error("cannot read the pod's state file")]
    Read(#[source] io::Error),
    #[error("the pod's state file is damaged")]
    Damaged(#[source] serde_json::Error),
    #[error("the pod's state file has version {0}, which is newer than this program")]
    Version(u32),
}

/// The last state that a shim saved in the pod directory; `None` if there never was one.
pub fn read(pod: &Path) -> Result<Option<PodState>, StateFileError> {
    let bytes = match fs::read(layout::state_file(pod)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateFileError::Read(error)),
    };
    let state: PodState = serde_json::from_slice(&bytes).map_err(StateFileError::Damaged)?;
    if state.version > VERSION { Err(StateFileError::Version(state.version)) } else { Ok(Some(state)) }
}

pub(crate) fn write(pod: &Path, state: &PodState) -> io::Result<()> {
    write_private(&layout::state_file(pod), &serde_json::to_vec(state)?)
}

/// Replaces a file that only its owner may read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    io::Write::write_all(&mut file, bytes)?;
    fs::rename(new, path)
}
