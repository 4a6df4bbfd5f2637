//! A service inside the test that workflow steps call: it notes every call with its idempotency key, and can kill the
//! server at exactly the moment that a test is about.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::any;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// When the server dies, seen from the call of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The call has arrived, its answer never does: the effect happened, its result is not in the journal.
    BeforeAnswer,
    /// The answer is on its way: somewhere between result, journal, and the next effect.
    AfterAnswer(Duration),
}

/// Kills `pid` when `path` is called for the first time.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    pub pid: u32,
    pub moment: Moment,
}

#[derive(Default)]
struct Book {
    /// Every call in order: path and idempotency key.
    calls: Vec<(String, String)>,
    kills: BTreeMap<String, Kill>,
    /// Paths that answer with this status.
    failing: BTreeMap<String, u16>,
}

/// The running service. It ends with the test's runtime.
#[derive(Clone)]
pub struct Steps {
    pub address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl Steps {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let book = Arc::new(Mutex::new(Book::default()));
        let app = Router::new().fallback(any(answer)).with_state(book.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, book }
    }

    pub fn kill_at(&self, path: &str, kill: Kill) {
        self.book.lock().expect("no panic while locked").kills.insert(path.to_owned(), kill);
    }

    pub fn fail_at(&self, path: &str, status: u16) {
        self.book.lock().expect("no panic while locked").failing.insert(path.to_owned(), status);
    }

    /// Every call so far, with repetitions.
    pub fn calls(&self) -> Vec<(String, String)> {
        self.book.lock().expect("no panic while locked").calls.clone()
    }

    /// Paths in the order of their first call, each idempotency key once: what a service that honours the key has done.
    pub fn effects(&self) -> Vec<String> {
        let mut seen = std::collections::BTreeSet::new();
        self.calls().into_iter().filter(|(_, key)| seen.insert(key.clone())).map(|(path, _)| path).collect()
    }
}

async fn answer(State(book): State<Arc<Mutex<Book>>>, uri: Uri, headers: HeaderMap) -> (StatusCode, String) {
    let path = uri.path().to_owned();
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned();
    let (kill_now, status) = {
        let mut book = book.lock().expect("no panic while locked");
        book.calls.push((path.clone(), key));
        (book.kills.remove(&path), book.failing.get(&path).copied())
    };
    match kill_now {
        Some(Kill { pid, moment: Moment::BeforeAnswer }) => {
            strike(pid);
            std::future::pending::<()>().await;
        }
        Some(Kill { pid, moment: Moment::AfterAnswer(delay) }) => {
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                strike(pid);
            });
        }
        None => {}
    }
    let status = status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::OK);
    (status, format!("{{\"path\": {path:?}}}"))
}

fn strike(pid: u32) {
    // It may have died by an earlier stroke of the same test.
    let _ = kill(Pid::from_raw(i32::try_from(pid).expect("a process id")), Signal::SIGKILL);
}
