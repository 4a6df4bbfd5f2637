//! What logs keep, and for whom.

use std::sync::Arc;

use kapell_store::Store;
use kapell_store::memory::MemoryStore;
use serde_json::json;

use super::super::tests::Nobody;
use super::super::{EventLimits, log_of};
use super::*;
use crate::engine::Config;
use crate::engine::secrets::Given;
use crate::expression::Datum;

const LISTENER: ListenerId = (StreamId([7; 16]), 1);

/// A log of ten events, some 1,300 bytes.
async fn hub(limits: EventLimits) -> Hub {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let config = Config { events: limits, ..Config::default() };
    let (shared, _) = Shared::new(config, store, Arc::new(Nobody), Arc::new(Given::default()));
    let events = (0..10).map(|n| {
        let envelope = json!({ "specversion": "1.0", "id": n.to_string(), "source": "/test", "type": "n", "data": "x".repeat(30) });
        CloudEvent::new(Datum::from_json(&envelope).unwrap()).unwrap()
    });
    let events: Vec<CloudEvent> = events.collect();
    shared.publish_events("default", &events).await.unwrap();
    Hub { shared, spaces: BTreeMap::new(), next_tidy: Instant::now() }
}

async fn first(hub: &Hub) -> u64 {
    hub.shared.store.log_extent(log_of("default")).await.unwrap().first
}

async fn tidy_twice(hub: &mut Hub) {
    // What was taken in by one round is trimmed by the next.
    hub.tidy().await.unwrap();
    hub.tidy().await.unwrap();
}

#[tokio::test]
async fn a_log_keeps_its_bytes_and_the_newest() {
    let mut large = hub(EventLimits { max_bytes: 1_000, ..EventLimits::default() }).await;
    let before = large.shared.store.log_extent(log_of("default")).await.unwrap();
    tidy_twice(&mut large).await;
    let after = large.shared.store.log_extent(log_of("default")).await.unwrap();
    assert!(before.bytes > 1_000 && after.bytes <= 1_000, "{before:?} {after:?}");
    assert!(after.first > 0 && after.next == 10, "{after:?}");

    let mut old = hub(EventLimits { max_age: Duration::ZERO, ..EventLimits::default() }).await;
    // A log that is as old as it may be on the clock of this machine.
    while now() <= old_time(&old).await {
        tokio::task::yield_now().await;
    }
    tidy_twice(&mut old).await;
    assert_eq!(first(&old).await, 9);

    let mut fresh = hub(EventLimits::default()).await;
    tidy_twice(&mut fresh).await;
    assert_eq!(first(&fresh).await, 0);
}

/// When the newest event was published.
async fn old_time(hub: &Hub) -> i64 {
    let records = hub.shared.store.read_log(log_of("default"), 9, 1).await.unwrap();
    decode(&records[0].1).unwrap().time
}

#[tokio::test]
async fn nothing_is_trimmed_that_somebody_has_not_taken_in() {
    let mut hub = hub(EventLimits { max_bytes: 0, ..EventLimits::default() }).await;
    let log = log_of("default");
    let interest =
        |from, deaf| Interest { from, deaf, keys: vec![crate::core::state::Key { type_: None, probe: None }] };
    // A `foreach` that cannot take more, or a suspended run's.
    hub.listen(log, LISTENER, interest(4, true), Target::Run);
    tidy_twice(&mut hub).await;
    tidy_twice(&mut hub).await;
    assert_eq!(first(&hub).await, 4);
    hub.take(Signal::Unlisten { log, listener: LISTENER });
    tidy_twice(&mut hub).await;
    assert_eq!(first(&hub).await, 9);
}
