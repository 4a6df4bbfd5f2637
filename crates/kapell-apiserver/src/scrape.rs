//! The answer to `/metrics`: what was counted, and what is looked up when somebody asks.

use std::sync::atomic::Ordering;

use axum::body::Body;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use kapell_api::kinds::KINDS;

use crate::metrics::{counter, gauge, head};
use crate::{ApiServer, key, reply};

impl ApiServer {
    pub(crate) async fn metrics_text(&self) -> Response<Body> {
        let mut text = String::with_capacity(64 << 10);
        self.metrics().write(&mut text);
        let engine = self.engine();
        head(&mut text, "apiserver_storage_objects", "gauge", "Objects in the store.");
        for kind in KINDS {
            // One entry, and the number of those that follow it: nothing is read but the keys.
            if let Ok(page) = engine.store.list(key::of_kind(kind).as_bytes(), None, 1, None).await {
                let group = if kind.group.is_empty() { String::new() } else { format!(".{}", kind.group) };
                let objects = page.entries.len() + page.remaining;
                text.push_str(&format!("apiserver_storage_objects{{resource=\"{}{group}\"}} {objects}\n", kind.plural));
            }
        }
        let revision = i64::try_from(engine.store.revision()).unwrap_or(i64::MAX);
        gauge(&mut text, "kapell_store_revision", "The latest revision.", revision);
        let (encoded, told) = engine.events.counts();
        counter(&mut text, "kapell_apiserver_watch_events_total", "Events that watchers were told.", told);
        let help = "Events that were encoded; the others were shared.";
        counter(&mut text, "kapell_apiserver_watch_events_encoded_total", help, encoded);
        if let Some(audit) = self.audit() {
            let count = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
            counter(
                &mut text,
                "apiserver_audit_event_total",
                "Events in the audit log.",
                count(&audit.counts().written),
            );
            let dropped = count(&audit.counts().dropped);
            counter(
                &mut text,
                "apiserver_audit_requests_rejected_total",
                "Events that the audit log has lost.",
                dropped,
            );
        }
        let mut response = reply::text(StatusCode::OK, text);
        let media_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        response
    }
}
