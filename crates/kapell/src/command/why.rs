//! `kapell why`: what a thing waits for, in sentences, from its status, its parts and its events.

use serde_json::Value;

use crate::cli::NamedArgs;
use crate::cluster::{Cluster, kind_called, named};
use crate::error::Outcome;
use crate::print;
use crate::readiness::{Readiness, condition, readiness};
use crate::timeline;

use super::{events, events_of, pods_selected_by, text};

pub(crate) async fn run(cluster: &Cluster, args: &NamedArgs) -> Outcome {
    let target = named(&args.target)?;
    let object = cluster.get(&cluster.path_of(&target)).await?;
    let sentences = explain(cluster, &object).await?;
    let label = format!("{}/{}", target.kind.singular, target.name);
    match sentences.as_slice() {
        [] => print::out(&format!("{label} waits for nothing\n")),
        sentences => {
            // A Service may work and yet not be where its file wants it.
            let serves = target.kind.kind == "Service" && readiness(&object) == Readiness::Ready;
            let verb = if serves { "has an address, but" } else { "waits" };
            let lines: String = sentences.iter().map(|line| format!("  {line}\n")).collect();
            print::out(&format!("{label} {verb}:\n{lines}"))
        }
    }
}

/// Empty when the object waits for nothing.
pub(crate) async fn explain(cluster: &Cluster, object: &Value) -> Outcome<Vec<String>> {
    if let Some(lines) = deletion_lines(object) {
        return Ok(lines);
    }
    match object["kind"].as_str().unwrap_or_default() {
        "Pod" => pod(cluster, object).await,
        "Deployment" | "ReplicaSet" => replicas(cluster, object).await,
        "Service" => service(cluster, object).await,
        "WorkflowRun" => workflow_run(cluster, object).await,
        _ => other(cluster, object).await,
    }
}

/// What holds the end of an object up that is being deleted.
fn deletion_lines(object: &Value) -> Option<Vec<String>> {
    let since = object["metadata"]["deletionTimestamp"].as_str()?;
    let finalizers = object["metadata"]["finalizers"].as_array().map_or(0, Vec::len);
    let mut lines = vec![format!("it is being deleted since {since}, {finalizers} finalizers left")];
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    lines.extend(conditions.filter_map(|condition| condition["message"].as_str().map(str::to_owned)));
    Some(lines)
}

async fn pod(cluster: &Cluster, object: &Value) -> Outcome<Vec<String>> {
    if readiness(object) == Readiness::Ready {
        return Ok(ephemeral_lines(object).collect());
    }
    Ok(pod_lines(object, &events_of(cluster, object).await?))
}

/// What a pod waits for; `events` may be about others, too.
fn pod_lines(object: &Value, events: &[Value]) -> Vec<String> {
    if readiness(object) == Readiness::Ready {
        return ephemeral_lines(object).collect();
    }
    let mut lines = Vec::new();
    if let Some(scheduled) = condition(object, "PodScheduled").filter(|condition| condition["status"] == "False") {
        lines.push(format!("for a node: {}", text(scheduled, "/message")));
    }
    let lines_of = |list: &str| object["status"][list].as_array().into_iter().flatten();
    let first: Vec<String> = lines_of("initContainerStatuses").filter_map(init_container_line).collect();
    // Until the init containers have finished, the others can only say that they wait for them.
    if first.is_empty() {
        lines.extend(lines_of("containerStatuses").filter_map(container_line));
    } else {
        lines.extend(first);
    }
    lines.extend(ephemeral_lines(object));
    let uid = text(object, "/metadata/uid");
    let mut events = events.iter().rev().filter(|event| text(event, "/involvedObject/uid") == uid);
    // That it backs off is in the state already, with more.
    let warning = events.find(|event| event["type"] == "Warning" && event["reason"] != "BackOff");
    if let Some(message) = warning.map(|event| text(event, "/message")) {
        add_unless_said(&mut lines, message);
    }
    if lines.is_empty() {
        lines.push("its node has not reported on it yet".to_owned());
    }
    lines
}

/// A warning event usually repeats what the state says, or the state is its beginning: the longer one is kept.
fn add_unless_said(lines: &mut Vec<String>, message: &str) {
    let bare = message.strip_prefix("Error: ").unwrap_or(message);
    let essence = bare.split_once(": ").map_or(bare, |(_, rest)| rest);
    if lines.iter().any(|line| line.contains(essence)) {
        return;
    }
    match lines.iter_mut().find(|line| line.split_once(": ").is_some_and(|(_, rest)| message.starts_with(rest))) {
        Some(line) => {
            let subject = line.split_once(": ").map_or("", |(subject, _)| subject);
            *line = format!("{subject}: {message}");
        }
        None => lines.push(message.to_owned()),
    }
}

fn init_container_line(container: &Value) -> Option<String> {
    let running = container.pointer("/state/running").is_some();
    if running {
        return Some(format!("init container {} has not finished yet", text(container, "/name")));
    }
    container_line(container).map(|line| format!("init {line}"))
}

/// What keeps somebody's look at the pod from beginning. Its end is nobody's trouble.
fn ephemeral_lines(object: &Value) -> impl Iterator<Item = String> {
    let statuses = object["status"]["ephemeralContainerStatuses"].as_array().into_iter().flatten();
    let waiting = statuses.filter(|status| status.pointer("/state/waiting").is_some());
    waiting.filter_map(container_line).map(|line| format!("ephemeral {line}"))
}

fn container_line(container: &Value) -> Option<String> {
    let name = text(container, "/name");
    if let Some(waiting) = container.pointer("/state/waiting") {
        let message = text(waiting, "/message");
        let before = match container.pointer("/lastState/terminated") {
            Some(ended) => format!(", after {}", ending(ended)),
            None => String::new(),
        };
        return Some(format!(
            "container {name}: {}{before}{}{message}",
            text(waiting, "/reason"),
            if message.is_empty() { "" } else { ": " }
        ));
    }
    if let Some(ended) = container.pointer("/state/terminated").filter(|ended| ended["exitCode"] != 0) {
        return Some(format!("container {name} ended with {}", ending(ended)));
    }
    let unready = container["ready"] == false && container.pointer("/state/running").is_some();
    unready.then(|| format!("container {name} runs, but its probe does not find it ready"))
}

/// `exit code 3`, or the signal that ended it.
fn ending(ended: &Value) -> String {
    match ended["signal"].as_i64().filter(|signal| *signal != 0) {
        Some(signal) => format!("signal {signal}"),
        None => format!("exit code {}", ended["exitCode"]),
    }
}

async fn replicas(cluster: &Cluster, object: &Value) -> Outcome<Vec<String>> {
    let mut lines = match readiness(object) {
        Readiness::Ready => return Ok(Vec::new()),
        Readiness::Waiting(why) | Readiness::Failed(why) => vec![why],
    };
    if object["spec"]["paused"] == true {
        lines.push("the rollout is paused".to_owned());
    }
    if let Some(failure) = condition(object, "ReplicaFailure").filter(|condition| condition["status"] == "True") {
        lines.push(text(failure, "/message").to_owned());
    }
    let pods = pods_selected_by(cluster, object).await?;
    // One list for all of them: a rollout may have hundreds of pods, and this is asked again and again.
    let events = if pods.is_empty() { Vec::new() } else { events(cluster, "involvedObject.kind=Pod").await? };
    for pod in pods {
        let pod = with_kind(pod, "Pod");
        let reasons = deletion_lines(&pod).unwrap_or_else(|| pod_lines(&pod, &events));
        lines.extend(reasons.into_iter().map(|reason| format!("pod {}: {reason}", text(&pod, "/metadata/name"))));
    }
    Ok(lines)
}

/// Items of a list leave their kind out.
fn with_kind(mut object: Value, kind: &str) -> Value {
    object["kind"] = kind.into();
    object
}

async fn service(cluster: &Cluster, object: &Value) -> Outcome<Vec<String>> {
    let mut lines = Vec::new();
    if let Readiness::Waiting(why) = readiness(object) {
        lines.push(why);
    }
    if let Some(listening) =
        condition(object, "kapell.dev/Listening").filter(|condition| condition["reason"] != "AllPorts")
    {
        lines.push(text(listening, "/message").to_owned());
    }
    if object["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty()) {
        let pods = pods_selected_by(cluster, object).await?;
        let ready =
            pods.iter().filter(|pod| condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")).count();
        if ready == 0 {
            lines.push(format!("for a ready endpoint: its selector finds {} pods, none is ready", pods.len()));
        }
    }
    Ok(lines)
}

async fn workflow_run(cluster: &Cluster, object: &Value) -> Outcome<Vec<String>> {
    let phase = text(object, "/status/phase");
    if matches!(phase, "Completed" | "Faulted" | "Cancelled") {
        return Ok(Vec::new());
    }
    let waiting = text(object, "/status/waitingFor").split("; ").filter(|clause| !clause.is_empty());
    let mut lines: Vec<String> = waiting.map(str::to_owned).collect();
    let path = cluster.path(kind_called("workflowruns")?, None, Some(text(object, "/metadata/name"))) + "/timeline";
    if let Some(timeline) = cluster.get_if_exists(&path).await? {
        let said = lines.concat();
        lines.extend(under_way(timeline["items"].as_array().map_or(&[][..], Vec::as_slice), &said));
    }
    if lines.is_empty() {
        lines.push("to be picked up by the workflow engine".to_owned());
    }
    Ok(lines)
}

/// A sentence for each innermost task that has not ended, unless `said` speaks of it.
fn under_way(items: &[Value], said: &str) -> Vec<String> {
    let open: Vec<&Value> = items.iter().filter(|item| item["endTime"].is_null()).collect();
    let holds_another = |item: &Value| {
        let task = text(item, "/task");
        open.iter().any(|other| text(other, "/task").strip_prefix(task).is_some_and(|rest| rest.starts_with('/')))
    };
    let innermost = open.iter().filter(|item| !holds_another(item));
    let unsaid = innermost.filter(|item| !said.contains(&format!("task {} ", text(item, "/name"))));
    unsaid
        .map(|item| {
            let (step, detail) = (timeline::step(text(item, "/task")), text(item, "/detail"));
            let attempt = item["attempt"].as_u64().filter(|attempt| *attempt > 1);
            let attempt = attempt.map_or(String::new(), |attempt| format!(", attempt {attempt}"));
            let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
            format!("step {step} runs since {}{attempt}{detail}", text(item, "/startTime"))
        })
        .collect()
}

async fn other(cluster: &Cluster, object: &Value) -> Outcome<Vec<String>> {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let bad = conditions.filter(|condition| condition["type"] == "Ready" && condition["status"] != "True");
    let mut lines: Vec<String> = bad.map(|condition| text(condition, "/message").to_owned()).collect();
    let events = events_of(cluster, object).await?;
    if let Some(warning) = events.iter().rev().find(|event| event["type"] == "Warning") {
        lines.push(text(warning, "/message").to_owned());
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
