//! The agent with real shims and processes against an API server of this test's own.
//!
//! This program is also the shim: the agent starts it again with `shim DIR`, as it starts `kapell shim DIR`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kapell_agent::{AgentConfig, LogOptions, Logs};
use kapell_api::net::LoopbackBlock;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

type Answer = UnsyncBoxBody<Bytes, std::convert::Infallible>;

const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next() == Some(OsString::from("shim")) {
        return kapell_shim::main(args);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let scenarios = async {
        lives_and_dies().await;
        survives_the_agent().await;
        needs_an_image().await;
        probes_gate_and_restart().await;
        hooks_run().await;
        waits_for_listeners().await;
        backs_off_across_agents().await;
        answers_for_its_node().await;
    };
    runtime.block_on(async { tokio::time::timeout(6 * PATIENCE, scenarios).await.expect("the scenarios end in time") });
    ExitCode::SUCCESS
}

/// As much of an API server as the agent uses: objects by plural and name, merge patches, and watches.
#[derive(Clone)]
struct FakeApi {
    objects: Arc<Mutex<BTreeMap<(String, String), Value>>>,
    changes: broadcast::Sender<(String, &'static str, Value)>,
}

impl FakeApi {
    fn new() -> Self {
        Self { objects: Default::default(), changes: broadcast::channel(1000).0 }
    }

    fn client(&self) -> Client {
        let api = self.clone();
        Client::new(tower::service_fn(move |request| api.clone().serve(request)), "default")
    }

    fn put(&self, plural: &str, mut object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let mut objects = self.objects.lock();
        let new = objects.get(&(plural.to_owned(), name.clone())).is_none();
        let version = objects.len() + self.changes.len() + 1;
        object["metadata"]["resourceVersion"] = format!("{version}-{:?}", std::time::Instant::now()).into();
        objects.insert((plural.to_owned(), name), object.clone());
        let _ = self.changes.send((plural.to_owned(), if new { "ADDED" } else { "MODIFIED" }, object));
    }

    fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.objects.lock().get(&(plural.to_owned(), name.to_owned())).cloned()
    }

    /// Changes an object as `kubectl patch --type merge` would.
    fn patch(&self, plural: &str, name: &str, patch: &Value) -> Option<Value> {
        let mut object = self.get(plural, name)?;
        merge(&mut object, patch);
        self.put(plural, object.clone());
        Some(object)
    }

    fn remove(&self, plural: &str, name: &str) -> Option<Value> {
        let object = self.objects.lock().remove(&(plural.to_owned(), name.to_owned()))?;
        let _ = self.changes.send((plural.to_owned(), "DELETED", object.clone()));
        Some(object)
    }

    async fn serve(self, request: Request<Body>) -> Result<Response<Answer>, std::convert::Infallible> {
        let (parts, body) = request.into_parts();
        let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap_or_default();
        let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
        let path = if path[0] == "api" { &path[2..] } else { &path[3..] };
        let path = if path[0] == "namespaces" && path.len() > 2 { &path[2..] } else { path };
        let (plural, name) = (path[0].to_owned(), path.get(1).copied().unwrap_or_default());
        let found = match parts.method {
            Method::GET if name.is_empty() => return Ok(self.watch(plural)),
            Method::GET => self.get(&plural, name),
            Method::POST => {
                self.put(&plural, body.clone());
                Some(body)
            }
            Method::PATCH => self.patch(&plural, name, &body),
            Method::DELETE => self.remove(&plural, name),
            _ => None,
        };
        let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let missing = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404, "reason": "NotFound", "message": "not found" });
        let bytes = serde_json::to_vec(&found.unwrap_or(missing)).unwrap();
        Ok(Response::builder().status(status).body(Full::from(bytes).boxed_unsync()).unwrap())
    }

    fn watch(&self, plural: String) -> Response<Answer> {
        let objects = self.objects.lock();
        let changes = self.changes.subscribe();
        let mut events: Vec<Value> = objects
            .iter()
            .filter(|((of, _), _)| *of == plural)
            .map(|(_, object)| json!({ "type": "ADDED", "object": object }))
            .collect();
        drop(objects);
        let kind = match plural.as_str() {
            "pods" => "Pod",
            "configmaps" => "ConfigMap",
            "secrets" => "Secret",
            "nodes" => "Node",
            _ => "Service",
        };
        let meta = json!({ "resourceVersion": "1", "annotations": { "k8s.io/initial-events-end": "true" } });
        events.push(json!({ "type": "BOOKMARK", "object": { "kind": kind, "apiVersion": "v1", "metadata": meta, "spec": { "containers": [] } } }));
        let later = futures::stream::unfold(changes, move |mut changes| {
            let plural = plural.clone();
            async move {
                loop {
                    let (of, type_, object) = changes.recv().await.ok()?;
                    if of == plural {
                        return Some((json!({ "type": type_, "object": object }), changes));
                    }
                }
            }
        });
        let lines = futures::stream::iter(events)
            .chain(later)
            .map(|event| Ok::<_, std::convert::Infallible>(http_body::Frame::data(Bytes::from(format!("{event}\n")))));
        Response::new(StreamBody::new(lines).boxed_unsync())
    }

    /// Waits until the object (null when there is none) is as wanted.
    async fn until(&self, plural: &str, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut changes = self.changes.subscribe();
        let waiting = async {
            loop {
                let object = self.get(plural, name).unwrap_or_default();
                if wanted(&object) {
                    return object;
                }
                let _ = changes.recv().await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(object) => object,
            Err(_) => panic!("{what}: {:#}", self.get(plural, name).unwrap_or_default()),
        }
    }

    async fn until_ready(&self, name: &str) -> Value {
        self.until("pods", name, "ready", |pod| pod["status"]["containerStatuses"][0]["ready"] == true).await
    }

    async fn until_event(&self, reason: &str) -> Value {
        let mut changes = self.changes.subscribe();
        loop {
            let found = self.objects.lock().values().find(|object| object["reason"] == reason).cloned();
            if let Some(event) = found {
                return event;
            }
            tokio::time::timeout(PATIENCE, changes.recv()).await.expect("the event comes").unwrap();
        }
    }
}

fn merge(object: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut object[key], value);
        }
    }
}

struct Agent {
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), kapell_agent::AgentError>>,
}

impl Agent {
    fn start(api: &FakeApi, data: &Path) -> Self {
        let config = AgentConfig {
            node_name: "node".into(),
            data_dir: data.to_owned(),
            block: LoopbackBlock::new(77).unwrap(),
            host_ip: std::net::Ipv4Addr::LOCALHOST,
            shim_command: vec![std::env::current_exe().unwrap().into(), "shim".into()],
            host_env: kapell_agent::host_environment(),
        };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(kapell_agent::run(config, api.client(), shutdown.clone()));
        Self { shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn pod(name: &str, container: Value) -> Value {
    let mut spec = json!({ "name": "main", "command": ["sh", "-c", "sleep 1000"] });
    merge(&mut spec, &container);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "uid": format!("uid-{name}") },
        "spec": { "nodeName": "node", "runtimeClassName": "process", "terminationGracePeriodSeconds": 5, "containers": [spec],
            "volumes": [{ "name": "config", "configMap": { "name": "config", "optional": true } }] },
    })
}

/// As the API server does it for a pod on a node.
fn delete(api: &FakeApi, name: &str) {
    let meta = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5 });
    api.patch("pods", name, &json!({ "metadata": meta }));
}

async fn lives_and_dies() {
    let (api, data) = (FakeApi::new(), tempfile::tempdir().unwrap());
    let agent = Agent::start(&api, data.path());
    let script = "echo hello $WHO from $POD_IP; test -e first || { touch first; exit 3; }; touch second; sleep 1000";
    let reference = json!({ "configMapKeyRef": { "name": "config", "key": "who" } });
    let container = json!({
        "command": ["sh", "-c", script],
        "env": [{ "name": "WHO", "valueFrom": reference }],
        "volumeMounts": [{ "name": "config", "mountPath": "conf" }],
        "readinessProbe": { "exec": { "command": ["test", "-e", "second", "-a", "-e", "conf/who"] } },
    });
    api.put("pods", pod("a", container));
    let waits = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"] == "configmap \"config\" not found"
    };
    api.until("pods", "a", "says what is missing", waits).await;
    let config = |who: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "config", "namespace": "default" }, "data": { "who": who } });
    api.put("configmaps", config("world"));
    let ready = api.until_ready("a").await;
    let status = &ready["status"]["containerStatuses"][0];
    assert_eq!(status["restartCount"], 1, "it failed once and was restarted at once");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(ready["status"]["phase"], "Running");
    let ip = ready["status"]["podIP"].as_str().unwrap();
    assert!(ip.starts_with("127.77."), "{ip}");
    let logs =
        Logs::new(data.path()).open("uid-a", "main", LogOptions { previous: true, ..Default::default() }).unwrap();
    let text: Vec<Bytes> = logs.map(Result::unwrap).collect().await;
    assert_eq!(text.concat(), format!("hello world from {ip}\n").as_bytes());
    api.until_event("Started").await;

    api.put("configmaps", config("moon"));
    let file = data.path().join("pods/uid-a/containers/main/work/conf/who");
    let follows = async {
        while std::fs::read_to_string(&file).unwrap_or_default() != "moon" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, follows).await.expect("the volume follows its object");

    delete(&api, "a");
    api.until("pods", "a", "gone", Value::is_null).await;
    let gone = async {
        while data.path().join("pods/uid-a").exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("nothing stays behind");
    agent.stop().await;
}

async fn survives_the_agent() {
    let (api, data) = (FakeApi::new(), tempfile::tempdir().unwrap());
    let agent = Agent::start(&api, data.path());
    api.put("pods", pod("b", json!({})));
    api.put("pods", pod("c", json!({})));
    let before = api.until_ready("b").await;
    api.until_ready("c").await;
    agent.stop().await;
    // One object vanishes while nobody looks; the other must not notice that anything happened.
    api.remove("pods", "c");
    let agent = Agent::start(&api, data.path());
    let gone = async {
        while data.path().join("pods/uid-c").exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the pod without an object is removed");
    // A change that makes the new agent look at the pod.
    delete(&api, "b");
    let ended = |pod: &Value| pod.is_null() || pod["status"]["containerStatuses"][0]["ready"] == false;
    let after = api.until("pods", "b", "ending", ended).await;
    let id = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    if !after.is_null() {
        assert_eq!(id(&after), id(&before), "the same process");
        assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);
    }
    api.until("pods", "b", "gone", Value::is_null).await;
    agent.stop().await;
}

async fn needs_an_image() {
    let (api, data) = (FakeApi::new(), tempfile::tempdir().unwrap());
    let agent = Agent::start(&api, data.path());
    let mut image = pod("d", json!({ "image": "nginx" }));
    image["spec"].as_object_mut().unwrap().remove("runtimeClassName");
    api.put("pods", image);
    let waits = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerRuntimeMissing"
            && pod["status"]["phase"] == "Pending"
    };
    api.until("pods", "d", "waits", waits).await;
    api.until_event("ContainerRuntimeMissing").await;
    api.put("pods", pod("e", json!({ "command": ["no-such-command"] })));
    let fails = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    let failed = api.until("pods", "e", "backs off", fails).await;
    let message = failed["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.contains("command \"no-such-command\" not found in PATH="), "{message}");
    delete(&api, "e");
    api.until("pods", "e", "gone", Value::is_null).await;
    agent.stop().await;
}

/// A startup probe keeps the others waiting; a liveness probe that fails restarts; each says so.
async fn probes_gate_and_restart() {
    let (api, data) = (FakeApi::new(), tempfile::tempdir().unwrap());
    let agent = Agent::start(&api, data.path());
    let test = |expression: &str| json!({ "exec": { "command": ["sh", "-c", format!("test {expression}")] }, "periodSeconds": 1, "failureThreshold": 1 });
    let mut startup = test("-e started -a -e alive");
    startup["failureThreshold"] = 60.into();
    let container = json!({
        "command": ["sh", "-c", "touch alive; sleep 1000"],
        "startupProbe": startup, "livenessProbe": test("-e alive"), "readinessProbe": test("! -e busy"),
    });
    api.put("pods", pod("p", container));
    let status = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
    let event = api.until_event("Unhealthy").await;
    assert!(event["message"].as_str().unwrap().starts_with("Startup probe failed: command"), "{event}");
    let pending = status(&api.get("pods", "p").unwrap());
    assert_eq!((&pending["started"], &pending["ready"]), (&json!(false), &json!(false)), "gated by its startup probe");
    let work = data.path().join("pods/uid-p/containers/main/work");
    std::fs::write(work.join("started"), "").unwrap();
    let ready = api.until_ready("p").await;
    assert_eq!(status(&ready)["started"], true);
    std::fs::write(work.join("busy"), "").unwrap();
    api.until("pods", "p", "unready", |pod| status(pod)["ready"] == false && status(pod)["restartCount"] == 0).await;
    std::fs::remove_file(work.join("alive")).unwrap();
    api.until("pods", "p", "restarted", |pod| status(pod)["restartCount"] == 1).await;
    let killing = api.until_event("Killing").await;
    assert!(killing["message"].as_str().unwrap().contains("failed liveness probe, will be restarted"), "{killing}");
    delete(&api, "p");
    api.until("pods", "p", "gone", Value::is_null).await;
    agent.stop().await;
}

async fn hooks_run() {
    let (api, data) = (FakeApi::new(), tempfile::tempdir().unwrap());
    let agent = Agent::start(&api, data.path());
    let note = |what: &str| format!("echo {what} >> {}", data.path().join("notes").display());
    let exec = |command: String| json!({ "exec": { "command": ["sh", "-c", command] } });
    let container = json!({
        "command": ["sh", "-c", format!("trap '{}; exit 0' TERM; while :; do sleep 0.01; done", note("terminated"))],
        "lifecycle": { "postStart": exec(note("started")), "preStop": exec(format!("sleep 0.2; {}", note("stopping"))) },
    });
    api.put("pods", pod("h", container));
    api.until_ready("h").await;
    delete(&api, "h");
    api.until("pods", "h", "gone", Value::is_null).await;
    let notes = std::fs::read_to_string(data.path().join("notes")).unwrap();
    assert_eq!(notes, "started\nstopping\nterminated\n");

    // Hooks that fail: before the stop it is told, after the start it ends the container.
    let container = json!({ "lifecycle": { "preStop": exec("echo no; exit 4".to_owned()) } });
    api.put("pods", pod("i", container));
    api.until_ready("i").await;
    delete(&api, "i");
    api.until("pods", "i", "gone", Value::is_null).await;
    let event = api.until_event("FailedPreStopHook").await;
    assert!(event["message"].as_str().unwrap().contains("exited with 4: no"), "{event}");
    api.put("pods", pod("j", json!({ "lifecycle": { "postStart": exec("exit 5".to_owned()) } })));
    let restarted = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_i64() > Some(0);
    api.until("pods", "j", "restarted", restarted).await;
    api.until_event("FailedPostStartHook").await;
    delete(&api, "j");
    api.until("pods", "j", "gone", Value::is_null).await;

    // The wait that rolling updates use, as long as it was asked for.
    api.put("pods", pod("k", json!({ "lifecycle": { "preStop": { "sleep": { "seconds": 1 } } } })));
    api.until_ready("k").await;
    let begun = std::time::Instant::now();
    delete(&api, "k");
    api.until("pods", "k", "gone", Value::is_null).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    agent.stop().await;
}

/// The listener of a Service that was created a moment ago may end up on another port than the Service asks for.
async fn waits_for_listeners() {
    let (api, data) = (FakeApi::new(), tempfile::tempdir().unwrap());
    let created = jiff::Timestamp::now();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "web", "namespace": "default", "uid": "uid-web", "creationTimestamp": created },
        "spec": { "clusterIP": "127.77.0.9", "ports": [{ "name": "http", "port": 80 }] },
    });
    api.put("services", service);
    let agent = Agent::start(&api, data.path());
    api.put("pods", pod("s", json!({ "command": ["sh", "-c", "echo $WEB_SERVICE_PORT; sleep 1000"] })));
    api.until("pods", "s", "seen", |pod| pod["status"]["podIP"].is_string()).await;
    let listen = json!({ "metadata": { "annotations": { "kapell.dev/listen": "http=127.77.0.9:41234" } } });
    api.patch("services", "web", &listen);
    api.until_ready("s").await;
    let logged = async {
        let log = data.path().join("pods/uid-s/containers/main/logs/0.log");
        loop {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if text.ends_with('\n') {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    let text = tokio::time::timeout(PATIENCE, logged).await.expect("it says what it was told");
    assert!(text.ends_with("41234\n"), "{text}");
    delete(&api, "s");
    api.until("pods", "s", "gone", Value::is_null).await;
    agent.stop().await;
}

async fn backs_off_across_agents() {
    let (api, data) = (FakeApi::new(), tempfile::tempdir().unwrap());
    let agent = Agent::start(&api, data.path());
    api.put("pods", pod("f", json!({ "command": ["false"] })));
    let waits = |pause: &'static str| {
        move |pod: &Value| {
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            waiting["message"].as_str().is_some_and(|message| message.starts_with(pause))
        }
    };
    api.until("pods", "f", "backs off", waits("back-off 10s")).await;
    agent.stop().await;
    // As after many restarts, which would take a test too long.
    let file = data.path().join("pods/uid-f/agent.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(record["restartsInRow"]["main"], 1);
    record["restartsInRow"]["main"] = 4.into();
    std::fs::write(&file, serde_json::to_vec(&record).unwrap()).unwrap();
    let agent = Agent::start(&api, data.path());
    api.until("pods", "f", "backs off where it was", waits("back-off 1m 20s")).await;
    delete(&api, "f");
    api.until("pods", "f", "gone", Value::is_null).await;
    agent.stop().await;
}

/// Somebody takes the node for dead, as the node lifecycle controller does when the machine was asleep.
async fn answers_for_its_node() {
    let (api, data) = (FakeApi::new(), tempfile::tempdir().unwrap());
    let agent = Agent::start(&api, data.path());
    let is_ready = |node: &Value| {
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True" && c["reason"] == "AgentReady")
    };
    let mut node = api.until("nodes", "node", "ready", is_ready).await;
    api.until("leases", "node", "alive", |lease| lease["spec"]["holderIdentity"] == "node").await;
    for condition in node["status"]["conditions"].as_array_mut().unwrap() {
        condition["status"] = "Unknown".into();
        condition["reason"] = "NodeStatusUnknown".into();
    }
    api.patch("nodes", "node", &json!({ "status": node["status"] }));
    api.until("nodes", "node", "ready again", is_ready).await;
    api.remove("nodes", "node");
    api.until("nodes", "node", "registered again", is_ready).await;
    agent.stop().await;
}
