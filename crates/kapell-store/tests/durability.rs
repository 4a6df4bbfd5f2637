//! What only a durable store promises: it is all there after a restart, however the last run ended.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kapell_store::sqlite::{Options, Retention, SqliteStore};
use kapell_store::{Expect, JournalWrite, ReadError, Store, StreamId, Transaction, Write};

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, Options::default()).unwrap()
}

fn put(key: String, value: String) -> Transaction {
    let write = Write { key: key.into(), expect: Expect::Anything, value: Some(value.into()) };
    Transaction { writes: vec![write], journal: Vec::new() }
}

fn rows(directory: &Path) -> u64 {
    let connection = rusqlite::Connection::open(directory.join("kapell.db")).unwrap();
    let count: i64 = connection.query_row("SELECT count(*) FROM changes", [], |row| row.get(0)).unwrap();
    count.unsigned_abs()
}

#[tokio::test]
async fn watches_and_old_lists_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for n in 1..=10 {
        store.commit(put("a".to_owned(), n.to_string())).await.unwrap();
    }
    store.close();
    let store = open(directory.path());
    assert_eq!(store.revision(), 10);
    let changes = store.watch(b"a", 4).unwrap().next().await.unwrap();
    assert_eq!(changes.iter().map(|change| change.revision).collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10]);
    assert_eq!(changes[0].previous.as_ref().unwrap().value, "4");
    assert_eq!(store.list(b"a", None, 0, Some(3)).await.unwrap().entries[0].value, "3");
}

#[tokio::test]
async fn a_closed_store_refuses_writes_and_ends_watches() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()));
    let mut watch = store.watch(b"", 0).unwrap();
    let waiting = tokio::spawn(async move { watch.next().await });
    store.close();
    store.close();
    assert!(matches!(waiting.await.unwrap(), Err(ReadError::Backend(_))));
    let refused = store.commit(put("a".to_owned(), "1".to_owned())).await.unwrap_err();
    assert_eq!(refused.to_string(), "the store does not take writes now: it is closed");
    assert!(store.get(b"a").await.unwrap().is_none());
    // The lock is free, and one plain file is left.
    assert!(!directory.path().join("kapell.db-wal").exists());
    open(directory.path());
}

#[tokio::test]
async fn compacted_deletions_keep_the_revision() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.commit(put("a".to_owned(), "1".to_owned())).await.unwrap();
    let gone = Write { key: Bytes::from_static(b"a"), expect: Expect::Anything, value: None };
    store.commit(Transaction { writes: vec![gone], journal: Vec::new() }).await.unwrap();
    store.compact(2).await.unwrap();
    // The sweep comes after the answer: it is done by the first close or by a later one.
    for _ in 0..2 {
        store.close();
        let store = open(directory.path());
        assert_eq!(store.revision(), 2);
        assert!(store.list(b"", None, 0, None).await.unwrap().entries.is_empty());
        assert!(matches!(store.watch(b"", 1), Err(ReadError::Compacted { requested: 1, oldest: 2 })));
    }
    assert_eq!(open(directory.path()).commit(put("a".to_owned(), "2".to_owned())).await.unwrap(), 3);
}

#[tokio::test]
async fn superseded_rows_go_by_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let retention = Retention { min_age: Duration::ZERO, min_changes: 50, max_changes: 100, max_bytes: 1 << 20 };
    let options = Options { retention, ..Options::default() };
    let store = SqliteStore::open(directory.path(), options.clone()).unwrap();
    let mut behind = store.watch(b"", 0).unwrap();
    let writes: Vec<_> = (0..3_000).map(|n| store.commit(put(format!("k{}", n % 10), n.to_string()))).collect();
    for write in futures::future::join_all(writes).await {
        write.unwrap();
    }
    assert!(matches!(behind.next().await, Err(ReadError::Compacted { requested: 0, .. })));
    let before = store.list(b"", None, 0, None).await.unwrap();
    // A chunk is removed after each batch and while idle; each of these commits is a batch.
    for n in 0..10 {
        store.commit(put("last".to_owned(), n.to_string())).await.unwrap();
    }
    store.close();
    let left = rows(directory.path());
    assert!(left < 700, "{left} rows are left");
    let store = SqliteStore::open(directory.path(), options).unwrap();
    assert_eq!(store.revision(), 3_010);
    assert_eq!(store.list(b"k", None, 0, None).await.unwrap().entries, before.entries);
}

const CHILD: &str = "KAPELL_STORE_CRASH_DIRECTORY";
const TASKS: u8 = 8;

fn stream(task: u8) -> StreamId {
    StreamId([task; 16])
}

fn key(task: u8, half: &str) -> Bytes {
    format!("{task}/{half}").into()
}

/// Both halves and the journal say how many steps the task has made.
async fn steps_of(store: &SqliteStore, task: u8) -> u64 {
    let mut counts = vec![store.read_stream(stream(task), 0).await.unwrap().len() as u64];
    for half in ["a", "b"] {
        let entry = store.get(&key(task, half)).await.unwrap();
        counts.push(entry.map_or(0, |entry| std::str::from_utf8(&entry.value).unwrap().parse().unwrap()));
    }
    assert!(counts.iter().all(|count| *count == counts[0]), "task {task} has half a transaction: {counts:?}");
    counts[0]
}

async fn step(store: &SqliteStore, task: u8, steps: u64) -> u64 {
    let half =
        |half| Write { key: key(task, half), expect: Expect::Anything, value: Some((steps + 1).to_string().into()) };
    let record = JournalWrite::Append { stream: stream(task), sequence: steps, record: Bytes::from_static(b"step") };
    let transaction = Transaction { writes: vec![half("a"), half("b")], journal: vec![record] };
    store.commit(transaction).await.unwrap()
}

/// Not a test: the process that the next test kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is started by nothing_acknowledged_is_lost_by_kill_9"]
async fn crashing_child() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let store = Arc::new(open(Path::new(&directory)));
    let tasks = (0..TASKS).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut steps = steps_of(&store, task).await;
            loop {
                let revision = step(&store, task, steps).await;
                steps += 1;
                writeln!(std::io::stdout(), "\nack {task} {steps} {revision}").unwrap();
            }
        })
    });
    futures::future::join_all(tasks).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    use std::hash::{BuildHasher, RandomState};
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = [0; TASKS as usize];
    let mut latest = 0;
    for round in 0..6 {
        let moment = 1 + RandomState::new().hash_one(round) % 600;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crashing_child", "--ignored", "--nocapture"])
            .env(CHILD, directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut left = moment;
        // Reads on after the kill: what is still in the pipe was acknowledged too.
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(("", numbers)) = line.split_once("ack ") else { continue };
            let numbers: Vec<u64> = numbers.split(' ').map_while(|number| number.parse().ok()).collect();
            // The kill may cut the last line short.
            let [task, steps, revision] = numbers[..] else { continue };
            acknowledged[task as usize] = steps;
            latest = latest.max(revision);
            left = left.saturating_sub(1);
            if left == 0 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert_eq!(left, 0, "the child ended by itself");
        let store = open(directory.path());
        assert!(store.revision() >= latest, "round {round}, killed after {moment}: revision {latest} is lost");
        for task in 0..TASKS {
            let (kept, promised) = (steps_of(&store, task).await, acknowledged[task as usize]);
            assert!(kept >= promised, "round {round}, killed after {moment}: task {task} lost {promised}, has {kept}");
        }
    }
}
