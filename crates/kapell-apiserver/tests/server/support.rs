//! A server over the model store and ways to talk to it.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use kapell_api::net::LoopbackBlock;
use kapell_apiserver::{ApiServer, Config, Identity};
use kapell_store::Store;
use kapell_store::memory::MemoryStore;
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) struct Api {
    pub(crate) server: ApiServer,
    pub(crate) store: Arc<dyn Store>,
}

/// An answer, body read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("not JSON: {:?}", self.bytes))
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.headers.get_all("warning").iter().map(|v| v.to_str().unwrap().to_owned()).collect()
    }

    /// Asserts the code and returns the body.
    #[track_caller]
    pub(crate) fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code.as_u16(), code, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }
}

impl Api {
    pub(crate) async fn start() -> Self {
        Self::over(Arc::new(MemoryStore::new())).await
    }

    pub(crate) async fn over(store: Arc<dyn Store>) -> Self {
        Self::with(Config::new("secret"), store).await
    }

    pub(crate) async fn with(mut config: Config, store: Arc<dyn Store>) -> Self {
        config.block = LoopbackBlock::new(7);
        config.advertise = Some(([127, 0, 0, 1], 6443).into());
        let server = ApiServer::new(config, store.clone()).await.unwrap();
        Self { server, store }
    }

    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::new(self.server.service(Identity::internal("test")), "default")
    }

    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.request_as(Identity::internal("test"), method, path, headers, body).await
    }

    /// A request by somebody who is not one of our own services.
    pub(crate) async fn request_as(
        &self,
        who: Identity,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let response = self.open(who, method, path, headers, body).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { code: head.status, headers: head.headers, bytes }
    }

    async fn open(
        &self,
        who: Identity,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.into())).unwrap();
        self.server.service(who).oneshot(request).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::POST, path, &[], body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::PUT, path, &[], body.to_string()).await
    }

    /// `form` is `merge`, `strategic-merge` or `json`.
    pub(crate) async fn patch(&self, path: &str, form: &str, body: &Value) -> Answer {
        let media_type = match form {
            "json" => "application/json-patch+json".to_owned(),
            form => format!("application/{form}-patch+json"),
        };
        self.request(Method::PATCH, path, &[("content-type", &media_type)], body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Answer {
        self.request(Method::DELETE, path, &[], if options.is_null() { String::new() } else { options.to_string() })
            .await
    }

    /// Creates a ConfigMap in `default` and returns it.
    pub(crate) async fn config_map(&self, name: &str, labels: Value) -> Value {
        let object = json!({"metadata": {"name": name, "labels": labels}, "data": {"k": "v"}});
        self.post(CONFIG_MAPS, &object).await.expect(201)
    }

    pub(crate) async fn watch(&self, path_and_query: &str) -> Events {
        self.watch_as(path_and_query, "application/json").await
    }

    pub(crate) async fn watch_as(&self, path_and_query: &str, accept: &str) -> Events {
        let response =
            self.open(Identity::internal("test"), Method::GET, path_and_query, &[("accept", accept)], "").await;
        assert_eq!(response.status(), StatusCode::OK);
        Events { stream: response.into_body().into_data_stream(), buffer: Vec::new() }
    }
}

pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
pub(crate) const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
pub(crate) const SERVICES: &str = "/api/v1/namespaces/default/services";

/// A watch, line by line.
pub(crate) struct Events {
    stream: axum::body::BodyDataStream,
    buffer: Vec<u8>,
}

impl Events {
    /// The next event; `None` when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let more = tokio::time::timeout(std::time::Duration::from_secs(20), self.stream.next());
            self.buffer.extend_from_slice(&more.await.expect("an event in time")?.unwrap());
        }
    }

    /// `TYPE name` of the next event.
    pub(crate) async fn summary(&mut self) -> String {
        let event = self.next().await.expect("another event");
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or("-");
        format!("{} {name}", event["type"].as_str().unwrap())
    }
}

pub(crate) fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|v| v.parse().ok())
        .unwrap_or_else(|| panic!("no resourceVersion: {object}"))
}

pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"runtimeClassName": "process", "containers": [{"name": "main", "command": ["true"]}]},
    })
}

pub(crate) fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod("x")["spec"]},
        },
    })
}
