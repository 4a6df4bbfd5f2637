//! Where to put a pod: the nodes that can hold it, and the best of a sample of those. Pure.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Taint;
use kapell_api::placement::{is_tolerated, term_matches};
use kapell_api::quantity::Quantity;
use rand::Rng;

use crate::request::{HostPort, PodRequest};
use crate::snapshot::{NodeState, Snapshot};

#[cfg(test)]
mod tests;

/// Nodes that are scored once they have been found to fit. More would find a better place only slightly more often, and
/// cost in proportion; upstream starts from the same figure.
const SAMPLE: usize = 100;

/// Nodes that an explanation names one by one; the rest is in the counts.
const NAMED: usize = 10;

/// Why one node cannot hold a pod, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    NodeName,
    Unschedulable,
    NotReady,
    Affinity,
    Taint {
        key: String,
        value: String,
    },
    Ports,
    TooManyPods,
    /// The pod asks for `asked`, of which `free` is left (cpu in thousandths, others in whole units).
    Insufficient {
        resource: String,
        asked: i64,
        free: i64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NodeName => f.write_str("node(s) didn't match the requested node name"),
            Reason::Unschedulable => f.write_str("node(s) were unschedulable"),
            Reason::NotReady => f.write_str("node(s) were not ready"),
            Reason::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Reason::Taint { key, value } => write!(f, "node(s) had untolerated taint {{{key}: {value}}}"),
            Reason::Ports => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Reason::TooManyPods => f.write_str("Too many pods"),
            Reason::Insufficient { resource, .. } => write!(f, "Insufficient {resource}"),
        }
    }
}

/// No node can hold the pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.summary())]
pub struct Unschedulable {
    /// Each node with its reasons, in name order.
    pub nodes: BTreeMap<String, Vec<Reason>>,
}

impl Unschedulable {
    /// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {x: }.`
    pub fn summary(&self) -> String {
        if self.nodes.is_empty() {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for reason in self.nodes.values().flatten() {
            *counts.entry(reason.to_string()).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        counts.sort();
        format!("0/{} nodes are available: {}.", self.nodes.len(), counts.join(", "))
    }

    /// No node is up yet, as when a server has just started: no reason to hold the pod back once one is.
    pub(crate) fn is_before_any_node(&self) -> bool {
        let is_down = |reason: &Reason| match reason {
            Reason::NotReady => true,
            Reason::Taint { key, .. } => key == "node.kubernetes.io/not-ready",
            _ => false,
        };
        self.nodes.values().all(|reasons| reasons.iter().any(is_down))
    }

    /// The summary, and for each of the first nodes why.
    pub fn explanation(&self) -> String {
        let mut text = self.summary();
        for (node, reasons) in self.nodes.iter().take(NAMED) {
            let reasons: Vec<_> = reasons.iter().map(detail).collect();
            text.push_str(&format!(" {node}: {}.", reasons.join(", ")));
        }
        if self.nodes.len() > NAMED {
            text.push_str(&format!(" And {} more nodes.", self.nodes.len() - NAMED));
        }
        text
    }
}

fn detail(reason: &Reason) -> String {
    match reason {
        Reason::Insufficient { resource, asked, free } => {
            let amount = |number| amount(resource, number);
            format!("asks for {} {resource}, {} free", amount(*asked), amount(*free))
        }
        Reason::TooManyPods => "too many pods".to_owned(),
        other => other.to_string().trim_start_matches("node(s) ").to_owned(),
    }
}

/// As Kubernetes writes it: `1500m`, `4`, `9Gi`.
fn amount(resource: &str, number: i64) -> Quantity {
    match resource {
        "cpu" => Quantity::from_milli(number),
        "memory" | "ephemeral-storage" => Quantity::from_bytes(number),
        pages if pages.starts_with("hugepages-") => Quantity::from_bytes(number),
        _ => Quantity::from_value(number),
    }
}

/// The name of the node for this pod.
pub fn place(pod: &PodRequest, snapshot: &Snapshot, rng: &mut impl Rng) -> Result<String, Unschedulable> {
    let nodes = &snapshot.nodes;
    if nodes.is_empty() {
        return Err(Unschedulable { nodes: BTreeMap::new() });
    }
    // A start of its own for each pod, so that the sample does not always come from the same nodes.
    let start = rng.random_range(0..nodes.len());
    let from_start = nodes[start..].iter().chain(&nodes[..start]).filter(|node| node.present);
    let feasible: Vec<&NodeState> = match &pod.node_name {
        Some(name) => snapshot.named(name).filter(|node| node.present && fits(pod, node)).into_iter().collect(),
        None => from_start.filter(|node| fits(pod, node)).take(SAMPLE).collect(),
    };
    match best(pod, &feasible, rng) {
        Some(node) => Ok(node.name.to_string()),
        None => {
            let present = nodes.iter().filter(|node| node.present);
            Err(Unschedulable { nodes: present.map(|node| (node.name.to_string(), reasons(pod, node))).collect() })
        }
    }
}

/// Whether there is no reason against the node; says so without making up the list.
fn fits(pod: &PodRequest, node: &NodeState) -> bool {
    let free = |asked: i64, requested: i64, allocatable: i64| asked == 0 || asked <= allocatable - requested;
    let (asked, has, taken) = (&pod.resources, &node.facts.allocatable, &node.requested);
    node.facts.ready
        && taken.pods < has.pods
        && free(asked.cpu, taken.cpu, has.cpu)
        && free(asked.memory, taken.memory, has.memory)
        && (asked.scalars.is_empty() && pod.host_ports.is_empty() && is_open(node) && is_unrestricted(pod)
            || reasons(pod, node).is_empty())
}

/// A node that turns nobody away.
fn is_open(node: &NodeState) -> bool {
    !node.facts.unschedulable && node.facts.taints.is_empty()
}

/// A pod that may go anywhere.
fn is_unrestricted(pod: &PodRequest) -> bool {
    pod.node_name.is_none() && pod.node_selector.is_empty() && pod.required.is_none()
}

/// Everything that speaks against this node.
fn reasons(pod: &PodRequest, node: &NodeState) -> Vec<Reason> {
    let facts = &node.facts;
    let mut reasons = Vec::new();
    if pod.node_name.as_ref().is_some_and(|name| **name != *node.name) {
        return vec![Reason::NodeName];
    }
    if facts.unschedulable && !tolerates_cordon(pod) {
        return vec![Reason::Unschedulable];
    }
    let hard = facts.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
    // A cordon shows twice, as field and as taint, and so does a node that is not ready.
    if let Some(taint) = hard.into_iter().find(|taint| !is_tolerated(taint, &pod.tolerations)) {
        return vec![Reason::Taint { key: taint.key.clone(), value: taint.value.clone().unwrap_or_default() }];
    }
    if !facts.ready {
        return vec![Reason::NotReady];
    }
    let selected = pod.node_selector.iter().all(|(key, value)| facts.labels.get(key) == Some(value));
    let required = pod.required.as_ref();
    if !selected || required.is_some_and(|terms| !terms.iter().any(|t| term_matches(t, &node.name, &facts.labels))) {
        reasons.push(Reason::Affinity);
    }
    if pod.host_ports.iter().any(|port| node.host_ports.iter().any(|taken| collide(port, taken))) {
        reasons.push(Reason::Ports);
    }
    let (asked, has, taken) = (&pod.resources, &facts.allocatable, &node.requested);
    if taken.pods + 1 > has.pods {
        reasons.push(Reason::TooManyPods);
    }
    let mut check = |resource: &str, asked: i64, has: i64, taken: i64| {
        let free = (has - taken).max(0);
        if asked > 0 && asked > free {
            reasons.push(Reason::Insufficient { resource: resource.to_owned(), asked, free });
        }
    };
    check("cpu", asked.cpu, has.cpu, taken.cpu);
    check("memory", asked.memory, has.memory, taken.memory);
    for (name, amount) in &asked.scalars {
        let of = |map: &BTreeMap<String, i64>| map.get(name).copied().unwrap_or(0);
        check(name, *amount, of(&has.scalars), of(&taken.scalars));
    }
    reasons
}

fn tolerates_cordon(pod: &PodRequest) -> bool {
    let (key, effect) = ("node.kubernetes.io/unschedulable".to_owned(), "NoSchedule".to_owned());
    is_tolerated(&Taint { key, effect, ..Taint::default() }, &pod.tolerations)
}

fn collide(a: &HostPort, b: &HostPort) -> bool {
    a.1 == b.1 && a.2 == b.2 && (a.0 == b.0 || a.0.is_empty() || b.0.is_empty())
}

/// The node with the highest score; among equals a random one, so that equal nodes fill equally.
fn best<'a>(pod: &PodRequest, nodes: &[&'a NodeState], rng: &mut impl Rng) -> Option<&'a NodeState> {
    if nodes.len() <= 1 {
        return nodes.first().copied();
    }
    let preferred: Vec<i64> = nodes.iter().map(|node| preference(pod, node)).collect();
    let avoided: Vec<i64> = nodes.iter().map(|node| soft_taints(pod, node)).collect();
    let siblings: Vec<i64> = nodes.iter().map(|node| siblings(pod, node)).collect();
    let most = |raw: &[i64]| raw.iter().copied().max().unwrap_or(0).max(1);
    let (most_preferred, most_avoided, most_siblings) = (most(&preferred), most(&avoided), most(&siblings));
    let (mut best, mut best_score, mut equals) = (None, i64::MIN, 0u32);
    for (i, node) in nodes.iter().enumerate() {
        // Each part is scaled to 0–100; weights as upstream's defaults.
        let score = least_allocated(pod, node)
            + 2 * (100 * preferred[i] / most_preferred)
            + 3 * (100 - 100 * avoided[i] / most_avoided)
            + 2 * (100 - 100 * siblings[i] / most_siblings);
        if score > best_score {
            (best, best_score, equals) = (Some(*node), score, 1);
        } else if score == best_score {
            equals += 1;
            if rng.random_range(0..equals) == 0 {
                best = Some(*node);
            }
        }
    }
    best
}

/// The free share of cpu and memory after the pod has come, in hundredths.
fn least_allocated(pod: &PodRequest, node: &NodeState) -> i64 {
    let free = |has: i64, taken: i64| if has <= 0 { 0 } else { (has - taken).max(0).saturating_mul(100) / has };
    let has = &node.facts.allocatable;
    (free(has.cpu, node.weight.0 + pod.weight.0) + free(has.memory, node.weight.1 + pod.weight.1)) / 2
}

fn preference(pod: &PodRequest, node: &NodeState) -> i64 {
    // Unlike a required term, an empty preferred one matches every node.
    let is_empty = |term: &k8s_openapi::api::core::v1::NodeSelectorTerm| {
        term.match_expressions.as_ref().is_none_or(Vec::is_empty)
            && term.match_fields.as_ref().is_none_or(Vec::is_empty)
    };
    let wanted = pod.preferred.iter();
    let met = wanted.filter(|p| is_empty(&p.term) || term_matches(&p.term, &node.name, &node.facts.labels));
    met.map(|preference| preference.weight).sum()
}

fn soft_taints(pod: &PodRequest, node: &NodeState) -> i64 {
    let soft = node.facts.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    soft.filter(|taint| !is_tolerated(taint, &pod.tolerations)).count() as i64
}

fn siblings(pod: &PodRequest, node: &NodeState) -> i64 {
    pod.controller.as_ref().and_then(|uid| node.by_controller.get(uid)).copied().unwrap_or(0)
}
