//! Keeps a run to one uncommitted step, without a message for each: the partition is told of a commit only when it
//! has something to do about it. A message would wake its thread twice a step.

use std::sync::atomic::{AtomicU8, Ordering};

const FREE: u8 = 0;
const COMMITTING: u8 = 1;
/// Committing, and the run has more to do after that.
const AWAITED: u8 = 2;

#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU8);

impl Pace {
    /// A step is about to be committed.
    pub(super) fn begin(&self) {
        self.0.store(COMMITTING, Ordering::Relaxed);
    }

    /// Whether the next step may be taken. If not, [`Pace::committed`] will say that someone asked.
    pub(super) fn is_free(&self) -> bool {
        self.0.compare_exchange(COMMITTING, AWAITED, Ordering::AcqRel, Ordering::Acquire) == Err(FREE)
    }

    /// Whether a step is being committed.
    pub(super) fn is_committing(&self) -> bool {
        self.0.load(Ordering::Acquire) != FREE
    }

    /// The step is on disk; whether the partition waits to hear that.
    pub(super) fn committed(&self) -> bool {
        self.0.swap(FREE, Ordering::AcqRel) == AWAITED
    }
}

#[cfg(test)]
mod tests;
