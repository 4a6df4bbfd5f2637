//! The gateway against an API: watches in, patches out. The API here knows one Service and its slice, merges patches into
//! the Service and tells its watchers.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kapell_gateway::{CallOptions, Gateway, GatewayConfig};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

type Answer = UnsyncBoxBody<Bytes, Infallible>;

const SERVICES: &str = "/api/v1/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

/// Objects by the path of their collection, each version also a watch event.
struct FakeApi {
    service: watch::Sender<Value>,
    slice: watch::Sender<Value>,
    patches: Mutex<Vec<String>>,
}

impl FakeApi {
    fn new(service: Value, slice: Value) -> Arc<Self> {
        let (service, slice) = (watch::Sender::new(service), watch::Sender::new(slice));
        Arc::new(Self { service, slice, patches: Mutex::default() })
    }

    fn client(self: &Arc<Self>) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Answer> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        match (&method, path.as_str()) {
            (&Method::GET, SERVICES) => follow("Service", "v1", self.service.subscribe()),
            (&Method::GET, SLICES) => follow("EndpointSlice", "discovery.k8s.io/v1", self.slice.subscribe()),
            (&Method::PATCH, path) if path.starts_with("/api/v1/namespaces/shop/services/web") => {
                let patch = request.into_body().collect().await.unwrap().to_bytes();
                let patch: Value = serde_json::from_slice(&patch).unwrap();
                self.patches.lock().push(path.rsplit('/').next().unwrap().to_owned());
                self.service.send_modify(|service| {
                    if let Some(version) = patch["metadata"]["resourceVersion"].as_str() {
                        assert_eq!(service["metadata"]["resourceVersion"], version);
                    }
                    merge(service, &patch);
                    let version: u64 = service["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                    service["metadata"]["resourceVersion"] = json!((version + 1).to_string());
                });
                Response::new(Full::from(self.service.borrow().to_string()).boxed_unsync())
            }
            _ => panic!("unexpected {method} {path}"),
        }
    }
}

/// RFC 7396 for what is sent here.
fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key.clone()).or_insert_with(|| json!({})), value);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

/// A watch with initial events.
fn follow(kind: &'static str, version: &'static str, mut object: watch::Receiver<Value>) -> Response<Answer> {
    let first = object.borrow_and_update().clone();
    let bookmark = json!({"type": "BOOKMARK", "object": {"kind": kind, "apiVersion": version, "metadata": {
        "resourceVersion": first["metadata"]["resourceVersion"], "annotations": {"k8s.io/initial-events-end": "true"}}}});
    let initial = stream::iter([json!({"type": "ADDED", "object": first}), bookmark]);
    let changes = stream::unfold(object, |mut object| async move {
        object.changed().await.ok()?;
        let event = json!({"type": "MODIFIED", "object": object.borrow_and_update().clone()});
        Some((event, object))
    });
    let lines = initial.chain(changes).map(|event| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{event}\n")))));
    Response::new(StreamBody::new(lines).boxed_unsync())
}

fn slice(version: u64, address: std::net::SocketAddr, ready: bool) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": "shop", "name": "web-x", "resourceVersion": version.to_string(), "uid": "s",
            "labels": {"kubernetes.io/service-name": "web"}},
        "ports": [{"name": "http", "port": address.port()}],
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": ready}}],
    })
}

#[tokio::test]
async fn a_service_is_served_and_told_where_it_listens() {
    let backend = TcpListener::bind("127.88.128.1:0").await.unwrap();
    let address = backend.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = backend.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        }
    });
    // A held port forces the fallback, whatever the user may bind.
    let holder = std::net::TcpListener::bind("127.88.0.7:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": "shop", "name": "web", "uid": "u", "resourceVersion": "1"},
        "spec": {"type": "LoadBalancer", "clusterIP": "127.88.0.7",
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}]},
    });
    let api = FakeApi::new(service, slice(2, address, false));
    let gateway = Gateway::new(GatewayConfig::default(), api.client());
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (gateway, shutdown) = (gateway.clone(), shutdown.clone());
        async move { gateway.run(shutdown).await }
    });
    gateway.synced().await;

    let mut told = api.service.subscribe();
    let told = told.wait_for(|service| service["status"].is_object()).await.unwrap().clone();
    let listening = told["metadata"]["annotations"]["kapell.dev/listen"].as_str().unwrap();
    assert!(listening.starts_with("http=127.88.0.7:"), "{listening}");
    assert_eq!(told["status"]["loadBalancer"]["ingress"][0]["ip"], "127.88.0.7");
    assert_eq!(told["status"]["conditions"][0]["reason"], "FallbackPort");

    // A call waits for the endpoint that becomes ready meanwhile.
    let target = gateway.resolve("web.shop", None, "default").unwrap();
    let call = tokio::spawn({
        let gateway = gateway.clone();
        let request = Request::get("/").body(Bytes::new()).unwrap();
        async move { gateway.call(&target, request, CallOptions::default()).await }
    });
    api.slice.send_replace(slice(3, address, true));
    assert_eq!(call.await.unwrap().unwrap().into_body(), "ok");

    shutdown.cancel();
    running.await.unwrap();
    assert_eq!(*api.patches.lock(), ["web", "status"], "each said once");
}
