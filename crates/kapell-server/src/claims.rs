//! Waits after a start until controllers no longer count pods that turned out to be dead.
//!
//! The agent has withdrawn the readiness of these pods before anybody could read it
//! ([`kapell_agent::withdraw_stale_readiness`]), but what is computed from it (`readyReplicas` of ReplicaSets, and from those of
//! Deployments) follows a few milliseconds later. `kapell up` and `kubectl rollout status` believe those numbers, so the
//! server calls itself ready only then.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kapell_agent::Readiness;
use kapell_api::kinds;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt as _};

/// Controllers need milliseconds. One that does not work at all must not keep the server from being ready.
const PATIENCE: Duration = Duration::from_secs(2);

/// Owners deep: Pod → ReplicaSet → Deployment.
const LEVELS: usize = 3;

/// An object that counts ready pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Counter {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
}

/// Returns when no owner of a withdrawn pod claims more ready pods than it has.
pub(crate) async fn settled(readiness: &Readiness, client: &Client) {
    if readiness.withdrawn.is_empty() {
        return;
    }
    let wait = async {
        // How many ready pods each counter may claim.
        let mut counters: BTreeMap<Counter, i64> = BTreeMap::new();
        for (pods, each) in [(&readiness.withdrawn, 0), (&readiness.kept, 1)] {
            for pod in pods {
                let namespace = pod.namespace().unwrap_or_default();
                for counter in counters_of(pod.owner_references(), &namespace, client).await {
                    *counters.entry(counter).or_default() += each;
                }
            }
        }
        let waits = counters.into_iter().filter_map(|(counter, most)| {
            let api = api_of(&counter, client)?;
            Some(async move {
                let claims_no_more =
                    move |object: Option<&DynamicObject>| object.is_none_or(|object| claimed(object) <= most);
                await_condition(api, &counter.name, claims_no_more).await.map(drop)
            })
        });
        futures::future::try_join_all(waits).await
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "stale readiness may still be counted")
        }
        Err(_) => tracing::warn!("controllers have not noticed in {PATIENCE:?} that pods have ended"),
    }
}

/// The controllers above an object, nearest first.
async fn counters_of(owners: &[OwnerReference], namespace: &str, client: &Client) -> Vec<Counter> {
    let mut found = Vec::new();
    let mut owners = owners.to_vec();
    while found.len() < LEVELS {
        let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) else { break };
        let counter = Counter {
            api_version: owner.api_version,
            kind: owner.kind,
            namespace: namespace.to_owned(),
            name: owner.name,
        };
        let Some(api) = api_of(&counter, client) else { break };
        let Ok(Some(object)) = api.get_opt(&counter.name).await else { break };
        owners = object.owner_references().to_vec();
        found.push(counter);
    }
    found
}

fn api_of(counter: &Counter, client: &Client) -> Option<Api<DynamicObject>> {
    let fits = |kind: &&kapell_api::kind::Kind| kind.kind == counter.kind && kind.api_version() == counter.api_version;
    let kind = kinds::KINDS.iter().find(fits)?;
    let resource = ApiResource {
        group: kind.group.to_owned(),
        version: kind.version.to_owned(),
        api_version: kind.api_version(),
        kind: kind.kind.to_owned(),
        plural: kind.plural.to_owned(),
    };
    Some(Api::namespaced_with(client.clone(), &counter.namespace, &resource))
}

/// What the object says: `readyReplicas`, or `numberReady` of a DaemonSet. Kinds that count nothing claim nothing.
fn claimed(object: &DynamicObject) -> i64 {
    let status = &object.data["status"];
    let number = status["readyReplicas"].as_i64().or_else(|| status["numberReady"].as_i64());
    number.unwrap_or(0)
}
