//! Behaviours of journal streams.

use std::sync::Arc;

use super::{append, journal, put, writes};
use crate::{CommitError, Expect, JournalWrite, Store, StreamId, Transaction};

const ONE: StreamId = StreamId([1; 16]);
const TWO: StreamId = StreamId([2; 16]);

async fn records(store: &dyn Store, stream: StreamId, from: u64) -> Vec<String> {
    let records = store.read_stream(stream, from).await.unwrap();
    records.iter().map(|record| String::from_utf8_lossy(record).into_owned()).collect()
}

#[track_caller]
fn assert_sequence(result: Result<u64, CommitError>, expected: u64, got: u64) {
    match result {
        Err(CommitError::Sequence { expected: e, got: g, .. }) => assert_eq!((e, g), (expected, got)),
        other => panic!("expected a wrong sequence, got {other:?}"),
    }
}

pub async fn streams_count_their_records(store: Arc<dyn Store>) {
    assert!(records(&*store, ONE, 0).await.is_empty());
    assert_sequence(store.commit(journal([append(ONE, 1, "x")])).await, 0, 1);
    store.commit(journal([append(ONE, 0, "a"), append(TWO, 0, "z"), append(ONE, 1, "b")])).await.unwrap();
    assert_sequence(store.commit(journal([append(ONE, 1, "x")])).await, 2, 1);
    assert_sequence(store.commit(journal([append(ONE, 3, "x")])).await, 2, 3);
    // The first of these would do, but not both.
    assert_sequence(store.commit(journal([append(ONE, 2, "x"), append(ONE, 2, "y")])).await, 3, 2);
    store.commit(journal([append(ONE, 2, "c")])).await.unwrap();
    let cases: [(u64, &[&str]); 5] = [(0, &["a", "b", "c"]), (2, &["c"]), (3, &[]), (1_000, &[]), (u64::MAX, &[])];
    for (from, expected) in cases {
        assert_eq!(records(&*store, ONE, from).await, expected, "from {from}");
    }
    assert_eq!(records(&*store, TWO, 0).await, ["z"]);
    assert_eq!(store.revision(), 0, "the journal takes no revisions");
}

pub async fn streams_close_and_are_forgotten(store: Arc<dyn Store>) {
    store.commit(journal([append(ONE, 0, "a"), append(TWO, 0, "z")])).await.unwrap();
    assert_eq!(store.open_streams().await.unwrap(), [ONE, TWO]);
    store.commit(journal([append(ONE, 1, "b"), JournalWrite::Close { stream: ONE }])).await.unwrap();
    assert_eq!(store.open_streams().await.unwrap(), [TWO]);
    assert_eq!(store.closed_streams().await.unwrap(), [ONE]);
    assert_eq!(records(&*store, ONE, 0).await, ["a", "b"]);
    let late = store.commit(journal([append(ONE, 2, "c")])).await;
    assert!(matches!(late, Err(CommitError::Closed { stream: ONE })), "{late:?}");
    store.commit(journal([JournalWrite::Delete { stream: ONE }, JournalWrite::Delete { stream: TWO }])).await.unwrap();
    assert!(store.open_streams().await.unwrap().is_empty());
    assert!(store.closed_streams().await.unwrap().is_empty());
    assert!(records(&*store, ONE, 0).await.is_empty());
    // Both are happy to run twice.
    store.commit(journal([JournalWrite::Delete { stream: ONE }, JournalWrite::Close { stream: ONE }])).await.unwrap();
    assert!(store.open_streams().await.unwrap().is_empty());
}

pub async fn streams_sleep_until_their_next_record(store: Arc<dyn Store>) {
    let sleep = |stream, until| JournalWrite::Sleep { stream, until };
    store.commit(journal([append(ONE, 0, "a"), sleep(ONE, 70), append(TWO, 0, "x"), sleep(TWO, -5)])).await.unwrap();
    assert_eq!(store.sleeping_streams().await.unwrap(), [(ONE, 70), (TWO, -5)]);
    assert_eq!(store.open_streams().await.unwrap(), [ONE, TWO]);
    store.commit(journal([append(ONE, 1, "b")])).await.unwrap();
    assert_eq!(store.sleeping_streams().await.unwrap(), [(TWO, -5)]);
    store.commit(journal([append(ONE, 2, "c"), sleep(ONE, 80), JournalWrite::Close { stream: TWO }])).await.unwrap();
    assert_eq!(store.sleeping_streams().await.unwrap(), [(ONE, 80)]);
    assert_eq!(records(&*store, ONE, 0).await, ["a", "b", "c"]);
    store.commit(journal([JournalWrite::Delete { stream: ONE }])).await.unwrap();
    assert_eq!(store.sleeping_streams().await.unwrap(), []);
}

pub async fn a_closed_stream_can_be_taken_up_again(store: Arc<dyn Store>) {
    let reopen = || JournalWrite::Reopen { stream: ONE };
    let close = || JournalWrite::Close { stream: ONE };
    store.commit(journal([append(ONE, 0, "a"), close()])).await.unwrap();
    store.commit(journal([reopen(), append(ONE, 1, "b")])).await.unwrap();
    assert_eq!(store.open_streams().await.unwrap(), [ONE]);
    assert_eq!(records(&*store, ONE, 0).await, ["a", "b"]);
    // In one go with what closes it, and where there is nothing to reopen.
    store.commit(journal([close(), reopen(), append(ONE, 2, "c"), reopen(), close()])).await.unwrap();
    assert!(store.open_streams().await.unwrap().is_empty());
    store.commit(journal([reopen(), close(), JournalWrite::Reopen { stream: TWO }])).await.unwrap();
    assert!(store.open_streams().await.unwrap().is_empty());
    store.commit(journal([reopen()])).await.unwrap();
    store.commit(journal([append(ONE, 3, "d")])).await.unwrap();
    assert_eq!(records(&*store, ONE, 0).await, ["a", "b", "c", "d"]);
    assert!(records(&*store, TWO, 0).await.is_empty());
    store.commit(journal([close(), JournalWrite::Delete { stream: ONE }, reopen()])).await.unwrap();
    assert!(store.open_streams().await.unwrap().is_empty());
}

pub async fn a_stream_lives_again_after_deletion(store: Arc<dyn Store>) {
    store.commit(journal([append(ONE, 0, "a"), append(ONE, 1, "b")])).await.unwrap();
    let again = [JournalWrite::Close { stream: ONE }, JournalWrite::Delete { stream: ONE }, append(ONE, 0, "c")];
    store.commit(journal(again)).await.unwrap();
    assert_eq!(records(&*store, ONE, 0).await, ["c"]);
    assert_eq!(store.open_streams().await.unwrap(), [ONE]);
    let brief = [append(TWO, 0, "x"), JournalWrite::Delete { stream: TWO }];
    store.commit(journal(brief)).await.unwrap();
    assert!(records(&*store, TWO, 0).await.is_empty());
    assert_eq!(store.open_streams().await.unwrap(), [ONE]);
}

pub async fn objects_and_journal_commit_together(store: Arc<dyn Store>) {
    let both = |value, sequence| Transaction {
        writes: vec![put("run", Expect::Anything, value)],
        journal: vec![append(ONE, sequence, value)],
    };
    assert_eq!(store.commit(both("1", 0)).await.unwrap(), 1);
    assert_sequence(store.commit(both("2", 0)).await, 1, 0);
    assert_eq!(store.get(b"run").await.unwrap().unwrap().value, "1");
    let mut conflict = both("3", 1);
    conflict.writes.push(put("run", Expect::Absent, "4"));
    assert!(matches!(store.commit(conflict).await, Err(CommitError::Conflict { .. })));
    assert_eq!(records(&*store, ONE, 0).await, ["1"]);
    assert_eq!(store.commit(writes([put("run", Expect::Revision(1), "5")])).await.unwrap(), 2);
}
