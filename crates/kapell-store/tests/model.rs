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
    /// With the right sequence number before the transaction, plus this; and until when it sleeps then.
    Append(u8, u8, Option<u8>),
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
        8 => (0u8..3, 0u8..2, proptest::option::of(0u8..3))
            .prop_map(|(stream, ahead, until)| JournalStep::Append(stream, ahead, until)),
        2 => (0u8..3).prop_map(JournalStep::Close),
        2 => (0u8..3).prop_map(JournalStep::Reopen),
        1 => (0u8..3).prop_map(JournalStep::Delete),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let commit = (prop::collection::vec(write_step(), 0..4), prop::collection::vec(journal_step(), 0..4));
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
        let (step, sleep) = match *step {
            JournalStep::Append(number, ahead, until) => {
                let stream = stream(number);
                let next = model.read_stream(stream, 0).await.unwrap().len() as u64;
                let record = Bytes::from(vec![ahead]);
                let sleep = until.map(|until| JournalWrite::Sleep { stream, until: i64::from(until) });
                (JournalWrite::Append { stream, sequence: next + u64::from(ahead), record }, sleep)
            }
            JournalStep::Close(number) => (JournalWrite::Close { stream: stream(number) }, None),
            JournalStep::Reopen(number) => (JournalWrite::Reopen { stream: stream(number) }, None),
            JournalStep::Delete(number) => (JournalWrite::Delete { stream: stream(number) }, None),
        };
        transaction.journal.extend([step].into_iter().chain(sleep));
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
    lines.push(format!("open {:?}", store.open_streams().await));
    lines.push(format!("closed {:?}", store.closed_streams().await));
    lines.push(format!("sleeping {:?}", store.sleeping_streams().await));
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

/// A restart has brought the table of streams up to date, so it says itself that the stream sleeps.
#[tokio::test]
async fn a_stream_that_slept_is_awake_when_it_is_closed_and_reopened_at_once() {
    let commit = |steps: &[JournalStep]| Step::Commit(Vec::new(), steps.to_vec());
    run(vec![
        commit(&[JournalStep::Append(0, 0, Some(1))]),
        Step::Reopen,
        commit(&[JournalStep::Close(0), JournalStep::Reopen(0)]),
    ])
    .await;
}
