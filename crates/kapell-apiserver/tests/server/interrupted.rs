//! A store in which something comes between a read and the write that depends on it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use kapell_store::memory::MemoryStore;
use kapell_store::{CommitError, Entry, LogExtent, Page, ReadError, Revision, Store, StreamId, Transaction, Watch};

pub(crate) struct Interrupted {
    store: MemoryStore,
    key: &'static str,
    then: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Interrupted {
    pub(crate) fn after_reading(key: &'static str) -> Self {
        Self { store: MemoryStore::new(), key, then: Mutex::default() }
    }

    /// What happens before the next reader of the key has its answer.
    pub(crate) fn once(&self, then: impl Future<Output = ()> + Send + 'static) {
        *self.then.lock().unwrap() = Some(Box::pin(then));
    }
}

#[async_trait]
impl Store for Interrupted {
    async fn get(&self, key: &[u8]) -> Result<Option<Arc<Entry>>, ReadError> {
        let entry = self.store.get(key).await;
        let then = if key == self.key.as_bytes() { self.then.lock().unwrap().take() } else { None };
        if let Some(then) = then {
            then.await;
        }
        entry
    }

    fn revision(&self) -> Revision {
        self.store.revision()
    }

    async fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, ReadError> {
        self.store.list(prefix, after, limit, at).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError> {
        self.store.commit(transaction).await
    }

    fn watch(&self, prefix: &[u8], after: Revision) -> Result<Box<dyn Watch>, ReadError> {
        self.store.watch(prefix, after)
    }

    async fn compact(&self, before: Revision) -> Result<(), CommitError> {
        self.store.compact(before).await
    }

    async fn read_stream(&self, stream: StreamId, from: u64) -> Result<Vec<Bytes>, ReadError> {
        self.store.read_stream(stream, from).await
    }

    async fn read_log(&self, log: StreamId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, ReadError> {
        self.store.read_log(log, from, limit).await
    }

    async fn log_extent(&self, log: StreamId) -> Result<LogExtent, ReadError> {
        self.store.log_extent(log).await
    }

    async fn logs(&self) -> Result<Vec<(StreamId, LogExtent)>, ReadError> {
        self.store.logs().await
    }

    async fn open_streams(&self) -> Result<Vec<StreamId>, ReadError> {
        self.store.open_streams().await
    }

    async fn closed_streams(&self) -> Result<Vec<StreamId>, ReadError> {
        self.store.closed_streams().await
    }

    async fn sleeping_streams(&self) -> Result<Vec<(StreamId, i64)>, ReadError> {
        self.store.sleeping_streams().await
    }
}
