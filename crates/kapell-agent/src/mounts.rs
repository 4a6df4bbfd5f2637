//! Mounts of a container: relative paths in its working directory that lead to volumes and files of its pod.
//!
//! A process has no mount namespace, so a mount is a symbolic link. The container owns the directory in which the links
//! are, and may have put links of its own there; so every path is walked without following any.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, readlinkat, statat, symlinkat, unlinkat};
use rustix::io::Errno;

#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("path \"{0}\" leaves the container's working directory")]
    Escapes(String),
    #[error("path \"{path}\": {source}")]
    Io { path: String, source: io::Error },
}

/// The links of one container.
pub(crate) struct Links {
    /// Where paths begin: the working directory, and what links lead to that were made before.
    roots: Vec<(PathBuf, PathBuf)>,
}

impl Links {
    pub(crate) fn below(work_dir: &Path) -> Self {
        Self { roots: vec![(PathBuf::new(), work_dir.to_owned())] }
    }

    /// Lets a relative path lead to the target. Happy to run twice.
    pub(crate) fn link(&mut self, path: &str, target: &Path) -> Result<(), MountError> {
        let ordinary = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        let clean: PathBuf = Path::new(path).components().filter(|part| *part != Component::CurDir).collect();
        if !Path::new(path).components().all(ordinary) || clean.as_os_str().is_empty() {
            return Err(MountError::Escapes(path.to_owned()));
        }
        // A mount may lie in another one; that one's link is ours, and so may be passed.
        let fitting = self.roots.iter().filter(|(prefix, _)| clean != *prefix && clean.starts_with(prefix));
        let root = fitting.max_by_key(|(prefix, _)| prefix.components().count());
        let (rest, root) = match root {
            Some((prefix, root)) => (clean.strip_prefix(prefix).unwrap_or(&clean), root.as_path()),
            None => return Err(MountError::Escapes(path.to_owned())),
        };
        let made = parent(root, rest).and_then(|(directory, name)| replace_link(&directory, name, target));
        made.map_err(|errno| MountError::Io { path: path.to_owned(), source: errno.into() })?;
        self.roots.push((clean, target.to_owned()));
        Ok(())
    }
}

/// The directory in which the path's last part is to be, made where it is missing, and that part.
fn parent<'p>(root: &Path, path: &'p Path) -> rustix::io::Result<(OwnedFd, &'p OsStr)> {
    let mut parts: Vec<&OsStr> = path.iter().collect();
    let name = parts.pop().ok_or(Errno::INVAL)?;
    let mut directory = openat(CWD, root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for part in parts {
        directory = descend(&directory, part)?;
    }
    Ok((directory, name))
}

/// Opens a directory that is one, and no link to one; makes it if there is nothing.
fn descend(directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    match mkdirat(directory, name, Mode::from(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    openat(directory, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn replace_link(directory: &OwnedFd, name: &OsStr, target: &Path) -> rustix::io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    if readlinkat(directory, name, Vec::new()).is_ok_and(|old| old.as_bytes() == target.as_os_str().as_bytes()) {
        return Ok(());
    }
    // What the container has put in the place of an earlier link; a directory is not removed, its content may matter.
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => unlinkat(directory, name, AtFlags::empty())?,
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    symlinkat(target, directory, name)
}

#[cfg(test)]
mod tests;
