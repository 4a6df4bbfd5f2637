//! Performs what the journal says is due.

use std::sync::Arc;
use std::time::Instant;

use kapell_store::StreamId;
use sha2::{Digest as _, Sha256};

use super::Shared;
use super::events::hub::{Signal, Target};
use super::events::log_of;
use super::exchange::answer;
use super::jobs::Order;
use super::partition::Command;
use super::timers::{Alarm, Wake};
use crate::core::Event;
use crate::core::record::{FrameId, Request};
use crate::core::state::Effect;

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
        Effect::Run { frame, number, job } => {
            let (namespace, uid) = (namespace.to_owned(), uid.to_owned());
            shared.order(Order::Begin { stream, frame, number, namespace, uid, job });
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
