//! The data directory: where it is, what is in it, and which server runs on it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// `$XDG_DATA_HOME/kapell` (else `~/.local/share/kapell`), and `/var/lib/kapell` for root.
pub fn default_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(data) = set("KAPELL_DATA") {
        return data;
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/kapell");
    }
    let home = set("HOME").unwrap_or_else(std::env::temp_dir);
    set("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share")).join("kapell")
}

/// What a running server tells of itself in `DATA/server.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub pid: u32,
    pub api: SocketAddr,
}

impl Running {
    fn path(data: &Path) -> PathBuf {
        data.join("server.json")
    }

    /// The server that last wrote the file; it may be gone.
    pub fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(data)).ok()?).ok()
    }

    pub(crate) fn write(&self, data: &Path) -> io::Result<()> {
        write_fleeting(&Self::path(data), &serde_json::to_vec_pretty(self)?)
    }

    pub(crate) fn forget(data: &Path) {
        // Left behind, the file names a dead process, which readers have to expect anyway.
        let _ = std::fs::remove_file(Self::path(data));
    }
}

/// Writes a file that only its owner can read, so that readers see the old content or the new, never a part; also
/// after a power failure.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, |file| file.sync_all())
}

/// As [`write_private`], for what every start writes anew: after a power failure it may be empty, and until the next
/// start, which mends it, there is no server that it could lead to. So the start need not wait for the disk.
pub(crate) fn write_fleeting(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, |_| Ok(()))
}

fn replace(path: &Path, content: &[u8], settle: impl FnOnce(&std::fs::File) -> io::Result<()>) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let new = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    settle(&file)?;
    std::fs::rename(&new, path)
}
