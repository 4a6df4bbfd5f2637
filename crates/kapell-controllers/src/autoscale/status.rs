//! What an autoscaler says about itself: counts, what it measured, and why it did or did not scale.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition,
    HorizontalPodAutoscalerStatus, MetricSpec, MetricStatus, MetricValueStatus, ResourceMetricStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kapell_api::quantity::Quantity;

use super::behavior::Decision;
use super::plan::Proposal;

/// Says that a request was assumed, which upstream would refuse to do.
const ASSUMED: &str = "kapell.dev/AssumedRequests";

/// How one look ended.
pub(super) enum Outcome {
    NoTarget {
        message: String,
    },
    /// The target was scaled to nothing by hand: that is respected.
    Disabled,
    NoMetrics {
        current: i32,
        message: String,
    },
    Decided {
        current: i32,
        proposals: Vec<(MetricSpec, Proposal)>,
        decision: Decision,
        failure: Option<String>,
    },
}

struct Conditions {
    before: Vec<HorizontalPodAutoscalerCondition>,
    after: Vec<HorizontalPodAutoscalerCondition>,
    now: Timestamp,
}

impl Conditions {
    fn add(&mut self, type_: &str, holds: bool, reason: &str, message: &str) {
        let status = if holds { "True" } else { "False" };
        let before = self.before.iter().find(|condition| condition.type_ == type_ && condition.status == status);
        let since = before.and_then(|before| before.last_transition_time.clone());
        self.after.push(HorizontalPodAutoscalerCondition {
            last_transition_time: Some(since.unwrap_or(Time(self.now))),
            message: Some(message.to_owned()),
            reason: Some(reason.to_owned()),
            status: status.to_owned(),
            type_: type_.to_owned(),
        });
    }
}

pub(super) fn status(
    hpa: &HorizontalPodAutoscaler,
    outcome: &Outcome,
    now: Timestamp,
) -> HorizontalPodAutoscalerStatus {
    let before = hpa.status.clone().unwrap_or_default();
    let mut conditions = Conditions { before: before.conditions.clone().unwrap_or_default(), after: Vec::new(), now };
    let mut status = HorizontalPodAutoscalerStatus { conditions: None, ..before };
    status.observed_generation = hpa.metadata.generation;
    match outcome {
        Outcome::NoTarget { message } => {
            conditions.add("AbleToScale", false, "FailedGetScale", message);
        }
        Outcome::Disabled => {
            (status.current_replicas, status.desired_replicas) = (Some(0), 0);
            conditions.add("AbleToScale", true, "SucceededGetScale", "the target's scale was read");
            let why = "scaling is disabled since the replica count of the target is zero";
            conditions.add("ScalingActive", false, "ScalingDisabled", why);
        }
        Outcome::NoMetrics { current, message } => {
            (status.current_replicas, status.desired_replicas) = (Some(*current), *current);
            conditions.add("AbleToScale", true, "SucceededGetScale", "the target's scale was read");
            conditions.add("ScalingActive", false, "FailedGetResourceMetric", message);
        }
        Outcome::Decided { current, proposals, decision, failure } => {
            (status.current_replicas, status.desired_replicas) = (Some(*current), decision.replicas);
            decided(&mut status, &mut conditions, *current, proposals, decision, failure.as_deref());
        }
    }
    status.conditions = Some(conditions.after);
    status
}

fn decided(
    status: &mut HorizontalPodAutoscalerStatus,
    conditions: &mut Conditions,
    current: i32,
    proposals: &[(MetricSpec, Proposal)],
    decision: &Decision,
    failure: Option<&str>,
) {
    let now = conditions.now;
    match (failure, decision.stabilized) {
        (Some(message), _) => conditions.add("AbleToScale", false, "FailedUpdateScale", message),
        (None, _) if decision.replicas != current => {
            status.last_scale_time = Some(Time(now));
            let message = format!("the target was scaled to {}", decision.replicas);
            conditions.add("AbleToScale", true, "SucceededRescale", &message);
        }
        (None, Some((reason, message))) => conditions.add("AbleToScale", true, reason, message),
        (None, None) => conditions.add("AbleToScale", true, "ReadyForNewScale", "the size matches what is recommended"),
    }
    if !proposals.is_empty() {
        status.current_metrics = Some(proposals.iter().map(|(metric, proposal)| measured(metric, proposal)).collect());
        let message = "the replica count could be computed from the metrics";
        conditions.add("ScalingActive", true, "ValidMetricFound", message);
    }
    match decision.limited {
        Some((reason, message)) => conditions.add("ScalingLimited", true, reason, message),
        None => conditions.add("ScalingLimited", false, "DesiredWithinRange", "the desired count is within the range"),
    }
    if proposals.iter().any(|(_, proposal)| proposal.assumed) {
        let message = "containers without a request are taken to request 100m of cpu and 200Mi of memory; \
                       state requests to scale by your own figures";
        conditions.add(ASSUMED, true, "RequestsMissing", message);
    }
}

fn measured(metric: &MetricSpec, proposal: &Proposal) -> MetricStatus {
    let cpu = |name: &str| name == "cpu";
    let value = |name: &str| MetricValueStatus {
        average_utilization: proposal.utilization,
        average_value: Some(Written(if cpu(name) {
            Quantity::from_milli(proposal.average).to_string()
        } else {
            Quantity::from_bytes(proposal.average / 1000).to_string()
        })),
        value: None,
    };
    MetricStatus {
        type_: metric.type_.clone(),
        resource: metric
            .resource
            .as_ref()
            .map(|source| ResourceMetricStatus { current: value(&source.name), name: source.name.clone() }),
        container_resource: metric.container_resource.as_ref().map(|source| ContainerResourceMetricStatus {
            container: source.container.clone(),
            current: value(&source.name),
            name: source.name.clone(),
        }),
        ..MetricStatus::default()
    }
}
