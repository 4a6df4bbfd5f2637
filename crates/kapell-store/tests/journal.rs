//! The journal on disk: what its table of streams does not say yet is not lost, and version 1 is taken over.

use std::path::Path;

use bytes::Bytes;
use kapell_store::sqlite::{Options, SqliteStore};
use kapell_store::{CommitError, JournalWrite, Store, StreamId, Transaction};

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, Options::default()).unwrap()
}

fn id(number: u128) -> StreamId {
    StreamId(number.to_be_bytes())
}

fn append(stream: StreamId, sequence: u64) -> JournalWrite {
    JournalWrite::Append { stream, sequence, record: record(stream, sequence) }
}

fn record(stream: StreamId, sequence: u64) -> Bytes {
    format!("{} {sequence}", u128::from_be_bytes(stream.0)).into()
}

async fn write(store: &SqliteStore, journal: Vec<JournalWrite>) -> Result<u64, CommitError> {
    store.commit(Transaction { writes: Vec::new(), journal }).await
}

/// Three streams that grow in turn; one is closed, one deleted and begun again.
async fn fill(store: &SqliteStore, rounds: u64) {
    let rounds: Vec<u64> = (0..rounds).collect();
    for some in rounds.chunks(100) {
        let each = some.iter().flat_map(|sequence| (1..=3).map(|number| append(id(number), *sequence)));
        write(store, each.collect()).await.unwrap();
    }
    write(store, vec![JournalWrite::Close { stream: id(1) }, JournalWrite::Delete { stream: id(2) }]).await.unwrap();
    write(store, vec![append(id(2), 0)]).await.unwrap();
}

async fn check(store: &SqliteStore, rounds: u64) {
    assert_eq!(store.open_streams().await.unwrap(), [id(2), id(3)]);
    let all = |stream, count| (0..count).map(|sequence| record(stream, sequence)).collect::<Vec<_>>();
    assert_eq!(store.read_stream(id(1), 0).await.unwrap(), all(id(1), rounds));
    assert_eq!(store.read_stream(id(2), 0).await.unwrap(), all(id(2), 1));
    assert_eq!(store.read_stream(id(3), 0).await.unwrap(), all(id(3), rounds));
    assert_eq!(store.read_stream(id(3), rounds - 1).await.unwrap(), [record(id(3), rounds - 1)]);
    assert!(matches!(write(store, vec![append(id(1), rounds)]).await, Err(CommitError::Closed { .. })));
    let twice = write(store, vec![append(id(3), rounds - 1)]).await;
    assert!(matches!(twice, Err(CommitError::Sequence { expected, .. }) if expected == rounds), "{twice:?}");
}

#[tokio::test]
async fn streams_are_the_same_before_and_after_their_table_is_brought_up_to_date() {
    // Far below and beyond what the table may lag behind.
    for rounds in [3, 1_500] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        fill(&store, rounds).await;
        check(&store, rounds).await;
        store.close();
        let store = open(directory.path());
        check(&store, rounds).await;
        write(&store, (1..=3).map(|number| JournalWrite::Delete { stream: id(number) }).collect()).await.unwrap();
        store.close();
        let connection = rusqlite::Connection::open(directory.path().join("kapell.db")).unwrap();
        for table in ["journal", "streams"] {
            let left: i64 =
                connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
            assert_eq!(left, 0, "{table}");
        }
        // Positions of deleted records are not used again.
        drop(connection);
        let store = open(directory.path());
        write(&store, vec![append(id(9), 0)]).await.unwrap();
        assert_eq!(store.open_streams().await.unwrap(), [id(9)]);
    }
}

#[tokio::test]
async fn version_1_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let connection = rusqlite::Connection::open(directory.path().join("kapell.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA application_id = 1264676972; PRAGMA user_version = 1;
             CREATE TABLE changes (revision INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB,
                 created INTEGER NOT NULL, replaced INTEGER);
             CREATE TABLE streams (stream BLOB PRIMARY KEY, next INTEGER NOT NULL, open INTEGER NOT NULL) WITHOUT ROWID;
             CREATE INDEX open_streams ON streams (stream) WHERE open = 1;
             CREATE TABLE journal (stream BLOB NOT NULL, sequence INTEGER NOT NULL, record BLOB NOT NULL,
                 PRIMARY KEY (stream, sequence)) WITHOUT ROWID;
             CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
             INSERT INTO meta VALUES ('compacted', 0), ('swept', 0);
             INSERT INTO changes VALUES (1, X'6b', X'76', 1, NULL);",
        )
        .unwrap();
    for (number, count, open) in [(1, 4, false), (2, 1, true), (3, 4, true)] {
        let row = rusqlite::params![id(number).0, count, open];
        connection.execute("INSERT INTO streams VALUES (?1, ?2, ?3)", row).unwrap();
        for sequence in (0..u64::try_from(count).unwrap()).rev() {
            let row =
                rusqlite::params![id(number).0, i64::try_from(sequence).unwrap(), &record(id(number), sequence)[..]];
            connection.execute("INSERT INTO journal VALUES (?1, ?2, ?3)", row).unwrap();
        }
    }
    drop(connection);
    for _ in 0..2 {
        let store = open(directory.path());
        assert_eq!(&store.get(b"k").await.unwrap().unwrap().value[..], b"v");
        check(&store, 4).await;
        store.close();
    }
}
