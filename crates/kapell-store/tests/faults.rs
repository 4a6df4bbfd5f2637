//! Disks and directories that are not as they should be: each is told by what, where and what to do.

use std::fs;
use std::io::{Seek, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use kapell_store::sqlite::{OpenError, Options, SqliteStore};
use kapell_store::{CommitError, Expect, Store, Transaction, Write};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

fn open(directory: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(directory, Options { holder: "the test".to_owned(), ..Options::default() })
}

fn refusal(directory: &Path) -> OpenError {
    match open(directory) {
        Err(error) => error,
        Ok(_) => panic!("it opened"),
    }
}

fn put(key: impl Into<String>, size: usize) -> Transaction {
    let value = Some(vec![b'x'; size].into());
    Transaction { writes: vec![Write { key: key.into().into(), expect: Expect::Absent, value }], journal: Vec::new() }
}

#[test]
fn a_second_holder_is_told_who_the_first_is() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).unwrap();
    let error = refusal(directory.path());
    let OpenError::Locked { path, holder_pid, holder } = &error else { panic!("{error:?}") };
    assert_eq!((path, *holder_pid), (&directory.path().join("lock"), Some(std::process::id())));
    assert_eq!(holder, "the test");
    assert!(error.to_string().contains("(the test): use that server, stop it, or"), "{error}");
    drop(first);
    open(directory.path()).unwrap();
}

#[test]
fn files_in_the_way_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(refusal(&file), OpenError::NotADirectory { path } if path == file));
    let below = file.join("below");
    let error = refusal(&below);
    assert!(matches!(&error, OpenError::Io { path, .. } if *path == below), "{error:?}");
    fs::create_dir(directory.path().join("kapell.db")).unwrap();
    let error = refusal(directory.path());
    assert!(matches!(&error, OpenError::Io { path, .. } if path.ends_with("kapell.db")), "{error:?}");
}

#[test]
fn read_only_directories_and_files_are_named() {
    if geteuid().is_root() {
        eprintln!("skipped: root may write everywhere");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("data");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(directory.path(), 0o500);
    assert!(matches!(refusal(&inside), OpenError::ReadOnly { path, .. } if path == inside));
    assert!(matches!(refusal(directory.path()), OpenError::ReadOnly { path, .. } if path.ends_with("lock")));
    mode(directory.path(), 0o700);
    drop(open(&inside).unwrap());
    mode(&inside.join("kapell.db"), 0o400);
    assert!(matches!(refusal(&inside), OpenError::ReadOnly { path, .. } if path.ends_with("kapell.db")));
    mode(&inside.join("kapell.db"), 0o600);
    mode(&inside, 0o500);
    assert!(matches!(refusal(&inside), OpenError::ReadOnly { path, .. } if path.ends_with("kapell.db")));
    mode(&inside, 0o700);
    drop(open(&inside).unwrap());
}

#[tokio::test]
async fn damaged_files_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kapell.db");
    fs::write(&file, "This is no database, but it is longer than the header of one would be. ".repeat(20)).unwrap();
    let before = fs::read(&file).unwrap();
    let error = refusal(directory.path());
    assert!(matches!(&error, OpenError::Corrupt { path, .. } if *path == file), "{error:?}");
    assert!(error.to_string().contains("restore a backup"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), before);
    fs::remove_file(&file).unwrap();

    let store = open(directory.path()).unwrap();
    for n in 0..200 {
        store.commit(put(n.to_string(), 1_000)).await.unwrap();
    }
    drop(store);
    let intact = fs::read(&file).unwrap();
    for offset in [0, 100, 4096, 4096 * 10] {
        let mut damaged = fs::OpenOptions::new().write(true).open(&file).unwrap();
        damaged.seek(SeekFrom::Start(offset)).unwrap();
        damaged.write_all(&[0xa5; 64]).unwrap();
        let error = refusal(directory.path());
        assert!(matches!(&error, OpenError::Corrupt { .. }), "at {offset}: {error:?}");
        fs::write(&file, &intact).unwrap();
    }
    // A row that is lost as a whole leaves a file that is well formed, and is missed all the same.
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute("DELETE FROM changes WHERE revision = 100", []).unwrap();
    drop(connection);
    assert!(
        matches!(refusal(directory.path()), OpenError::Corrupt { detail, .. } if detail == "change 100 is missing")
    );
}

#[test]
fn other_programs_and_newer_schemas_are_recognised() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kapell.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(connection);
    assert!(matches!(refusal(directory.path()), OpenError::Foreign { path } if path == file));
    fs::remove_file(&file).unwrap();
    drop(open(directory.path()).unwrap());
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.pragma_update(None, "user_version", 7).unwrap();
    drop(connection);
    let error = refusal(directory.path());
    assert!(matches!(&error, OpenError::Newer { found: 7, supported: 4, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("schema version 7") && text.contains("up to 4"), "{text}");
}

/// Fills the store until it refuses, and checks that the refused transaction left no trace.
async fn fill(store: &SqliteStore, name: &str) -> String {
    for n in 0..10_000 {
        let before = store.revision();
        let key = format!("{name}{n}");
        match store.commit(put(key.clone(), 4_000)).await {
            Ok(revision) => assert_eq!(revision, before + 1),
            Err(CommitError::Storage(error)) => {
                assert_eq!(store.revision(), before);
                assert!(store.get(key.as_bytes()).await.unwrap().is_none());
                return error.to_string();
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it never became full");
}

#[tokio::test]
async fn a_full_database_refuses_and_goes_on_when_it_may_grow() {
    let directory = tempfile::tempdir().unwrap();
    let limited = Options { max_bytes: Some(1 << 20), ..Options::default() };
    let store = SqliteStore::open(directory.path(), limited).unwrap();
    let error = fill(&store, "a").await;
    assert!(error.starts_with("no space left for") && error.contains("free some"), "{error}");
    // Refused together with others: none of them happened.
    let (big, more) = tokio::join!(store.commit(put("big", 100_000)), store.commit(put("more", 100_000)));
    assert!(matches!((big, more), (Err(CommitError::Storage(_)), Err(CommitError::Storage(_)))));
    let revision = store.revision();
    drop(store);
    let store = open(directory.path()).unwrap();
    assert_eq!(store.revision(), revision);
    assert_eq!(store.commit(put("big", 100_000)).await.unwrap(), revision + 1);
}

const CHILD: &str = "KAPELL_STORE_FULL_DIRECTORY";

/// Not a test: runs with SIGXFSZ ignored, so that a file at the limit answers with an error as a full disk does.
#[tokio::test]
#[ignore = "is started by a_full_disk_refuses_and_goes_on_when_space_returns"]
async fn full_disk_child() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let directory = Path::new(&directory);
    let store = open(directory).unwrap();
    store.commit(put("first", 4_000)).await.unwrap();
    let free = getrlimit(Resource::Fsize);
    for round in 0..3 {
        let used = fs::metadata(directory.join("kapell.db-wal")).unwrap().len();
        setrlimit(Resource::Fsize, Rlimit { current: Some(used + 100_000), ..free }).unwrap();
        let error = fill(&store, &format!("round {round} number ")).await;
        assert!(error.contains("kapell.db"), "{error}");
        setrlimit(Resource::Fsize, free).unwrap();
        let before = store.revision();
        assert_eq!(store.commit(put(format!("after {round}"), 4_000)).await.unwrap(), before + 1);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_when_space_returns() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("/bin/sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact full_disk_child --ignored --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let store = open(directory.path()).unwrap();
    for round in 0..3 {
        assert!(store.get(format!("after {round}").as_bytes()).await.unwrap().is_some());
    }
    let all = store.list(b"", None, 0, None).await.unwrap();
    assert_eq!(all.entries.len() as u64, store.revision());
}

/// Keeps the writer waiting, as a disk that has stopped answering would, until it is dropped.
fn stall(directory: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(directory.join("kapell.db")).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
}

#[tokio::test]
async fn a_stalled_disk_fills_the_queue_and_then_writes_are_refused() {
    let cases = [(6_000, 10, "too many writes are waiting"), (6, 30 << 20, "too many bytes are waiting")];
    for (count, size, reason) in cases {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).unwrap();
        let stalled = stall(directory.path());
        let commits = futures::future::join_all((0..count).map(|n| store.commit(put(n.to_string(), size))));
        // Everything is submitted before the disk answers again.
        let (results, ()) = tokio::join!(commits, async { drop(stalled) });
        let accepted = results.iter().filter(|result| result.is_ok()).count();
        for refused in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(matches!(refused, CommitError::Unavailable(why) if *why == reason), "{refused}");
        }
        assert!((1..count).contains(&accepted), "{accepted} of {count} were accepted");
        assert_eq!(store.revision(), accepted as u64);
        // Nothing of the bound is lost to what was refused or failed.
        store.commit(put("afterwards", size)).await.unwrap();
    }
}
