//! Parts of volumes: what `subPath` and `subPathExpr` of a mount lead to.
//!
//! Containers write into volumes, also links. A part is therefore looked up beneath its volume by the kernel (`openat2`), which
//! refuses every step out of it. What is handed on is a path: there is no mount that could hold on to what was found. It is
//! for the container; the agent must not go there again (see [`crate::mounts`]).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;

use crate::environment;

/// In the kubelet's words where it has some.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubPathError {
    #[error("missing value for {names}, in subPathExpr `{expression}` of volumeMount \"{volume}\"")]
    MissingValue { volume: String, expression: String, names: String },
    #[error("error SubPath `{0}` must not be an absolute path")]
    Absolute(String),
    #[error("unable to provision SubPath `{0}`: must not contain '..'")]
    Backsteps(String),
    #[error("failed to prepare subPath `{path}` for volumeMount \"{volume}\": it leads out of the volume")]
    LeadsOut { volume: String, path: String },
    #[error("failed to prepare subPath `{path}` for volumeMount \"{volume}\": there is no such file in it")]
    NotThere { volume: String, path: String },
    #[error("failed to prepare subPath `{path}` for volumeMount \"{volume}\": {source}")]
    Io { volume: String, path: String, source: io::Error },
}

pub(crate) type Mounted<'c> = Vec<(&'c VolumeMount, PathBuf)>;

/// Where each mount of the container leads. Expressions take their values from the environment; without one, their mounts
/// are left out.
pub(crate) fn mounts<'c>(
    pod: &Pod,
    container: &'c Container,
    places: &BTreeMap<String, PathBuf>,
    env: Option<&BTreeMap<String, String>>,
) -> Result<Mounted<'c>, SubPathError> {
    let mut mounted = Mounted::new();
    for mount in container.volume_mounts.iter().flatten() {
        let Some(place) = places.get(&mount.name) else { continue };
        let path = match (expression(mount), env) {
            (Some(_), None) => continue,
            (Some(expression), Some(env)) => expand(mount, expression, env)?,
            (None, _) => mount.sub_path.clone().unwrap_or_default(),
        };
        let target = if path.is_empty() { place.clone() } else { part(mount, place, &path, grows(pod, &mount.name))? };
        mounted.push((mount, target));
    }
    Ok(mounted)
}

/// Whether the mount leads to a part of its volume.
pub(crate) fn is_part(mount: &VolumeMount) -> bool {
    [&mount.sub_path, &mount.sub_path_expr].into_iter().flatten().any(|path| !path.is_empty())
}

/// Whether some mount depends on the environment.
pub(crate) fn has_expressions(container: &Container) -> bool {
    container.volume_mounts.iter().flatten().any(|mount| expression(mount).is_some())
}

fn expression(mount: &VolumeMount) -> Option<&str> {
    mount.sub_path_expr.as_deref().filter(|expression| !expression.is_empty())
}

/// A variable without a value would make another path than was meant.
fn expand(mount: &VolumeMount, expression: &str, env: &BTreeMap<String, String>) -> Result<String, SubPathError> {
    let missing =
        environment::references(expression).into_iter().filter(|name| env.get(*name).is_none_or(String::is_empty));
    let names: Vec<&str> = missing.collect();
    if !names.is_empty() {
        let (volume, expression, names) = (mount.name.clone(), expression.to_owned(), names.join(", "));
        return Err(SubPathError::MissingValue { volume, expression, names });
    }
    Ok(environment::expand(expression, env))
}

/// Whether what is missing in the volume is made. One that follows an object has what that has.
fn grows(pod: &Pod, volume: &str) -> bool {
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.any(|found| found.name == volume && (found.empty_dir.is_some() || found.host_path.is_some()))
}

/// The path of a part that is there, beneath its volume.
fn part(mount: &VolumeMount, place: &Path, path: &str, grows: bool) -> Result<PathBuf, SubPathError> {
    if path.starts_with('/') {
        return Err(SubPathError::Absolute(path.to_owned()));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(SubPathError::Backsteps(path.to_owned()));
    }
    let clean: PathBuf = Path::new(path).components().filter(|part| *part != Component::CurDir).collect();
    let (volume, path) = (mount.name.clone(), path.to_owned());
    match find(place, &clean, grows) {
        Ok(()) => Ok(place.join(clean)),
        Err(Errno::XDEV | Errno::LOOP) => Err(SubPathError::LeadsOut { volume, path }),
        Err(Errno::NOENT) => Err(SubPathError::NotThere { volume, path }),
        Err(errno) => Err(SubPathError::Io { volume, path, source: errno.into() }),
    }
}

/// Looks beneath the volume; directories that are missing are made like the volume's own where it `grows`.
fn find(place: &Path, path: &Path, grows: bool) -> rustix::io::Result<()> {
    let volume = openat(CWD, place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match beneath(&volume, path, OFlags::empty()) {
        Err(Errno::NOENT) if grows => {}
        found => return found.map(drop),
    }
    let mode = Mode::from(fstat(&volume)?.st_mode & 0o7777);
    let mut directory = beneath(&volume, Path::new("."), OFlags::DIRECTORY)?;
    let mut so_far = PathBuf::new();
    for name in path {
        so_far.push(name);
        directory = match beneath(&volume, &so_far, OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {
                // A link to nothing is there, too, and stays what it is.
                mkdirat(&directory, name, Mode::from(0o700))?;
                let made =
                    openat(&directory, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
                fchmod(&made, mode)?;
                made
            }
            other => other?,
        };
    }
    Ok(())
}

fn beneath(volume: &OwnedFd, path: &Path, more: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(volume, path, OFlags::PATH | OFlags::CLOEXEC | more, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests;
