//! From a container's object to what the shim needs to start it, and the volumes that this presupposes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};
use kapell_api::quantity::Quantity;
use kapell_api::service_account::MOUNT_PATH;
use kapell_shim::layout;
use kapell_shim::protocol::{ContainerSpec, Limits, LogLimits, Stdin};

use crate::environment::{self, ConfigError, Place, Sources};
use crate::record::PodRecord;
use crate::tokens::Tokens;
use crate::volumes::{self, Given, VolumeError};

/// Processes and threads of one container. Kubernetes has no resource for them, but without a limit one fork bomb fills
/// the node's process table (32,768 or more numbers) and nothing can be started to stop it. Twice what systemd gives
/// a service of a small machine: the largest thread pools stay well below it.
pub(crate) const MOST_PROCESSES: u64 = 8192;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot prepare the working directory: {0}")]
    WorkDir(#[source] io::Error),
    #[error("no free port on {0}: {1}")]
    Port(Ipv4Addr, #[source] io::Error),
    #[error("workingDir \"{0}\" leaves the container's directory; give an absolute path or one below it")]
    WorkingDirEscapes(String),
    #[error("volumeMounts of \"{0}\": subPath and subPathExpr are not supported by process pods")]
    SubPath(String),
}

/// What the node contributes.
pub(crate) struct Host<'a> {
    pub(crate) pod_dir: &'a Path,
    pub(crate) host_ip: Ipv4Addr,
    pub(crate) host_env: &'a BTreeMap<String, String>,
    pub(crate) host_volumes: PathBuf,
}

/// Brings every volume of the pod up to date and returns where each is. Happy to run twice: files that `written` knows to be as they
/// should are not looked at again, since a pod is looked at with each verdict of its probes.
pub(crate) fn volumes(
    written: &mut BTreeMap<String, u64>,
    pod: &Pod,
    pod_ip: Ipv4Addr,
    host: &Host<'_>,
    sources: &dyn Sources,
    tokens: &Tokens,
) -> Result<BTreeMap<String, PathBuf>, VolumeError> {
    let mut places = BTreeMap::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let directory = host.pod_dir.join("volumes").join(&volume.name);
        let given = Given { sources, tokens, ips: (pod_ip, host.host_ip), host_volumes: &host.host_volumes };
        let content = volumes::content(pod, volume, &given, &directory)?;
        let digest = content.digest();
        if digest.is_some() && written.get(&volume.name).copied() == digest {
            places.insert(volume.name.clone(), directory);
            continue;
        }
        places.insert(volume.name.clone(), volumes::materialise(&volume.name, &content, &directory)?);
        written.extend(digest.map(|digest| (volume.name.clone(), digest)));
    }
    Ok(places)
}

/// Mount paths that cannot be honoured: absolute ones, as there is no mount namespace.
pub(crate) fn absolute_mounts(container: &Container) -> Vec<&str> {
    let paths = container.volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str());
    // Admission adds the account's; `$KUBECONFIG` leads there.
    paths.filter(|path| path.starts_with('/') && *path != MOUNT_PATH).collect()
}

pub(crate) fn container_spec(
    pod: &Pod,
    container: &Container,
    attempt: u32,
    record: &mut PodRecord,
    places: &BTreeMap<String, PathBuf>,
    host: &Host<'_>,
    sources: &dyn Sources,
) -> Result<ContainerSpec, PrepareError> {
    let work_dir = layout::work_dir(host.pod_dir, &container.name);
    fs::create_dir_all(&work_dir).map_err(PrepareError::WorkDir)?;
    let (mut mounted, mut kubeconfig) = (BTreeMap::new(), None);
    for mount in container.volume_mounts.iter().flatten() {
        // The API refuses them; mounting the whole volume instead would show more than was asked for.
        if mount.sub_path.is_some() || mount.sub_path_expr.is_some() {
            return Err(PrepareError::SubPath(mount.name.clone()));
        }
        let Some(place) = places.get(&mount.name) else { continue };
        if !mount.mount_path.starts_with('/') {
            volumes::link_mount(&work_dir, &mount.mount_path, place).map_err(PrepareError::WorkDir)?;
        }
        if mount.mount_path == MOUNT_PATH {
            kubeconfig = Some(place.join(volumes::KUBECONFIG)).filter(|file| file.exists());
        }
        mounted.insert(mount.name.clone(), place.display().to_string());
    }
    let kubeconfig = kubeconfig.map(|file| file.display().to_string());
    let place = Place {
        pod_ip: record.pod_ip,
        host_ip: host.host_ip,
        port: port(container, record, host.pod_dir)?,
        host_env: host.host_env,
        volumes: &mounted,
        kubeconfig: kubeconfig.as_deref(),
    };
    let env = environment::environment(pod, container, &place, sources)?;
    let cwd = working_dir(container.working_dir.as_deref().unwrap_or_default(), &work_dir)?;
    Ok(ContainerSpec {
        name: container.name.clone(),
        attempt,
        command: environment::command_line(container, &env),
        env,
        cwd,
        stdin: stdin(container),
        terminal: container.tty.unwrap_or(false),
        limits: limits(container),
        log: LogLimits::default(),
    })
}

fn stdin(container: &Container) -> Stdin {
    match (container.stdin.unwrap_or(false), container.stdin_once.unwrap_or(false)) {
        (false, _) => Stdin::Nothing,
        (true, false) => Stdin::Open,
        (true, true) => Stdin::Once,
    }
}

/// An absolute one is the host's and must exist; a relative one is below the container's own directory, and is made.
fn working_dir(given: &str, work_dir: &Path) -> Result<PathBuf, PrepareError> {
    let path = Path::new(given);
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(PrepareError::WorkingDirEscapes(given.to_owned()));
    }
    let cwd = work_dir.join(path);
    fs::create_dir_all(&cwd).map_err(PrepareError::WorkDir)?;
    Ok(cwd)
}

/// The first declared port, or a free one that stays the same as long as the pod lives.
fn port(container: &Container, record: &mut PodRecord, pod_dir: &Path) -> Result<u16, PrepareError> {
    let declared = container.ports.iter().flatten().next().and_then(|port| u16::try_from(port.container_port).ok());
    if let Some(port) = declared.or_else(|| record.ports.get(&container.name).copied()) {
        return Ok(port);
    }
    let free = |error| PrepareError::Port(record.pod_ip, error);
    let port = TcpListener::bind((record.pod_ip, 0)).and_then(|listener| listener.local_addr()).map_err(free)?.port();
    record.ports.insert(container.name.clone(), port);
    record.write(pod_dir).map_err(PrepareError::WorkDir)?;
    Ok(port)
}

fn limits(container: &Container) -> Limits {
    let resources = container.resources.clone().unwrap_or_default();
    let parse = |list: &Option<BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>,
                 name: &str| {
        list.as_ref().and_then(|list| list.get(name)).and_then(|quantity| Quantity::parse(&quantity.0).ok())
    };
    let positive = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    Limits {
        cpu_milli: parse(&resources.limits, "cpu").and_then(|quantity| positive(quantity.milli())),
        cpu_request_milli: parse(&resources.requests, "cpu").and_then(|quantity| positive(quantity.milli())),
        memory_bytes: parse(&resources.limits, "memory").and_then(|quantity| positive(quantity.value())),
        pids: Some(MOST_PROCESSES),
    }
}

/// The container's ports by name.
pub(crate) fn named_ports(container: &Container) -> BTreeMap<String, u16> {
    let named = |port: &k8s_openapi::api::core::v1::ContainerPort| {
        Some((port.name.clone()?, u16::try_from(port.container_port).ok()?))
    };
    container.ports.iter().flatten().filter_map(named).collect()
}

#[cfg(test)]
mod tests;
