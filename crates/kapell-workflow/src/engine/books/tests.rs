use bytes::Bytes;
use kapell_store::memory::MemoryStore;

use super::*;

const ONE: StreamId = StreamId([1; 16]);
const TWO: StreamId = StreamId([2; 16]);

async fn opened() -> (Arc<MemoryStore>, Books) {
    let store = Arc::new(MemoryStore::new());
    let open = |stream| JournalWrite::Append { stream, sequence: 0, record: Bytes::from_static(b"x") };
    let journal = vec![open(ONE), open(TWO)];
    store.commit(Transaction { writes: Vec::new(), journal }).await.unwrap();
    (store.clone(), Books::new(store))
}

#[tokio::test]
async fn what_is_pending_is_written_together_and_deletion_wins() {
    let (store, books) = opened().await;
    books.delete(ONE);
    books.close(ONE);
    books.close(TWO);
    assert_eq!(store.open_streams().await.unwrap(), [ONE, TWO]);
    books.write().await.unwrap();
    assert_eq!(store.open_streams().await.unwrap(), []);
    assert_eq!(store.closed_streams().await.unwrap(), [TWO]);
    assert!(books.pending.lock().is_empty());
}

#[tokio::test]
async fn a_run_that_goes_on_keeps_its_journal_open() {
    let (store, books) = opened().await;
    books.close(ONE);
    books.keep_open(ONE).await;
    books.write().await.unwrap();
    assert_eq!(store.open_streams().await.unwrap(), [ONE, TWO]);
}
