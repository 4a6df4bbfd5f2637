//! Resources that come late, or never, and whom their credentials go to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use kapell_client::ObjectKey;
use kapell_store::memory::MemoryStore;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{LinkError, link};
use crate::engine::secrets::Secrets;
use crate::engine::{CallFailure, Config, ServiceCaller, Shared};

/// Hosts that begin with `hung` never answer; `moved` redirects to what its query says.
#[derive(Default)]
struct Documents {
    /// Each request with the header `Authorization`.
    seen: Mutex<Vec<(String, Option<String>)>>,
}

#[async_trait]
impl ServiceCaller for Documents {
    async fn call(
        &self,
        _namespace: &str,
        request: http::Request<Bytes>,
        _deadline: Option<std::time::Instant>,
    ) -> Result<http::Response<Bytes>, CallFailure> {
        let proof = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        self.seen.lock().push((request.uri().to_string(), proof));
        let host = request.uri().host().unwrap_or_default();
        if host.starts_with("hung") {
            std::future::pending::<()>().await;
        }
        let response = http::Response::builder();
        Ok(match request.uri().query().filter(|_| host == "moved") {
            Some(location) => response.status(302).header("location", location).body(Bytes::new()),
            None => response.body(Bytes::from_static(b"{\"type\":\"object\"}")),
        }
        .unwrap())
    }
}

/// A Secret `api` with a key `token`, which cannot be read as long as the API is down.
#[derive(Default)]
struct Api {
    down: AtomicBool,
}

#[async_trait]
impl Secrets for Api {
    async fn read(&self, _namespace: &str, name: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, String> {
        if self.down.load(Ordering::SeqCst) {
            return Err("ApiError: 503".to_owned());
        }
        Ok((name == "api").then(|| [("token".to_owned(), b"swordfish".to_vec())].into()))
    }
}

fn shared(documents: &Arc<Documents>, api: &Arc<Api>) -> Arc<Shared> {
    Shared::new(Config::default(), Arc::new(MemoryStore::new()), documents.clone(), api.clone()).0
}

fn workflow(endpoint: Value) -> Value {
    let schema = json!({ "schema": { "resource": { "endpoint": endpoint } } });
    json!({
        "document": { "dsl": "1.0.0", "namespace": "t", "name": "t", "version": "1.0.0" },
        "use": { "secrets": ["api"] },
        "input": schema,
        "do": [{ "a": { "set": {} } }],
    })
}

fn run(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(namespace, name)
}

/// What becomes of the run: `linked`, `busy`, or the fault's detail.
async fn linked(shared: &Arc<Shared>, who: &ObjectKey, endpoint: &str) -> String {
    match link(shared, who, workflow(json!(endpoint))).await {
        Ok(_) => "linked".to_owned(),
        Err(LinkError::Busy) => "busy".to_owned(),
        Err(other) => other.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_hangs_occupies_one_place_and_its_failure_is_shared() {
    let documents = Arc::new(Documents::default());
    let shared = shared(&documents, &Arc::default());
    let first = tokio::spawn({
        let shared = shared.clone();
        async move { linked(&shared, &run("n", "first"), "http://hung/").await }
    });
    while documents.seen.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(linked(&shared, &run("n", "second"), "http://hung/").await, "busy");
    assert_eq!(linked(&shared, &run("n", "third"), "http://there/").await, "linked");
    let failure = first.await.unwrap();
    assert_eq!(failure, "spec.input.schema.resource: http://hung/ was not there within 30 s");
    assert_eq!(shared.queue.next().await, run("n", "second"), "it is to be looked at again");
    assert_eq!(linked(&shared, &run("n", "second"), "http://hung/").await, failure);
    let asked = |uri: &str| documents.seen.lock().iter().filter(|(seen, _)| seen == uri).count();
    assert_eq!((asked("http://hung/"), asked("http://there/")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn many_resources_that_hang_leave_room_for_other_namespaces() {
    let documents = Arc::new(Documents::default());
    let shared = shared(&documents, &Arc::default());
    let hung: Vec<_> = (0..20)
        .map(|n| {
            let shared = shared.clone();
            tokio::spawn(
                async move { linked(&shared, &run("flood", &n.to_string()), &format!("http://hung{n}/")).await },
            )
        })
        .collect();
    while documents.seen.lock().len() < 6 || hung.iter().filter(|hung| hung.is_finished()).count() < 14 {
        tokio::task::yield_now().await;
    }
    assert_eq!(linked(&shared, &run("calm", "r"), "http://there/").await, "linked");
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    for (from, to, stays) in [
        ("http://moved/", "/elsewhere", true),
        ("http://moved/", "http://moved:80/elsewhere", true),
        ("https://moved/", "http://moved/elsewhere", false),
        ("http://moved/", "http://other/elsewhere", false),
        ("http://moved/", "http://moved:81/elsewhere", false),
    ] {
        let documents = Arc::new(Documents::default());
        let shared = shared(&documents, &Arc::default());
        let bearer = json!({ "bearer": { "token": "${ $secrets.api.token }" } });
        let endpoint = json!({ "uri": format!("{from}?{to}"), "authentication": bearer });
        let outcome = link(&shared, &run("n", "r"), workflow(endpoint)).await.map(|_| ());
        assert!(outcome.is_ok(), "{outcome:?}");
        let seen = documents.seen.lock().clone();
        let proven: Vec<bool> = seen.iter().map(|(_, proof)| proof.is_some()).collect();
        assert_eq!(proven, [true, stays], "{from} {to}: {seen:?}");
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_now_is_no_fault() {
    let api = Arc::new(Api::default());
    let shared = shared(&Arc::default(), &api);
    let with = |secret: &str| {
        json!({
            "document": { "dsl": "1.0.0", "namespace": "t", "name": "t", "version": "1.0.0" },
            "use": { "secrets": [secret] },
            "do": [{ "a": { "set": { "x": format!("${{ $secrets.{secret}.token }}") } } }],
        })
    };
    api.down.store(true, Ordering::SeqCst);
    let outcome = link(&shared, &run("n", "r"), with("api")).await.map(|_| ());
    assert!(matches!(outcome, Err(LinkError::Secret { .. })), "{outcome:?}");
    api.down.store(false, Ordering::SeqCst);
    assert!(link(&shared, &run("n", "r"), with("api")).await.is_ok());
    let outcome = link(&shared, &run("n", "r"), with("absent")).await.map(|_| ());
    assert!(matches!(outcome, Err(LinkError::Fault(_))), "{outcome:?}");
}
