//! Readiness that nobody has looked after: what a pod's status still says although its processes ended while no agent ran.
//!
//! Called once, before anybody can read the API of a new server: the agent itself gets to each pod only after it has a
//! shim again, and until then balancers and rollouts would believe what was true before.

use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kapell_shim::protocol::PodState;
use kapell_shim::{proc, read_state};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

/// What became of the node's pods.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// Pods that are no longer called ready.
    pub withdrawn: Vec<Pod>,
    /// Pods that are, and whose processes live.
    pub kept: Vec<Pod>,
}

/// Withdraws the readiness of the node's pods that say they are ready and whose containers do not run (any more).
///
/// # Errors
/// When the API fails; what was withdrawn by then stays so.
pub async fn withdraw_stale_readiness(
    data_dir: &Path,
    node_name: &str,
    client: &Client,
) -> Result<Readiness, kube::Error> {
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node_name}"));
    let pods = Api::<Pod>::all(client.clone()).list(&on_node).await?;
    let boot_id = proc::boot_id();
    let now = Timestamp::now();
    let (mut readiness, mut patches) = (Readiness::default(), Vec::new());
    for pod in pods {
        let state = read_state(&data_dir.join("pods").join(pod.uid().unwrap_or_default())).ok().flatten();
        let state = state.filter(|state| state.boot_id == boot_id);
        match compute(&pod, |container| runs(state.as_ref(), container), now) {
            Some(patch) => {
                let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
                let name = pod.name_any();
                patches.push(async move {
                    match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                        other => other.map(drop),
                    }
                });
                readiness.withdrawn.push(pod);
            }
            None if claims_ready(&pod) => readiness.kept.push(pod),
            None => {}
        }
    }
    futures::future::try_join_all(patches).await?;
    Ok(readiness)
}

/// A shim that was killed may have left its processes: they will be taken over, and work meanwhile.
fn runs(state: Option<&PodState>, container: &str) -> bool {
    let running = state.and_then(|state| state.containers.get(container)?.running.as_ref());
    running.is_some_and(|running| running.process.is_alive())
}

fn claims_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The merge patch for a pod that says more than is true. What its containers are now is for the agent to find out.
fn compute(pod: &Pod, runs: impl Fn(&str) -> bool, now: Timestamp) -> Option<Value> {
    let status = pod.status.as_ref()?;
    let mut containers = status.container_statuses.clone().unwrap_or_default();
    let mut stale: Vec<String> = Vec::new();
    for container in containers.iter_mut().filter(|container| container.ready && !runs(&container.name)) {
        container.ready = false;
        container.started = Some(false);
        stale.push(container.name.clone());
    }
    if stale.is_empty() {
        return None;
    }
    let message = format!("containers [{}] ended while no agent looked after them", stale.join(" "));
    let mut conditions = status.conditions.clone().unwrap_or_default();
    for name in ["ContainersReady", "Ready"] {
        conditions.retain(|condition| condition.type_ != name);
        conditions.push(PodCondition {
            type_: name.to_owned(),
            status: "False".to_owned(),
            reason: Some("ContainersNotReady".to_owned()),
            message: Some(message.clone()),
            last_transition_time: Timestamp::from_second(now.as_second()).ok().map(Time),
            ..PodCondition::default()
        });
    }
    Some(json!({ "status": { "conditions": conditions, "containerStatuses": containers } }))
}

#[cfg(test)]
mod tests;
