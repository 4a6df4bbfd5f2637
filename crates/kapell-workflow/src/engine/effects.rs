//! Performs what the journal says is due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kapell_store::StreamId;
use sha2::{Digest as _, Sha256};

use super::events::hub::{Signal, Target};
use super::events::log_of;
use super::jobs::Order;
use super::partition::Command;
use super::timers::{Alarm, Wake};
use super::{CallFailure, Shared};
use crate::core::Event;
use crate::core::exchange::{Reply, Unanswered};
use crate::core::record::{FrameId, Request};
use crate::core::state::Effect;

/// Delays between attempts to connect.
const FIRST_CONNECT_RETRY: Duration = Duration::from_millis(20);
const LONGEST_CONNECT_RETRY: Duration = Duration::from_secs(1);

pub(super) fn perform(shared: &Arc<Shared>, stream: StreamId, namespace: &str, uid: &str, effect: Effect) {
    match effect {
        Effect::Call { frame, request, key } => {
            call(shared, stream, namespace.to_owned(), frame, request, idempotency_key(uid, &key));
        }
        Effect::Abandon { frame } => {
            if let Some(call) = shared.calls.lock().remove(&(stream, frame)) {
                call.abort();
            }
            shared.calls_idle.notify_waiters();
            shared.order(Order::Stop { stream, frame });
        }
        Effect::Run { frame, job } => {
            let (namespace, uid) = (namespace.to_owned(), uid.to_owned());
            shared.order(Order::Begin { stream, frame, namespace, uid, job });
        }
        Effect::Timer { timer, at } => {
            let _ = shared.timers.send(Alarm { at, stream, wake: Wake::Timer(timer) });
        }
        Effect::Listen { frame, interest } => {
            let log = log_of(namespace);
            let listener = (stream, frame);
            shared.events.signal(Signal::Listen { log, listener, interest, target: Target::Run });
        }
        Effect::Unlisten { frame } => {
            shared.events.signal(Signal::Unlisten { log: log_of(namespace), listener: (stream, frame) });
        }
        // It was part of the step's transaction.
        Effect::Publish { .. } => shared.events.signal(Signal::Published { log: log_of(namespace) }),
        Effect::End => {}
    }
}

/// The same for every attempt of the same deed of a run, different for all others.
pub(crate) fn idempotency_key(uid: &str, key: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(uid);
    hash.update([0]);
    hash.update(key);
    hex::encode(&hash.finalize()[..16])
}

/// W3C Trace Context: the run is the trace, under its UID, and the deed is the span, so both are the same again after a
/// crash and can be found from either side.
fn trace_parent(stream: StreamId, key: &str) -> String {
    format!("00-{}-{}-01", hex::encode(stream.0), key.get(..16).unwrap_or("0000000000000001"))
}

fn call(shared: &Arc<Shared>, stream: StreamId, namespace: String, frame: FrameId, mut request: Request, key: String) {
    if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("traceparent")) {
        request.headers.push(("traceparent".to_owned(), trace_parent(stream, &key)));
    }
    let task = {
        let shared = shared.clone();
        async move {
            let _turn = shared.turns.take(&namespace).await;
            let begun = Instant::now();
            let event = match answer(&shared, &namespace, &request, &key).await {
                Ok(reply) => Event::Replied { frame, reply },
                Err(failure) => Event::Unanswered { frame, failure },
            };
            shared.metrics.called(matches!(event, Event::Replied { .. }), begun.elapsed());
            shared.tell(stream, Command::Event { stream, event });
            shared.calls.lock().remove(&(stream, frame));
            shared.calls_idle.notify_waiters();
        }
    };
    // Held while spawning, so that the task cannot remove its entry before it is there.
    let mut calls = shared.calls.lock();
    let handle = tokio::spawn(task).abort_handle();
    if let Some(former) = calls.insert((stream, frame), handle) {
        // Of the same run before it was taken up again.
        former.abort();
    }
}

async fn answer(shared: &Shared, namespace: &str, request: &Request, key: &str) -> Result<Reply, Unanswered> {
    let begun = Instant::now();
    let deadline = begun + shared.config.call_limit;
    let mut delay = FIRST_CONNECT_RETRY;
    loop {
        let attempt = shared.caller.call(namespace, to_http(request, key)?, Some(deadline));
        let answered = tokio::time::timeout_at(deadline.into(), attempt).await;
        match answered {
            Err(_elapsed) => return Err(Unanswered::TooSlow(shared.config.call_limit.as_secs())),
            Ok(Ok(response)) => return Ok(from_http(response)),
            Ok(Err(CallFailure { maybe_processed: true, message })) => return Err(Unanswered::Broken(message)),
            Ok(Err(CallFailure { maybe_processed: false, message })) => {
                if begun.elapsed() + delay > shared.config.connect_patience {
                    return Err(Unanswered::NotConnected(message));
                }
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(LONGEST_CONNECT_RETRY);
            }
        }
    }
}

fn to_http(request: &Request, key: &str) -> Result<http::Request<Bytes>, Unanswered> {
    let mut builder = http::Request::builder().method(request.method.as_str()).uri(&request.uri);
    let named = request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"));
    if !named {
        builder = builder.header("idempotency-key", key);
    }
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let body = request.body.as_ref().map_or_else(Bytes::new, |body| Bytes::copy_from_slice(body.as_bytes()));
    builder.body(body).map_err(|error| Unanswered::NotConnected(error.to_string()))
}

fn from_http(response: http::Response<Bytes>) -> Reply {
    let (parts, body) = response.into_parts();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Reply { status: parts.status.as_u16(), headers: headers.collect(), body }
}
