//! A pod's status, computed from its object and what is known of its processes. Pure.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    EphemeralContainer, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kapell_shim::protocol::{Exit, Running};

use crate::backoff;
use crate::ephemeral::{ephemeral_containers, is_ephemeral, lacks_command};
use crate::observed::{Observed, Seen, containers, init_containers, is_sidecar, missing_runtime};
use crate::plan::{is_over, restarts};

/// The conditions that the agent writes; others belong to others.
pub(crate) const OUR_CONDITIONS: [&str; 4] = ["PodScheduled", "Initialized", "ContainersReady", "Ready"];

/// The status to publish. Conditions of others and times of unchanged conditions are taken over from the object.
pub(crate) fn compute(
    pod: &Pod,
    observed: &Observed,
    ip: Option<Ipv4Addr>,
    host_ip: Ipv4Addr,
    now: Timestamp,
) -> PodStatus {
    let old = pod.status.clone().unwrap_or_default();
    let over = is_over(pod, observed);
    let container_statuses: Vec<_> =
        containers(pod).iter().map(|container| container_status(pod, container, false, observed, now)).collect();
    let init_statuses: Vec<_> =
        init_containers(pod).iter().map(|container| container_status(pod, container, true, observed, now)).collect();
    let ephemeral_statuses: Vec<_> =
        ephemeral_containers(pod).iter().map(|container| ephemeral_status(pod, container, over, observed)).collect();
    let settled = settled(pod);
    let phase = settled.unwrap_or_else(|| phase(pod, observed, over));
    let ended = matches!(phase, "Succeeded" | "Failed");
    let initialized = ended && phase == "Succeeded" || is_initialized(pod, observed);
    let unready: Vec<&str> = container_statuses.iter().filter(|s| !s.ready).map(|s| s.name.as_str()).collect();
    let unready = (!unready.is_empty() || observed.ending).then(|| {
        let message = if observed.ending {
            "the pod is ending".to_owned()
        } else {
            format!("containers with unready status: [{}]", unready.join(" "))
        };
        let reason = if phase == "Succeeded" { "PodCompleted" } else { "ContainersNotReady" };
        (reason, message)
    });
    let uninitialized =
        (!initialized).then(|| ("ContainersNotInitialized", "init containers have not completed".to_owned()));
    let gates = unmet_gate(pod, &old);
    let conditions = [
        ("PodScheduled", None),
        ("Initialized", uninitialized),
        ("ContainersReady", unready.clone()),
        ("Ready", unready.or(gates)),
    ];
    let trouble = observed.failed.clone().or_else(|| missing_runtime(pod)).or_else(|| observed.blocked.clone());
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(merge_conditions(old.conditions.as_deref().unwrap_or_default(), conditions, now)),
        container_statuses: Some(container_statuses),
        init_container_statuses: (!init_statuses.is_empty()).then_some(init_statuses),
        ephemeral_container_statuses: (!ephemeral_statuses.is_empty()).then_some(ephemeral_statuses),
        host_ip: Some(host_ip.to_string()),
        host_ips: Some(vec![HostIP { ip: host_ip.to_string() }]),
        pod_ip: ip.map(|ip| ip.to_string()),
        pod_ips: ip.map(|ip| vec![PodIP { ip: ip.to_string() }]),
        start_time: Some(old.start_time.unwrap_or(Time(whole_second(now)))),
        reason: trouble.as_ref().map(|trouble| trouble.reason.clone()).or(old.reason.filter(|_| settled.is_some())),
        message: trouble.map(|trouble| trouble.message).or(old.message.filter(|_| settled.is_some())),
        ..old
    }
}

/// The phase that the pod has ended in, whoever said so: no pod comes back from there.
fn settled(pod: &Pod) -> Option<&'static str> {
    match pod.status.as_ref()?.phase.as_deref()? {
        "Succeeded" => Some("Succeeded"),
        "Failed" => Some("Failed"),
        _ => None,
    }
}

fn phase(pod: &Pod, observed: &Observed, over: bool) -> &'static str {
    let running = observed.containers.iter().any(|(name, seen)| seen.is_running() && !is_ephemeral(pod, name));
    let exits =
        || containers(pod).iter().map(|container| observed.containers.get(&container.name).and_then(Seen::exit));
    if observed.failed.is_some() && !running {
        return "Failed";
    }
    if over && !running {
        return if exits().all(|exit| exit.is_some_and(|exit| exit.code == 0)) { "Succeeded" } else { "Failed" };
    }
    let deleting = pod.metadata.deletion_timestamp.is_some();
    if deleting && !running && exits().all(|exit| exit.is_some()) {
        return if exits().flatten().all(|exit| exit.code == 0) { "Succeeded" } else { "Failed" };
    }
    let started =
        |container: &Container| observed.containers.get(&container.name).is_some_and(|seen| !seen.never_started());
    if containers(pod).iter().all(started) { "Running" } else { "Pending" }
}

fn is_initialized(pod: &Pod, observed: &Observed) -> bool {
    init_containers(pod).iter().all(|container| {
        let seen = observed.containers.get(&container.name);
        if is_sidecar(container) {
            return seen.is_some_and(|seen| seen.probes.started);
        }
        seen.and_then(Seen::exit).is_some_and(|exit| exit.code == 0)
    })
}

fn unmet_gate(pod: &Pod, old: &PodStatus) -> Option<(&'static str, String)> {
    let gates = pod.spec.as_ref()?.readiness_gates.as_ref()?;
    let met = |name: &str| old.conditions.iter().flatten().any(|c| c.type_ == name && c.status == "True");
    let unmet = gates.iter().find(|gate| !met(&gate.condition_type))?;
    Some(("ReadinessGatesNotReady", format!("condition \"{}\" is not True", unmet.condition_type)))
}

/// Our conditions in their order, then those of others. A time changes only with its status.
fn merge_conditions(
    old: &[PodCondition],
    ours: [(&str, Option<(&'static str, String)>); 4],
    now: Timestamp,
) -> Vec<PodCondition> {
    let mut conditions: Vec<PodCondition> = ours
        .into_iter()
        .map(|(name, problem)| {
            let status = if problem.is_none() { "True" } else { "False" };
            let before = old.iter().find(|condition| condition.type_ == name);
            let since =
                before.filter(|before| before.status == status).and_then(|before| before.last_transition_time.clone());
            let (reason, message) = problem.map(|(reason, message)| (reason.to_owned(), message)).unzip();
            PodCondition {
                type_: name.to_owned(),
                status: status.to_owned(),
                last_transition_time: Some(since.unwrap_or(Time(whole_second(now)))),
                reason,
                message,
                ..PodCondition::default()
            }
        })
        .collect();
    conditions.extend(old.iter().filter(|condition| !OUR_CONDITIONS.contains(&&*condition.type_)).cloned());
    conditions
}

fn container_status(
    pod: &Pod,
    container: &Container,
    is_init: bool,
    observed: &Observed,
    now: Timestamp,
) -> ContainerStatus {
    let nothing = Seen::default();
    let seen = observed.containers.get(&container.name).unwrap_or(&nothing);
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        image_id: String::new(),
        restart_count: i32::try_from(seen.state.attempt).unwrap_or(i32::MAX),
        started: Some(seen.is_running() && seen.probes.started),
        last_state: seen.state.previous.as_ref().map(|exit| terminated(exit, seen)),
        ..ContainerStatus::default()
    };
    let state = if let Some(running) = &seen.state.running {
        status.container_id = Some(container_id(running));
        let ready = if is_init && !is_sidecar(container) { false } else { seen.probes.ready };
        status.ready = ready && !observed.ending;
        is_running(running)
    } else if let Some((trouble, _)) = &seen.config_error {
        waiting(&trouble.reason, &trouble.message)
    } else if let Some(exit) = seen.exit() {
        let leaving = pod.metadata.deletion_timestamp.is_some() || observed.failed.is_some() || settled(pod).is_some();
        if restarts(pod, container, is_init, exit) && !leaving {
            status.last_state = Some(terminated(exit, seen));
            backing_off(pod, container, exit, seen, now)
        } else {
            status.ready = is_init && exit.code == 0;
            terminated(exit, seen)
        }
    } else {
        not_started(pod, is_init, observed)
    };
    status.state = Some(state);
    status
}

/// It is neither ready nor started again, and what it waits for is said also where the others have ended.
fn ephemeral_status(pod: &Pod, container: &EphemeralContainer, over: bool, observed: &Observed) -> ContainerStatus {
    let nothing = Seen::default();
    let seen = observed.containers.get(&container.name).unwrap_or(&nothing);
    let leaving = over || settled(pod).is_some() || observed.failed.is_some();
    let ended = "the pod has ended, so nothing starts in it any more; kubectl debug --copy-to makes another one of it";
    let state = match (&seen.state.running, seen.exit(), &seen.config_error) {
        (Some(running), ..) => is_running(running),
        (None, Some(exit), _) => terminated(exit, seen),
        (None, None, _) if leaving => waiting("PodEnded", ended),
        (None, None, Some((trouble, _))) => waiting(&trouble.reason, &trouble.message),
        (None, None, None) => match missing_runtime(pod).or_else(|| lacks_command(container)) {
            Some(trouble) => waiting(&trouble.reason, &trouble.message),
            None => waiting("ContainerCreating", observed.blocked.as_ref().map_or("", |trouble| &trouble.message)),
        },
    };
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        container_id: seen.state.running.as_ref().map(container_id),
        state: Some(state),
        ..ContainerStatus::default()
    }
}

fn container_id(running: &Running) -> String {
    format!("process://{}-{}", running.process.pid, running.process.start_time)
}

fn is_running(running: &Running) -> ContainerState {
    ContainerState {
        running: Some(ContainerStateRunning { started_at: time(running.started_at) }),
        ..ContainerState::default()
    }
}

fn not_started(pod: &Pod, is_init: bool, observed: &Observed) -> ContainerState {
    if let Some(trouble) = missing_runtime(pod) {
        return waiting(&trouble.reason, &trouble.message);
    }
    if let Some(trouble) = &observed.blocked {
        return waiting("ContainerCreating", &trouble.message);
    }
    let waits_for_init = !is_init && !is_initialized(pod, observed);
    waiting(if waits_for_init || is_init { "PodInitializing" } else { "ContainerCreating" }, "")
}

fn backing_off(pod: &Pod, container: &Container, exit: &Exit, seen: &Seen, now: Timestamp) -> ContainerState {
    if backoff::restart_at(exit, seen.restarts_in_row) <= now {
        return waiting("ContainerCreating", "");
    }
    let meta = &pod.metadata;
    let message = format!(
        "back-off {:#} restarting failed container={} pod={}_{}({}){}",
        backoff::pause(seen.restarts_in_row),
        container.name,
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default(),
        exit.start_error.as_deref().map(|error| format!(": {error}")).unwrap_or_default()
    );
    waiting("CrashLoopBackOff", &message)
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let message = (!message.is_empty()).then(|| message.to_owned());
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..ContainerState::default()
    }
}

fn terminated(exit: &Exit, seen: &Seen) -> ContainerState {
    let reason = match exit {
        Exit { start_error: Some(_), .. } => "StartError",
        Exit { unknown: true, .. } => "ContainerStatusUnknown",
        Exit { oom_killed: true, .. } => "OOMKilled",
        Exit { code: 0, .. } => "Completed",
        _ => "Error",
    };
    let ours = exit.start_error.clone().or_else(|| {
        exit.unknown.then(|| "the container ended while nobody watched it, so its exit code is not known".to_owned())
    });
    let theirs = seen.messages.get(&exit.attempt).filter(|message| !message.is_empty()).cloned();
    let parts: Vec<String> = ours.into_iter().chain(theirs).collect();
    let message = (!parts.is_empty()).then(|| parts.join(": "));
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: exit.code,
            signal: exit.signal,
            reason: Some(reason.to_owned()),
            message,
            started_at: time(exit.started_at),
            finished_at: time(exit.finished_at),
            container_id: None,
        }),
        ..ContainerState::default()
    }
}

fn time(unix_millis: i64) -> Option<Time> {
    Timestamp::from_millisecond(unix_millis).ok().map(|time| Time(whole_second(time)))
}

/// Times in the API have whole seconds; keeping more would make each status differ from what the server returns.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests;
