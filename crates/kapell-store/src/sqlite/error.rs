//! What can go wrong with the disk, in words that say what, where and what to do.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data directory {path} is not a directory: name another one, or move that file away")]
    NotADirectory { path: PathBuf },
    #[error("cannot write to {path}: give this user the right to, or choose another data directory")]
    ReadOnly { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("no space left for {path}: free some, or choose a data directory on another disk")]
    Full { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// `holder` is what the holder said of itself, empty when it has not said anything (yet).
    #[error("{path} is locked by {}: use that server, stop it, or choose another data directory", holder_text(*.holder_pid, .holder))]
    Locked { path: PathBuf, holder_pid: Option<u32>, holder: String },
    #[error(
        "{path} is damaged ({detail}): restore a backup, or move the file away to start empty; nothing was changed in it"
    )]
    Corrupt { path: PathBuf, detail: String },
    #[error("{path} is an SQLite database of another program: choose another data directory")]
    Foreign { path: PathBuf },
    #[error(
        "{path} has schema version {found}, this kapell knows versions up to {supported}: start the newer kapell that wrote it, or choose another data directory"
    )]
    Newer { path: PathBuf, found: i64, supported: i64 },
    #[error("cannot open {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot open the database {path}")]
    Database { path: PathBuf, source: rusqlite::Error },
}

fn holder_text(pid: Option<u32>, holder: &str) -> String {
    match (pid, holder) {
        (Some(pid), "") => format!("process {pid}"),
        (Some(pid), holder) => format!("process {pid} ({holder})"),
        (None, _) => "another process".to_owned(),
    }
}

impl OpenError {
    pub(crate) fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path, source: source.into() }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, source: source.into() },
            _ => Self::Io { path, source },
        }
    }

    pub(crate) fn from_sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Corrupt { path, detail: source.to_string() }
            }
            // SQLite "cannot open" its log and index files in a directory where it may not create any.
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly { path, source: source.into() }
            }
            Some(ErrorCode::DiskFull) => Self::Full { path, source: source.into() },
            _ => Self::Database { path, source },
        }
    }
}

/// Why a commit did not reach the disk; the source of [`CommitError::Storage`](crate::CommitError::Storage).
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("no space left for {path}: free some; writes work again by themselves")]
    Full { path: PathBuf, source: rusqlite::Error },
    /// After a failed sync nobody knows what is on the disk, so nothing more is written until a restart has read it.
    #[error("a sync of {path} failed: check the disk, then restart the server")]
    Sync { path: PathBuf },
    #[error("writing {path} failed: {source}")]
    Database { path: PathBuf, source: rusqlite::Error },
}

impl WriteError {
    pub(crate) fn new(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let Some(error) = source.sqlite_error() else { return Self::Database { path, source } };
        match (error.code, error.extended_code) {
            (ErrorCode::DiskFull, _) => Self::Full { path, source },
            (_, SQLITE_IOERR_FSYNC | SQLITE_IOERR_DIR_FSYNC) => Self::Sync { path },
            _ => Self::Database { path, source },
        }
    }
}

/// The source of [`ReadError::Backend`](crate::ReadError::Backend) once the store was closed.
#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
pub struct Closed;
