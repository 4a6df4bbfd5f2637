//! What many want at once is brought once: who comes while it is under way waits, and gets what it brings, also if that is a
//! failure. Nothing is kept beyond that.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// What is brought, once it is there.
type Cargo<V> = tokio::sync::Mutex<Option<V>>;

pub(super) struct Flights<K, V>(Mutex<HashMap<K, Weak<Cargo<V>>>>);

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Flights<K, V> {
    /// Waits for what is under way for `key`, or brings it. When whoever brings it stops waiting, the next one does.
    pub(super) async fn join(&self, key: &K, bring: impl Future<Output = V>) -> V {
        let flight = self.board(key);
        let mut cargo = flight.lock().await;
        if let Some(brought) = &*cargo {
            return brought.clone();
        }
        let brought = bring.await;
        *cargo = Some(brought.clone());
        // Who comes from now on wants it as it is then.
        let mut flights = self.0.lock();
        if flights.get(key).is_some_and(|known| known.as_ptr() == Arc::as_ptr(&flight)) {
            flights.remove(key);
        }
        brought
    }

    fn board(&self, key: &K) -> Arc<Cargo<V>> {
        let mut flights = self.0.lock();
        if let Some(flight) = flights.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        // Those that nobody waits for any more; there are no more than calls in flight.
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(tokio::sync::Mutex::new(None));
        flights.insert(key.clone(), Arc::downgrade(&flight));
        flight
    }
}

#[cfg(test)]
mod tests;
