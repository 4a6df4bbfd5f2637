//! Behaviours of entries: revisions, demands, lists.

use std::sync::Arc;

use super::{assert_future, bytes, delete, journal, put, text, writes};
use crate::{CommitError, Expect, Store, Transaction};

pub async fn every_change_has_a_revision(store: Arc<dyn Store>) {
    use Expect::Anything;
    assert_eq!(store.revision(), 0);
    assert_eq!(store.commit(Transaction::default()).await.unwrap(), 0);
    let three = writes([put("a", Anything, "1"), put("b", Anything, "1"), put("c", Anything, "1")]);
    assert_eq!(store.commit(three).await.unwrap(), 3);
    assert_eq!(store.get(b"b").await.unwrap().unwrap().modified, 2);
    // The same value again is a change; deleting what is not there is none.
    assert_eq!(store.commit(writes([put("a", Anything, "1")])).await.unwrap(), 4);
    assert_eq!(store.commit(writes([delete("x", Anything)])).await.unwrap(), 4);
    assert_eq!(store.commit(writes([delete("x", Expect::Absent)])).await.unwrap(), 4);
    assert_eq!(store.commit(writes([delete("a", Anything)])).await.unwrap(), 5);
    assert_eq!(store.commit(journal([])).await.unwrap(), 5);
    assert_eq!(store.revision(), 5);
}

pub async fn demands_are_checked(store: Arc<dyn Store>) {
    store.commit(writes([put("there", Expect::Absent, "old")])).await.unwrap();
    let cases = [
        ("there", Expect::Absent, false),
        ("there", Expect::Revision(1), true),
        ("there", Expect::Revision(2), false),
        ("there", Expect::Revision(0), false),
        ("there", Expect::Anything, true),
        ("missing", Expect::Absent, true),
        ("missing", Expect::Revision(0), false),
        ("missing", Expect::Revision(1), false),
        ("missing", Expect::Anything, true),
    ];
    for (key, expect, holds) in cases {
        for value in [Some(bytes("new")), None] {
            // The write that must not hold takes the tested one back, so that each case starts from the same state.
            let write = crate::Write { key: bytes(key), expect, value: value.clone() };
            let never = put("never", Expect::Revision(999), "");
            match store.commit(writes([write, never])).await {
                Err(CommitError::Conflict { key: failed, current }) if failed == key => {
                    assert!(!holds, "{key} {expect:?} {value:?} was refused");
                    assert_eq!(current, store.get(key.as_bytes()).await.unwrap());
                }
                Err(CommitError::Conflict { key: failed, .. }) if failed == "never" => {
                    assert!(holds, "{key} {expect:?} {value:?} was accepted");
                }
                other => panic!("{key} {expect:?} {value:?}: {other:?}"),
            }
        }
    }
    assert_eq!(store.revision(), 1);
}

pub async fn a_refused_transaction_changes_nothing(store: Arc<dyn Store>) {
    store.commit(writes([put("a", Expect::Absent, "1"), put("b", Expect::Absent, "1")])).await.unwrap();
    let mut watch = store.watch(b"", 2).unwrap();
    let refused = writes([
        put("a", Expect::Anything, "2"),
        delete("b", Expect::Anything),
        put("c", Expect::Anything, "2"),
        put("a", Expect::Absent, "3"),
    ]);
    let error = store.commit(refused).await.unwrap_err();
    // The conflict is with what the transaction itself had put there.
    assert!(matches!(&error, CommitError::Conflict { current: Some(entry), .. } if entry.value == "2"), "{error:?}");
    let page = store.list(b"", None, 0, None).await.unwrap();
    assert_eq!((text(&page), page.revision), (vec!["a=1@1".to_owned(), "b=1@2".to_owned()], 2));
    store.commit(writes([put("c", Expect::Absent, "4")])).await.unwrap();
    assert_eq!(super::take(&mut *watch, 1).await, ["3 c -->4"]);
}

pub async fn writes_of_a_transaction_see_each_other(store: Arc<dyn Store>) {
    let transaction = writes([
        put("a", Expect::Absent, "1"),
        put("a", Expect::Revision(1), "2"),
        delete("a", Expect::Revision(2)),
        put("a", Expect::Absent, "3"),
    ]);
    assert_eq!(store.commit(transaction).await.unwrap(), 4);
    let entry = store.get(b"a").await.unwrap().unwrap();
    assert_eq!((entry.created, entry.modified, &entry.value[..]), (4, 4, &b"3"[..]));
    let mut watch = store.watch(b"a", 0).unwrap();
    assert_eq!(super::take(&mut *watch, 4).await, ["1 a -->1", "2 a 1->2", "3 a 2->-", "4 a -->3"]);
}

pub async fn created_lasts_until_deletion(store: Arc<dyn Store>) {
    let steps = [(Some("1"), 1), (Some("2"), 1), (None, 0), (Some("3"), 4), (Some("4"), 4)];
    for (value, created) in steps {
        let write = crate::Write { key: bytes("a"), expect: Expect::Anything, value: value.map(bytes) };
        store.commit(writes([write])).await.unwrap();
        assert_eq!(store.get(b"a").await.unwrap().map_or(0, |entry| entry.created), created);
    }
}

pub async fn lists_are_ordered_and_paged(store: Arc<dyn Store>) {
    for key in ["/b/2", "/b", "/a/1", "/b/10", "/b0", "/b/1", "/c", "/b/~"] {
        store.commit(writes([put(key, Expect::Absent, "")])).await.unwrap();
    }
    let below = ["/b/1", "/b/10", "/b/2", "/b/~"];
    type Case<'a> = (&'a str, Option<&'a str>, usize, &'a [&'a str], usize);
    let cases: [Case; 10] = [
        ("/b/", None, 0, &below, 0),
        ("/b/", None, 2, &below[..2], 2),
        ("/b/", Some("/b/10"), 1, &below[2..3], 1),
        ("/b/", Some("/b/2"), 5, &below[3..], 0),
        // Keys that are not there, or not even below the prefix, still say where to go on.
        ("/b/", Some("/b/100"), 0, &below[2..], 0),
        ("/b/", Some("/a"), 0, &below, 0),
        ("/b/", Some("/c"), 0, &[], 0),
        ("/d", None, 0, &[], 0),
        ("", None, 1, &["/a/1"], 7),
        ("/b0", None, 0, &["/b0"], 0),
    ];
    for (prefix, after, limit, keys, remaining) in cases {
        let page = store.list(prefix.as_bytes(), after.map(str::as_bytes), limit, None).await.unwrap();
        let found: Vec<_> = page.entries.iter().map(|entry| &entry.key[..]).collect();
        let keys: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
        assert_eq!((found, page.remaining), (keys, remaining), "{prefix} {after:?} {limit}");
        assert_eq!(page.revision, 8);
    }
}

pub async fn lists_show_the_past(store: Arc<dyn Store>) {
    use Expect::Anything;
    let steps = [
        put("/a", Anything, "1"),
        put("/c", Anything, "2"),
        put("/b", Anything, "3"),
        put("/a", Anything, "4"),
        delete("/c", Anything),
        put("/x", Anything, "6"),
        put("/c", Anything, "7"),
        delete("/a", Anything),
    ];
    for step in steps {
        store.commit(writes([step])).await.unwrap();
    }
    let history: [&[&str]; 9] = [
        &[],
        &["/a=1@1"],
        &["/a=1@1", "/c=2@2"],
        &["/a=1@1", "/b=3@3", "/c=2@2"],
        &["/a=4@4", "/b=3@3", "/c=2@2"],
        &["/a=4@4", "/b=3@3"],
        &["/a=4@4", "/b=3@3", "/x=6@6"],
        &["/a=4@4", "/b=3@3", "/c=7@7", "/x=6@6"],
        &["/b=3@3", "/c=7@7", "/x=6@6"],
    ];
    for (revision, expected) in history.iter().enumerate() {
        let at = Some(revision as u64);
        let page = store.list(b"/", None, 0, at).await.unwrap();
        assert_eq!((text(&page), page.revision), (expected.iter().map(|s| (*s).to_owned()).collect(), revision as u64));
        // Page by page it is the same.
        let mut paged = Vec::new();
        let mut after: Option<bytes::Bytes> = None;
        loop {
            let page = store.list(b"/", after.as_deref(), 1, at).await.unwrap();
            paged.extend(text(&page));
            assert_eq!(page.remaining, expected.len() - paged.len());
            let Some(last) = page.entries.last() else { break };
            after = Some(last.key.clone());
        }
        assert_eq!(paged, *expected);
    }
    assert_future(store.list(b"/", None, 0, Some(9)).await, 9, 8);
}

pub async fn concurrent_writers_lose_nothing(store: Arc<dyn Store>) {
    const WRITERS: usize = 16;
    const ROUNDS: usize = 10;
    store.commit(writes([put("counter", Expect::Absent, "0")])).await.unwrap();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut revisions = Vec::new();
                while revisions.len() < ROUNDS {
                    let now = store.get(b"counter").await.unwrap().unwrap();
                    let count: usize = std::str::from_utf8(&now.value).unwrap().parse().unwrap();
                    let next = put("counter", Expect::Revision(now.modified), &(count + 1).to_string());
                    match store.commit(writes([next])).await {
                        Ok(revision) => {
                            assert!(store.revision() >= revision, "acknowledged before it can be read");
                            revisions.push(revision);
                        }
                        Err(CommitError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                revisions
            })
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.extend(task.await.unwrap());
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=(WRITERS * ROUNDS + 1) as u64).collect::<Vec<_>>());
    assert_eq!(store.get(b"counter").await.unwrap().unwrap().value, (WRITERS * ROUNDS).to_string());
}
