//! Mounts of a container: relative paths in its working directory that lead to volumes and files of its pod.
//!
//! A process has no mount namespace, so a mount is a symbolic link. The container owns the directory in which the links
//! are, and may have put links of its own there; so every path is walked without following any. What a part of a volume
//! (`subPath`) is can be changed by containers after it was looked up, so nothing is made or opened below one.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Uid, fchown, mkdirat, openat, readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("path \"{0}\" leaves the container's working directory")]
    Escapes(String),
    #[error(
        "path \"{path}\" lies below mountPath \"{part}\", which leads to a part of a volume (subPath); nothing is made in a part, so \
         mount the whole volume there, or choose a path beside it"
    )]
    BelowPart { path: String, part: String },
    #[error("path \"{path}\": {source}")]
    Io { path: String, source: io::Error },
}

/// The links of one container.
pub(crate) struct Links {
    /// Where paths begin: the working directory, and what links lead to that were made before.
    roots: Vec<(PathBuf, PathBuf)>,
    /// Where parts of volumes are mounted. They are closed to us: what such a path leads to, containers may exchange.
    parts: Vec<PathBuf>,
    /// User and group of directories that are made on the way.
    owner: Option<(u32, u32)>,
}

impl Links {
    pub(crate) fn below(work_dir: &Path, owner: Option<(u32, u32)>) -> Self {
        Self { roots: vec![(PathBuf::new(), work_dir.to_owned())], parts: Vec::new(), owner }
    }

    /// Lets nothing be made below a path that will lead to a part of a volume. To be said of all parts before the first
    /// link is made: mounts come in any order.
    pub(crate) fn close(&mut self, path: &str) -> Result<(), MountError> {
        self.parts.push(clean(path)?);
        Ok(())
    }

    /// Lets a relative path lead to the target. Happy to run twice.
    pub(crate) fn link(&mut self, path: &str, target: &Path) -> Result<(), MountError> {
        let clean = self.outside_parts(path)?;
        let failed = |errno: Errno| MountError::Io { path: path.to_owned(), source: errno.into() };
        // A mount may lie in another one; that one's link is ours, and so may be passed.
        let Some((root, rest)) = self.root(&clean).filter(|(_, rest)| !rest.as_os_str().is_empty()) else {
            return Err(MountError::Escapes(path.to_owned()));
        };
        let (parent, name) = (rest.parent().unwrap_or(Path::new("")), rest.file_name().unwrap_or_default());
        let directory = descend(root, parent, self.owner).map_err(failed)?;
        replace_link(&directory, name, target).map_err(failed)?;
        self.roots.push((clean, target.to_owned()));
        Ok(())
    }

    /// Makes the directory at a relative path unless it is there. A part is what it is; who enters it will see.
    pub(crate) fn directory(&self, path: &str) -> Result<(), MountError> {
        let clean = self.outside_parts(path)?;
        if self.parts.contains(&clean) {
            return Ok(());
        }
        let Some((root, rest)) = self.root(&clean) else { return Err(MountError::Escapes(path.to_owned())) };
        let made = descend(root, rest, self.owner);
        made.map(drop).map_err(|errno| MountError::Io { path: path.to_owned(), source: errno.into() })
    }

    /// The clean path, unless it leads through a part of a volume.
    fn outside_parts(&self, path: &str) -> Result<PathBuf, MountError> {
        let clean = clean(path)?;
        match self.parts.iter().find(|part| clean != **part && clean.starts_with(part)) {
            Some(part) => Err(MountError::BelowPart { path: path.to_owned(), part: part.display().to_string() }),
            None => Ok(clean),
        }
    }

    /// The innermost directory of ours that the path leads through, and what is left of the path there.
    fn root<'a>(&'a self, path: &'a Path) -> Option<(&'a Path, &'a Path)> {
        let fitting =
            self.roots.iter().filter_map(|(prefix, root)| Some((root.as_path(), path.strip_prefix(prefix).ok()?)));
        fitting.min_by_key(|(_, rest)| rest.components().count())
    }
}

/// Without the parts that mean nothing, and without any that leads upwards.
fn clean(path: &str) -> Result<PathBuf, MountError> {
    let ordinary = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(path).components().all(ordinary) {
        return Err(MountError::Escapes(path.to_owned()));
    }
    Ok(Path::new(path).components().filter(|part| *part != Component::CurDir).collect())
}

/// Opens the directory at the path, part by part. Each must be a directory, and no link to one; what is missing is made.
fn descend(root: &Path, path: &Path, owner: Option<(u32, u32)>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut directory = openat(CWD, root, flags, Mode::empty())?;
    for part in path.iter() {
        let made = match mkdirat(&directory, part, Mode::from(0o755)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno),
        };
        directory = openat(&directory, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
        if let Some((uid, gid)) = owner.filter(|_| made) {
            fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
    }
    Ok(directory)
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
