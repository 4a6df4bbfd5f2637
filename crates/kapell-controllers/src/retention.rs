//! Events are kept for a while and then removed: they tell what happens, and nobody else ever deletes them.
//!
//! There is no watch on them: a sweep reads them page by page, deletes what is too old, and sleeps until the oldest that
//! is left will be.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

/// Events that are read at a time.
const PAGE: u32 = 500;
/// The shortest sleep: what expires within it goes in one sweep. Also the pause after a failure.
const LEAST_SLEEP: Duration = Duration::from_secs(60);

/// Removes Events that have not changed for `ttl`, until `shutdown`.
pub(crate) async fn run(client: Client, ttl: Duration, shutdown: CancellationToken) {
    loop {
        let sleep = match sweep(&client, ttl).await {
            Ok(next) => next.clamp(LEAST_SLEEP, ttl.max(LEAST_SLEEP)),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "old events not removed, retrying");
                LEAST_SLEEP
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// Deletes what has expired, and says how long the oldest of the rest still has.
async fn sweep(client: &Client, ttl: Duration) -> Result<Duration, kube::Error> {
    let all: Api<Event> = Api::all(client.clone());
    let mut page = ListParams::default().limit(PAGE);
    let mut next = ttl;
    loop {
        let events = all.list(&page).await?;
        let now = Timestamp::now();
        for event in &events.items {
            match remaining(event, ttl, now) {
                Some(left) => next = next.min(left),
                None => remove(client, event).await?,
            }
        }
        match events.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(next),
        }
    }
}

async fn remove(client: &Client, event: &Event) -> Result<(), kube::Error> {
    let api: Api<Event> = Api::namespaced(client.clone(), &event.namespace().unwrap_or_default());
    // An event that has just been counted up again stays.
    let only = Preconditions { uid: event.uid(), resource_version: event.resource_version() };
    match api.delete(&event.name_any(), &DeleteParams::default().preconditions(only)).await {
        Err(error) if crate::pods::is_gone(&error) => Ok(()),
        other => other.map(drop),
    }
}

/// How much longer an event is kept; nothing when its time is over.
fn remaining(event: &Event, ttl: Duration, now: Timestamp) -> Option<Duration> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let times = [
        event.last_timestamp.as_ref().map(|time| time.0),
        event.event_time.as_ref().map(|time| time.0),
        event.metadata.creation_timestamp.as_ref().map(|time| time.0),
        series,
    ];
    let last = times.into_iter().flatten().max()?;
    // A clock that was set back makes events look young, never old.
    let age = Duration::try_from(now.duration_since(last)).unwrap_or_default();
    ttl.checked_sub(age).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_lives_from_its_last_change() {
        let event = |fields: serde_json::Value| -> Event {
            let mut event = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "involvedObject": {}});
            json_patch::merge(&mut event, &fields);
            serde_json::from_value(event).unwrap()
        };
        let hour = Duration::from_secs(3600);
        let left = |fields, now: &str| remaining(&event(fields), hour, now.parse().unwrap()).map(|d| d.as_secs());
        assert_eq!(left(json!({}), "2026-01-01T00:59:59Z"), Some(1));
        assert_eq!(left(json!({}), "2026-01-01T01:00:00Z"), None);
        assert_eq!(left(json!({"lastTimestamp": "2026-01-01T00:30:00Z"}), "2026-01-01T01:00:00Z"), Some(1800));
        let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:45:00.000000Z"}});
        assert_eq!(left(series, "2026-01-01T01:00:00Z"), Some(2700));
        assert_eq!(left(json!({}), "2025-12-31T00:00:00Z"), Some(3600), "the clock was set back");
    }
}
