//! Random histories: the durable store must answer as the model does, whatever happens and however often it restarts.

use std::path::Path;

use bytes::Bytes;
use kapell_store::memory::MemoryStore;
use kapell_store::sqlite::{Options, SqliteStore};
use kapell_store::{Expect, JournalWrite, Revision, Store, StreamId, Transaction, Write};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<WriteStep>, Vec<JournalStep>),
    /// Compacts this share (of 255) of the history.
    Compact(u8),
    Reopen,
}

#[derive(Clone, Debug)]
struct WriteStep {
    key: u8,
    expect: ExpectStep,
    value: Option<u8>,
}

#[derive(Clone, Debug)]
enum ExpectStep {
    Absent,
    Anything,
    /// What stands there before the transaction, plus a number that is mostly 0.
    Current(u8),
}

#[derive(Clone, Debug)]
enum JournalStep {
    /// With the right sequence number before the transaction, plus this.
    Append(u8, u8),
    Close(u8),
    Reopen(u8),
    Delete(u8),
}

fn write_step() -> impl Strategy<Value = WriteStep> {
    let expect = prop_oneof![
        2 => Just(ExpectStep::Absent),
        4 => Just(ExpectStep::Anything),
        5 => Just(ExpectStep::Current(0)),
        1 => (1u8..3).prop_map(ExpectStep::Current),
    ];
    (0u8..6, expect, proptest::option::weighted(0.7, any::<u8>())).prop_map(|(key, expect, value)| WriteStep {
        key,
        expect,
        value,
    })
}

fn journal_step() -> impl Strategy<Value = JournalStep> {
    prop_oneof![
        8 => (0u8..3, 0u8..2).prop_map(|(stream, ahead)| JournalStep::Append(stream, ahead)),
        2 => (0u8..3).prop_map(JournalStep::Close),
        1 => (0u8..3).prop_map(JournalStep::Reopen),
        1 => (0u8..3).prop_map(JournalStep::Delete),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let commit = (prop::collection::vec(write_step(), 0..4), prop::collection::vec(journal_step(), 0..3));
    prop_oneof![
        12 => commit.prop_map(|(writes, journal)| Step::Commit(writes, journal)),
        1 => any::<u8>().prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

fn stream(number: u8) -> StreamId {
    StreamId([number; 16])
}

async fn transaction(model: &MemoryStore, writes: &[WriteStep], journal: &[JournalStep]) -> Transaction {
    let mut transaction = Transaction::default();
    for WriteStep { key, expect, value } in writes {
        let key = Bytes::from(format!("/{}/{key}", key % 2));
        let current = model.get(&key).await.unwrap().map_or(0, |entry| entry.modified);
        let expect = match expect {
            ExpectStep::Absent => Expect::Absent,
            ExpectStep::Anything => Expect::Anything,
            ExpectStep::Current(ahead) => Expect::Revision(current + Revision::from(*ahead)),
        };
        transaction.writes.push(Write { key, expect, value: value.map(|value| Bytes::from(vec![value; 3])) });
    }
    for step in journal {
        transaction.journal.push(match *step {
            JournalStep::Append(number, ahead) => {
                let stream = stream(number);
                let next = model.read_stream(stream, 0).await.unwrap().len() as u64;
                JournalWrite::Append { stream, sequence: next + u64::from(ahead), record: Bytes::from(vec![ahead]) }
            }
            JournalStep::Close(number) => JournalWrite::Close { stream: stream(number) },
            JournalStep::Reopen(number) => JournalWrite::Reopen { stream: stream(number) },
            JournalStep::Delete(number) => JournalWrite::Delete { stream: stream(number) },
        });
    }
    transaction
}

/// Everything that a store can be asked, as text.
async fn portrait(store: &dyn Store) -> Vec<String> {
    let latest = store.revision();
    let mut lines = vec![format!("revision {latest}")];
    for at in 0..=latest + 1 {
        for (after, limit) in [(None, 0), (None, 2), (Some(&b"/0/2"[..]), 2)] {
            lines.push(format!("{:?}", store.list(b"/", after, limit, Some(at)).await));
        }
        lines.push(format!("{:?}", store.list(b"/1/", None, 0, Some(at)).await));
        match store.watch(b"/1", at) {
            Ok(mut watch) => {
                let next = futures::FutureExt::now_or_never(watch.next());
                lines.push(format!("watch {at}: {next:?}, at {}", watch.revision()));
            }
            Err(error) => lines.push(format!("watch {at}: {error:?}")),
        }
    }
    for number in 0..3 {
        lines.push(format!("{:?}", store.read_stream(stream(number), 0).await));
    }
    lines.push(format!("{:?}", store.open_streams().await));
    lines
}

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, Options::default()).unwrap()
}

async fn run(steps: Vec<Step>) {
    let directory = tempfile::tempdir().unwrap();
    let model = MemoryStore::new();
    let mut store = open(directory.path());
    for step in &steps {
        match step {
            Step::Commit(writes, journal) => {
                let transaction = transaction(&model, writes, journal).await;
                let expected = model.commit(transaction.clone()).await;
                let found = store.commit(transaction).await;
                assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{step:?}");
            }
            Step::Compact(share) => {
                let before = model.revision() * u64::from(*share) / 255;
                model.compact(before).await.unwrap();
                store.compact(before).await.unwrap();
            }
            Step::Reopen => {
                drop(store);
                store = open(directory.path());
            }
        }
    }
    assert_eq!(portrait(&store).await, portrait(&model).await);
    drop(store);
    assert_eq!(portrait(&open(directory.path())).await, portrait(&model).await, "after reopening");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_durable_store_is_the_model(steps in prop::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps));
    }
}
