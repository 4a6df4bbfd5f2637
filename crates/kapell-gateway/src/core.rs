//! Listeners and backends that follow the routes. Independent of where routes come from: the wiring watches the API, tests
//! apply values.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use kapell_client::ObjectKey;
use parking_lot::RwLock;

use crate::balance::{Backend, Patience};
use crate::listener::Listener;
use crate::table::{PortRoute, Route, Transport};
use crate::target::{ServiceTarget, choose_port};
use crate::tasks::Tasks;

pub(crate) struct Core {
    patience: Patience,
    services: RwLock<BTreeMap<ObjectKey, Arc<ServicePorts>>>,
    pub(crate) tasks: Tasks,
}

/// The TCP ports of one Service.
struct ServicePorts {
    ports: Vec<Port>,
}

#[derive(Clone)]
struct Port {
    name: String,
    number: u16,
    backend: Arc<Backend>,
    cluster: Option<Arc<Listener>>,
    node: Option<Arc<Listener>>,
}

/// Where the ports of a Service listen and why not where they belong; what its status is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) ports: Vec<PortReport>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortReport {
    pub(crate) name: String,
    pub(crate) number: u16,
    pub(crate) listening: Option<SocketAddr>,
    /// Why the port does not listen where it belongs.
    pub(crate) cause: Option<String>,
    /// Of Services that have one.
    pub(crate) node: Option<NodePortReport>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodePortReport {
    pub(crate) listening: Option<SocketAddr>,
    /// Why it does not listen where it belongs.
    pub(crate) cause: Option<String>,
}

impl Core {
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, services: RwLock::default(), tasks: Tasks::default() }
    }

    /// Makes the listeners and endpoints of one Service as `route` says. Calls for one key do not overlap.
    pub(crate) fn apply(&self, key: &ObjectKey, route: Option<&Route>) -> Report {
        let before = self.services.read().get(key).cloned();
        let old_ports = before.as_ref().map(|before| before.ports.as_slice()).unwrap_or_default();
        let mut ports = Vec::new();
        let mut report = Report::default();
        for wanted in route.iter().flat_map(|route| &route.ports) {
            if let Transport::Unsupported(transport) = wanted.transport {
                report.ports.push(unsupported(wanted, transport));
                continue;
            }
            let old = old_ports.iter().find(|old| old.number == wanted.port);
            let affinity = route.is_some_and(|route| route.client_affinity);
            let (port, port_report) = self.follow(key, wanted, affinity, old);
            ports.push(port);
            report.ports.push(port_report);
        }
        let gone = old_ports.iter().filter(|old| !ports.iter().any(|port| Arc::ptr_eq(&port.backend, &old.backend)));
        for port in gone {
            port.backend.clear();
        }
        let mut services = self.services.write();
        match route {
            Some(_) => services.insert(key.clone(), Arc::new(ServicePorts { ports })),
            None => services.remove(key),
        };
        report
    }

    fn follow(&self, key: &ObjectKey, wanted: &PortRoute, affinity: bool, old: Option<&Port>) -> (Port, PortReport) {
        let backend = match old {
            Some(old) => old.backend.clone(),
            None => Arc::new(Backend::new(key.clone(), self.patience, self.tasks.clone())),
        };
        backend.update(wanted, affinity);
        let cluster = follow_listener(&wanted.listen, old.and_then(|old| old.cluster.as_ref()), &backend);
        let node = follow_listener(&wanted.node_listen, old.and_then(|old| old.node.as_ref()), &backend);
        let report = PortReport {
            name: wanted.name.clone(),
            number: wanted.port,
            listening: cluster.as_ref().ok().and_then(Option::as_ref).map(|listener| listener.bound),
            cause: cluster.as_ref().map_or_else(|e| Some(e.clone()), |l| l.as_ref().and_then(|l| l.cause.clone())),
            node: match &node {
                Ok(None) => None,
                Ok(Some(node)) => Some(NodePortReport { listening: Some(node.bound), cause: node.cause.clone() }),
                Err(cause) => Some(NodePortReport { listening: None, cause: Some(cause.clone()) }),
            },
        };
        let port = Port {
            name: wanted.name.clone(),
            number: wanted.port,
            backend,
            cluster: cluster.ok().flatten(),
            node: node.ok().flatten(),
        };
        (port, report)
    }

    pub(crate) fn knows(&self, key: &ObjectKey) -> bool {
        self.services.read().contains_key(key)
    }

    /// The backend of a target; `Err` tells the ports that the Service has instead, `None` that there is no Service.
    pub(crate) fn backend(&self, target: &ServiceTarget) -> Option<Result<Arc<Backend>, Vec<u16>>> {
        let service = self.services.read().get(&target.key()).cloned()?;
        let ports: Vec<_> = service.ports.iter().map(|port| (port.name.as_str(), port.number)).collect();
        let chosen = choose_port(&ports, target.port.as_ref());
        Some(match chosen {
            Some(index) => Ok(service.ports[index].backend.clone()),
            None => Err(ports.iter().map(|(_, number)| *number).collect()),
        })
    }

    /// Every port with its backend, in the order of Services.
    pub(crate) fn ports(&self) -> Vec<(ObjectKey, u16, Arc<Backend>)> {
        let services = self.services.read();
        let ports_of = |(key, service): (&ObjectKey, &Arc<ServicePorts>)| {
            service.ports.iter().map(|port| (key.clone(), port.number, port.backend.clone())).collect::<Vec<_>>()
        };
        services.iter().flat_map(ports_of).collect()
    }

    /// Closes every listener and drains every connection for at most `grace`.
    pub(crate) async fn close(&self, grace: std::time::Duration) {
        self.tasks.close(grace).await;
        self.services.write().clear();
    }
}

/// The open listener if it is the wanted one, else a new one; `None` where none is wanted.
fn follow_listener(
    candidates: &[SocketAddr],
    old: Option<&Arc<Listener>>,
    backend: &Arc<Backend>,
) -> Result<Option<Arc<Listener>>, String> {
    let Some(wanted) = candidates.first() else { return Ok(None) };
    if let Some(old) = old.filter(|old| old.wanted == *wanted) {
        return Ok(Some(old.clone()));
    }
    Listener::open(candidates, backend).map(|listener| Some(Arc::new(listener)))
}

fn unsupported(port: &PortRoute, transport: &str) -> PortReport {
    PortReport {
        name: port.name.clone(),
        number: port.port,
        listening: None,
        cause: Some(format!("port {} is {transport}, and only TCP is forwarded", port.port)),
        node: None,
    }
}
