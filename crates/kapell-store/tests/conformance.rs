//! Both stores against the suite for any store.

use std::sync::Arc;

use kapell_store::Store;
use kapell_store::memory::MemoryStore;
use kapell_store::sqlite::{Options, SqliteStore};
use tempfile::TempDir;

mod memory {
    use super::*;

    fn empty() -> (Arc<dyn Store>, ()) {
        (Arc::new(MemoryStore::new()), ())
    }

    kapell_store::conformance_suite!(empty());
}

mod sqlite {
    use super::*;

    fn empty() -> (Arc<dyn Store>, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path(), Options::default()).unwrap();
        (Arc::new(store), directory)
    }

    kapell_store::conformance_suite!(empty());
}
