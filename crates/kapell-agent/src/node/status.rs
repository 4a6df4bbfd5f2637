//! The Node's status, computed from what the machine says and what the object said before. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::pressure::{self, Readings};

/// A process pod costs about a megabyte; this keeps a runaway controller from filling the process table.
const MOST_PODS: u32 = 1000;

/// As the kubelet's `nodeStatusReportFrequency`: a status in which nothing has changed is written again this often.
const REPORT_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// What does not change while the agent runs.
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) host_ip: String,
    pub(super) cpus: i64,
    /// Bytes.
    pub(super) memory: i64,
    /// See [`super::facts::describe`].
    pub(super) cgroups: String,
    pub(super) info: NodeSystemInfo,
}

/// The status to publish. Conditions of others stay; so do the times of ours that have not changed.
pub(super) fn compute(machine: &Machine, readings: &Readings, old: &NodeStatus, now: Timestamp) -> NodeStatus {
    let capacity = BTreeMap::from([
        ("cpu".to_owned(), Quantity(machine.cpus.to_string())),
        ("memory".to_owned(), Quantity(format!("{}Ki", machine.memory / 1024))),
        ("pods".to_owned(), Quantity(MOST_PODS.to_string())),
    ]);
    let address = |type_: &str, address: &str| NodeAddress { type_: type_.to_owned(), address: address.to_owned() };
    NodeStatus {
        capacity: Some(capacity.clone()),
        allocatable: Some(capacity),
        addresses: Some(vec![address("InternalIP", &machine.host_ip), address("Hostname", &machine.name)]),
        conditions: Some(conditions(machine, readings, old.conditions.as_deref().unwrap_or_default(), now)),
        node_info: Some(machine.info.clone()),
        ..NodeStatus::default()
    }
}

fn conditions(machine: &Machine, readings: &Readings, old: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let ready = NodeCondition {
        type_: "Ready".to_owned(),
        status: "True".to_owned(),
        reason: Some("AgentReady".to_owned()),
        message: Some(format!("the agent runs process pods; cgroups: {}", machine.cgroups)),
        ..NodeCondition::default()
    };
    let mut conditions = pressure::conditions(readings);
    conditions.push(ready);
    for condition in &mut conditions {
        let before = old.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
        let since = before.and_then(|before| before.last_transition_time.clone());
        condition.last_transition_time = Some(since.unwrap_or(Time(now)));
        condition.last_heartbeat_time = Some(Time(now));
    }
    let others = old.iter().filter(|old| conditions.iter().all(|ours| ours.type_ != old.type_));
    let others: Vec<_> = others.cloned().collect();
    conditions.extend(others);
    conditions
}

/// Whether `new` is worth writing: it says something else than the object, or the object has not heard of us for long.
pub(super) fn is_due(old: &NodeStatus, new: &NodeStatus, now: Timestamp) -> bool {
    let heard = |status: &NodeStatus| {
        let times = status.conditions.iter().flatten().filter(|condition| condition.type_ == "Ready");
        times.filter_map(|condition| condition.last_heartbeat_time.as_ref()).map(|time| time.0).max()
    };
    let Some(last) = heard(old) else { return true };
    // Also when it is in the future: somebody has set the clock.
    if now.duration_since(last).abs() >= REPORT_EVERY {
        return true;
    }
    let content = |status: &NodeStatus| {
        let conditions = status.conditions.iter().flatten().cloned();
        let timeless = |condition: NodeCondition| NodeCondition {
            last_heartbeat_time: None,
            last_transition_time: None,
            ..condition
        };
        let mut conditions: Vec<_> = conditions.map(timeless).collect();
        conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
        let other =
            (status.capacity.clone(), status.allocatable.clone(), status.addresses.clone(), status.node_info.clone());
        (conditions, other)
    };
    content(old) != content(new)
}

#[cfg(test)]
mod tests;
