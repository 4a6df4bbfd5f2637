//! Ephemeral containers: commands that somebody puts into a running pod to look at it. Pure.
//!
//! They start at once and never again, and nothing waits for them: neither the pod's phase nor its readiness nor its end. One
//! that names a target stands where the target stands (decision 75): it has its environment, its working directory and, as
//! `KAPELL_TARGET_PID`, the number of its first process.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, ContainerPort, EnvVar, EphemeralContainer, Pod};
use kapell_shim::layout;

use crate::observed::{Observed, Trouble, containers, init_containers};
use crate::record::PodRecord;

/// The first process of the target, where it runs.
const TARGET_PID: &str = "KAPELL_TARGET_PID";

pub(crate) fn ephemeral_containers(pod: &Pod) -> &[EphemeralContainer] {
    pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.as_deref()).unwrap_or_default()
}

pub(crate) fn is_ephemeral(pod: &Pod, name: &str) -> bool {
    ephemeral_containers(pod).iter().any(|container| container.name == name)
}

/// Why it cannot start, though the pod runs.
pub(crate) fn lacks_command(container: &EphemeralContainer) -> Option<Trouble> {
    container.command.as_ref().is_none_or(Vec::is_empty).then(|| {
        let name = &container.name;
        Trouble::new(
            "ContainerRuntimeMissing",
            format!(
                "container \"{name}\" has no command: with runtimeClassName: process there is no image to take one from; \
                 kubectl debug takes it after --, as in kubectl debug POD -it --image=none -- sh"
            ),
        )
    })
}

/// As the container that it would be if it were an ordinary one.
pub(crate) fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let EphemeralContainer { name, command, args, env, env_from, working_dir, volume_mounts, .. } = ephemeral.clone();
    let EphemeralContainer { image, security_context, stdin, stdin_once, tty, .. } = ephemeral.clone();
    let EphemeralContainer { termination_message_path, termination_message_policy, .. } = ephemeral.clone();
    Container {
        name,
        image,
        command,
        args,
        env,
        env_from,
        working_dir,
        volume_mounts,
        security_context,
        stdin,
        stdin_once,
        tty,
        termination_message_path,
        termination_message_policy,
        ..Container::default()
    }
}

/// What is to be started: the container itself, or as it stands beside its target.
pub(crate) fn to_start(
    pod: &Pod,
    ephemeral: &EphemeralContainer,
    observed: &Observed,
    record: &PodRecord,
    pod_dir: &Path,
) -> Container {
    let own = as_container(ephemeral);
    let target = ephemeral.target_container_name.as_deref().filter(|name| !name.is_empty());
    let mut all = init_containers(pod).iter().chain(containers(pod));
    let Some(target) = target.and_then(|name| all.find(|container| container.name == name)) else { return own };
    let running = observed.containers.get(&target.name).and_then(|seen| seen.state.running.as_ref());
    let pid = running.map(|running| EnvVar {
        name: TARGET_PID.to_owned(),
        value: Some(running.process.pid.to_string()),
        value_from: None,
    });
    let port = record
        .ports
        .get(&target.name)
        .map(|port| ContainerPort { container_port: i32::from(*port), ..ContainerPort::default() });
    // Its own come last, and so win.
    Container {
        env: Some(pid.into_iter().chain(target.env.iter().chain(&own.env).flatten().cloned()).collect()),
        env_from: Some(target.env_from.iter().chain(&own.env_from).flatten().cloned().collect()),
        volume_mounts: Some(target.volume_mounts.iter().chain(&own.volume_mounts).flatten().cloned().collect()),
        ports: target.ports.clone().filter(|ports| !ports.is_empty()).or_else(|| port.map(|port| vec![port])),
        working_dir: own.working_dir.or_else(|| Some(working_dir(target, pod_dir).display().to_string())),
        ..own
    }
}

/// Where the target works.
fn working_dir(target: &Container, pod_dir: &Path) -> PathBuf {
    let below = layout::work_dir(pod_dir, &target.name);
    // An absolute one replaces what it is joined to.
    below.join(target.working_dir.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests;
