//! Volumes as directories below the pod's own: what is in them (pure), and putting it there.
//!
//! Files that come from objects are replaced all at once, as the kubelet does it: they are written into a new directory,
//! and the symbolic link `..data`, through which every visible name leads, is switched over to it by a rename.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccountTokenProjection, Volume, VolumeMount,
};
use kapell_api::service_account::{MOUNT_PATH, ROOT_CERTIFICATE, TOKEN};
use rustix::fs::OFlags;

use crate::environment::{self, Sources, config_map_bytes, secret_bytes};
use crate::fields::{self, FieldError};
use crate::identity::Ownership;
use crate::observed::{containers, init_containers};
use crate::tokens::{Tokens, Wanted};

/// By path.
pub(crate) type Files = BTreeMap<String, File>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
    /// If it is not the server's user.
    pub(crate) owner: Option<u32>,
}

/// What a volume consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Empty,
    /// An empty directory, too; the caller says where.
    Memory,
    Files(Files),
    HostPath {
        path: PathBuf,
        kind: String,
    },
}

impl Content {
    /// Tells files from others; other contents have to be looked at where they are.
    pub(crate) fn digest(&self) -> Option<u64> {
        let Content::Files(files) = self else { return None };
        let mut hasher = DefaultHasher::new();
        files.hash(&mut hasher);
        Some(hasher.finish())
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("volume \"{volume}\": {kind} \"{name}\" not found")]
    ObjectMissing { volume: String, kind: &'static str, name: String },
    #[error("volume \"{volume}\": key \"{key}\" not found in {kind} \"{name}\"")]
    KeyMissing { volume: String, kind: &'static str, name: String, key: String },
    #[error("volume \"{volume}\": there is no token of the pod's account yet")]
    TokenMissing { volume: String },
    #[error("volume \"{volume}\": path \"{path}\" leaves the volume")]
    PathEscapes { volume: String, path: String },
    #[error(
        "volume \"{volume}\": its type is not supported here; use configMap, secret, emptyDir, hostPath, downwardAPI or projected"
    )]
    Unsupported { volume: String },
    #[error(
        "volume \"{volume}\": it is of CSI driver \"{driver}\", but no CSI drivers can be used here; use configMap, secret, emptyDir or hostPath"
    )]
    Driver { volume: String, driver: String },
    #[error("volume \"{volume}\": hostPath {} is no {kind}", .path.display())]
    WrongType { volume: String, path: PathBuf, kind: String },
    #[error("volume \"{volume}\": {source}")]
    Field { volume: String, source: FieldError },
    #[error("volume \"{volume}\": {}: {source}", .path.display())]
    Io { volume: String, path: PathBuf, source: io::Error },
}

/// Beside the files of an account, in JSON, which is YAML.
pub(crate) const KUBECONFIG: &str = "kubeconfig";

const DEFAULT_MODE: i32 = 0o644;
const EMPTY_DIR_MODE: u32 = 0o777;
/// Of files that are for their owner alone.
const PRIVATE_MODE: u32 = 0o600;
/// What the group of a pod's volumes may do with files that follow an object, whatever their mode says (as the kubelet).
const GROUP_MAY: u32 = 0o440;
/// Directories of such files.
const DIRECTORY_MODE: u32 = 0o755;
/// What is made in a directory belongs to the directory's group.
const SET_GROUP: u32 = 0o2000;

/// What volumes are made of, besides the pod itself.
pub(crate) struct Given<'a> {
    pub(crate) sources: &'a dyn Sources,
    pub(crate) tokens: &'a Tokens,
    /// Pod's and host's address.
    pub(crate) ips: (Ipv4Addr, Ipv4Addr),
    /// Where relative host paths begin.
    pub(crate) host_volumes: &'a Path,
    pub(crate) ownership: Ownership,
}

/// Whether the pod has a volume that only a CSI driver could make.
pub(crate) fn need_driver(pod: &Pod) -> bool {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|volume| volume.csi.is_some())
}

/// What the volume consists of at this moment. `directory` is where its files will be.
pub(crate) fn content(pod: &Pod, volume: &Volume, given: &Given<'_>, directory: &Path) -> Result<Content, VolumeError> {
    let mut collector = Collector { pod, volume: &volume.name, given, files: Files::new() };
    if let Some(empty) = &volume.empty_dir {
        return Ok(if empty.medium.as_deref() == Some("Memory") { Content::Memory } else { Content::Empty });
    }
    if let Some(host) = &volume.host_path {
        collector.check_path(&host.path, true)?;
        let kind = host.type_.clone().unwrap_or_default();
        // A relative path is our own extension: a directory that Kapell keeps for this purpose.
        let relative = Path::new(&host.path).is_relative() && kind.is_empty();
        let kind = if relative { "DirectoryOrCreate".to_owned() } else { kind };
        return Ok(Content::HostPath { path: given.host_volumes.join(&host.path), kind });
    }
    if let Some(csi) = &volume.csi {
        return Err(VolumeError::Driver { volume: volume.name.clone(), driver: csi.driver.clone() });
    }
    if let Some(map) = &volume.config_map {
        collector.config_map(&map.name, map.items.as_deref(), map.optional, map.default_mode)?;
    } else if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        collector.secret(name, secret.items.as_deref(), secret.optional, secret.default_mode)?;
    } else if let Some(downward) = &volume.downward_api {
        collector.downward(downward.items.as_deref().unwrap_or_default(), downward.default_mode)?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode;
        for source in projected.sources.iter().flatten() {
            if let Some(map) = &source.config_map {
                collector.config_map(&map.name, map.items.as_deref(), map.optional, mode)?;
            } else if let Some(secret) = &source.secret {
                collector.secret(&secret.name, secret.items.as_deref(), secret.optional, mode)?;
            } else if let Some(downward) = &source.downward_api {
                collector.downward(downward.items.as_deref().unwrap_or_default(), mode)?;
            } else if let Some(token) = &source.service_account_token {
                collector.token(token, mode)?;
            } else {
                return Err(VolumeError::Unsupported { volume: volume.name.clone() });
            }
        }
        collector.kubeconfig(directory);
    } else {
        return Err(VolumeError::Unsupported { volume: volume.name.clone() });
    }
    Ok(Content::Files(collector.files))
}

struct Collector<'a> {
    pod: &'a Pod,
    volume: &'a str,
    given: &'a Given<'a>,
    files: Files,
}

impl Collector<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn config_map(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<(), VolumeError> {
        let data = self.given.sources.config_map(self.namespace(), name).map(|map| config_map_bytes(&map));
        self.object("configmap", name, data, items, optional == Some(true), mode)
    }

    fn secret(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<(), VolumeError> {
        let data = self.given.sources.secret(self.namespace(), name).map(|secret| secret_bytes(&secret));
        self.object("secret", name, data, items, optional == Some(true), mode)
    }

    fn object(
        &mut self,
        kind: &'static str,
        name: &str,
        data: Option<BTreeMap<String, Vec<u8>>>,
        items: Option<&[KeyToPath]>,
        optional: bool,
        mode: Option<i32>,
    ) -> Result<(), VolumeError> {
        let volume = self.volume.to_owned();
        let Some(mut data) = data else {
            let missing = VolumeError::ObjectMissing { volume, kind, name: name.to_owned() };
            return if optional { Ok(()) } else { Err(missing) };
        };
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            for (key, value) in data {
                self.file(&key, value, None, mode)?;
            }
            return Ok(());
        };
        for item in items {
            match data.remove(&item.key) {
                Some(value) => self.file(&item.path, value, item.mode, mode)?,
                None if optional => {}
                None => {
                    return Err(VolumeError::KeyMissing { volume, kind, name: name.to_owned(), key: item.key.clone() });
                }
            }
        }
        Ok(())
    }

    fn downward(&mut self, items: &[DownwardAPIVolumeFile], mode: Option<i32>) -> Result<(), VolumeError> {
        for item in items {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => fields::field(self.pod, &field.field_path, self.given.ips.0, self.given.ips.1),
                (None, Some(selector)) => fields::resource_field(self.pod, None, selector),
                (None, None) => Ok(String::new()),
            };
            let value = value.map_err(|source| VolumeError::Field { volume: self.volume.to_owned(), source })?;
            self.file(&item.path, value.into_bytes(), item.mode, mode)?;
        }
        Ok(())
    }

    fn token(&mut self, wanted: &ServiceAccountTokenProjection, mode: Option<i32>) -> Result<(), VolumeError> {
        let missing = || VolumeError::TokenMissing { volume: self.volume.to_owned() };
        let token = self.given.tokens.get(&Wanted::by(wanted)).ok_or_else(missing)?;
        let Ownership { user, private, .. } = self.given.ownership;
        let mode = if private { Some(PRIVATE_MODE as i32) } else { mode };
        self.file(&wanted.path, token.text.clone().into_bytes(), None, mode)?;
        if let Some(file) = self.files.get_mut(&wanted.path) {
            file.owner = user;
        }
        Ok(())
    }

    /// Programs look for their account's files at one absolute path, which a process of the host cannot have for itself. So the files
    /// get company that says where they and the API are, for `$KUBECONFIG`.
    fn kubeconfig(&mut self, directory: &Path) {
        let is_account = |mount: &VolumeMount| mount.name == self.volume && mount.mount_path == MOUNT_PATH;
        let mut containers = init_containers(self.pod).iter().chain(containers(self.pod));
        let mounted = containers.any(|container| container.volume_mounts.iter().flatten().any(is_account));
        let complete = [TOKEN, ROOT_CERTIFICATE].iter().all(|file| self.files.contains_key(*file));
        if !mounted || !complete || self.files.contains_key(KUBECONFIG) {
            return;
        }
        let Some((host, port)) = environment::api_address(self.given.sources) else { return };
        let file = |name: &str| directory.join(name).display().to_string();
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "pod",
            "clusters": [{"name": "kapell", "cluster": {
                "server": format!("https://{host}:{port}"), "certificate-authority": file(ROOT_CERTIFICATE),
            }}],
            "users": [{"name": "account", "user": {"tokenFile": file(TOKEN)}}],
            "contexts": [{"name": "pod", "context": {
                "cluster": "kapell", "user": "account", "namespace": self.namespace(),
            }}],
        });
        let file = File { bytes: config.to_string().into_bytes(), mode: 0o644, owner: None };
        self.files.insert(KUBECONFIG.to_owned(), file);
    }

    fn file(&mut self, path: &str, value: Vec<u8>, mode: Option<i32>, default: Option<i32>) -> Result<(), VolumeError> {
        self.check_path(path, false)?;
        let mode = mode.or(default).unwrap_or(DEFAULT_MODE);
        let mode = u32::try_from(mode).unwrap_or(PRIVATE_MODE) & 0o777;
        let of_group = self.given.ownership.group.map_or(0, |_| GROUP_MAY);
        self.files.insert(path.to_owned(), File { bytes: value, mode: mode | of_group, owner: None });
        Ok(())
    }

    /// Names come from users; none may lead out of where it belongs.
    fn check_path(&self, path: &str, absolute_allowed: bool) -> Result<(), VolumeError> {
        let ordinary = |part: Component<'_>| match part {
            Component::Normal(_) | Component::CurDir => true,
            Component::RootDir => absolute_allowed,
            _ => false,
        };
        if !path.is_empty() && Path::new(path).components().all(ordinary) {
            return Ok(());
        }
        Err(VolumeError::PathEscapes { volume: self.volume.to_owned(), path: path.to_owned() })
    }
}

/// Puts the content in place below `directory`, for the group if there is one, and returns where the volume is. Happy to
/// run twice.
pub(crate) fn materialise(
    volume: &str,
    content: &Content,
    directory: &Path,
    group: Option<u32>,
) -> Result<PathBuf, VolumeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| VolumeError::Io { volume: volume.to_owned(), path, source }
    };
    match content {
        Content::Empty | Content::Memory => {
            // As the kubelet makes them: whoever a container runs as may write. The pod's own directory is closed to others.
            fs::create_dir_all(directory)
                .and_then(|()| give(directory, EMPTY_DIR_MODE, group))
                .map_err(failed(directory))?;
            Ok(directory.to_owned())
        }
        Content::Files(files) => {
            swap_files(directory, files, group).map_err(failed(directory))?;
            Ok(directory.to_owned())
        }
        Content::HostPath { path, kind } => {
            prepare_host_path(path, kind).map_err(failed(path))?;
            let wrong = || VolumeError::WrongType { volume: volume.to_owned(), path: path.clone(), kind: kind.clone() };
            let meta = fs::metadata(path);
            let meta =
                if kind.is_empty() && meta.is_err() { return Ok(path.clone()) } else { meta.map_err(|_| wrong())? };
            let fits = match kind.trim_end_matches("OrCreate") {
                "" => true,
                "Directory" => meta.is_dir(),
                "File" => meta.is_file(),
                "Socket" => meta.file_type().is_socket(),
                "CharDevice" => meta.file_type().is_char_device(),
                "BlockDevice" => meta.file_type().is_block_device(),
                _ => false,
            };
            if fits { Ok(path.clone()) } else { Err(wrong()) }
        }
    }
}

/// Sets a directory's mode, and its group with what that makes of it. The mode comes last: a new group takes from it.
fn give(directory: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    if group.is_some() {
        chown(directory, None, group)?;
    }
    let mode = group.map_or(mode, |_| mode | SET_GROUP);
    fs::set_permissions(directory, fs::Permissions::from_mode(mode))
}

fn prepare_host_path(path: &Path, kind: &str) -> io::Result<()> {
    match kind {
        "DirectoryOrCreate" => fs::create_dir_all(path),
        "FileOrCreate" if fs::symlink_metadata(path).is_err() => create_file(path),
        _ => Ok(()),
    }
}

/// Makes an empty file. Nothing that is there, or comes in between, is opened: a FIFO would hold up the server until
/// somebody reads it.
fn create_file(path: &Path) -> io::Result<()> {
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits();
    match fs::OpenOptions::new().write(true).create_new(true).custom_flags(flags as i32).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

const DATA: &str = "..data";

/// Makes `directory` show exactly `files`, atomically for whoever reads through the visible names.
fn swap_files(directory: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    give(directory, DIRECTORY_MODE, group)?;
    let current = fs::read_link(directory.join(DATA)).ok();
    if current.as_ref().is_some_and(|current| holds(&directory.join(current), files)) {
        return Ok(());
    }
    let mut number = 0_u64;
    let generation = loop {
        let generation = PathBuf::from(format!("..{number}"));
        match fs::create_dir(directory.join(&generation)) {
            Ok(()) => break generation,
            // One that a crash left behind, or the one in use.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    };
    let root = directory.join(&generation);
    for (path, File { bytes, mode, owner }) in files {
        let file = root.join(path);
        for parent in file.ancestors().skip(1).take_while(|parent| parent.starts_with(&root)) {
            fs::create_dir_all(parent)?;
            give(parent, DIRECTORY_MODE, group)?;
        }
        // For nobody else before it has the right owner and mode.
        let new = fs::OpenOptions::new().write(true).create_new(true).mode(PRIVATE_MODE).open(&file);
        new.and_then(|mut file| io::Write::write_all(&mut file, bytes))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(*mode))?;
        if owner.is_some() || group.is_some() {
            chown(&file, *owner, group)?;
        }
    }
    let new_link = directory.join("..data_new");
    let _ = fs::remove_file(&new_link);
    symlink(&generation, &new_link)?;
    fs::rename(&new_link, directory.join(DATA))?;
    let visible: Vec<&str> = files.keys().filter_map(|path| path.split('/').find(|part| *part != ".")).collect();
    for name in &visible {
        match symlink(Path::new(DATA).join(name), directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    for entry in fs::read_dir(directory)?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if is_generation(name) && Path::new(name) != generation && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if !visible.contains(&name) && is_ours(directory, name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_generation(name: &str) -> bool {
    name.strip_prefix("..").is_some_and(|number| number.parse::<u64>().is_ok())
}

/// Whether an earlier generation had this name. Whatever else is there is not ours to remove: mounts may lie in the volume.
fn is_ours(directory: &Path, name: &str) -> bool {
    fs::read_link(directory.join(name)).is_ok_and(|target| target == Path::new(DATA).join(name))
}

fn holds(directory: &Path, files: &Files) -> bool {
    let same = |(path, expected): (&String, &File)| {
        let file = directory.join(path);
        fs::metadata(&file).is_ok_and(|meta| meta.permissions().mode() & 0o777 == expected.mode)
            && fs::read(&file).is_ok_and(|bytes| bytes == expected.bytes)
    };
    files.iter().all(same) && count_files(directory) == files.len()
}

fn count_files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}

#[cfg(test)]
mod tests;
