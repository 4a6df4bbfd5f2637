//! What one pod asks of a node, read once from its spec so that placing it compares numbers and strings only.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, NodeSelectorTerm, Pod, PodSpec, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use kapell_api::quantity::Quantity;

/// What a container that states no request counts as when nodes are compared (not when they are filled): 100m and 200Mi,
/// as upstream, or a node full of such pods would look empty.
const UNSTATED: (i64, i64) = (100, 200 * 1024 * 1024);

/// Amounts of what can run out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    pub pods: i64,
    /// Everything else by name, in whole units.
    pub scalars: BTreeMap<String, i64>,
}

impl Resources {
    /// Amounts that are no quantities were refused by validation and count as nothing.
    pub fn parse(list: &BTreeMap<String, Written>) -> Self {
        let mut resources = Self::default();
        for (name, written) in list {
            let Ok(amount) = Quantity::parse(&written.0) else { continue };
            match name.as_str() {
                "cpu" => resources.cpu = amount.milli(),
                "memory" => resources.memory = amount.value(),
                "pods" => resources.pods = amount.value(),
                _ => drop(resources.scalars.insert(name.clone(), amount.value())),
            }
        }
        resources
    }

    pub(crate) fn add(&mut self, other: &Self, times: i64) {
        self.cpu += other.cpu * times;
        self.memory += other.memory * times;
        self.pods += other.pods * times;
        for (name, amount) in &other.scalars {
            *self.scalars.entry(name.clone()).or_default() += amount * times;
        }
    }

    fn raise_to(&mut self, other: &Self) {
        self.cpu = self.cpu.max(other.cpu);
        self.memory = self.memory.max(other.memory);
        for (name, amount) in &other.scalars {
            let mine = self.scalars.entry(name.clone()).or_default();
            *mine = (*mine).max(*amount);
        }
    }
}

/// A port that a pod claims on its node: address (empty for all), protocol, number.
pub(crate) type HostPort = (String, String, i32);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Preference {
    pub(crate) weight: i64,
    pub(crate) term: NodeSelectorTerm,
}

/// One pod as the scheduler sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodRequest {
    pub(crate) resources: Resources,
    /// cpu and memory with something for containers that state nothing.
    pub(crate) weight: (i64, i64),
    pub(crate) node_name: Option<String>,
    pub(crate) node_selector: BTreeMap<String, String>,
    /// One of these has to match, if there are any; `Some` and empty matches nothing.
    pub(crate) required: Option<Vec<NodeSelectorTerm>>,
    pub(crate) preferred: Vec<Preference>,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) host_ports: Vec<HostPort>,
    /// The uid of its controller: pods of the same one are spread.
    pub(crate) controller: Option<String>,
    pub(crate) priority: i32,
}

impl PodRequest {
    pub fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let (resources, weight) = totals(spec);
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        let preferred = affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
        let owners = pod.metadata.owner_references.iter().flatten();
        Self {
            resources,
            weight,
            node_name: spec.node_name.clone().filter(|name| !name.is_empty()),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            required: required.map(|selector| selector.node_selector_terms.clone()),
            preferred: preferred
                .into_iter()
                .flatten()
                .map(|term| Preference { weight: term.weight.into(), term: term.preference.clone() })
                .collect(),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            host_ports: spec.containers.iter().flat_map(host_ports).collect(),
            controller: owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()).next(),
            priority: spec.priority.unwrap_or(0),
        }
    }
}

fn host_ports(container: &Container) -> impl Iterator<Item = HostPort> {
    container.ports.iter().flatten().filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let address = port.host_ip.clone().filter(|ip| ip != "0.0.0.0" && ip != "::").unwrap_or_default();
        Some((address, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), number))
    })
}

/// The sum over the containers that run together, or what the hungriest init container needs beside the sidecars that
/// started before it, whichever is more; plus the overhead.
fn totals(spec: &PodSpec) -> (Resources, (i64, i64)) {
    let requests = |container: &Container| {
        let list = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        list.map(Resources::parse).unwrap_or_default()
    };
    let stated = |resources: &Resources| {
        let or = |amount: i64, unstated: i64| if amount == 0 { unstated } else { amount };
        (or(resources.cpu, UNSTATED.0), or(resources.memory, UNSTATED.1))
    };
    let (mut running, mut weight) = (Resources::default(), (0, 0));
    let mut take = |resources: &Resources| {
        let (cpu, memory) = stated(resources);
        weight = (weight.0 + cpu, weight.1 + memory);
    };
    let (mut sidecars, mut start) = (Resources::default(), Resources::default());
    for init in spec.init_containers.iter().flatten() {
        let own = requests(init);
        if init.restart_policy.as_deref() == Some("Always") {
            take(&own);
            sidecars.add(&own, 1);
            start.raise_to(&sidecars);
        } else {
            let mut beside = sidecars.clone();
            beside.add(&own, 1);
            start.raise_to(&beside);
        }
    }
    for container in &spec.containers {
        let own = requests(container);
        take(&own);
        running.add(&own, 1);
    }
    running.add(&sidecars, 1);
    running.raise_to(&start);
    if let Some(overhead) = &spec.overhead {
        running.add(&Resources::parse(overhead), 1);
    }
    running.pods = 1;
    (running, weight)
}
