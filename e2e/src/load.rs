//! A steady stream of HTTP requests that notes every failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;

/// What the stream met.
#[derive(Debug, Default)]
pub struct Report {
    pub sent: usize,
    /// Bodies of successful answers, in order of their end.
    pub bodies: Vec<String>,
    /// One line per request that did not end with 200.
    pub failures: Vec<String>,
}

/// A running stream; [`Load::stop`] ends it and waits for what is under way.
pub struct Load {
    stopping: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Report>,
}

impl Load {
    /// Sends `per_second` GET requests to `url` at even distances, without waiting for earlier answers.
    pub fn start(url: &str, per_second: u32) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(stream(url.to_owned(), per_second, stopping.clone()));
        Self { stopping, task }
    }

    pub async fn stop(self) -> Report {
        self.stopping.store(true, Ordering::Relaxed);
        self.task.await.expect("the load generator does not panic")
    }
}

async fn stream(url: String, per_second: u32, stopping: Arc<AtomicBool>) -> Report {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    let mut requests = JoinSet::new();
    let mut report = Report::default();
    while !stopping.load(Ordering::Relaxed) {
        ticks.tick().await;
        report.sent += 1;
        let client = client.clone();
        let url = url.clone();
        requests.spawn(async move {
            let request = Request::get(url).body(Empty::new()).map_err(|error| error.to_string())?;
            let response = client.request(request).await.map_err(|error| format!("{error:?}"))?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| format!("body: {error:?}"))?.to_bytes();
            let text = String::from_utf8_lossy(&body).into_owned();
            if status == StatusCode::OK { Ok(text) } else { Err(format!("{status}: {text}")) }
        });
        while let Some(done) = requests.try_join_next() {
            report.note(done.expect("a request does not panic"));
        }
    }
    while let Some(done) = requests.join_next().await {
        report.note(done.expect("a request does not panic"));
    }
    report
}

impl Report {
    fn note(&mut self, outcome: Result<String, String>) {
        match outcome {
            Ok(body) => self.bodies.push(body),
            Err(failure) => self.failures.push(failure),
        }
    }
}
