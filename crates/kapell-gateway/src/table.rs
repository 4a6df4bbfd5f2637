//! What the watched objects say about traffic, as values: [`compute_route`] turns a Service and its EndpointSlices into a
//! [`Route`]. It opens nothing and remembers nothing; [`crate::core`] makes listeners and endpoints follow the routes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kapell_client::ObjectKey;

/// The label by which an EndpointSlice names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// The annotation in which the gateway tells where a Service's ports really listen.
pub const LISTEN_ANNOTATION: &str = "kapell.dev/listen";

/// The annotation in which the gateway tells where node ports listen that are not where they belong.
pub const NODE_LISTEN_ANNOTATION: &str = "kapell.dev/listen-node-ports";

/// Everything the gateway needs to know of one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub key: ObjectKey,
    /// Absent for a headless Service, which gets no listener but can be called in process.
    pub cluster_ip: Option<IpAddr>,
    /// `sessionAffinity: ClientIP`. The choice is a hash of the client's address over the ready endpoints: it needs no
    /// memory, so `timeoutSeconds` has nothing to limit.
    pub client_affinity: bool,
    pub ports: Vec<PortRoute>,
}

/// One port of a Service with the endpoints behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRoute {
    /// Empty for the only port of a Service, as in Kubernetes.
    pub name: String,
    pub port: u16,
    pub transport: Transport,
    pub protocol: Protocol,
    /// Where the port listens, in the order of preference; the first is where it belongs. Empty for headless Services.
    pub listen: Vec<SocketAddr>,
    /// `127.0.0.1:nodePort` and what replaces it when it is taken, for the types NodePort and LoadBalancer.
    pub node_listen: Vec<SocketAddr>,
    /// In address order, each address once.
    pub endpoints: Vec<EndpointRoute>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    /// UDP or SCTP: not forwarded, and said so in the Service's status.
    Unsupported(&'static str),
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Endpoints speak HTTP/1.1.
    Http,
    /// Endpoints speak HTTP/2 with prior knowledge.
    H2c,
    /// Bytes, balanced by connection.
    Tcp,
    /// Not declared: each connection's first bytes decide.
    Detect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRoute {
    pub address: SocketAddr,
    /// UID of the pod behind it: another pod on a used address starts with a clean record.
    pub pod: String,
    pub state: EndpointState,
}

/// Ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointState {
    Ready,
    /// Terminating, but still serving: used while there is no ready endpoint.
    Draining,
    NotReady,
}

/// The route of a Service, or `None` where there is nothing to forward to (ExternalName).
///
/// `slices` are those labelled with the Service's name in its namespace.
pub fn compute_route(service: &Service, slices: &[Arc<EndpointSlice>]) -> Option<Route> {
    let spec = service.spec.as_ref()?;
    let service_type = spec.type_.as_deref().unwrap_or("ClusterIP");
    if service_type == "ExternalName" {
        return None;
    }
    let cluster_ip: Option<IpAddr> = spec.cluster_ip.as_deref().and_then(|ip| ip.parse().ok());
    let announced = announced_addresses(service, LISTEN_ANNOTATION);
    let announced_nodes = announced_addresses(service, NODE_LISTEN_ANNOTATION);
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        let number = port_number(port.port)?;
        let name = port.name.clone().unwrap_or_default();
        let earlier = announced.get(port_label(&name, number).as_str()).copied();
        let earlier_node = announced_nodes.get(port_label(&name, number).as_str()).copied();
        let node_port = port.node_port.and_then(port_number).filter(|_| service_type != "ClusterIP");
        Some(PortRoute {
            port: number,
            transport: transport(port.protocol.as_deref()),
            protocol: protocol(port),
            listen: cluster_ip.map(|ip| listen_order(ip, number, earlier)).unwrap_or_default(),
            node_listen: node_port.map(|port| node_listen_order(port, earlier_node)).unwrap_or_default(),
            endpoints: endpoints(&name, slices),
            name,
        })
    });
    Some(Route {
        key: ObjectKey::of(service),
        cluster_ip,
        client_affinity: spec.session_affinity.as_deref() == Some("ClientIP"),
        ports: ports.collect(),
    })
}

/// How a port is called in the listen annotation: its name, or its number when it has none.
pub fn port_label(name: &str, port: u16) -> String {
    if name.is_empty() { port.to_string() } else { name.to_owned() }
}

/// The addresses that an earlier gateway announced, by port label. Pods were told of them, so they are tried again.
fn announced_addresses<'a>(service: &'a Service, annotation: &str) -> BTreeMap<&'a str, SocketAddr> {
    let annotation = service.metadata.annotations.as_ref().and_then(|all| all.get(annotation));
    let entries = annotation.map(String::as_str).unwrap_or_default().split(',');
    entries
        .filter_map(|entry| {
            let (label, address) = entry.split_once('=')?;
            Some((label, address.parse().ok()?))
        })
        .collect()
}

/// The port itself, then the address announced before, then any free port on the Service's address, then (where that
/// address is not this machine's, as on macOS) any free port of 127.0.0.1.
fn listen_order(ip: IpAddr, port: u16, earlier: Option<SocketAddr>) -> Vec<SocketAddr> {
    let mut order = vec![SocketAddr::new(ip, port)];
    order.extend(earlier.filter(|earlier| earlier.ip() == ip && earlier.port() != port));
    order.push(SocketAddr::new(ip, 0));
    order.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0));
    order
}

/// The node port itself, then the address announced before, then any free port there.
fn node_listen_order(port: u16, earlier: Option<SocketAddr>) -> Vec<SocketAddr> {
    let wanted = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let earlier = earlier.filter(|earlier| earlier.ip() == wanted.ip() && *earlier != wanted);
    [Some(wanted), earlier, Some(SocketAddr::new(wanted.ip(), 0))].into_iter().flatten().collect()
}

fn port_number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

fn transport(protocol: Option<&str>) -> Transport {
    match protocol {
        None | Some("TCP") => Transport::Tcp,
        Some("UDP") => Transport::Unsupported("UDP"),
        Some(_) => Transport::Unsupported("SCTP"),
    }
}

/// `appProtocol` first, then the prefix of the port's name, else detection.
fn protocol(port: &ServicePort) -> Protocol {
    if let Some(app_protocol) = port.app_protocol.as_deref() {
        return match app_protocol.to_ascii_lowercase().as_str() {
            "http" | "kubernetes.io/ws" => Protocol::Http,
            "kubernetes.io/h2c" | "h2c" | "grpc" => Protocol::H2c,
            _ => Protocol::Tcp,
        };
    }
    let name = port.name.as_deref().unwrap_or_default();
    let has_prefix =
        |prefix: &str| name == prefix || name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('-'));
    match () {
        () if has_prefix("http") => Protocol::Http,
        () if has_prefix("grpc") || has_prefix("http2") || has_prefix("h2c") => Protocol::H2c,
        () if has_prefix("https") || has_prefix("tls") || has_prefix("tcp") => Protocol::Tcp,
        () => Protocol::Detect,
    }
}

/// The endpoints that the slices name for the port called `name`. Where two slices disagree about an address (an
/// endpoint moves from one to the other), the better state wins, as nothing says that it got worse.
fn endpoints(name: &str, slices: &[Arc<EndpointSlice>]) -> Vec<EndpointRoute> {
    let mut found: BTreeMap<SocketAddr, EndpointRoute> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice.address_type != "FQDN") {
        let port = slice.ports.iter().flatten().find(|port| port.name.as_deref().unwrap_or_default() == name);
        let Some(port) = port.and_then(|port| port.port).and_then(port_number) else { continue };
        for endpoint in &slice.endpoints {
            let state = state(endpoint);
            for ip in endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok()) {
                let address = SocketAddr::new(ip, port);
                let pod = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()).unwrap_or_default();
                let route = EndpointRoute { address, pod, state };
                match found.get(&address) {
                    Some(other) if other.state <= route.state => {}
                    _ => {
                        found.insert(address, route);
                    }
                }
            }
        }
    }
    found.into_values().collect()
}

/// Unknown counts as ready and serving, as the EndpointSlice's documentation asks of its readers.
fn state(endpoint: &Endpoint) -> EndpointState {
    let Some(conditions) = endpoint.conditions.as_ref() else { return EndpointState::Ready };
    let ready = conditions.ready.unwrap_or(true);
    let terminating = conditions.terminating.unwrap_or(false);
    match () {
        () if ready => EndpointState::Ready,
        () if terminating && conditions.serving.unwrap_or(ready) => EndpointState::Draining,
        () => EndpointState::NotReady,
    }
}

#[cfg(test)]
mod tests;
