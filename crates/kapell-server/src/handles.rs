//! What services lend each other besides objects: log streams, run timelines, usage, and whether there is room for one more
//! run. Calls to Services are in `caller`, sessions inside pods in `streams`.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use kapell_agent::{LogError, LogOptions, Logs, OutputStream, Restarts, Usage};
use kapell_api::status::Status;
use kapell_apiserver::{Connect, ConnectRequest, Consumption, Intake, Query, UsageSource};
use kapell_workflow::Engine;
use serde_json::Value;

/// Names the container that is meant when none is named, as kubectl reads it, too.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The server's own authority, for the controller of certificates.
#[derive(Debug)]
pub(crate) struct ClientAuthority(pub(crate) kapell_apiserver::pki::ClientSigner);

impl kapell_controllers::ClientSigner for ClientAuthority {
    fn sign(
        &self,
        request: &[u8],
        encipherment: bool,
        from: jiff::Timestamp,
        until: jiff::Timestamp,
    ) -> Result<String, String> {
        self.0.issue(request, encipherment, from, until).map_err(|error| error.to_string())
    }
}

/// `pods/NAME/log`, read from this node's files.
pub(crate) struct PodLogs(pub(crate) Logs);

#[async_trait]
impl Connect for PodLogs {
    async fn connect(&self, request: ConnectRequest) -> Result<http::Response<Body>, Status> {
        let pod = &request.object;
        let container = container(pod, request.query.get("container"))?;
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        // As upstream, a log that is followed ends with its container; `kapell logs` asks for more.
        let restarts = if request.query.flag("restarts") { restarts(pod) } else { Restarts::Never };
        let stream =
            self.0.open(uid, &container, log_options(&request.query, restarts)?).map_err(|error| match error {
                LogError::Io { .. } => Status::internal(error.to_string()),
                _ => Status::bad_request(format!("container \"{container}\" in pod \"{}\": {error}", request.name)),
            })?;
        let response = http::Response::builder().header("content-type", "text/plain").body(Body::from_stream(stream));
        response.map_err(|error| Status::internal(error.to_string()))
    }
}

/// The container that is meant: the one that is named, or the only one.
pub(crate) fn container(pod: &Value, named: Option<&str>) -> Result<String, Status> {
    let names = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter_map(|container| container["name"].as_str().map(str::to_owned)).collect()
    };
    let (containers, init) = (names("containers"), names("initContainers"));
    let ephemeral = names("ephemeralContainers");
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    match named {
        Some(name) if containers.iter().chain(&init).chain(&ephemeral).any(|known| known == name) => {
            Ok(name.to_owned())
        }
        Some(name) => Err(Status::bad_request(format!("container {name} is not valid for pod {pod_name}"))),
        None => match (pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str(), containers.as_slice()) {
            (Some(default), _) if containers.iter().any(|known| known == default) => Ok(default.to_owned()),
            (_, [only]) => Ok(only.clone()),
            (_, several) => Err(Status::bad_request(format!(
                "a container name must be specified for pod {pod_name}, choose one of: {several:?}"
            ))),
        },
    }
}

/// After which ends of a container a log that is followed goes on with its next start.
fn restarts(pod: &Value) -> Restarts {
    match pod["spec"]["restartPolicy"].as_str() {
        _ if !pod["metadata"]["deletionTimestamp"].is_null() => Restarts::Never,
        Some("Never") => Restarts::Never,
        Some("OnFailure") => Restarts::OnFailure,
        _ => Restarts::Always,
    }
}

fn log_options(query: &Query, restarts: Restarts) -> Result<LogOptions, Status> {
    fn number<T: std::str::FromStr>(query: &Query, key: &str) -> Result<Option<T>, Status> {
        let parse =
            |text: &str| text.parse().map_err(|_| Status::bad_request(format!("{key}: {text:?} is not a number")));
        query.get(key).map(parse).transpose()
    }
    if query.get("sinceTime").is_some() && query.get("sinceSeconds").is_some() {
        return Err(Status::bad_request("at most one of sinceTime and sinceSeconds may be given"));
    }
    let since_time = query.get("sinceTime").map(|text| {
        text.parse().map_err(|_| Status::bad_request(format!("sinceTime: {text:?} is not an RFC 3339 time")))
    });
    Ok(LogOptions {
        follow: query.flag("follow"),
        restarts,
        tail_lines: number(query, "tailLines")?,
        since_seconds: number(query, "sinceSeconds")?,
        since_time: since_time.transpose()?,
        timestamps: query.flag("timestamps"),
        limit_bytes: number(query, "limitBytes")?,
        previous: query.flag("previous"),
        stream: match query.get("stream") {
            None | Some("All") => None,
            Some("Stdout") => Some(OutputStream::Stdout),
            Some("Stderr") => Some(OutputStream::Stderr),
            Some(other) => {
                let supported = "supported values: \"All\", \"Stderr\", \"Stdout\"";
                return Err(Status::bad_request(format!("stream: Unsupported value: {other:?}: {supported}")));
            }
        },
    })
}

/// Seconds after which a client whose run was refused should ask again: what waits is begun within a few.
const ASK_AGAIN: u32 = 1;

/// Refuses runs while the engine has as many as it takes.
pub(crate) struct RunIntake(pub(crate) Arc<Engine>);

impl Intake for RunIntake {
    fn admit(&self, namespace: &str) -> Result<(), Status> {
        self.0.admit(namespace).map_err(|full| Status::too_many_requests(full.to_string(), ASK_AGAIN))
    }
}

/// `workflowruns/NAME/timeline`, from the journal.
pub(crate) struct Timeline(pub(crate) Arc<Engine>);

#[async_trait]
impl Connect for Timeline {
    async fn connect(&self, request: ConnectRequest) -> Result<http::Response<Body>, Status> {
        let uid = request.object["metadata"]["uid"].as_str().unwrap_or_default();
        let timeline = self.0.timeline(uid).await.map_err(|error| Status::internal(error.to_string()))?;
        let response =
            http::Response::builder().header("content-type", "application/json").body(Body::from(timeline.to_string()));
        response.map_err(|error| Status::internal(error.to_string()))
    }
}

/// What `metrics.k8s.io` tells: measured by this node's agent, of this node.
pub(crate) struct NodeUsage {
    pub(crate) usage: Usage,
    pub(crate) node: String,
}

#[async_trait]
impl UsageSource for NodeUsage {
    async fn pods(&self, uids: &[String]) -> Vec<Vec<(String, Consumption)>> {
        let pods = self.usage.pods(uids).await.into_iter();
        pods.map(|containers| containers.into_iter().map(|(name, used)| (name, consumption(used))).collect()).collect()
    }

    async fn node(&self, name: &str) -> Option<Consumption> {
        if name == self.node { self.usage.node().await.map(consumption) } else { None }
    }
}

fn consumption(used: kapell_agent::Consumption) -> Consumption {
    let kapell_agent::Consumption { cpu_nano, memory_bytes, window, timestamp } = used;
    Consumption { cpu_nano, memory_bytes, window, timestamp }
}
