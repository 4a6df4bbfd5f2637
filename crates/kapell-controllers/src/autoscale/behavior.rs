//! From what the metrics ask for to what is done: bounds, stabilization windows, and policies that limit the pace.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerSpec};

/// Recommendations and changes older than the longest window and period are of no use.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// How long a lower recommendation has to hold before it is followed, unless the autoscaler says otherwise.
const DOWN_WINDOW: i32 = 300;

/// What has been recommended and done. Kept in memory: after a restart the windows begin anew, which only delays.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    recommendations: VecDeque<(Timestamp, i32)>,
    /// Replicas added (positive) or removed.
    changes: VecDeque<(Timestamp, i32)>,
}

impl History {
    pub(super) fn recommend(&mut self, now: Timestamp, replicas: i32) {
        self.recommendations.push_back((now, replicas));
        let is_old = |time: &Timestamp| age(*time, now) > REMEMBERED;
        while self.recommendations.front().is_some_and(|(time, _)| is_old(time)) {
            self.recommendations.pop_front();
        }
        while self.changes.front().is_some_and(|(time, _)| is_old(time)) {
            self.changes.pop_front();
        }
    }

    pub(super) fn changed(&mut self, now: Timestamp, difference: i32) {
        self.changes.push_back((now, difference));
    }

    fn within(&self, window: i32, now: Timestamp) -> impl Iterator<Item = i32> {
        let window = Duration::from_secs(u64::try_from(window).unwrap_or(0));
        self.recommendations.iter().filter(move |(time, _)| age(*time, now) < window).map(|(_, replicas)| *replicas)
    }

    /// How many replicas there were at the beginning of a period.
    fn at_start(&self, period: i32, current: i32, now: Timestamp) -> i32 {
        let period = Duration::from_secs(u64::try_from(period).unwrap_or(0));
        let since = self.changes.iter().filter(|(time, _)| age(*time, now) < period).map(|(_, change)| change);
        current - since.sum::<i32>()
    }
}

fn age(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(time)).unwrap_or_default()
}

/// What is done, and what held it back, as the conditions `AbleToScale` and `ScalingLimited` say it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) replicas: i32,
    /// Reason and message of a window that holds.
    pub(super) stabilized: Option<(&'static str, &'static str)>,
    /// Reason and message of a bound or a policy that holds.
    pub(super) limited: Option<(&'static str, &'static str)>,
}

/// Decides between the `wanted` replicas, which were noted as the latest recommendation, and the `current` ones.
pub(super) fn decide(
    spec: &HorizontalPodAutoscalerSpec,
    history: &History,
    current: i32,
    wanted: i32,
    now: Timestamp,
) -> Decision {
    let behavior = spec.behavior.clone().unwrap_or_default();
    let (up, down) = (behavior.scale_up.unwrap_or_default(), behavior.scale_down.unwrap_or_default());
    let up_window = up.stabilization_window_seconds.unwrap_or(0);
    let down_window = down.stabilization_window_seconds.unwrap_or(DOWN_WINDOW);
    // Growing needs every recommendation of its window to agree, and so does shrinking.
    let highest_safe = history.within(up_window, now).fold(wanted, i32::min);
    let lowest_safe = history.within(down_window, now).fold(wanted, i32::max);
    let steady = current.max(highest_safe).min(lowest_safe);
    let stabilized = (steady != wanted).then_some(if steady > wanted {
        (
            "ScaleDownStabilized",
            "recent recommendations were higher than current one, applying the highest recent recommendation",
        )
    } else {
        (
            "ScaleUpStabilized",
            "recent recommendations were lower than current one, applying the lowest recent recommendation",
        )
    });
    let (least, most) = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
    let paced = if steady > current {
        pace(&up, true, history, current, steady, now)
    } else if steady < current {
        pace(&down, false, history, current, steady, now)
    } else {
        steady
    };
    let bounded = paced.clamp(least.min(most), most);
    let limited = if bounded < paced {
        Some(("TooManyReplicas", "the desired replica count is more than the maximum replica count"))
    } else if bounded > paced {
        Some(("TooFewReplicas", "the desired replica count is less than the minimum replica count"))
    } else if paced < steady {
        Some(("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"))
    } else if paced > steady {
        Some(("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"))
    } else {
        None
    };
    Decision { replicas: bounded, stabilized, limited }
}

/// The wish, as far as the policies of its direction let it come within their periods.
fn pace(rules: &HPAScalingRules, up: bool, history: &History, current: i32, wish: i32, now: Timestamp) -> i32 {
    let select = rules.select_policy.as_deref().unwrap_or("Max");
    if select == "Disabled" {
        return current;
    }
    let policies = rules.policies.clone().filter(|policies| !policies.is_empty()).unwrap_or_else(|| by_default(up));
    let limits = policies.iter().map(|policy| {
        let start = history.at_start(policy.period_seconds, current, now);
        let sign = if up { 1.0 } else { -1.0 };
        match policy.type_.as_str() {
            "Pods" => {
                if up {
                    start.saturating_add(policy.value)
                } else {
                    start.saturating_sub(policy.value)
                }
            }
            _ => {
                let part = f64::from(start) * (1.0 + sign * f64::from(policy.value) / 100.0);
                if up { part.ceil() as i32 } else { part.floor() as i32 }
            }
        }
    });
    // The policy that allows most is the highest limit when growing, the lowest when shrinking.
    let highest = up == (select == "Max");
    let limit = if highest { limits.max() } else { limits.min() }.unwrap_or(current);
    if up { wish.min(limit.max(current)) } else { wish.max(limit.min(current)) }
}

fn by_default(up: bool) -> Vec<HPAScalingPolicy> {
    let policy = |type_: &str, value: i32| HPAScalingPolicy { period_seconds: 15, type_: type_.to_owned(), value };
    if up { vec![policy("Pods", 4), policy("Percent", 100)] } else { vec![policy("Percent", 100)] }
}
