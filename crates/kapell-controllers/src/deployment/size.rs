//! How many replicas each ReplicaSet of a Deployment should have: arithmetic only.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::revision;

/// `spec.replicas`, one if unset.
pub(super) fn replicas(deployment: &Deployment) -> i32 {
    spec(deployment).and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn spec(deployment: &Deployment) -> Option<&DeploymentSpec> {
    deployment.spec.as_ref()
}

/// What the ReplicaSet is asked to run.
pub(super) fn wanted(rs: &ReplicaSet) -> i32 {
    rs.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// What the ReplicaSet was last seen to run.
pub(super) fn actual(rs: &ReplicaSet) -> i32 {
    rs.status.as_ref().map_or(0, |status| status.replicas)
}

pub(super) fn available(rs: &ReplicaSet) -> i32 {
    rs.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

pub(super) fn total<'a>(sets: impl IntoIterator<Item = &'a Arc<ReplicaSet>>, of: fn(&ReplicaSet) -> i32) -> i32 {
    sets.into_iter().map(|rs| of(rs)).sum()
}

pub(super) fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = spec(deployment).and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// How many pods a rolling update may have above, and miss below, the wanted count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fenceposts {
    pub(super) max_surge: i32,
    pub(super) max_unavailable: i32,
}

/// Percentages of the wanted count: the surge rounded up, the unavailable rounded down, and never both zero, as then no
/// pod could ever be replaced. `Recreate` has neither.
pub(super) fn fenceposts(deployment: &Deployment) -> Fenceposts {
    if is_recreate(deployment) {
        return Fenceposts { max_surge: 0, max_unavailable: 0 };
    }
    let replicas = replicas(deployment);
    let rolling = spec(deployment).and_then(|spec| spec.strategy.as_ref()).and_then(|s| s.rolling_update.as_ref());
    let max_surge = scaled(rolling.and_then(|r| r.max_surge.as_ref()), replicas, true);
    let max_unavailable = scaled(rolling.and_then(|r| r.max_unavailable.as_ref()), replicas, false);
    let max_unavailable = if max_surge == 0 && max_unavailable == 0 { 1 } else { max_unavailable };
    Fenceposts { max_surge, max_unavailable: max_unavailable.min(replicas) }
}

/// Kubernetes' default is 25 %; what is neither a number nor a percentage was refused by validation and counts as zero.
pub(crate) fn scaled(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    let percent = match value {
        Some(IntOrString::Int(count)) => return *count,
        Some(IntOrString::String(text)) => text.strip_suffix('%').and_then(|n| n.parse::<i64>().ok()).unwrap_or(0),
        None => 25,
    };
    let hundredfold = percent * i64::from(total);
    let count = if round_up { (hundredfold + 99) / 100 } else { hundredfold / 100 };
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The most pods that may exist while rolling.
pub(super) fn ceiling(deployment: &Deployment) -> i32 {
    replicas(deployment) + fenceposts(deployment).max_surge
}

/// The next size of the new ReplicaSet: as large as the surge permits beside the old ones.
pub(super) fn new_size(deployment: &Deployment, all_wanted: i32, new_wanted: i32) -> i32 {
    let goal = replicas(deployment);
    if is_recreate(deployment) || new_wanted > goal {
        return goal;
    }
    let room = (ceiling(deployment) - all_wanted).max(0);
    new_wanted + room.min(goal - new_wanted)
}

/// The next sizes of old ReplicaSets during a rolling update (only those that change): replicas that are not available
/// go first, as that costs nothing; then as many available ones as the rest leaves to spare. `old` is oldest first.
pub(super) fn old_sizes(deployment: &Deployment, old: &[Arc<ReplicaSet>], new: &ReplicaSet) -> Vec<(usize, i32)> {
    let floor = replicas(deployment) - fenceposts(deployment).max_unavailable;
    // A set that has been shrunk may still report the pods that it is about to lose: they are not there to spare.
    let available = |rs: &ReplicaSet| available(rs).min(wanted(rs));
    let new_missing = wanted(new) - available(new);
    let most = total(old, wanted) + wanted(new) - floor - new_missing;
    if most <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<i32> = old.iter().map(|rs| wanted(rs)).collect();
    let mut budget = most;
    for (size, rs) in sizes.iter_mut().zip(old) {
        let sick = (*size - available(rs)).clamp(0, budget);
        *size -= sick;
        budget -= sick;
    }
    let mut spare = old.iter().map(|rs| available(rs)).sum::<i32>() + available(new) - floor;
    for size in &mut sizes {
        let down = (*size).min(spare.max(0));
        *size -= down;
        spare -= down;
    }
    sizes.into_iter().enumerate().filter(|(i, size)| *size != wanted(&old[*i])).collect()
}

/// Distributes a change of the wanted count over ReplicaSets that are in the middle of a rollout, in proportion to their
/// sizes, so that a scaled Deployment keeps its ratio of old to new. Gives the new size of each set, in its order.
pub(super) fn proportional(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Vec<i32> {
    let goal = replicas(deployment);
    let allowed = if goal > 0 { ceiling(deployment) } else { 0 };
    let to_add = allowed - total(sets, wanted);
    let mut order: Vec<usize> = (0..sets.len()).collect();
    // Larger ones first; among equals the newer grows first and the older shrinks first.
    order.sort_by(|a, b| {
        let (a, b) = (&sets[*a], &sets[*b]);
        let age = revision::created(a).cmp(&revision::created(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name));
        wanted(b).cmp(&wanted(a)).then(if to_add > 0 { age.reverse() } else { age })
    });
    let mut sizes: Vec<i32> = sets.iter().map(|rs| wanted(rs)).collect();
    let mut added = 0;
    for &i in &order {
        let share = share(deployment, &sets[i], to_add, added);
        sizes[i] += share;
        added += share;
    }
    if let Some(&largest) = order.first() {
        sizes[largest] = (sizes[largest] + to_add - added).max(0);
    }
    sizes
}

/// One set's part of `to_add`, never more than what is left of it.
fn share(deployment: &Deployment, rs: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    let size = wanted(rs);
    if size == 0 || to_add == added {
        return 0;
    }
    let fraction = if replicas(deployment) == 0 {
        -size
    } else {
        let status = deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
        let before = revision::number(&rs.metadata, revision::MAX_REPLICAS).unwrap_or(i64::from(status)).max(1);
        let grown = f64::from(size) * f64::from(ceiling(deployment)) / before as f64;
        grown.round() as i32 - size
    };
    if to_add > 0 { fraction.min(to_add - added) } else { fraction.max(to_add - added) }
}
