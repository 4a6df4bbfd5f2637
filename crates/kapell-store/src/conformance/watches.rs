//! Behaviours of watches and of compaction, which is what they may miss.

use std::sync::Arc;

use futures::FutureExt;

use super::{assert_compacted, assert_future, delete, put, take, text, writes};
use crate::{Expect, ReadError, Store};

async fn five_changes(store: &dyn Store) {
    use Expect::Anything;
    let steps = [
        put("/a", Anything, "1"),
        put("/b", Anything, "2"),
        put("/a", Anything, "3"),
        delete("/a", Anything),
        put("/b", Anything, "5"),
    ];
    for step in steps {
        store.commit(writes([step])).await.unwrap();
    }
}

pub async fn watches_deliver_each_change_once_in_order(store: Arc<dyn Store>) {
    five_changes(&*store).await;
    let all = ["1 /a -->1", "2 /b -->2", "3 /a 1->3", "4 /a 3->-", "5 /b 2->5"];
    for after in 0..5 {
        let mut watch = store.watch(b"/", after).unwrap();
        assert_eq!(watch.revision(), after);
        assert_eq!(take(&mut *watch, 5 - after as usize).await, all[after as usize..]);
        assert_eq!(watch.revision(), 5);
    }
    // A watch that starts now goes on with what comes, across the parts of one transaction too.
    let mut watch = store.watch(b"/", 5).unwrap();
    let two = writes([put("/c", Expect::Absent, "6"), delete("/b", Expect::Anything)]);
    store.commit(two).await.unwrap();
    assert_eq!(take(&mut *watch, 2).await, ["6 /c -->6", "7 /b 5->-"]);
    let mut resumed = store.watch(b"/", 6).unwrap();
    assert_eq!(take(&mut *resumed, 1).await, ["7 /b 5->-"]);
}

pub async fn watches_see_their_prefix_only(store: Arc<dyn Store>) {
    five_changes(&*store).await;
    let mut watch = store.watch(b"/b", 0).unwrap();
    assert_eq!(take(&mut *watch, 2).await, ["2 /b -->2", "5 /b 2->5"]);
    store.commit(writes([put("/a", Expect::Anything, "6")])).await.unwrap();
    assert!(watch.next().now_or_never().is_none());
    // It has looked at revision 6 and found it to be none of its business.
    assert_eq!(watch.revision(), 6);
}

pub async fn watches_wait_and_can_be_interrupted(store: Arc<dyn Store>) {
    let mut watch = store.watch(b"", 0).unwrap();
    for _ in 0..3 {
        assert!(watch.next().now_or_never().is_none());
    }
    let (started, wait) = tokio::sync::oneshot::channel();
    let waiting = tokio::spawn(async move {
        started.send(()).unwrap();
        take(&mut *watch, 3).await
    });
    wait.await.unwrap();
    for value in ["1", "2", "3"] {
        store.commit(writes([put("a", Expect::Anything, value)])).await.unwrap();
    }
    assert_eq!(waiting.await.unwrap(), ["1 a -->1", "2 a 1->2", "3 a 2->3"]);
}

pub async fn watches_of_unknown_revisions_are_refused(store: Arc<dyn Store>) {
    assert_future(store.watch(b"", 1), 1, 0);
    five_changes(&*store).await;
    assert!(store.watch(b"", 5).is_ok());
    assert_future(store.watch(b"", 6), 6, 5);
}

pub async fn compaction_forgets_the_past_only(store: Arc<dyn Store>) {
    five_changes(&*store).await;
    store.compact(3).await.unwrap();
    assert_eq!(store.revision(), 5);
    for gone in 0..3 {
        assert_compacted(store.list(b"", None, 0, Some(gone)).await, gone, 3);
        assert_compacted(store.watch(b"", gone), gone, 3);
    }
    let history: [(u64, &[&str]); 3] = [(3, &["/a=3@3", "/b=2@2"]), (4, &["/b=2@2"]), (5, &["/b=5@5"])];
    for (revision, expected) in history {
        assert_eq!(text(&store.list(b"", None, 0, Some(revision)).await.unwrap()), expected);
    }
    let mut watch = store.watch(b"", 3).unwrap();
    assert_eq!(take(&mut *watch, 2).await, ["4 /a 3->-", "5 /b 2->5"]);
    // What is gone stays gone, and nobody compacts the future.
    store.compact(1).await.unwrap();
    assert_compacted(store.watch(b"", 2), 2, 3);
    store.compact(100).await.unwrap();
    assert_compacted(store.watch(b"", 4), 4, 5);
    assert!(store.watch(b"", 5).is_ok());
    assert_eq!(text(&store.list(b"", None, 0, None).await.unwrap()), ["/b=5@5"]);
    assert_eq!(store.commit(writes([put("/b", Expect::Revision(5), "6")])).await.unwrap(), 6);
}

pub async fn compaction_ends_watches_that_are_behind(store: Arc<dyn Store>) {
    let mut behind = store.watch(b"", 0).unwrap();
    let mut level = store.watch(b"", 0).unwrap();
    five_changes(&*store).await;
    take(&mut *level, 5).await;
    store.compact(5).await.unwrap();
    assert!(matches!(behind.next().await, Err(ReadError::Compacted { requested: 0, oldest: 5 })));
    store.commit(writes([put("/c", Expect::Absent, "6")])).await.unwrap();
    assert_eq!(take(&mut *level, 1).await, ["6 /c -->6"]);
}
