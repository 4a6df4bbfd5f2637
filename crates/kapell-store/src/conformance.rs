//! What every store promises, as tests that any store can be put to.
//!
//! Each function is one behaviour and wants an empty store of its own. [`conformance_suite!`](crate::conformance_suite)
//! turns them all into tests. What only some stores can promise (that everything is still there after a restart) is
//! tested where they are.

mod journal;
mod logs;
mod objects;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{Change, Expect, JournalWrite, Page, ReadError, Revision, StreamId, Transaction, Watch, Write};

pub use self::journal::*;
pub use self::logs::*;
pub use self::objects::*;
pub use self::watches::*;

/// Makes a `#[tokio::test]` of each behaviour. The expression is evaluated for each, and gives an `Arc<dyn Store>` and
/// something that is kept until the test ends, such as a temporary directory.
#[macro_export]
macro_rules! conformance_suite {
    ($make:expr) => {
        $crate::conformance_suite!(
            $make;
            every_change_has_a_revision,
            demands_are_checked,
            a_refused_transaction_changes_nothing,
            writes_of_a_transaction_see_each_other,
            created_lasts_until_deletion,
            lists_are_ordered_and_paged,
            lists_show_the_past,
            concurrent_writers_lose_nothing,
            watches_deliver_each_change_once_in_order,
            watches_see_their_prefix_only,
            watches_wait_and_can_be_interrupted,
            watches_of_unknown_revisions_are_refused,
            compaction_forgets_the_past_only,
            compaction_ends_watches_that_are_behind,
            streams_count_their_records,
            streams_close_and_are_forgotten,
            streams_sleep_until_their_next_record,
            a_closed_stream_can_be_taken_up_again,
            a_stream_lives_again_after_deletion,
            objects_and_journal_commit_together,
            logs_count_their_records_and_take_each_once,
            logs_are_trimmed_from_the_front,
            logs_and_journal_commit_together,
        );
    };
    ($make:expr; $($behaviour:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let (store, _kept) = $make;
                $crate::conformance::$behaviour(store).await;
            }
        )*
    };
}

/// Far longer than any step takes; a store that hangs fails instead of blocking the run.
const PATIENCE: Duration = Duration::from_secs(20);

fn put(key: &str, expect: Expect, value: &str) -> Write {
    Write { key: bytes(key), expect, value: Some(bytes(value)) }
}

fn delete(key: &str, expect: Expect) -> Write {
    Write { key: bytes(key), expect, value: None }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn writes(writes: impl Into<Vec<Write>>) -> Transaction {
    Transaction { writes: writes.into(), journal: Vec::new() }
}

fn journal(journal: impl Into<Vec<JournalWrite>>) -> Transaction {
    Transaction { writes: Vec::new(), journal: journal.into() }
}

fn append(stream: StreamId, sequence: u64, record: &str) -> JournalWrite {
    JournalWrite::Append { stream, sequence, record: bytes(record) }
}

/// `key=value@modified` for each entry, which reads well in an assertion.
fn text(page: &Page) -> Vec<String> {
    let show = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    page.entries.iter().map(|e| format!("{}={}@{}", show(&e.key), show(&e.value), e.modified)).collect()
}

/// `revision key previous->value`, with `-` for absent.
fn change_text(change: &Change) -> String {
    let value = |entry: &Option<Arc<crate::Entry>>| {
        entry.as_ref().map_or("-".to_owned(), |entry| String::from_utf8_lossy(&entry.value).into_owned())
    };
    let key = String::from_utf8_lossy(&change.key);
    format!("{} {key} {}->{}", change.revision, value(&change.previous), value(&change.entry))
}

/// Takes changes until there are `count`.
async fn take(watch: &mut dyn Watch, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let batch = tokio::time::timeout(PATIENCE, watch.next()).await;
        let batch = batch.expect("the watch stays silent").expect("the watch fails");
        assert!(!batch.is_empty(), "an empty batch");
        seen.extend(batch.iter().map(|change| change_text(change)));
    }
    seen
}

#[track_caller]
fn assert_compacted<T>(result: Result<T, ReadError>, requested: Revision, oldest: Revision) {
    match result {
        Err(ReadError::Compacted { requested: r, oldest: o }) => assert_eq!((r, o), (requested, oldest)),
        Err(error) => panic!("expected Compacted, got: {error}"),
        Ok(_) => panic!("expected Compacted, got a result"),
    }
}

#[track_caller]
fn assert_future<T>(result: Result<T, ReadError>, requested: Revision, latest: Revision) {
    match result {
        Err(ReadError::Future { requested: r, latest: l }) => assert_eq!((r, l), (requested, latest)),
        Err(error) => panic!("expected Future, got: {error}"),
        Ok(_) => panic!("expected Future, got a result"),
    }
}
