//! From a container's object to what the shim needs to start it, and the volumes that this presupposes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};
use kapell_api::quantity::Quantity;
use kapell_api::service_account::MOUNT_PATH;
use kapell_shim::layout;
use kapell_shim::protocol::{ContainerSpec, Limits, LogLimits, Stdin};

use crate::environment::{self, ConfigError, Place, Sources};
use crate::grounds::{self, GroundsError};
use crate::identity::{self, Account, IdentityError, Powers};
use crate::memory;
use crate::mounts::{Links, MountError};
use crate::record::PodRecord;
use crate::subpath::{self, Mounted, SubPathError};
use crate::termination;
use crate::tokens::Tokens;
use crate::volumes::{self, Content, Given, VolumeError};

/// Processes and threads of one container. Kubernetes has no resource for them, but without a limit one fork bomb fills
/// the node's process table (32,768 or more numbers) and nothing can be started to stop it. Twice what systemd gives
/// a service of a small machine: the largest thread pools stay well below it.
pub(crate) const MOST_PROCESSES: u64 = 8192;

/// The host's table of users.
const PASSWD: &str = "/etc/passwd";

#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot prepare the working directory: {0}")]
    WorkDir(#[source] io::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(
        "the pod's shim is older than this server and cannot start anything as another user; delete the pod and create it anew"
    )]
    OldShim,
    #[error(transparent)]
    Grounds(#[from] GroundsError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error("cannot note the pod's group: {0}")]
    Record(#[source] io::Error),
    #[error("cannot prepare the file for its termination message: {0}")]
    Message(#[source] io::Error),
    #[error("no free port on {0}: {1}")]
    Port(Ipv4Addr, #[source] io::Error),
    #[error("workingDir \"{0}\" leaves the container's directory; give an absolute path or one below it")]
    WorkingDirEscapes(String),
    #[error(transparent)]
    SubPath(#[from] SubPathError),
}

/// What the node contributes.
pub(crate) struct Host<'a> {
    pub(crate) data_dir: &'a Path,
    pub(crate) pod_dir: &'a Path,
    pub(crate) host_ip: Ipv4Addr,
    pub(crate) host_env: &'a BTreeMap<String, String>,
    pub(crate) host_volumes: PathBuf,
    /// The group of this server's pods, see [`grounds`].
    pub(crate) group: u32,
    /// As whom the server runs, and what it may do.
    pub(crate) powers: Powers,
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
    let ownership = identity::ownership(pod, &host.powers);
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let directory = host.pod_dir.join("volumes").join(&volume.name);
        let ips = (pod_ip, host.host_ip);
        let given = Given { sources, tokens, ips, host_volumes: &host.host_volumes, ownership };
        let content = volumes::content(pod, volume, &given, &directory)?;
        if content == Content::Memory {
            memory::prepare(host.pod_dir).map_err(|source| {
                let (volume, path) = (volume.name.clone(), memory::directory(host.pod_dir));
                VolumeError::Io { volume, path, source }
            })?;
            let directory = memory::directory(host.pod_dir).join(&volume.name);
            places.insert(
                volume.name.clone(),
                volumes::materialise(&volume.name, &content, &directory, ownership.group)?,
            );
            continue;
        }
        let digest = content.digest();
        if digest.is_some() && written.get(&volume.name).copied() == digest {
            places.insert(volume.name.clone(), directory);
            continue;
        }
        places.insert(volume.name.clone(), volumes::materialise(&volume.name, &content, &directory, ownership.group)?);
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
    // Of a host without such a table nobody is known.
    let passwd = fs::read_to_string(PASSWD).unwrap_or_default();
    let new = grounds::pod_group(rand::random());
    let access = (host.group, record.group(host.pod_dir, new).map_err(PrepareError::Record)?);
    let person = identity::person(pod, container, &host.powers, &[access.0, access.1], &passwd)?;
    let work_dir = layout::work_dir(host.pod_dir, &container.name);
    fs::create_dir_all(&work_dir).map_err(PrepareError::WorkDir)?;
    let message_file = termination::prepare(host.pod_dir, &container.name, attempt).map_err(PrepareError::Message)?;
    grounds::open(host.data_dir, host.pod_dir, &container.name, access, &person.identity)?;
    let mut links = Links::below(&work_dir, person.identity.uid.zip(person.identity.gid));
    let port = port(container, record, host.pod_dir)?;
    let host_env = host_env(host.host_env, person.account.as_ref());
    let log = message_file.display().to_string();
    let environment_with = |mounted: &Mounted<'_>| {
        let (volumes, kubeconfig) = told(mounted);
        let place = Place {
            pod_ip: record.pod_ip,
            host_ip: host.host_ip,
            port,
            host_env: &host_env,
            volumes: &volumes,
            termination_log: &log,
            kubeconfig: kubeconfig.as_deref(),
        };
        environment::environment(pod, container, &place, sources)
    };
    let mut mounted = subpath::mounts(pod, container, places, None)?;
    let mut env = environment_with(&mounted)?;
    if subpath::has_expressions(container) {
        // They name variables, and where they lead becomes one.
        mounted = subpath::mounts(pod, container, places, Some(&env))?;
        env = environment_with(&mounted)?;
    }
    mounted.retain(|(mount, _)| !mount.mount_path.starts_with('/'));
    for (mount, _) in mounted.iter().filter(|(mount, _)| subpath::is_part(mount)) {
        links.close(&mount.mount_path)?;
    }
    for (mount, target) in &mounted {
        links.link(&mount.mount_path, target)?;
    }
    if let Some(path) = termination::relative_path(container) {
        links.link(path, &message_file)?;
    }
    let cwd = working_dir(container.working_dir.as_deref().unwrap_or_default(), &work_dir, &links)?;
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
        identity: person.identity,
    })
}

/// A shim from before identities would start the container as the server's user, with all that it may do.
pub(crate) fn require_identities(spec: ContainerSpec, known: bool) -> Result<ContainerSpec, PrepareError> {
    if spec.identity != Default::default() && !known { Err(PrepareError::OldShim) } else { Ok(spec) }
}

/// What the environment says of the mounts: a directory for each volume, the whole one where it is mounted, and the kubeconfig
/// of the pod's account.
fn told(mounted: &Mounted<'_>) -> (BTreeMap<String, String>, Option<String>) {
    let (mut volumes, mut kubeconfig) = (BTreeMap::new(), None);
    for (mount, target) in mounted {
        let directory = target.display().to_string();
        if subpath::is_part(mount) {
            volumes.entry(mount.name.clone()).or_insert(directory);
        } else {
            volumes.insert(mount.name.clone(), directory);
        }
        if mount.mount_path == MOUNT_PATH {
            kubeconfig = Some(target.join(volumes::KUBECONFIG)).filter(|file| file.exists());
        }
    }
    (volumes, kubeconfig.map(|file| file.display().to_string()))
}

/// What the host says of the server's user is not true of another one.
fn host_env(host: &BTreeMap<String, String>, account: Option<&Account>) -> BTreeMap<String, String> {
    let mut env = host.clone();
    if let Some(account) = account {
        env.insert("HOME".to_owned(), account.home.clone());
        env.remove("USER");
        env.extend(account.name.clone().map(|name| ("USER".to_owned(), name)));
    }
    env
}

fn stdin(container: &Container) -> Stdin {
    match (container.stdin.unwrap_or(false), container.stdin_once.unwrap_or(false)) {
        (false, _) => Stdin::Nothing,
        (true, false) => Stdin::Open,
        (true, true) => Stdin::Once,
    }
}

/// An absolute one is the host's and must exist; a relative one is below the container's own directory, and is made.
fn working_dir(given: &str, work_dir: &Path, links: &Links) -> Result<PathBuf, PrepareError> {
    let path = Path::new(given);
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    links.directory(given).map_err(|error| match error {
        MountError::Escapes(path) => PrepareError::WorkingDirEscapes(path),
        other => other.into(),
    })?;
    Ok(work_dir.join(path))
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
