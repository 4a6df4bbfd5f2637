//! What `kubectl get pods` shows. The status is not a field: it is told from the phase, the containers and whether
//! the pod is being deleted.

use serde_json::Value;

use crate::kind::{Column, Now};
use crate::kinds::cells::{AGE, NAME, NONE, age, number, or_none, seconds};
use crate::kinds::field::{at, int, is_set, items, text, truth};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Ready", "string", "Containers that are ready, of all that should be.", |pod, _| {
        let summary = summarize(pod);
        format!("{}/{}", summary.ready, summary.containers).into()
    }),
    Column::new("Status", "string", "What the pod as a whole is doing.", |pod, _| summarize(pod).status.into()),
    Column::new("Restarts", "string", "How often containers were restarted, and when last.", restarts),
    AGE,
    Column::new("IP", "string", "Address of the pod.", |pod, _| or_none(pod_ip(pod))).wide(),
    Column::new("Node", "string", "Node that the pod was assigned to.", |pod, _| or_none(text(pod, "/spec/nodeName")))
        .wide(),
    Column::new("Nominated Node", "string", "Node that is being freed for the pod.", |pod, _| {
        or_none(text(pod, "/status/nominatedNodeName"))
    })
    .wide(),
    Column::new("Readiness Gates", "string", "Readiness gates that are met, of all.", readiness_gates).wide(),
];

/// The first of the pod's addresses.
pub(super) fn pod_ip(pod: &Value) -> &str {
    match text(pod, "/status/podIPs/0/ip") {
        "" => text(pod, "/status/podIP"),
        ip => ip,
    }
}

fn restarts(pod: &Value, now: Now) -> Value {
    let summary = summarize(pod);
    match summary.restarts.last {
        Some(last) if summary.restarts.count > 0 => {
            format!("{} ({} ago)", summary.restarts.count, age(last, now)).into()
        }
        _ => summary.restarts.count.to_string().into(),
    }
}

fn readiness_gates(pod: &Value, _: Now) -> Value {
    let gates = items(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return NONE.into();
    }
    let met = gates.iter().filter(|gate| condition(pod, text(gate, "/conditionType"))).count();
    format!("{met}/{}", gates.len()).into()
}

struct Summary<'v> {
    ready: usize,
    containers: usize,
    status: String,
    restarts: Restarts<'v>,
}

#[derive(Clone, Copy, Default)]
struct Restarts<'v> {
    count: i64,
    /// When the last restarted container had ended.
    last: Option<&'v Value>,
}

impl<'v> Restarts<'v> {
    fn add(&mut self, container: &'v Value) {
        self.count += number(container, "/restartCount");
        let finished = at(container, "/lastState/terminated/finishedAt");
        if seconds(finished) > self.last.and_then(seconds) {
            self.last = Some(finished);
        }
    }
}

/// Walks the statuses in the order in which containers start, so that the first obstacle names the status.
fn summarize(pod: &Value) -> Summary<'_> {
    let sidecars: Vec<&str> = items(pod, "/spec/initContainers")
        .iter()
        .filter(|container| text(container, "/restartPolicy") == "Always")
        .map(|container| text(container, "/name"))
        .collect();
    let mut summary = Summary {
        ready: 0,
        containers: items(pod, "/spec/containers").len() + sidecars.len(),
        status: initial_status(pod),
        restarts: Restarts::default(),
    };
    let mut of_sidecars = Restarts::default();
    let mut initializing = false;
    for (index, container) in items(pod, "/status/initContainerStatuses").iter().enumerate() {
        summary.restarts.add(container);
        let is_sidecar = sidecars.contains(&text(container, "/name"));
        if is_sidecar {
            of_sidecars.add(container);
        }
        if int(container, "/state/terminated/exitCode") == Some(0) {
            continue;
        }
        if is_sidecar && truth(container, "/started") {
            summary.ready += usize::from(truth(container, "/ready"));
            continue;
        }
        summary.status = init_status(pod, container, index);
        initializing = true;
        break;
    }
    if !initializing || condition(pod, "Initialized") {
        summary.restarts = of_sidecars;
        add_containers(pod, &mut summary);
    }
    if is_set(pod, "/metadata/deletionTimestamp") {
        if text(pod, "/status/reason") == "NodeLost" {
            summary.status = "Unknown".to_owned();
        } else if !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
            summary.status = "Terminating".to_owned();
        }
    }
    summary
}

fn initial_status(pod: &Value) -> String {
    let gated = items(pod, "/status/conditions")
        .iter()
        .any(|c| text(c, "/type") == "PodScheduled" && text(c, "/reason") == "SchedulingGated");
    let reason = text(pod, "/status/reason");
    let status = if gated {
        "SchedulingGated"
    } else if reason.is_empty() {
        text(pod, "/status/phase")
    } else {
        reason
    };
    status.to_owned()
}

fn init_status(pod: &Value, container: &Value, index: usize) -> String {
    let terminated = at(container, "/state/terminated");
    let waiting = text(container, "/state/waiting/reason");
    if !terminated.is_null() {
        format!("Init:{}", end_of(terminated))
    } else if !waiting.is_empty() && waiting != "PodInitializing" {
        format!("Init:{waiting}")
    } else {
        format!("Init:{index}/{}", items(pod, "/spec/initContainers").len())
    }
}

fn add_containers<'v>(pod: &'v Value, summary: &mut Summary<'v>) {
    let mut any_running = false;
    // Backwards, so that the first container has the last word.
    for container in items(pod, "/status/containerStatuses").iter().rev() {
        summary.restarts.add(container);
        let waiting = text(container, "/state/waiting/reason");
        let terminated = at(container, "/state/terminated");
        if !waiting.is_empty() {
            summary.status = waiting.to_owned();
        } else if !terminated.is_null() {
            summary.status = end_of(terminated);
        } else if truth(container, "/ready") && is_set(container, "/state/running") {
            any_running = true;
            summary.ready += 1;
        }
    }
    if summary.status == "Completed" && any_running {
        summary.status = if condition(pod, "Ready") { "Running" } else { "NotReady" }.to_owned();
    }
}

fn end_of(terminated: &Value) -> String {
    let reason = text(terminated, "/reason");
    match int(terminated, "/signal") {
        _ if !reason.is_empty() => reason.to_owned(),
        Some(signal) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", number(terminated, "/exitCode")),
    }
}

/// Whether the condition is there and `True`.
fn condition(pod: &Value, type_: &str) -> bool {
    items(pod, "/status/conditions").iter().any(|c| text(c, "/type") == type_ && text(c, "/status") == "True")
}
