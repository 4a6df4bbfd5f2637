//! Names by which callers inside the process address a Service. Pure; whether such a Service exists is asked through a
//! function, so that a host of the outside world is never mistaken for one of ours.

use std::fmt;

use kapell_client::ObjectKey;

/// A Service and one of its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTarget {
    pub namespace: String,
    pub name: String,
    /// `None`: the URL named none, see [`choose_port`].
    pub port: Option<TargetPort>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    Number(u16),
    Name(String),
}

impl ServiceTarget {
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace.clone(), self.name.clone())
    }
}

impl fmt::Display for ServiceTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        match &self.port {
            None => Ok(()),
            Some(TargetPort::Number(port)) => write!(f, ":{port}"),
            Some(TargetPort::Name(name)) => write!(f, ":{name}"),
        }
    }
}

/// `NAME`, `NAME.NAMESPACE`, `NAME.NAMESPACE.svc` or `NAME.NAMESPACE.svc.cluster.local` as the cluster's DNS would take
/// them from a pod of `default_namespace`, if `exists` knows the Service.
pub(crate) fn resolve_host(
    host: &str,
    port: Option<u16>,
    default_namespace: &str,
    exists: impl Fn(&ObjectKey) -> bool,
) -> Option<ServiceTarget> {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let labels: Vec<&str> = host.split('.').collect();
    let (name, namespace) = match labels.as_slice() {
        [name] => (*name, default_namespace),
        [name, namespace] | [name, namespace, "svc"] | [name, namespace, "svc", "cluster", "local"] => {
            (*name, *namespace)
        }
        _ => return None,
    };
    let key = ObjectKey::new(namespace, name);
    exists(&key).then(|| ServiceTarget { namespace: key.namespace, name: key.name, port: port.map(TargetPort::Number) })
}

/// The index of the port meant among `(name, number)`. A URL without a port means 80, as everywhere; a Service that has
/// no port 80 but one called `http`, or only one at all, leaves no doubt either.
pub(crate) fn choose_port(ports: &[(&str, u16)], wanted: Option<&TargetPort>) -> Option<usize> {
    let by_number = |number: u16| ports.iter().position(|(_, port)| *port == number);
    let by_name = |wanted: &str| ports.iter().position(|(name, _)| *name == wanted);
    match wanted {
        Some(TargetPort::Number(number)) => by_number(*number),
        Some(TargetPort::Name(name)) => by_name(name),
        None => by_number(80).or_else(|| by_name("http")).or((ports.len() == 1).then_some(0)),
    }
}

#[cfg(test)]
mod tests;
