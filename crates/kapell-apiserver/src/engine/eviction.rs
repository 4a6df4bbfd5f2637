//! `POST pods/NAME/eviction`: a deletion that asks the pod's disruption budget first.
//!
//! A controller keeps `status.disruptionsAllowed` of each budget; an eviction takes one from it by compare-and-set and
//! notes the pod in `status.disruptedPods`, so that two evictions at once never use the same one.

use axum::body::Body;
use http::{Response, StatusCode};
use jiff::Timestamp;
use kapell_api::selector::Selector;
use kapell_api::status::{Cause, Status};
use kapell_api::time;
use kapell_store::{Entry, Expect, Write};
use serde_json::{Value, json};

use super::delete::DeleteOptions;
use super::{ATTEMPTS, Call, Committed, Engine, Target, decode, name_of, read_failed};
use crate::{body, key, reply, stored};

/// As upstream: beyond this the controller has stopped confirming.
const MOST_UNCONFIRMED: usize = 2_000;
/// When to come back to a budget that has not been counted yet, as upstream.
const RETRY_SECONDS: u32 = 10;

/// What a budget says about evicting one pod.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// The pod does not count as healthy anyway.
    Free,
    /// One of the allowed disruptions is used up: the budget becomes this.
    Taken(Value),
    Refused(Status),
}

/// Whether a pod may go.
enum Leave {
    /// As it is now, it disturbs nobody.
    Free,
    Given,
    /// Its budget has changed meanwhile.
    Unclear,
}

impl Engine {
    pub(super) async fn evict(&self, call: &Call, target: Target<'_>) -> Result<Response<Body>, Status> {
        let (eviction, duplicates) = body::parse(&call.headers, &call.body)?;
        if let Some(duplicate) = duplicates.first() {
            return Err(Status::bad_request(format!("the eviction cannot be decoded: {duplicate}")));
        }
        check(target, &eviction)?;
        let mut options = DeleteOptions::from_value(eviction["deleteOptions"].clone())?;
        let dry_run = options.dry_run(call)?;
        for _ in 0..ATTEMPTS {
            let pod = decode(target.resource.kind, &*self.fetch(target).await?)?;
            options.check_preconditions(target, &pod)?;
            // It has to be the pod that the budget was asked about.
            options.require_uid(pod["metadata"]["uid"].as_str().unwrap_or_default());
            let leave =
                if is_protected(&pod) { self.take_disruption(target, &pod, dry_run).await? } else { Leave::Free };
            let deleted = match leave {
                Leave::Unclear => continue,
                Leave::Given => self.delete_object(target, &options, dry_run).await,
                Leave::Free => {
                    // Nobody has paid for a pod that has become ready meanwhile.
                    let mut unchanged = options.clone();
                    unchanged.require_version(pod["metadata"]["resourceVersion"].as_str().unwrap_or_default());
                    match self.delete_object(target, &unchanged, dry_run).await {
                        Err(status) if status.code == StatusCode::CONFLICT.as_u16() => continue,
                        deleted => deleted,
                    }
                }
            };
            deleted?;
            let success = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "code": StatusCode::CREATED.as_u16(),
            });
            return Ok(reply::value(StatusCode::CREATED, &success, &[]));
        }
        Err(refused("too many evictions at once", RETRY_SECONDS, "the budget changes too fast".to_owned()))
    }

    /// Asks the budget of the pod.
    async fn take_disruption(&self, target: Target<'_>, pod: &Value, dry_run: bool) -> Result<Leave, Status> {
        let budgets = self.budgets_of(target, pod).await?;
        let (entry, budget) = match budgets.as_slice() {
            [] => return Ok(Leave::Given),
            [one] => one,
            _ => {
                return Err(Status::internal(
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        };
        let after = match judge(budget, pod, Timestamp::now()) {
            Verdict::Free => return Ok(Leave::Free),
            Verdict::Refused(status) => return Err(status),
            Verdict::Taken(after) => after,
        };
        if dry_run {
            return Ok(Leave::Given);
        }
        let (key, expect) = (entry.key.clone(), Expect::Revision(entry.modified));
        let write = Write { key, expect, value: Some(stored::encode(&after)) };
        let taken = matches!(self.commit_all(vec![write]).await?, Committed::At(_));
        Ok(if taken { Leave::Given } else { Leave::Unclear })
    }

    async fn budgets_of(&self, target: Target<'_>, pod: &Value) -> Result<Vec<(std::sync::Arc<Entry>, Value)>, Status> {
        let Some(resource) = self.resources.find("policy", "v1", "poddisruptionbudgets") else { return Ok(Vec::new()) };
        let prefix = key::of_collection(resource.kind, target.namespace);
        let page = self.store.list(prefix.as_bytes(), None, 0, None).await.map_err(read_failed)?;
        let mut budgets = Vec::new();
        for entry in page.entries {
            let budget = decode(resource.kind, &entry)?;
            let selector = Selector::from_label_selector(&budget["spec"]["selector"]);
            if selector.ok().flatten().is_some_and(|selector| selector.matches_object(pod)) {
                budgets.push((entry, budget));
            }
        }
        Ok(budgets)
    }
}

fn check(target: Target<'_>, eviction: &Value) -> Result<(), Status> {
    let kind = eviction["kind"].as_str().unwrap_or("Eviction");
    let version = eviction["apiVersion"].as_str().unwrap_or("policy/v1");
    if kind != "Eviction" || version != "policy/v1" {
        return Err(Status::bad_request(format!("a {kind} of {version} is not an Eviction of policy/v1")));
    }
    match eviction["metadata"]["name"].as_str().unwrap_or_default() {
        "" => Ok(()),
        name if name == target.name => Ok(()),
        _ => Err(Status::bad_request("name in URL does not match name in Eviction object")),
    }
}

/// A pod that has ended, has not begun or is going already disturbs nobody.
fn is_protected(pod: &Value) -> bool {
    let idle = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"));
    !idle && pod["metadata"]["deletionTimestamp"].is_null()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Decides by the budget as its controller left it.
fn judge(budget: &Value, pod: &Value, now: Timestamp) -> Verdict {
    let status = &budget["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
    if !is_ready(pod) {
        let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
        if always || (healthy >= desired && desired > 0) {
            return Verdict::Free;
        }
    }
    let name = name_of(budget);
    let violates = "Cannot evict pod as it would violate the pod's disruption budget.";
    if number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Verdict::Refused(refused(violates, RETRY_SECONDS, cause));
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > MOST_UNCONFIRMED) {
        let cause = format!("The disruption budget {name} has too many evictions that are not confirmed yet.");
        return Verdict::Refused(refused(violates, RETRY_SECONDS, cause));
    }
    let allowed = number("disruptionsAllowed");
    if allowed <= 0 {
        let cause = format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        return Verdict::Refused(refused(violates, 0, cause));
    }
    let mut after = budget.clone();
    after["status"]["disruptionsAllowed"] = json!(allowed - 1);
    if !after["status"]["disruptedPods"].is_object() {
        after["status"]["disruptedPods"] = json!({});
    }
    after["status"]["disruptedPods"][name_of(pod)] = json!(time::format_time(now));
    Verdict::Taken(after)
}

/// 429 with upstream's cause; `kubectl drain` tries again.
fn refused(message: &str, retry_after_seconds: u32, cause: String) -> Status {
    let mut status = Status::too_many_requests(message, retry_after_seconds);
    status.details.get_or_insert_default().causes.push(Cause {
        reason: "DisruptionBudget".to_owned(),
        message: cause,
        field: String::new(),
    });
    status
}
