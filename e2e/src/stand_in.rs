//! A service inside the test that answers as the test says, and keeps a record of what it did.
//!
//! It honours idempotency keys of calls that change something: one with a key that it knows gets the answer of the first and has
//! no further effect.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::routing::any;
use serde_json::Value;

/// A call as the service saw it.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    /// The host that the caller meant, and the path.
    pub host: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Call {
    /// `POST accounts/ann/withdraw`.
    pub fn line(&self) -> String {
        format!("{} {}{}", self.method, self.host, self.path)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

type Reply = (u16, Value);
type Behaviour = Box<dyn Fn(&Call) -> Reply + Send + Sync>;

struct Book {
    behaviour: Behaviour,
    /// Every call that came, also those that were known.
    calls: Mutex<Vec<Call>>,
    /// Answers by idempotency key.
    answered: Mutex<HashMap<String, Reply>>,
}

/// The running service. It ends with the test's runtime.
#[derive(Clone)]
pub struct StandIn {
    pub address: SocketAddr,
    book: Arc<Book>,
}

impl StandIn {
    /// `behaviour` is what a call does, once for each idempotency key, and what it answers.
    pub async fn start(behaviour: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let book =
            Arc::new(Book { behaviour: Box::new(behaviour), calls: Mutex::default(), answered: Mutex::default() });
        let app = Router::new().fallback(any(answer)).with_state(book.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, book }
    }

    /// The setting that sends calls for these hosts here.
    pub fn rewrites(&self, hosts: &[&str]) -> String {
        hosts.iter().map(|host| format!("{host}=http://{}", self.address)).collect::<Vec<_>>().join(",")
    }

    /// Every call so far, with repetitions.
    pub fn calls(&self) -> Vec<Call> {
        self.book.calls.lock().expect("no panic while locked").clone()
    }

    /// Calls by their lines, each idempotency key once.
    pub fn effects(&self) -> Vec<String> {
        let mut seen = std::collections::BTreeSet::new();
        let calls = self.calls();
        let new = calls.iter().filter(|call| seen.insert(call.header("idempotency-key").to_owned()));
        new.map(Call::line).collect()
    }
}

async fn answer(
    State(book): State<Arc<Book>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1], String) {
    let host = headers.get("host").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let call = Call { method: method.to_string(), host, path: uri.to_string(), headers, body };
    book.calls.lock().expect("no panic while locked").push(call.clone());
    let key = call.header("idempotency-key").to_owned();
    let (status, body) = {
        // Held while the call has its effect, so that a second one with the key waits for the first.
        let mut answered = book.answered.lock().expect("no panic while locked");
        match answered.get(&key).filter(|_| !key.is_empty() && call.method != "GET") {
            Some(known) => known.clone(),
            None => {
                let reply = (book.behaviour)(&call);
                answered.insert(key, reply.clone());
                reply
            }
        }
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [("content-type", "application/json")], body.to_string())
}
