//! The HTTP side, the same for every service: idempotency keys, faults, health, and a quiet end on SIGTERM.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::ledger::{Fault, Ledger};
use crate::service::{Answer, Service};

/// How long `slow` lasts when nothing else is asked for: longer than the workflow's patience with one call.
const SLOW: Duration = Duration::from_secs(5);

/// Requests are a few hundred bytes.
const BODY_LIMIT: usize = 64 * 1024;

#[derive(Clone)]
struct Shop {
    service: &'static Service,
    ledger: Arc<Mutex<Ledger>>,
}

/// Serves on `$HOST:$PORT` until SIGTERM or SIGINT, then finishes what has begun.
pub(crate) fn run(service: &'static Service, data: &Path) -> anyhow::Result<()> {
    let shop = Shop { service, ledger: Arc::new(Mutex::new(Ledger::open(service, data)?)) };
    let address = address()?;
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/fault", post(fault))
        .fallback(answer)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(shop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let listener = tokio::net::TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        eprintln!("{} listens on {}", service.name, listener.local_addr()?);
        let ended = async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            eprintln!("finishing");
        };
        axum::serve(listener, router).with_graceful_shutdown(ended).await.context("serving ended")
    })
}

fn address() -> anyhow::Result<SocketAddr> {
    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    format!("{host}:{port}").parse().with_context(|| format!("$HOST:$PORT is {host}:{port}, not an address"))
}

impl Shop {
    /// Runs `work` on the ledger away from the runtime's thread; a failing disk is the caller's 500.
    async fn with_ledger<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Ledger) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Response> {
        let ledger = self.ledger.clone();
        // A transaction that panicked was rolled back, so the ledger behind a poisoned lock is sound.
        let done =
            tokio::task::spawn_blocking(move || work(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner)));
        match done.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(problem(500, "state unavailable", error.to_string())),
            Err(error) => Err(problem(500, "state unavailable", error.to_string())),
        }
    }

    async fn post(&self, headers: &HeaderMap, path: String, body: Value) -> Result<Response, Response> {
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).filter(|key| !key.is_empty());
        let Some(key) = key.map(str::to_owned) else {
            return Err(problem(
                400,
                "no key",
                "POST needs an Idempotency-Key header: any text, the same on a repetition",
            ));
        };
        let noted = (key.clone(), path.clone());
        match self.with_ledger(move |ledger| ledger.note_call(&noted.0, &noted.1)).await? {
            Fault::None => {}
            Fault::Error => {
                let name = self.service.name;
                return Err(problem(503, "switched to failing", format!("{name} fails because POST /fault said so")));
            }
            Fault::Slow(delay) => tokio::time::sleep(delay).await,
        }
        let answered = self.with_ledger(move |ledger| ledger.perform(&key, &path, &body)).await?;
        Ok(answered.map_or_else(not_found, respond))
    }
}

async fn answer(State(shop): State<Shop>, request: Request) -> Result<Response, Response> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    match parts.method {
        Method::GET => {
            let answered = shop.with_ledger(move |ledger| ledger.get(&path)).await?;
            Ok(answered.map_or_else(not_found, respond))
        }
        Method::POST => {
            let body = axum::body::to_bytes(body, BODY_LIMIT).await;
            let body = body.map_err(|error| problem(400, "bad request", error.to_string()))?;
            let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
            let body = body.map_err(|error| problem(400, "bad request", format!("not JSON: {error}")))?;
            shop.post(&parts.headers, path, body).await
        }
        method => Err(problem(405, "method not allowed", format!("{method} is not used here"))),
    }
}

async fn fault(State(shop): State<Shop>, Json(body): Json<Value>) -> Result<Response, Response> {
    let (fault, times) = parse_fault(&body).map_err(respond)?;
    shop.with_ledger(move |ledger| ledger.set_fault(fault, times)).await?;
    Ok(Json(json!({"service": shop.service.name, "mode": body["mode"]})).into_response())
}

/// `{"mode": "error"|"slow"|"none", "delayMilliseconds": N, "times": N}`: for all replicas, and kept across restarts.
fn parse_fault(body: &Value) -> Result<(Fault, Option<u32>), Answer> {
    let refused = |detail: String| Answer::refused(400, "bad request", detail);
    let mut keys = body.as_object().into_iter().flat_map(|members| members.keys());
    if let Some(key) = keys.find(|key| !["mode", "delayMilliseconds", "times"].contains(&key.as_str())) {
        return Err(refused(format!("unknown member `{key}`")));
    }
    let number = |key: &str| match &body[key] {
        Value::Null => Ok(None),
        value => match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(refused(format!("`{key}` must be a whole number"))),
        },
    };
    let fault = match body["mode"].as_str() {
        Some("none") => Fault::None,
        Some("error") => Fault::Error,
        Some("slow") => {
            Fault::Slow(number("delayMilliseconds")?.map_or(SLOW, |delay| Duration::from_millis(delay.into())))
        }
        _ => return Err(refused("`mode` must be error, slow or none".to_owned())),
    };
    Ok((fault, number("times")?))
}

fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    (status, [(header::CONTENT_TYPE, kind)], answer.body.to_string()).into_response()
}

fn problem(status: u16, title: &str, detail: impl Into<String>) -> Response {
    respond(Answer::refused(status, title, detail))
}

fn not_found() -> Response {
    problem(404, "not found", "there is nothing here")
}
