//! Behaviours of logs.

use std::sync::Arc;

use super::{append, bytes, journal};
use crate::{CommitError, JournalWrite, LogExtent, Store, StreamId};

const ONE: StreamId = StreamId([1; 16]);
const TWO: StreamId = StreamId([2; 16]);

fn publish(log: StreamId, key: u8, record: &str) -> JournalWrite {
    JournalWrite::Publish { log, key: [key; 16], record: bytes(record) }
}

/// `position=record` for each.
async fn records(store: &dyn Store, log: StreamId, from: u64, limit: usize) -> Vec<String> {
    let records = store.read_log(log, from, limit).await.unwrap();
    records.iter().map(|(position, record)| format!("{position}={}", String::from_utf8_lossy(record))).collect()
}

pub async fn logs_count_their_records_and_take_each_once(store: Arc<dyn Store>) {
    assert!(records(&*store, ONE, 0, 10).await.is_empty());
    assert!(store.logs().await.unwrap().is_empty());
    store.commit(journal([publish(ONE, 1, "a"), publish(TWO, 1, "z"), publish(ONE, 2, "b")])).await.unwrap();
    // Once more, in a batch of its own and twice in one.
    store.commit(journal([publish(ONE, 2, "other")])).await.unwrap();
    store.commit(journal([publish(ONE, 3, "c"), publish(ONE, 3, "c"), publish(ONE, 1, "a")])).await.unwrap();
    let cases: [(u64, usize, &[&str]); 5] = [
        (0, 10, &["0=a", "1=b", "2=c"]),
        (0, 2, &["0=a", "1=b"]),
        (2, 10, &["2=c"]),
        (3, 10, &[]),
        (u64::MAX, 10, &[]),
    ];
    for (from, limit, expected) in cases {
        assert_eq!(records(&*store, ONE, from, limit).await, expected, "from {from}, at most {limit}");
    }
    assert_eq!(records(&*store, TWO, 0, 10).await, ["0=z"]);
    let extents = [(ONE, LogExtent { first: 0, next: 3, bytes: 3 }), (TWO, LogExtent { first: 0, next: 1, bytes: 1 })];
    assert_eq!(store.logs().await.unwrap(), extents);
    assert_eq!(store.log_extent(ONE).await.unwrap(), extents[0].1);
    assert_eq!(store.log_extent(StreamId([3; 16])).await.unwrap(), LogExtent::default());
    assert_eq!(store.revision(), 0, "logs take no revisions");
    assert!(store.open_streams().await.unwrap().is_empty(), "logs are not streams");
}

pub async fn logs_are_trimmed_from_the_front(store: Arc<dyn Store>) {
    let trim = |before| journal([JournalWrite::Trim { log: ONE, before }]);
    store.commit(trim(5)).await.unwrap();
    store.commit(journal([publish(ONE, 1, "aa"), publish(ONE, 2, "b"), publish(ONE, 3, "c")])).await.unwrap();
    store.commit(trim(1)).await.unwrap();
    assert_eq!(records(&*store, ONE, 0, 10).await, ["1=b", "2=c"]);
    assert_eq!(store.logs().await.unwrap(), [(ONE, LogExtent { first: 1, next: 3, bytes: 2 })]);
    // What is forgotten may come again; the newest stays, however far the trim goes.
    store.commit(journal([publish(ONE, 1, "a")])).await.unwrap();
    store.commit(trim(1_000)).await.unwrap();
    assert_eq!(records(&*store, ONE, 0, 10).await, ["3=a"]);
    store.commit(journal([publish(ONE, 1, "a"), publish(ONE, 9, "d")])).await.unwrap();
    assert_eq!(records(&*store, ONE, 0, 10).await, ["3=a", "4=d"]);
    store.commit(trim(0)).await.unwrap();
    assert_eq!(store.logs().await.unwrap(), [(ONE, LogExtent { first: 3, next: 5, bytes: 2 })]);
}

pub async fn logs_and_journal_commit_together(store: Arc<dyn Store>) {
    store.commit(journal([append(ONE, 0, "step"), publish(ONE, 1, "event")])).await.unwrap();
    let late = store.commit(journal([publish(ONE, 2, "lost"), append(ONE, 0, "again")])).await;
    assert!(matches!(late, Err(CommitError::Sequence { .. })), "{late:?}");
    assert_eq!(records(&*store, ONE, 0, 10).await, ["0=event"]);
}
