//! The whole engine against a small API server: objects in, calls out, statuses back.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kapell_store::memory::MemoryStore;
use kapell_store::{Store, StreamId};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::{CallFailure, Config, Engine, ServiceCaller};

/// Just enough of an API server: list and watch of both kinds, merge patches, finalizers.
pub(super) struct FakeApi {
    state: Mutex<State>,
    changes: broadcast::Sender<(String, Value)>,
    /// Grows with each change, for tests that wait.
    version: watch::Sender<u64>,
    /// How often a run of this name is not deleted when that is asked for.
    pub(super) stubborn: Mutex<BTreeMap<String, u32>>,
}

#[derive(Default)]
struct State {
    /// By plural and name; everything is in the namespace `default`.
    objects: BTreeMap<(String, String), Value>,
    version: u64,
}

type Response = http::Response<UnsyncBoxBody<Bytes, Infallible>>;

impl FakeApi {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changes: broadcast::channel(1024).0,
            version: watch::Sender::new(0),
            stubborn: Mutex::default(),
        })
    }

    fn client(self: &Arc<Self>) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    pub(super) fn write(&self, plural: &str, name: &str, change: impl FnOnce(&mut Value)) -> Option<Value> {
        let mut state = self.state.lock();
        let key = (plural.to_owned(), name.to_owned());
        let mut object = state.objects.get(&key).cloned().unwrap_or(Value::Null);
        let is_new = object.is_null();
        change(&mut object);
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let no_finalizers = object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        let kind = if object["metadata"]["deletionTimestamp"].is_string() && no_finalizers {
            state.objects.remove(&key);
            "DELETED"
        } else {
            state.objects.insert(key, object.clone());
            if is_new { "ADDED" } else { "MODIFIED" }
        };
        let _ = self.changes.send((plural.to_owned(), json!({ "type": kind, "object": object })));
        self.version.send_replace(state.version);
        Some(object)
    }

    fn create(&self, plural: &str, kind: &str, name: &str, uid: u128, spec: Value) {
        let uid = uuid::Uuid::from_u128(uid).to_string();
        self.write(plural, name, |object| {
            let metadata = json!({ "name": name, "namespace": "default", "uid": uid });
            *object = json!({ "apiVersion": "kapell.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec });
        });
    }

    pub(super) fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.state.lock().objects.get(&(plural.to_owned(), name.to_owned())).cloned()
    }

    /// Waits until the run is as wanted (or gone, `None`).
    pub(super) async fn until(&self, name: &str, mut wanted: impl FnMut(Option<&Value>) -> bool) -> Option<Value> {
        let mut version = self.version.subscribe();
        loop {
            version.borrow_and_update();
            let object = self.get("workflowruns", name);
            if wanted(object.as_ref()) {
                return object;
            }
            let changed = tokio::time::timeout(std::time::Duration::from_secs(20), version.changed());
            assert!(changed.await.is_ok(), "stuck at {object:#?}");
        }
    }

    pub(super) async fn ended(&self, name: &str) -> Value {
        let ended = |run: Option<&Value>| {
            run.is_some_and(|run| {
                let phase = run["status"]["phase"].as_str().unwrap_or_default();
                ["Completed", "Faulted", "Cancelled"].contains(&phase)
            })
        };
        self.until(name, ended).await.unwrap_or_default()
    }

    async fn answer(&self, request: http::Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
        match (parts.method.as_str(), path.as_slice()) {
            ("GET", ["apis", _, _, plural]) => self.watch(plural),
            ("GET", ["apis", _, _, "namespaces", _, plural, name]) => {
                self.get(plural, name).map_or_else(|| status(404), |object| full(200, &object))
            }
            ("PATCH", ["apis", _, _, "namespaces", _, plural, name, sub @ ..]) => {
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let patch: Value = serde_json::from_slice(&body).unwrap_or_default();
                if self.get(plural, name).is_none() {
                    return status(404);
                }
                let stale = |object: Value| {
                    let wanted = &patch["metadata"]["resourceVersion"];
                    !wanted.is_null() && *wanted != object["metadata"]["resourceVersion"]
                };
                if self.get(plural, name).is_some_and(stale) {
                    return status(409);
                }
                let parts: &[&str] = if sub == ["status"] { &["metadata", "status"] } else { &["metadata"] };
                let change = |object: &mut Value| {
                    for part in parts.iter().filter(|part| !patch[**part].is_null()) {
                        merge(&mut object[*part], &patch[*part]);
                    }
                };
                match self.write(plural, name, change) {
                    Some(object) => full(200, &object),
                    None => status(404),
                }
            }
            ("DELETE", ["apis", _, _, "namespaces", _, plural, name]) => {
                if let Some(times) = self.stubborn.lock().get_mut(*name).filter(|times| **times > 0) {
                    *times -= 1;
                    return status(503);
                }
                let deleted = json!("2026-01-01T00:00:00Z");
                match self.write(plural, name, |object| object["metadata"]["deletionTimestamp"] = deleted) {
                    Some(object) => full(200, &object),
                    None => status(404),
                }
            }
            _ => status(405),
        }
    }

    /// A watch that begins with the present objects.
    fn watch(&self, plural: &str) -> Response {
        let plural = plural.to_owned();
        let state = self.state.lock();
        let changes = self.changes.subscribe();
        let kind = if plural == "workflows" { "Workflow" } else { "WorkflowRun" };
        let present = state.objects.iter().filter(|((of, _), _)| *of == plural);
        let mut initial: Vec<Value> = present.map(|(_, object)| json!({ "type": "ADDED", "object": object })).collect();
        let annotations = json!({ "k8s.io/initial-events-end": "true" });
        let metadata = json!({ "resourceVersion": state.version.to_string(), "annotations": annotations });
        initial.push(json!({ "type": "BOOKMARK", "object": {
            "apiVersion": "kapell.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": {},
        } }));
        let later = futures::stream::unfold((changes, plural), |(mut changes, plural)| async move {
            loop {
                match changes.recv().await {
                    Ok((of, event)) if of == plural => return Some((event, (changes, plural))),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        });
        let frames = futures::stream::iter(initial)
            .chain(later)
            .map(|event| Ok(http_body::Frame::data(Bytes::from(format!("{event}\n")))));
        http::Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

fn full(code: u16, value: &Value) -> Response {
    let mut response = http::Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}

fn status(code: u16) -> Response {
    full(
        code,
        &json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "", "reason": "", "code": code }),
    )
}

fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (key, patch) in patch {
        if patch.is_null() {
            value.as_object_mut().map(|value| value.remove(key));
        } else {
            merge(&mut value[key], patch);
        }
    }
}

/// `/ok` answers, `/bad` answers 500, everything else never.
#[derive(Default)]
struct Services {
    seen: Mutex<Vec<String>>,
}

#[async_trait]
impl ServiceCaller for Services {
    async fn call(
        &self,
        namespace: &str,
        request: http::Request<Bytes>,
        _deadline: Option<Instant>,
    ) -> Result<http::Response<Bytes>, CallFailure> {
        let path = request.uri().path().to_owned();
        self.seen.lock().push(format!("{namespace}{path}"));
        let code = match path.as_str() {
            "/ok" => 200,
            "/bad" => 500,
            _ => std::future::pending().await,
        };
        Ok(http::Response::builder().status(code).body(Bytes::from_static(b"said")).unwrap_or_default())
    }
}

pub(super) struct Server {
    pub(super) api: Arc<FakeApi>,
    pub(super) store: Arc<dyn Store>,
    services: Arc<Services>,
}

impl Server {
    pub(super) fn new() -> Self {
        Self { api: FakeApi::new(), store: Arc::new(MemoryStore::new()), services: Arc::default() }
    }

    pub(super) fn workflow(&self, name: &str, tasks: Value) {
        let document = json!({ "dsl": "1.0.0", "namespace": "t", "name": name, "version": "1.0.0" });
        self.api.create("workflows", "Workflow", name, 1, json!({ "document": document, "do": tasks }));
    }

    /// With our settings in its head.
    pub(super) fn workflow_with(&self, name: &str, settings: Value, tasks: Value) {
        let metadata = json!({ "kapell.dev/v1": settings });
        let document =
            json!({ "dsl": "1.0.0", "namespace": "t", "name": name, "version": "1.0.0", "metadata": metadata });
        self.api.create("workflows", "Workflow", name, 1, json!({ "document": document, "do": tasks }));
    }

    pub(super) fn run(&self, name: &str, uid: u128, workflow: &str) {
        self.api.create("workflowruns", "WorkflowRun", name, uid, json!({ "workflow": workflow, "input": { "n": 1 } }));
    }

    /// Runs an engine during `test`, then shuts it down.
    pub(super) async fn during<F: Future>(&self, config: Config, test: impl FnOnce(Arc<Engine>) -> F) -> F::Output {
        let engine = Arc::new(Engine::new(config, self.api.client(), self.store.clone(), self.services.clone()));
        let shutdown = CancellationToken::new();
        let running = tokio::spawn({
            let (engine, shutdown) = (engine.clone(), shutdown.clone());
            async move { engine.run(shutdown).await }
        });
        let output = test(engine).await;
        shutdown.cancel();
        running.await.unwrap();
        output
    }

    pub(super) fn quick() -> Config {
        Config { drain: std::time::Duration::ZERO, ..Config::default() }
    }
}

pub(super) fn call(path: &str) -> Value {
    json!({ "call": "http", "with": { "method": "get", "endpoint": format!("http://service{path}") } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_completes_and_says_so() {
    let server = Server::new();
    server.workflow("w", json!([{ "a": call("/ok") }, { "b": { "set": { "got": "${ . }" } } }]));
    server.run("r", 7, "w");
    server
        .during(Server::quick(), async |engine| {
            let run = server.api.ended("r").await;
            assert_eq!(run["status"]["phase"], "Completed");
            assert_eq!(run["status"]["output"], json!({ "got": "said" }));
            assert_eq!(run["status"]["compensation"], "None");
            let timeline = engine.timeline(run["metadata"]["uid"].as_str().unwrap()).await.unwrap();
            assert_eq!(timeline["items"].as_array().unwrap().len(), 2);
        })
        .await;
    assert_eq!(*server.services.seen.lock(), ["default/ok"]);
    assert_eq!(server.store.open_streams().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_its_workflow() {
    let server = Server::new();
    server.run("r", 7, "w");
    server
        .during(Server::quick(), async |_| {
            let waits = |run: Option<&Value>| run.is_some_and(|run| run["status"]["phase"] == "Pending");
            let run = server.api.until("r", waits).await.unwrap();
            assert_eq!(run["status"]["waitingFor"], "Workflow w does not exist in namespace default");
            server.workflow("w", json!([{ "a": { "set": { "b": 1 } } }]));
            assert_eq!(server.api.ended("r").await["status"]["phase"], "Completed");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulted_run_shows_its_error_and_that_it_was_undone() {
    let server = Server::new();
    let undo = json!({ "kapell.dev/v1": { "compensate": [{ "undo": call("/ok") }] } });
    server.workflow("w", json!([{ "a": { "set": {}, "metadata": undo } }, { "b": call("/bad") }]));
    server.run("r", 7, "w");
    let run = server.during(Server::quick(), async |_| server.api.ended("r").await).await;
    assert_eq!(run["status"]["phase"], "Faulted");
    assert_eq!(run["status"]["error"]["status"], 500);
    assert_eq!(run["status"]["error"]["instance"], "/do/1/b");
    assert_eq!(run["status"]["compensation"], "Done");
    assert_eq!(*server.services.seen.lock(), ["default/bad", "default/ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_on_request_and_by_deletion() {
    let server = Server::new();
    server.workflow("w", json!([{ "a": { "wait": "PT1H" } }]));
    server.run("asked", 7, "w");
    server.run("deleted", 8, "w");
    server
        .during(Server::quick(), async |_| {
            let running = |run: Option<&Value>| run.is_some_and(|run| run["status"]["phase"] == "Running");
            server.api.until("asked", running).await;
            server.api.until("deleted", running).await;
            server.api.write("workflowruns", "asked", |run| run["spec"]["cancel"] = json!(true));
            server.api.write("workflowruns", "deleted", |run| {
                run["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            });
            assert_eq!(server.api.ended("asked").await["status"]["phase"], "Cancelled");
            server.api.until("deleted", |run| run.is_none()).await;
        })
        .await;
    assert_eq!(server.store.read_stream(StreamId(8u128.to_be_bytes()), 0).await.unwrap().len(), 0);
    assert_eq!(server.store.open_streams().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_with_the_definition_that_the_run_began_with() {
    let server = Server::new();
    let event = json!({ "listen": { "to": { "one": { "with": { "type": "go" } } } } });
    server.workflow("w", json!([{ "a": call("/ok") }, { "pause": event }, { "b": { "set": { "old": true } } }]));
    server.run("r", 7, "w");
    let listens = |run: Option<&Value>| {
        run.is_some_and(|run| run["status"]["waitingFor"].as_str().is_some_and(|for_| for_.contains("listens")))
    };
    server.during(Server::quick(), async |_| drop(server.api.until("r", listens).await)).await;
    assert_eq!(server.store.open_streams().await.unwrap().len(), 1, "it has not ended");
    server.workflow("w", json!([{ "a": { "set": { "new": true } } }]));
    let run = server
        .during(Server::quick(), async |engine| {
            let headers = [("content-type", "application/cloudevents+json")];
            let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let event = json!({ "specversion": "1.0", "id": "1", "source": "/test", "type": "go" });
            let headers = http::HeaderMap::from_iter(headers);
            engine.ingest("default", &headers, event.to_string().as_bytes()).await.unwrap();
            server.api.ended("r").await
        })
        .await;
    assert_eq!(run["status"]["output"], json!({ "old": true }));
    assert_eq!(*server.services.seen.lock(), ["default/ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_is_explained_and_the_newest_run_waits_when_there_are_too_many() {
    let server = Server::new();
    server.workflow("sleep", json!([{ "a": { "wait": "PT1H" } }]));
    server.workflow("call", json!([{ "b": call("/never") }]));
    server.run("asleep", 6, "sleep");
    let config = Config { max_runs: 1, ..Server::quick() };
    server
        .during(config, async |engine| {
            let explained = |run: Option<&Value>| run.is_some_and(|run| run["status"]["waitingFor"].is_string());
            let run = server.api.until("asleep", explained).await.unwrap();
            assert!(run["status"]["waitingFor"].as_str().unwrap().starts_with("task a waits until "), "{run}");
            // A run that sleeps takes no place.
            server.run("first", 7, "call");
            server.api.until("first", in_phase("Running")).await;
            let full = engine.admit("default").unwrap_err().to_string();
            assert!(full.starts_with("1 runs have begun and not ended"), "{full}");
            server.run("second", 8, "call");
            let run = server.api.until("second", explained).await.unwrap();
            assert_eq!(run["status"]["phase"], "Pending");
            server.api.write("workflowruns", "first", |run| run["spec"]["cancel"] = json!(true));
            server.api.until("second", in_phase("Running")).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_does_not_compile_faults_its_runs() {
    let server = Server::new();
    server.workflow("w", json!([{ "a": { "run": { "container": {} } } }]));
    server.run("r", 7, "w");
    let run = server.during(Server::quick(), async |_| server.api.ended("r").await).await;
    assert_eq!(run["status"]["phase"], "Faulted");
    assert!(
        run["status"]["error"]["detail"]
            .as_str()
            .unwrap()
            .contains("`container` (this node has no container runtime) is not supported yet")
    );
}

pub(super) fn in_phase(phase: &str) -> impl FnMut(Option<&Value>) -> bool {
    move |run| run.is_some_and(|run| run["status"]["phase"] == phase)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulted_run_goes_on_with_a_given_output_also_after_a_restart() {
    let server = Server::new();
    server.workflow("w", json!([{ "a": call("/ok") }, { "b": call("/bad") }, { "c": { "wait": "PT1H" } }]));
    server.run("r", 7, "w");
    server
        .during(Server::quick(), async |_| {
            assert_eq!(server.api.ended("r").await["status"]["phase"], "Faulted");
            server
                .api
                .write("workflowruns", "r", |run| run["spec"]["retry"] = json!({ "number": 1, "from": "nobody" }));
            let run = server.api.until("r", |run| run.is_some_and(|run| run["status"]["retried"] == 1)).await.unwrap();
            assert_eq!(run["status"]["message"], "retry 1 was refused: the workflow has no task nobody");
            server.api.write("workflowruns", "r", |run| {
                run["spec"]["retry"] = json!({ "number": 2 });
                run["spec"]["skip"] = json!([{ "task": "b", "output": "given" }]);
            });
            let run = server.api.until("r", in_phase("Running")).await.unwrap();
            assert_eq!((&run["status"]["error"], &run["status"]["retried"]), (&Value::Null, &json!(2)));
        })
        .await;
    server
        .during(Server::quick(), async |_| {
            server.api.write("workflowruns", "r", |run| run["spec"]["suspend"] = json!(true));
            server.api.until("r", in_phase("Suspended")).await;
            server.api.write("workflowruns", "r", |run| run["spec"]["suspend"] = json!(false));
            server.api.until("r", in_phase("Running")).await;
            server.api.write("workflowruns", "r", |run| {
                run["spec"]["skip"] = json!([{ "task": "b", "output": "given" }, { "task": "c", "output": [1] }]);
            });
            let run = server.api.ended("r").await;
            assert_eq!(run["status"]["phase"], "Completed");
            assert_eq!(run["status"]["output"], json!([1]));
        })
        .await;
    assert_eq!(*server.services.seen.lock(), ["default/ok", "default/bad"]);
    assert_eq!(server.store.open_streams().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_runs_go_when_their_workflow_says_so() {
    let server = Server::new();
    server.workflow_with("few", json!({ "retention": { "runs": 1 } }), json!([{ "a": { "set": {} } }]));
    server.workflow_with(
        "brief",
        json!({ "retention": { "after": { "seconds": 0 } } }),
        json!([{ "a": { "set": {} } }]),
    );
    server
        .during(Server::quick(), async |_| {
            server.run("first", 7, "few");
            server.api.ended("first").await;
            server.run("second", 8, "few");
            server.api.until("first", |run| run.is_none()).await;
            server.api.ended("second").await;
            server.run("third", 9, "brief");
            // It may be gone before anybody sees it.
            server.api.until("third", |run| run.is_none()).await;
        })
        .await;
    // What the shutdown came before, the next start does.
    server
        .during(Server::quick(), async |_| {
            server.workflow("w", json!([{ "a": { "set": {} } }]));
            server.run("fourth", 10, "w");
            server.api.ended("fourth").await;
        })
        .await;
    assert!(server.api.get("workflowruns", "second").is_some());
    for uid in [7u128, 9] {
        assert_eq!(server.store.read_stream(StreamId(uid.to_be_bytes()), 0).await.unwrap().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_with_the_same_key_wait_for_each_other_also_across_a_restart() {
    let server = Server::new();
    let settings = json!({ "concurrency": { "key": "${ .n }" }, "searchAttributes": { "number": ".n" } });
    server.workflow_with("w", settings, json!([{ "a": { "wait": "PT1H" } }]));
    server.run("first", 7, "w");
    server
        .during(Server::quick(), async |_| {
            let run = server.api.until("first", in_phase("Running")).await.unwrap();
            assert_eq!(run["status"]["searchAttributes"], json!({ "number": 1 }));
        })
        .await;
    server.run("second", 8, "w");
    server
        .during(Server::quick(), async |_| {
            let run = server.api.until("second", in_phase("Pending")).await.unwrap();
            assert_eq!(run["status"]["waitingFor"], "the run that has the concurrency key 1");
            server.api.write("workflowruns", "first", |run| run["spec"]["cancel"] = json!(true));
            server.api.until("second", in_phase("Running")).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_sleeps_for_long_leaves_memory_and_comes_back_for_who_wants_it() {
    let server = Server::new();
    server.workflow("w", json!([{ "a": { "wait": "PT1H" } }, { "b": { "set": { "woke": true } } }]));
    server.run("r", 7, "w");
    server.run("s", 8, "w");
    let explained = |run: Option<&Value>| run.is_some_and(|run| run["status"]["waitingFor"].is_string());
    server
        .during(Server::quick(), async |engine| {
            server.api.until("r", explained).await;
            server.api.write("workflowruns", "r", |run| run["spec"]["suspend"] = json!(true));
            let resting = |run: Option<&Value>| run.is_some_and(|run| run["status"]["waitingFor"] == "to be resumed");
            let run = server.api.until("r", resting).await.unwrap();
            assert_eq!(run["status"]["phase"], "Suspended");
            server.api.until("s", explained).await;
            assert_eq!(engine.active_runs(), 2);
        })
        .await;
    assert_eq!(server.store.sleeping_streams().await.unwrap().len(), 2, "a restart need not replay them");
    server
        .during(Server::quick(), async |engine| {
            server.api.write("workflowruns", "r", |run| run["spec"]["suspend"] = json!(false));
            server.api.until("r", in_phase("Running")).await;
            server.api.write("workflowruns", "r", |run| run["spec"]["skip"] = json!([{ "task": "a", "output": {} }]));
            assert_eq!(server.api.ended("r").await["status"]["output"], json!({ "woke": true }));
            server.api.write("workflowruns", "s", |run| {
                run["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            });
            server.api.until("s", |run| run.is_none()).await;
            assert_eq!(engine.active_runs(), 0);
        })
        .await;
}
