//! What to do next about one pod, from its object and what is known of its processes. Pure: the worker carries it out.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use kapell_shim::protocol::Exit;

use crate::backoff;
use crate::ephemeral::{ephemeral_containers, is_ephemeral, lacks_command};
use crate::observed::{Observed, Seen, Trouble, containers, init_containers, is_sidecar, missing_runtime};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Start {
        container: String,
        attempt: u32,
    },
    Stop {
        container: String,
        grace: Duration,
        why: String,
    },
    /// Gives up on the pod: its containers are stopped, its phase will be Failed.
    Fail(Trouble),
    /// Nothing will run any more: the shim may go.
    Release,
    /// The pod is to be deleted and nothing runs any more: remove the object.
    Finish,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    /// When to plan again although nothing has changed.
    pub(crate) wake_at: Option<Timestamp>,
}

impl Plan {
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// Whether a container that ended like this starts again under the pod's restart policy.
pub(crate) fn restarts(pod: &Pod, container: &Container, is_init: bool, exit: &Exit) -> bool {
    if is_sidecar(container) && is_init {
        return true;
    }
    match pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always") {
        "Never" => false,
        "OnFailure" => exit.code != 0,
        _ => !is_init || exit.code != 0,
    }
}

/// All that the pod was made for has ended, and nothing of it starts again.
pub(crate) fn is_over(pod: &Pod, observed: &Observed) -> bool {
    let ended = |container: &Container, is_init: bool| {
        let exit = observed.containers.get(&container.name).and_then(Seen::exit);
        exit.is_some_and(|exit| !restarts(pod, container, is_init, exit))
    };
    let failed_init = init_containers(pod).iter().any(|container| {
        let exit = observed.containers.get(&container.name).and_then(Seen::exit);
        ended(container, true) && exit.is_some_and(|exit| exit.code != 0)
    });
    failed_init || containers(pod).iter().all(|container| ended(container, false))
}

pub(crate) fn plan(pod: &Pod, observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let deleting = pod.metadata.deletion_timestamp.is_some();
    // What has ended stays ended, also when nothing on this node remembers it any more.
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let finished = matches!(phase, Some("Succeeded" | "Failed"));
    if deleting || finished || observed.failed.is_some() {
        let grace = if deleting { deletion_grace(pod) } else { termination_grace(pod) };
        stop_all(&mut plan, pod, observed, grace, "the pod is ending");
        if plan.actions.is_empty() && !observed.containers.values().any(Seen::is_running) {
            plan.actions.push(if deleting { Action::Finish } else { Action::Release });
        }
        return plan;
    }
    if missing_runtime(pod).is_some() {
        return plan;
    }
    if let Some(deadline) = deadline(pod) {
        if deadline <= now {
            let message = "Pod was active on the node longer than the specified deadline";
            plan.actions.push(Action::Fail(Trouble::new("DeadlineExceeded", message)));
            return plan;
        }
        plan.wake(deadline);
    }
    if is_over(pod, observed) {
        // What still runs are sidecars, whose purpose has ended.
        stop_all(&mut plan, pod, observed, termination_grace(pod), "the pod's containers have ended");
        if plan.actions.is_empty() && !observed.containers.values().any(Seen::is_running) {
            plan.actions.push(Action::Release);
            plan.wake_at = None;
        }
        return plan;
    }
    if observed.blocked.is_some() {
        return plan;
    }
    // They are there to look at what keeps the others from starting, too.
    for container in ephemeral_containers(pod) {
        if lacks_command(container).is_none() {
            plan_ephemeral(&mut plan, &container.name, observed, now);
        }
    }
    for container in init_containers(pod) {
        if !plan_init(&mut plan, pod, container, observed, now) {
            return plan;
        }
    }
    for container in containers(pod) {
        plan_container(&mut plan, pod, container, false, observed, now);
    }
    plan
}

/// True when the next container may start.
fn plan_init(plan: &mut Plan, pod: &Pod, container: &Container, observed: &Observed, now: Timestamp) -> bool {
    let seen = observed.containers.get(&container.name);
    if is_sidecar(container) {
        plan_container(plan, pod, container, true, observed, now);
        return seen.is_some_and(|seen| seen.is_running() && seen.probes.started);
    }
    if seen.and_then(Seen::exit).is_some_and(|exit| exit.code == 0) {
        return true;
    }
    plan_container(plan, pod, container, true, observed, now);
    false
}

/// Started once, and tried again only as long as it never was.
fn plan_ephemeral(plan: &mut Plan, name: &str, observed: &Observed, now: Timestamp) {
    let seen = observed.containers.get(name);
    if seen.is_some_and(|seen| !seen.never_started()) {
        return;
    }
    match seen.and_then(|seen| seen.config_error.as_ref()) {
        Some((_, retry_at)) if *retry_at > now => plan.wake(*retry_at),
        _ => plan.actions.push(Action::Start { container: name.to_owned(), attempt: 0 }),
    }
}

fn plan_container(
    plan: &mut Plan,
    pod: &Pod,
    container: &Container,
    is_init: bool,
    observed: &Observed,
    now: Timestamp,
) {
    let name = container.name.clone();
    let nothing = Seen::default();
    let seen = observed.containers.get(&name).unwrap_or(&nothing);
    if seen.is_running() {
        if let (Some(must), false) = (&seen.probes.must_restart, seen.stopping) {
            let grace = must.grace_seconds.map_or_else(|| termination_grace(pod), seconds);
            plan.actions.push(Action::Stop { container: name, grace, why: must.message.clone() });
        }
        return;
    }
    if let Some((_, retry_at)) = &seen.config_error
        && *retry_at > now
    {
        return plan.wake(*retry_at);
    }
    match seen.exit() {
        None => plan.actions.push(Action::Start { container: name, attempt: seen.state.attempt }),
        Some(exit) if restarts(pod, container, is_init, exit) => {
            let at = backoff::restart_at(exit, seen.restarts_in_row);
            if at <= now {
                plan.actions.push(Action::Start { container: name, attempt: exit.attempt.saturating_add(1) });
            } else {
                plan.wake(at);
            }
        }
        Some(_) => {}
    }
}

fn stop_all(plan: &mut Plan, pod: &Pod, observed: &Observed, grace: Duration, why: &str) {
    let running = || observed.containers.iter().filter(|(_, seen)| seen.is_running());
    // A shell that somebody has left open takes no notice of SIGTERM; the pod's end does not wait for it.
    let only_ephemeral = running().all(|(name, _)| is_ephemeral(pod, name));
    let grace = if only_ephemeral { Duration::ZERO } else { grace };
    let to_stop = running().filter(|(_, seen)| !seen.stopping || grace.is_zero());
    plan.actions.extend(to_stop.map(|(name, _)| Action::Stop { container: name.clone(), grace, why: why.to_owned() }));
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn termination_grace(pod: &Pod) -> Duration {
    seconds(pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30))
}

/// The full period from when the agent learns of it, as the kubelet counts; 0 kills at once.
fn deletion_grace(pod: &Pod) -> Duration {
    pod.metadata.deletion_grace_period_seconds.map_or_else(|| termination_grace(pod), seconds)
}

fn deadline(pod: &Pod) -> Option<Timestamp> {
    let allowed = pod.spec.as_ref()?.active_deadline_seconds?;
    let start = pod.status.as_ref()?.start_time.as_ref()?.0;
    start.saturating_add(SignedDuration::from_secs(allowed)).ok()
}

#[cfg(test)]
mod tests;
