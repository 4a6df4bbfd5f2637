//! Equal values kept once: thousands of pods of one template share their labels, their owners and what they ask for.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

/// Values are looked through for those that nobody uses any more when there are this many, and whenever their number has
/// doubled since.
const FIRST_SWEEP: usize = 1024;

/// The values in use. It forgets those that only it still holds, so it grows no larger than twice what is in use.
pub struct Interner<T: ?Sized> {
    values: HashMap<u64, Vec<Arc<T>>>,
    hashing: RandomState,
    held: usize,
    sweep_at: usize,
}

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Self { values: HashMap::new(), hashing: RandomState::new(), held: 0, sweep_at: FIRST_SWEEP }
    }
}

impl<T: ?Sized + PartialEq> Interner<T> {
    /// The value that is equal to this one, which it becomes if there is none. `common` is something that equal values
    /// have in common, and different ones rarely: many types can be compared that cannot be hashed.
    pub fn share(&mut self, common: &(impl Hash + ?Sized), value: Arc<T>) -> Arc<T> {
        let alike = self.values.entry(self.hashing.hash_one(common)).or_default();
        if let Some(known) = alike.iter().find(|known| **known == value) {
            return known.clone();
        }
        alike.push(value.clone());
        self.held += 1;
        if self.held > self.sweep_at {
            self.sweep();
        }
        value
    }

    fn sweep(&mut self) {
        self.values.retain(|_, alike| {
            alike.retain(|value| Arc::strong_count(value) > 1);
            !alike.is_empty()
        });
        self.held = self.values.values().map(Vec::len).sum();
        self.sweep_at = (2 * self.held).max(FIRST_SWEEP);
    }
}

impl Interner<str> {
    pub fn text(&mut self, text: &str) -> Arc<str> {
        self.share(text, text.into())
    }
}

#[cfg(test)]
mod tests;
