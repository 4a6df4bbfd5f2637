//! What the conformance cases share: one server for all cases that run at the same time, a namespace for each case, and
//! requests as they go over the wire.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

use crate::{Kapell, LIMIT, eventually_async, run};

pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";

/// How long nothing has to happen before a case believes that it does not happen. Too short can only hide a failure.
pub const QUIET: Duration = Duration::from_millis(300);

/// One case: its own namespace on a server that it may share.
pub struct Case {
    pub kapell: Arc<Kapell>,
    pub namespace: String,
    client: kube::Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// Insists on the code and gives the body.
    #[track_caller]
    pub fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("not JSON: {error}: {}", self.text))
    }

    /// Insists on success and gives the body.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.code), "{}: {}", self.code, self.text);
        self.expect(self.code)
    }

    pub fn warnings(&self) -> Vec<&str> {
        self.headers.get_all("warning").iter().filter_map(|value| value.to_str().ok()).collect()
    }
}

/// The server of all cases that run now: the first starts it, the last stops it.
fn shared() -> Arc<Kapell> {
    static SHARED: Mutex<Weak<Kapell>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kapell) = shared.upgrade() {
        return kapell;
    }
    let kapell = Arc::new(Kapell::start());
    *shared = Arc::downgrade(&kapell);
    kapell
}

async fn client(kapell: &Kapell) -> kube::Client {
    let mut config = kapell.config().await;
    // A refusal is an answer that a case is about, and nothing to try again.
    config.default_retry = false;
    kube::Client::try_from(config).expect("a client")
}

impl Case {
    /// With a namespace of its own, in which pods can be created.
    pub async fn new() -> Self {
        Self::on(shared()).await
    }

    /// On a server of its own, for what would disturb the others.
    pub async fn alone() -> Self {
        Self::on(Arc::new(Kapell::start())).await
    }

    async fn on(kapell: Arc<Kapell>) -> Self {
        static CASES: AtomicUsize = AtomicUsize::new(0);
        let client = client(&kapell).await;
        let namespace = format!("case-{}", CASES.fetch_add(1, Ordering::Relaxed));
        let case = Self { kapell, namespace, client };
        case.post("/api/v1/namespaces", &json!({"metadata": {"name": case.namespace}})).await.expect(201);
        let account = format!("{}/default", case.path("v1", "serviceaccounts"));
        eventually_async("the account default is there", || async {
            (case.get(&account).await.code == 200).then_some(())
        })
        .await;
        case
    }

    /// Kills the server, which has to be the case's own, and starts it again.
    pub async fn kill_and_restart(&mut self) {
        let kapell = Arc::get_mut(&mut self.kapell).expect("a server of its own");
        kapell.kill();
        kapell.restart();
        self.client = client(&self.kapell).await;
    }

    /// The path of a collection in this case's namespace; `group_version` is `v1` or `apps/v1`.
    pub fn path(&self, group_version: &str, plural: &str) -> String {
        format!("{}/namespaces/{}/{plural}", base(group_version), self.namespace)
    }

    pub async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let (head, body) = self.open(method, path, headers, body).await;
        let bytes = body.collect().await.expect("the answer does not break off").to_bytes();
        Answer { code: head.status.as_u16(), headers: head.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (http::response::Parts, Body) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).expect("a request");
        self.client.send(request).await.expect("the server answers").into_parts()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], Vec::new()).await
    }

    pub async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.request(Method::GET, path, &[("accept", accept)], Vec::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.request(Method::POST, path, &json, body.to_string().into_bytes()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.request(Method::PUT, path, &json, body.to_string().into_bytes()).await
    }

    /// `form` is one of the content types above.
    pub async fn patch(&self, path: &str, form: &str, body: &Value) -> Answer {
        self.request(Method::PATCH, path, &[("content-type", form)], body.to_string().into_bytes()).await
    }

    pub async fn merge(&self, path: &str, body: &Value) -> Answer {
        self.patch(path, MERGE, body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path, &[], Vec::new()).await
    }

    pub async fn delete_with(&self, path: &str, options: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.request(Method::DELETE, path, &json, options.to_string().into_bytes()).await
    }

    /// Gets an object, changes it and puts it back; again when somebody else has written in between, as clients do.
    pub async fn update(&self, path: &str, change: impl Fn(&mut Value)) -> Value {
        eventually_async(&format!("an update of {path} passes"), || async {
            let mut object = self.get(path).await.expect(200);
            change(&mut object);
            let answer = self.put(path, &object).await;
            (answer.code != 409).then(|| answer.expect(200))
        })
        .await
    }

    /// The items of a list.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).await.expect(200);
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// The node of this server, and not one that a case has written down.
    pub async fn node(&self) -> String {
        let nodes = self.list("/api/v1/nodes?labelSelector=kubernetes.io/hostname").await;
        nodes[0]["metadata"]["name"].as_str().expect("objects have names").to_owned()
    }

    /// Until `path` looks as it should.
    pub async fn until(&self, what: &str, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually_async(what, || async {
            let answer = self.get(path).await;
            let body = serde_json::from_str(&answer.text).unwrap_or_default();
            (answer.code == 200 && holds(&body)).then_some(body)
        })
        .await
    }

    /// Creates a pod and gives back what its only container has said when it has ended well.
    pub async fn output(&self, name: &str, spec: Value) -> String {
        let pods = self.path("v1", "pods");
        self.post(&pods, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
        let ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let pod = self.until(&format!("{name} has ended"), &format!("{pods}/{name}"), ended).await;
        let said = self.get(&format!("{pods}/{name}/log")).await.text;
        assert_eq!(pod["status"]["phase"], "Succeeded", "{said}\n{pod:#}");
        said
    }

    pub async fn until_gone(&self, path: &str) {
        eventually_async(&format!("{path} is gone"), || async { (self.get(path).await.code == 404).then_some(()) })
            .await;
    }

    /// What a shell in a container says; `pod` may have `-c CONTAINER` behind it.
    pub fn shell(&self, pod: &[&str], script: &str) -> String {
        let mut command = self.kapell.command();
        // Ours go first: what follows `--` is not ours.
        command.arg("--data").arg(self.kapell.data()).args(["exec", "-n", &self.namespace]);
        command.args(pod).args(["--", "sh", "-c", script]);
        run(command, None).ok().stdout
    }

    /// Watches a path; `query` begins behind `watch=true`.
    pub async fn watch(&self, path: &str, query: &str) -> Watch {
        let (head, body) = self.open(Method::GET, &format!("{path}?watch=true{query}"), &[], Vec::new()).await;
        assert_eq!(head.status, 200, "{path}");
        Watch { body, buffer: Vec::new() }
    }
}

/// `/api/v1`, `/apis/apps/v1`.
pub fn base(group_version: &str) -> String {
    if group_version.contains('/') { format!("/apis/{group_version}") } else { format!("/api/{group_version}") }
}

/// The events of a watch.
pub struct Watch {
    body: Body,
    buffer: Vec<u8>,
}

impl Watch {
    /// The next event. Panics when none comes in time.
    pub async fn next(&mut self) -> Value {
        tokio::time::timeout(LIMIT, self.read()).await.expect("an event in time").expect("the watch goes on")
    }

    /// `ADDED name`, `DELETED name` and the like, of the next event.
    pub async fn told(&mut self) -> String {
        let event = self.next().await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{} {}", text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }

    /// Waits for the event, passing over others.
    pub async fn until(&mut self, told: &str) {
        while self.told().await != told {}
    }

    /// Insists that nothing is told for a while.
    pub async fn quiet(&mut self) {
        if let Ok(Some(event)) = tokio::time::timeout(QUIET, self.read()).await {
            panic!("nothing was to be told, but {event}");
        }
    }

    async fn read(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("events are JSON"));
            }
            let frame = self.body.frame().await?.expect("the watch does not break off");
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

/// What every kind can do, tried on one of them: discovery, create, get, list, watch, patch, update, the status where
/// there is one, delete, deletecollection.
pub struct Operations<'a> {
    /// `v1` or `apps/v1`.
    pub group_version: &'a str,
    pub plural: &'a str,
    pub namespaced: bool,
    /// Without `metadata`.
    pub object: Value,
    /// What is written to the status, if there is a subresource for it.
    pub status: Option<Value>,
}

impl Operations<'_> {
    pub async fn check(&self, case: &Case) {
        self.is_discovered(case).await;
        let collection = if self.namespaced {
            case.path(self.group_version, self.plural)
        } else {
            format!("{}/{}", base(self.group_version), self.plural)
        };
        // Cluster-wide objects of several cases live side by side.
        let label = format!("case%3D{}", case.namespace);
        let selected = format!("{collection}?labelSelector={label}");
        let name = |letter: &str| format!("{letter}-{}", case.namespace);
        let one = |letter: &str| format!("{collection}/{letter}-{}", case.namespace);

        let before = case.get(&selected).await.expect(200);
        let from = before["metadata"]["resourceVersion"].as_str().expect("a list has a version").to_owned();
        let mut watch = case.watch(&collection, &format!("&resourceVersion={from}&labelSelector={label}")).await;
        for letter in ["a", "b", "c"] {
            let mut object = self.object.clone();
            object["metadata"] = json!({"name": name(letter), "labels": {"case": case.namespace}});
            let made = case.post(&collection, &object).await.expect(201);
            assert!(made["metadata"]["uid"].is_string() && made["metadata"]["creationTimestamp"].is_string(), "{made}");
            watch.until(&format!("ADDED {}", name(letter))).await;
        }
        case.post(&collection, &with_name(&self.object, &name("a"))).await.expect(409);
        assert_eq!(case.get(&one("a")).await.expect(200)["metadata"]["name"], json!(name("a")));
        assert_eq!(case.list(&selected).await.len(), 3);
        if self.namespaced {
            let everywhere = format!("{}/{}?labelSelector={label}", base(self.group_version), self.plural);
            assert_eq!(case.list(&everywhere).await.len(), 3);
        }

        let patch = json!({"metadata": {"annotations": {"patched": "true"}}});
        let patched = case.merge(&one("a"), &patch).await.expect(200);
        assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
        watch.until(&format!("MODIFIED {}", name("a"))).await;
        self.is_updated(case, &one("a")).await;
        watch.until(&format!("MODIFIED {}", name("a"))).await;
        if let Some(status) = &self.status {
            self.keeps_status(case, &one("a"), status).await;
        }

        case.delete(&one("a")).await.ok();
        watch.until(&format!("DELETED {}", name("a"))).await;
        case.get(&one("a")).await.expect(404);
        assert_eq!(case.list(&selected).await.len(), 2);
        case.delete(&selected).await.expect(200);
        eventually_async("the collection is deleted", || async { case.list(&selected).await.is_empty().then_some(()) })
            .await;
    }

    async fn is_discovered(&self, case: &Case) {
        if let Some((group, version)) = self.group_version.split_once('/') {
            let groups = case.get("/apis").await.expect(200);
            let found = groups["groups"].as_array().unwrap().iter().find(|found| found["name"] == group);
            let versions = found.unwrap_or_else(|| panic!("no group {group}"))["versions"].as_array().unwrap().clone();
            assert!(versions.iter().any(|found| found["version"] == version), "{versions:?}");
            case.get(&format!("/apis/{group}")).await.expect(200);
        }
        let resources = case.get(&base(self.group_version)).await.expect(200);
        let named = |name: &str| {
            let found = resources["resources"].as_array().unwrap().iter().find(|found| found["name"] == name);
            found.unwrap_or_else(|| panic!("no {name} in {resources}")).clone()
        };
        for verb in ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"] {
            assert!(named(self.plural)["verbs"].as_array().unwrap().contains(&json!(verb)), "{verb}");
        }
        if self.status.is_some() {
            named(&format!("{}/status", self.plural));
        }
    }

    async fn is_updated(&self, case: &Case, path: &str) {
        let updated = case.update(path, |object| object["metadata"]["annotations"]["updated"] = json!("true")).await;
        let annotations = &updated["metadata"]["annotations"];
        assert_eq!((&annotations["updated"], &annotations["patched"]), (&json!("true"), &json!("true")));
    }

    async fn keeps_status(&self, case: &Case, path: &str, status: &Value) {
        let path = format!("{path}/status");
        let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}}, "status": status});
        let patched = case.merge(&path, &patch).await.expect(200);
        assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true");
        assert_contains(&patched["status"], status);
        let change = |object: &mut Value| {
            object["metadata"]["annotations"]["updatedstatus"] = json!("true");
            object["status"] = patched["status"].clone();
        };
        let updated = case.update(&path, change).await;
        assert_eq!(updated["metadata"]["annotations"]["updatedstatus"], "true");
        assert_contains(&updated["status"], status);
    }
}

fn with_name(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object["metadata"] = json!({"name": name});
    object
}

/// Adds to `status.conditions`.
pub fn add_condition(object: &mut Value, condition: Value) {
    let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.push(condition);
    object["status"]["conditions"] = json!(conditions);
}

/// Every field of `expected` is in `found`, with its value.
#[track_caller]
pub fn assert_contains(found: &Value, expected: &Value) {
    match expected {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| assert_contains(&found[name], value)),
        plain => assert_eq!(found, plain),
    }
}

/// A specification of pods that can be created but need not start: their image would need a container runtime.
pub fn idle_pod_spec() -> Value {
    json!({"containers": [{"name": "idle", "image": "registry.k8s.io/pause:3.10"}]})
}

/// A specification of pods that run until they are stopped.
pub fn running_pod_spec() -> Value {
    json!({
        "runtimeClassName": "process", "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "command": ["sleep", "1000"]}],
    })
}

/// A controller's object: `replicas` pods that need not start, labelled `app: NAME`.
pub fn workload(name: &str, replicas: u32, pods: Value) -> Value {
    let labels = json!({"app": name});
    json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pods},
        },
    })
}

/// As [`workload`], for ReplicationControllers, whose selectors are plain labels.
pub fn replication_controller(name: &str, replicas: u32, pods: Value) -> Value {
    let mut object = workload(name, replicas, pods);
    object["spec"]["selector"] = json!({"app": name});
    object
}
