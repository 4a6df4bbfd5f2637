//! How many replicas a metric asks for: ratios, tolerance, pods that say nothing.
//!
//! As upstream: pods that are not ready or have no figure count against the direction in which the others point, and when
//! that turns the direction round nothing is done.

use k8s_openapi::api::autoscaling::v2::{MetricSpec, MetricTarget};
use kapell_api::quantity::Quantity;

/// Within this part of the target nothing is done.
const TOLERANCE: f64 = 0.1;

/// What a container that states no request counts as: the scheduler's figures, 100m and 200Mi.
const ASSUMED_CPU: i64 = 100;
const ASSUMED_MEMORY: i64 = 200 * 1024 * 1024 * 1000;

/// One container: what it uses and requests, in thousandths (of a core, of a byte).
#[derive(Clone, Debug, Default)]
pub(super) struct ContainerFacts {
    pub(super) name: String,
    pub(super) cpu: Option<i64>,
    pub(super) memory: Option<i64>,
    pub(super) requests_cpu: Option<i64>,
    pub(super) requests_memory: Option<i64>,
}

/// One pod of the target that is neither ended nor going.
#[derive(Clone, Debug, Default)]
pub(super) struct PodFacts {
    /// Not ready, and so using little for another reason than having little to do.
    pub(super) starting: bool,
    pub(super) containers: Vec<ContainerFacts>,
}

/// What one metric asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// In percent of the requests.
    pub(super) utilization: Option<i32>,
    /// Per pod, in thousandths.
    pub(super) average: i64,
    /// A request was assumed, since none is stated.
    pub(super) assumed: bool,
}

/// What a metric is about.
pub(super) struct Measured<'a> {
    pub(super) resource: &'a str,
    pub(super) container: Option<&'a str>,
    pub(super) target: &'a MetricTarget,
}

/// The parts of a metric that can be measured here; others were refused when the autoscaler was written.
pub(super) fn measured(metric: &MetricSpec) -> Option<Measured<'_>> {
    if let Some(source) = &metric.resource {
        return Some(Measured { resource: &source.name, container: None, target: &source.target });
    }
    let source = metric.container_resource.as_ref()?;
    Some(Measured { resource: &source.name, container: Some(&source.container), target: &source.target })
}

/// One pod's figures for one metric.
struct Figures {
    used: Option<i64>,
    requested: i64,
    starting: bool,
}

/// The replicas that a metric asks for, given `current` of them.
pub(super) fn propose(measured: &Measured<'_>, pods: &[PodFacts], current: i32) -> Result<Proposal, String> {
    let mut assumed = false;
    let figures: Vec<Figures> = pods.iter().map(|pod| figures(measured, pod, &mut assumed)).collect();
    let told: Vec<&Figures> = figures.iter().filter(|f| f.used.is_some() && !f.starting).collect();
    if told.is_empty() {
        return Err(format!("no metrics of {} for any of {} pods", measured.resource, pods.len()));
    }
    let used = |of: &[&Figures]| of.iter().filter_map(|f| f.used).map(i128::from).sum::<i128>();
    let requested = |of: &[&Figures]| of.iter().map(|f| i128::from(f.requested)).sum::<i128>().max(1);
    let count = i128::try_from(told.len()).unwrap_or(1);
    let average = i64::try_from(used(&told) / count).unwrap_or(i64::MAX);
    let percent = used(&told) * 100 / requested(&told);
    let by_utilization = measured.target.average_utilization;
    let utilization = by_utilization.map(|_| i32::try_from(percent).unwrap_or(i32::MAX));
    let proposal =
        |replicas| Ok(Proposal { replicas, utilization, average, assumed: assumed && by_utilization.is_some() });

    // Usage over what the target allows.
    let target = match (by_utilization, &measured.target.average_value) {
        (Some(percent), _) => Target::Percent(f64::from(percent)),
        (None, Some(value)) => {
            let value =
                Quantity::parse(&value.0).map_err(|error| format!("the target {} is no amount: {error}", value.0))?;
            Target::Each(value.milli() as f64)
        }
        (None, None) => return Err("the target has no average".to_owned()),
    };
    let ratio = target.ratio(used(&told) as f64, requested(&told) as f64, told.len());
    let silent = figures.len() - told.len();
    if silent == 0 {
        return proposal(if (1.0 - ratio).abs() <= TOLERANCE { current } else { ceil(ratio * told.len() as f64) });
    }
    // The silent ones are taken at what speaks against the change: idle for growing, fully used for shrinking.
    let mut total = used(&told) as f64;
    let everyone: Vec<&Figures> = figures.iter().filter(|f| ratio >= 1.0 || !f.starting).collect();
    if ratio < 1.0 {
        for figure in figures.iter().filter(|f| f.used.is_none() && !f.starting) {
            total += target.full(figure.requested as f64);
        }
    }
    let again = target.ratio(total, requested(&everyone) as f64, everyone.len());
    let turned = (ratio > 1.0) != (again > 1.0);
    if (1.0 - again).abs() <= TOLERANCE || turned {
        return proposal(current);
    }
    let replicas = ceil(again * everyone.len() as f64);
    let turned = (again < 1.0 && replicas > current) || (again > 1.0 && replicas < current);
    proposal(if turned { current } else { replicas })
}

#[derive(Clone, Copy)]
enum Target {
    Percent(f64),
    /// Per pod, in thousandths.
    Each(f64),
}

impl Target {
    fn ratio(self, used: f64, requested: f64, pods: usize) -> f64 {
        match self {
            Target::Percent(percent) => used * 100.0 / requested.max(1.0) / percent,
            Target::Each(value) => used / (value * pods as f64).max(1.0),
        }
    }

    /// What a pod without a figure counts as when the others are idle.
    fn full(self, requested: f64) -> f64 {
        match self {
            Target::Percent(percent) => requested * percent.max(100.0) / 100.0,
            Target::Each(value) => value,
        }
    }
}

fn figures(measured: &Measured<'_>, pod: &PodFacts, assumed: &mut bool) -> Figures {
    let cpu = measured.resource == "cpu";
    let containers =
        pod.containers.iter().filter(|container| measured.container.is_none_or(|name| name == container.name));
    let (mut used, mut requested, mut any) = (Some(0i64), 0i64, false);
    for container in containers {
        any = true;
        let (usage, request, base) = if cpu {
            (container.cpu, container.requests_cpu, ASSUMED_CPU)
        } else {
            (container.memory, container.requests_memory, ASSUMED_MEMORY)
        };
        used = used.zip(usage).map(|(sum, usage)| sum.saturating_add(usage));
        *assumed |= request.is_none();
        requested = requested.saturating_add(request.unwrap_or(base));
    }
    // Memory is taken from the start; only the processor's figures of a starting pod mislead.
    Figures { used: used.filter(|_| any), requested, starting: cpu && pod.starting }
}

fn ceil(replicas: f64) -> i32 {
    // Rounding of the division must not cost a pod.
    (replicas - 1e-9).ceil().clamp(0.0, f64::from(i32::MAX)) as i32
}
