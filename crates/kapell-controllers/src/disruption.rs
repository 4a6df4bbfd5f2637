//! PodDisruptionBudgets: how many pods may be evicted now. [`plan`] counts; the API server's eviction takes from it.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kapell_client::reconcile::Next;
use kapell_client::{Change, Informer, ObjectKey, Queue};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::caches::Caches;
use crate::ownership;
use crate::pod::KnownPod;

/// Queues the budgets that the pod belongs to or has just left.
pub(crate) fn on_pod(budgets: &Informer<PodDisruptionBudget>, queue: &Queue<ObjectKey>, change: &Change<KnownPod>) {
    let (new, old) = match change {
        Change::Applied { old, new } => (new, old.as_ref()),
        Change::Deleted(pod) => (pod, None),
    };
    for budget in budgets.list_in(&new.id.namespace) {
        if [Some(new), old].into_iter().flatten().any(|pod| plan::selects(&budget, pod)) {
            queue.add(ObjectKey::of(budget.as_ref()));
        }
    }
}

pub(crate) async fn reconcile(client: Client, caches: Caches, key: ObjectKey) -> Result<Next, kube::Error> {
    let Some(budget) = caches.workloads.budgets.get(&key) else { return Ok(Next::OnChange) };
    let mut pods = caches.pods.list_in(&key.namespace);
    pods.retain(|pod| plan::selects(&budget, pod));
    let expected = expected(&caches, &key.namespace, &pods);
    let (status, next) = plan::status(&budget, &pods, &expected, Timestamp::now());
    if budget.status.as_ref() != Some(&status) {
        let api: Api<PodDisruptionBudget> = Api::namespaced(client, &key.namespace);
        let changed = PodDisruptionBudget { status: Some(status), ..budget.as_ref().clone() };
        // Carries the version that was counted on: an eviction in between wins, and its change wakes us again.
        match api.replace_status(&key.name, &PostParams::default(), &changed).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            other => drop(other?),
        }
    }
    Ok(next.map_or(Next::OnChange, Next::After))
}

/// How many pods their controllers want, each controller once; an error names what has no such number.
fn expected(caches: &Caches, namespace: &str, pods: &[Arc<KnownPod>]) -> Result<i32, String> {
    let mut seen = Vec::new();
    let mut total = 0;
    for pod in pods {
        let name = &pod.id.name;
        let owner = pod.controller();
        let owner = owner.ok_or_else(|| format!("found no controllers for pod \"{name}\""))?;
        let key = ObjectKey::new(namespace, &owner.name);
        let found = match owner.kind.as_str() {
            "ReplicaSet" => caches.replica_sets.get(&key).map(|set| {
                let above = ownership::controller_of(&set.metadata).filter(|above| above.kind == "Deployment");
                let above = above.and_then(|d| caches.deployments.get(&ObjectKey::new(namespace, &d.name)));
                match above {
                    Some(deployment) => {
                        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
                        (deployment.metadata.uid.clone(), replicas)
                    }
                    None => (set.metadata.uid.clone(), set.spec.as_ref().and_then(|spec| spec.replicas)),
                }
            }),
            "StatefulSet" => caches
                .workloads
                .stateful_sets
                .get(&key)
                .map(|set| (set.metadata.uid.clone(), set.spec.as_ref().and_then(|spec| spec.replicas))),
            "ReplicationController" => caches
                .workloads
                .replication_controllers
                .get(&key)
                .map(|rc| (rc.metadata.uid.clone(), rc.spec.as_ref().and_then(|spec| spec.replicas))),
            kind => return Err(format!("{kind}s have no number of replicas; use minAvailable with a number")),
        };
        let (uid, replicas) =
            found.ok_or_else(|| format!("{} {} of pod \"{name}\" is gone", owner.kind, owner.name))?;
        if !seen.contains(&uid) {
            seen.push(uid);
            total += replicas.unwrap_or(1);
        }
    }
    Ok(total)
}
