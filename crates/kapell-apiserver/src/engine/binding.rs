//! `POST pods/NAME/binding`: the scheduler's word on where a pod runs, taken once.

use axum::body::Body;
use http::{Response, StatusCode};
use jiff::Timestamp;
use kapell_api::problem::Problem;
use kapell_api::status::Status;
use kapell_api::time;
use serde_json::{Value, json};

use super::{Call, Engine, Mode, Ownership, Target};
use crate::{body, reply};

impl Engine {
    pub(super) async fn create_binding(&self, call: &Call, target: Target<'_>) -> Result<Response<Body>, Status> {
        let dry_run = body::dry_run(&call.query)?;
        let (binding, _) = body::parse(&call.headers, &call.body)?;
        let kind = binding["kind"].as_str().unwrap_or("Binding");
        if kind != "Binding" {
            return Err(Status::bad_request(format!("a {kind} is not a Binding")));
        }
        let now = Timestamp::now();
        self.update(&call.identity, target, Mode::Own, Ownership::Nobody, dry_run, |pod| {
            Ok((bind(target, pod, &binding, now)?, Vec::new()))
        })
        .await?;
        let success = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "code": StatusCode::CREATED.as_u16(),
        });
        Ok(reply::value(StatusCode::CREATED, &success, &[]))
    }
}

/// The pod, bound; 409 when it is bound already or about to go.
fn bind(target: Target<'_>, pod: &Value, binding: &Value, now: Timestamp) -> Result<Value, Status> {
    let kind = target.resource.kind;
    let problem = |problem: Problem| Err(Status::invalid(kind, target.name, &[problem]));
    match binding["target"]["kind"].as_str().unwrap_or_default() {
        "" | "Node" => {}
        other => return problem(Problem::invalid("target.kind", other, "must be \"Node\" or empty")),
    }
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    if node.is_empty() {
        return problem(Problem::required("target.name", ""));
    }
    let conflict = |why: String| Err(Status::conflict(kind, target.name, &why));
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return conflict(format!("pod {} is being deleted, cannot be assigned to a host", target.name));
    }
    if let Some(present) = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty()) {
        return conflict(format!("pod {} is already assigned to node {present:?}", target.name));
    }
    let mut bound = pod.clone();
    for precondition in ["uid", "resourceVersion"] {
        if let Some(value) = binding["metadata"][precondition].as_str().filter(|v| !v.is_empty()) {
            bound["metadata"][precondition] = json!(value);
        }
    }
    for field in ["labels", "annotations"] {
        for (key, value) in binding["metadata"][field].as_object().into_iter().flatten() {
            if !value.is_string() {
                return problem(Problem::invalid(format!("metadata.{field}[{key}]"), value, "must be a string"));
            }
            bound["metadata"][field][key.as_str()] = value.clone();
        }
    }
    bound["spec"]["nodeName"] = json!(node);
    set_condition(&mut bound, "PodScheduled", &time::format_time(now));
    Ok(bound)
}

/// Sets a condition to True; the time is that of the transition, so it stays when the condition was True before.
fn set_condition(pod: &mut Value, condition: &str, now: &str) {
    let fresh = json!({"type": condition, "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = pod["status"]["conditions"].as_array_mut() else { return };
    match conditions.iter_mut().find(|c| c["type"] == condition) {
        Some(present) if present["status"] == "True" => {}
        Some(present) => *present = fresh,
        None => conditions.push(fresh),
    }
}
