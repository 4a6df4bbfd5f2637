//! A container's environment and command line: host and pod facts, Services, references, and `$(NAME)` expansion.
//!
//! Pure over [`Sources`], which answers what a ConfigMap, Secret or Service says at this moment.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};

use crate::fields::{self, FieldError};
use crate::termination;

/// What a container's configuration refers to.
pub(crate) trait Sources {
    fn config_map(&self, namespace: &str, name: &str) -> Option<Arc<ConfigMap>>;
    fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Secret>>;
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>>;
    /// The Services of one namespace.
    fn services(&self, namespace: &str) -> Vec<Arc<Service>>;
}

/// The Service that leads to the API server. Every pod is told of it, as upstream.
pub(crate) const API_SERVICE: ServiceName = ServiceName { namespace: "default", name: "kubernetes" };

pub(crate) struct ServiceName {
    pub(crate) namespace: &'static str,
    pub(crate) name: &'static str,
}

/// What the node knows about the pod and the container.
pub(crate) struct Place<'a> {
    pub(crate) pod_ip: Ipv4Addr,
    pub(crate) host_ip: Ipv4Addr,
    pub(crate) port: u16,
    /// PATH, HOME, … from the server.
    pub(crate) host_env: &'a BTreeMap<String, String>,
    /// Volume name → directory, of the volumes that this container mounts.
    pub(crate) volumes: &'a BTreeMap<String, String>,
    /// The file for the container's termination message.
    pub(crate) termination_log: &'a str,
    /// The kubeconfig of the pod's account, if this container mounts it.
    pub(crate) kubeconfig: Option<&'a str>,
}

/// Why a configuration cannot be put together; the status shows it as CreateContainerConfigError.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{kind} \"{name}\" not found")]
    ObjectMissing { kind: &'static str, name: String },
    #[error("key \"{key}\" not found in {kind} \"{name}\"")]
    KeyMissing { kind: &'static str, name: String, key: String },
    #[error("{kind} \"{name}\", key \"{key}\": the value is no UTF-8 text, as an environment variable must be")]
    NotText { kind: &'static str, name: String, key: String },
    #[error(transparent)]
    Field(#[from] FieldError),
}

pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    place: &Place<'_>,
    sources: &dyn Sources,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut env = place.host_env.clone();
    for (name, directory) in place.volumes {
        env.insert(format!("KAPELL_VOLUME_{}", variable_name(name)), directory.clone());
    }
    let api = sources.service(API_SERVICE.namespace, API_SERVICE.name);
    env.extend(service_variables(api.as_slice()));
    if pod.spec.as_ref().and_then(|spec| spec.enable_service_links) != Some(false) {
        env.extend(service_variables(&sources.services(namespace)));
    }
    env.extend(place.kubeconfig.map(|path| ("KUBECONFIG".to_owned(), path.to_owned())));
    env.insert(termination::VARIABLE.to_owned(), place.termination_log.to_owned());
    env.insert("HOST".to_owned(), place.pod_ip.to_string());
    env.insert("POD_IP".to_owned(), place.pod_ip.to_string());
    env.insert("PORT".to_owned(), place.port.to_string());
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let data = if let Some(reference) = &source.config_map_ref {
            let found = sources.config_map(namespace, &reference.name);
            require("configmap", &reference.name, reference.optional, found)?.map(|map| config_map_text(&map))
        } else if let Some(reference) = &source.secret_ref {
            let found = sources.secret(namespace, &reference.name);
            require("secret", &reference.name, reference.optional, found)?.map(|secret| secret_text(&secret))
        } else {
            None
        };
        env.extend(data.into_iter().flatten().map(|(key, value)| (format!("{prefix}{key}"), value)));
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(expand(value, &env)),
            (None, Some(from)) => referenced(from, pod, container, place, sources)?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            env.insert(variable.name.clone(), value);
        }
    }
    Ok(env)
}

/// Command and arguments with references to the environment replaced.
pub(crate) fn command_line(container: &Container, env: &BTreeMap<String, String>) -> Vec<String> {
    let words = container.command.iter().flatten().chain(container.args.iter().flatten());
    words.map(|word| expand(word, env)).collect()
}

/// Replaces `$(NAME)` where NAME is known and leaves it alone where it is not; `$$` stands for `$` (Kubernetes API,
/// `Container.command`).
pub(crate) fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => expanded.push_str(text),
            Piece::Reference(name) => match env.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.extend(["$(", name, ")"]),
            },
        }
    }
    expanded
}

/// The names that a text refers to.
pub(crate) fn references(text: &str) -> Vec<&str> {
    let name = |piece| if let Piece::Reference(name) = piece { Some(name) } else { None };
    pieces(text).into_iter().filter_map(name).collect()
}

enum Piece<'t> {
    Text(&'t str),
    Reference(&'t str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        pieces.push(Piece::Text(&rest[..at]));
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            pieces.push(Piece::Text("$"));
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            pieces.push(Piece::Reference(name));
            rest = after;
        } else {
            pieces.push(Piece::Text("$"));
        }
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// `None` for an optional reference to nothing.
fn referenced(
    from: &EnvVarSource,
    pod: &Pod,
    container: &Container,
    place: &Place<'_>,
    sources: &dyn Sources,
) -> Result<Option<String>, ConfigError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(selector) = &from.config_map_key_ref {
        let found = sources.config_map(namespace, &selector.name);
        let map = require("configmap", &selector.name, selector.optional, found)?.map(|map| config_map_bytes(&map));
        return key("configmap", &selector.name, &selector.key, selector.optional, map);
    }
    if let Some(selector) = &from.secret_key_ref {
        let found = sources.secret(namespace, &selector.name);
        let map = require("secret", &selector.name, selector.optional, found)?.map(|secret| secret_bytes(&secret));
        return key("secret", &selector.name, &selector.key, selector.optional, map);
    }
    if let Some(selector) = &from.field_ref {
        return Ok(Some(fields::field(pod, &selector.field_path, place.pod_ip, place.host_ip)?));
    }
    if let Some(selector) = &from.resource_field_ref {
        return Ok(Some(fields::resource_field(pod, Some(container), selector)?));
    }
    Ok(Some(String::new()))
}

fn require<T>(
    kind: &'static str,
    name: &str,
    optional: Option<bool>,
    found: Option<Arc<T>>,
) -> Result<Option<Arc<T>>, ConfigError> {
    match found {
        None if optional != Some(true) => Err(ConfigError::ObjectMissing { kind, name: name.to_owned() }),
        found => Ok(found),
    }
}

fn key(
    kind: &'static str,
    name: &str,
    key: &str,
    optional: Option<bool>,
    data: Option<BTreeMap<String, Vec<u8>>>,
) -> Result<Option<String>, ConfigError> {
    match data.and_then(|mut data| data.remove(key)) {
        Some(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(ConfigError::NotText { kind, name: name.to_owned(), key: key.to_owned() }),
        },
        None if optional == Some(true) => Ok(None),
        None => Err(ConfigError::KeyMissing { kind, name: name.to_owned(), key: key.to_owned() }),
    }
}

pub(crate) fn config_map_bytes(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}

pub(crate) fn secret_bytes(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

fn config_map_text(map: &ConfigMap) -> BTreeMap<String, String> {
    map.data.clone().unwrap_or_default()
}

/// Values that are no text cannot be variables; Kubernetes leaves them out of `envFrom` too.
fn secret_text(secret: &Secret) -> BTreeMap<String, String> {
    let text = |(key, bytes)| Some((key, String::from_utf8(bytes).ok()?));
    secret_bytes(secret).into_iter().filter_map(text).collect()
}

/// The annotation in which the gateway says where it listens for a Service.
const LISTEN_ANNOTATION: &str = "kapell.dev/listen";

/// Kubernetes' variables for Services: host, ports, and the older form that Docker's links had.
fn service_variables(services: &[Arc<Service>]) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for service in services {
        let spec = service.spec.clone().unwrap_or_default();
        let Some(ip) = spec.cluster_ip.filter(|ip| !ip.is_empty() && ip != "None") else { continue };
        let Some(name) = service.metadata.name.as_deref().map(variable_name) else { continue };
        let annotations = service.metadata.annotations.as_ref();
        let listen = annotations.and_then(|a| a.get(LISTEN_ANNOTATION)).map_or("", String::as_str);
        env.insert(format!("{name}_SERVICE_HOST"), ip.clone());
        for (index, port) in spec.ports.iter().flatten().enumerate() {
            let port_name = port.name.as_deref().unwrap_or_default();
            let number = listening_port(listen, port_name, index).unwrap_or_else(|| port.port.to_string());
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let url = format!("{}://{ip}:{number}", protocol.to_lowercase());
            if index == 0 {
                env.insert(format!("{name}_SERVICE_PORT"), number.clone());
                env.insert(format!("{name}_PORT"), url.clone());
            }
            if !port_name.is_empty() {
                env.insert(format!("{name}_SERVICE_PORT_{}", variable_name(port_name)), number.clone());
            }
            let link = format!("{name}_PORT_{}_{protocol}", port.port);
            env.insert(format!("{link}_PROTO"), protocol.to_lowercase());
            env.insert(format!("{link}_PORT"), number);
            env.insert(format!("{link}_ADDR"), ip.clone());
            env.insert(link, url);
        }
    }
    env
}

/// Where the API server can be reached from pods: address and port of its Service.
pub(crate) fn api_address(sources: &dyn Sources) -> Option<(String, String)> {
    let service = sources.service(API_SERVICE.namespace, API_SERVICE.name)?;
    let mut variables = service_variables(std::slice::from_ref(&service));
    let mut take = |suffix: &str| variables.remove(&format!("{}_SERVICE_{suffix}", variable_name(API_SERVICE.name)));
    Some((take("HOST")?, take("PORT")?))
}

/// How long after a Service was created its listener may take to say where it listens. Times of creation are cut to whole
/// seconds, so this is between two and three.
const LISTENER_PATIENCE: SignedDuration = SignedDuration::from_secs(3);

/// Until when a container should wait for Services that were created just now: their ports may turn out to be others than
/// those that they ask for, and an environment never changes. `None` when there is nothing to wait for any more.
pub(crate) fn listeners_due(services: &[Arc<Service>], now: Timestamp) -> Option<Timestamp> {
    let silent = |service: &&Arc<Service>| {
        let has_ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
        let annotations = service.metadata.annotations.as_ref();
        has_ip.is_some_and(|ip| !ip.is_empty() && ip != "None")
            && !annotations.is_some_and(|annotations| annotations.contains_key(LISTEN_ANNOTATION))
    };
    let due =
        |service: &Arc<Service>| service.metadata.creation_timestamp.as_ref()?.0.saturating_add(LISTENER_PATIENCE).ok();
    services.iter().filter(silent).filter_map(due).filter(|due| *due > now).max()
}

/// The port in `name=address:port,…`: by name, or by position for a port without one.
fn listening_port(listen: &str, name: &str, index: usize) -> Option<String> {
    let entries: Vec<(&str, &str)> = listen.split(',').filter_map(|entry| entry.trim().split_once('=')).collect();
    let named = entries.iter().find(|(entry, _)| !name.is_empty() && *entry == name);
    let (_, address) = named.or_else(|| entries.get(index).filter(|_| name.is_empty()))?;
    address.rsplit_once(':').map(|(_, port)| port.to_owned())
}

pub(crate) fn variable_name(name: &str) -> String {
    name.to_uppercase().replace(['-', '.'], "_")
}

#[cfg(test)]
mod tests;
