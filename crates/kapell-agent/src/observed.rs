//! What is known about one pod's containers: the shim's word, the probes' verdicts, and what kept one from starting.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kapell_shim::protocol::{ContainerState, Exit};

/// The runtime class whose pods this agent can run.
pub(crate) const PROCESS_RUNTIME: &str = "process";

#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) containers: BTreeMap<String, Seen>,
    /// Set once the agent has given up on the pod as a whole; it stays that way.
    pub(crate) failed: Option<Trouble>,
    /// Keeps every container from starting: a volume that cannot be set up, a shim that cannot be started.
    pub(crate) blocked: Option<Trouble>,
    /// Readiness has been withdrawn because the pod is ending.
    pub(crate) ending: bool,
}

/// A reason in CamelCase and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Trouble {
    pub(crate) fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into() }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) state: ContainerState,
    pub(crate) probes: Probes,
    /// Why the last attempt to put its configuration together failed, and when to try again without being told.
    pub(crate) config_error: Option<(Trouble, Timestamp)>,
    /// Restarts in a row, see [`crate::backoff`].
    pub(crate) restarts_in_row: u32,
    /// A stop has been asked for.
    pub(crate) stopping: bool,
    /// What it has left behind about its ends, by attempt; see [`crate::termination`].
    pub(crate) messages: BTreeMap<u32, String>,
}

impl Seen {
    pub(crate) fn is_running(&self) -> bool {
        self.state.running.is_some()
    }

    pub(crate) fn exit(&self) -> Option<&Exit> {
        self.state.exit.as_ref().filter(|_| !self.is_running())
    }

    pub(crate) fn never_started(&self) -> bool {
        self.state.running.is_none() && self.state.exit.is_none()
    }
}

/// Verdicts about the current run of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probes {
    /// The startup probe has succeeded, or there is none.
    pub(crate) started: bool,
    pub(crate) ready: bool,
    /// The liveness or startup probe has failed too often; the grace period that the probe asks for, in seconds.
    pub(crate) must_restart: Option<MustRestart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MustRestart {
    pub(crate) message: String,
    pub(crate) grace_seconds: Option<i64>,
}

/// The containers of a pod's spec, in the order in which they matter.
pub(crate) fn init_containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default()
}

pub(crate) fn containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default()
}

/// An init container that keeps running beside the others.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Why this agent cannot run the pod at all.
pub(crate) fn missing_runtime(pod: &Pod) -> Option<Trouble> {
    let class = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref());
    if class != Some(PROCESS_RUNTIME) {
        let has = class.map_or("no runtimeClassName".to_owned(), |class| format!("runtimeClassName \"{class}\""));
        return Some(Trouble::new(
            "ContainerRuntimeMissing",
            format!(
                "the pod has {has} and so needs a container image, but this node has no container runtime; to run a \
                 command of the host, set runtimeClassName: process and give every container a command"
            ),
        ));
    }
    let bare = |container: &&Container| container.command.as_ref().is_none_or(Vec::is_empty);
    let container = init_containers(pod).iter().chain(containers(pod)).find(bare)?;
    Some(Trouble::new(
        "ContainerRuntimeMissing",
        format!(
            "container \"{}\" has no command: with runtimeClassName: process there is no image to take one from; set command",
            container.name
        ),
    ))
}
