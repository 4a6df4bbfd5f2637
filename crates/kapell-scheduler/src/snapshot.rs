//! All nodes with what is free on them, kept up to date change by change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::request::{HostPort, PodRequest, Resources};

/// What the scheduler reads of a Node object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) unschedulable: bool,
    pub(crate) ready: bool,
    pub(crate) allocatable: Resources,
}

impl NodeFacts {
    pub fn of(node: &Node) -> Self {
        let (spec, status) = (node.spec.as_ref(), node.status.as_ref());
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let allocatable = status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref()));
        let mut taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
        // When it was added is the evictor's affair, not the scheduler's.
        taints.iter_mut().for_each(|taint| taint.time_added = None);
        Self {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints,
            unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
            ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            allocatable: allocatable.map(Resources::parse).unwrap_or_default(),
        }
    }
}

/// One node with the sum of its pods.
#[derive(Clone, Debug)]
pub(crate) struct NodeState {
    pub(crate) name: Arc<str>,
    pub(crate) facts: NodeFacts,
    /// False for a node of which only pods are known so far: nothing is placed there.
    pub(crate) present: bool,
    pub(crate) requested: Resources,
    pub(crate) weight: (i64, i64),
    pub(crate) host_ports: Vec<HostPort>,
    pub(crate) by_controller: HashMap<String, i64>,
}

impl NodeState {
    /// A node of which nothing is known but its name.
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            facts: NodeFacts::default(),
            present: false,
            requested: Resources::default(),
            weight: (0, 0),
            host_ports: Vec::new(),
            by_controller: HashMap::new(),
        }
    }

    fn count(&mut self, pod: &PodRequest, times: i64) {
        self.requested.add(&pod.resources, times);
        self.weight = (self.weight.0 + pod.weight.0 * times, self.weight.1 + pod.weight.1 * times);
        for port in &pod.host_ports {
            if times > 0 {
                self.host_ports.push(port.clone());
            } else if let Some(i) = self.host_ports.iter().position(|taken| taken == port) {
                self.host_ports.swap_remove(i);
            }
        }
        if let Some(controller) = &pod.controller {
            let count = self.by_controller.entry(controller.clone()).or_default();
            *count += times;
            if *count == 0 {
                self.by_controller.remove(controller);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) nodes: Vec<NodeState>,
    index: HashMap<Arc<str>, usize>,
    /// Node and request of each pod that holds a place, by uid.
    pods: HashMap<Box<str>, (Arc<str>, Arc<PodRequest>)>,
}

impl Snapshot {
    /// Takes in a node; whether anything that matters has changed.
    pub fn set_node(&mut self, name: &str, facts: NodeFacts) -> bool {
        let node = self.node(name);
        let changed = !node.present || node.facts != facts;
        node.present = true;
        node.facts = facts;
        changed
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(&i) = self.index.get(name) else { return };
        let node = &mut self.nodes[i];
        if node.requested.pods > 0 {
            // Its pods outlive it for a while, and it may come back.
            node.present = false;
            return;
        }
        self.nodes.swap_remove(i);
        self.index.remove(name);
        if let Some(moved) = self.nodes.get(i) {
            self.index.insert(moved.name.clone(), i);
        }
    }

    /// Counts the pod on the node, in place of what was counted for it before.
    pub fn set_pod(&mut self, uid: &str, node: &str, pod: impl Into<Arc<PodRequest>>) {
        let pod = pod.into();
        if self.pods.get(uid).is_some_and(|(on, before)| **on == *node && *before == pod) {
            return;
        }
        self.remove_pod(uid);
        let state = self.node(node);
        state.count(&pod, 1);
        let name = state.name.clone();
        self.pods.insert(uid.into(), (name, pod));
    }

    /// Whether the pod held a place.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some((node, pod)) = self.pods.remove(uid) else { return false };
        let state = self.node(&node);
        state.count(&pod, -1);
        if !state.present && state.requested.pods == 0 {
            self.remove_node(&node);
        }
        true
    }

    fn node(&mut self, name: &str) -> &mut NodeState {
        let i = match self.index.get(name) {
            Some(i) => *i,
            None => {
                let name: Arc<str> = name.into();
                self.index.insert(name.clone(), self.nodes.len());
                self.nodes.push(NodeState::new(name));
                self.nodes.len() - 1
            }
        };
        &mut self.nodes[i]
    }

    pub(crate) fn named(&self, name: &str) -> Option<&NodeState> {
        self.index.get(name).map(|i| &self.nodes[*i])
    }
}
