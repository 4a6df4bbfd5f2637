//! Whether an object has become what its file says, and if not, what is missing. Pure: reads the object alone.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// A short phrase: `1 of 2 replicas ready`.
    Waiting(String),
    /// It will not become ready by waiting.
    Failed(String),
}

pub(crate) fn readiness(object: &Value) -> Readiness {
    match object["kind"].as_str().unwrap_or_default() {
        "Deployment" => deployment(object),
        "ReplicaSet" => replicas(object, "readyReplicas"),
        "Pod" => pod(object),
        "Service" => service(object),
        _ => Readiness::Ready,
    }
}

fn count(object: &Value, field: &str) -> i64 {
    object["status"][field].as_i64().unwrap_or(0)
}

fn wanted_replicas(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or(1)
}

fn deployment(object: &Value) -> Readiness {
    if count(object, "observedGeneration") < object["metadata"]["generation"].as_i64().unwrap_or(0) {
        return Readiness::Waiting("not yet seen by its controller".to_owned());
    }
    if let Some(condition) = condition(object, "Progressing")
        && condition["reason"] == "ProgressDeadlineExceeded"
    {
        return Readiness::Failed(
            condition["message"].as_str().unwrap_or("the progress deadline has passed").to_owned(),
        );
    }
    let wanted = wanted_replicas(object);
    let updated = count(object, "updatedReplicas");
    if updated < wanted {
        return Readiness::Waiting(format!("{updated} of {wanted} replicas updated"));
    }
    let old = count(object, "replicas") - updated;
    if old > 0 {
        return Readiness::Waiting(format!("{old} old replicas to end"));
    }
    replicas(object, "availableReplicas")
}

fn replicas(object: &Value, field: &str) -> Readiness {
    let (ready, wanted) = (count(object, field), wanted_replicas(object));
    if ready >= wanted { Readiness::Ready } else { Readiness::Waiting(format!("{ready} of {wanted} replicas ready")) }
}

fn pod(object: &Value) -> Readiness {
    match object["status"]["phase"].as_str() {
        Some("Succeeded") => return Readiness::Ready,
        Some("Failed") => return Readiness::Failed("it has failed".to_owned()),
        _ => {}
    }
    match condition(object, "Ready") {
        Some(condition) if condition["status"] == "True" => Readiness::Ready,
        _ => Readiness::Waiting("not ready".to_owned()),
    }
}

fn service(object: &Value) -> Readiness {
    let address = object["spec"]["clusterIP"].as_str().unwrap_or("None");
    let listens = object["metadata"]["annotations"]["kapell.dev/listen"].is_string();
    // Headless and external services have no address that anyone could listen on.
    if address == "None"
        || listens
        || object["metadata"]["namespace"] == "default" && object["metadata"]["name"] == "kubernetes"
    {
        Readiness::Ready
    } else {
        Readiness::Waiting("its address does not listen yet".to_owned())
    }
}

pub(crate) fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

#[cfg(test)]
mod tests;
