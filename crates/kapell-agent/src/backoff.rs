//! When a container that has ended may start again, as the kubelet does it: at once the first time, then after 10 s,
//! 20 s, … up to 5 min, and from the beginning after it has run for 10 min.

use jiff::{SignedDuration, Timestamp};
use kapell_shim::protocol::Exit;

const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LONGEST: SignedDuration = SignedDuration::from_mins(5);
const RESET_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// The pause before the restart that follows `restarts_in_row` others.
pub(crate) fn pause(restarts_in_row: u32) -> SignedDuration {
    match restarts_in_row {
        0 => SignedDuration::ZERO,
        row => (FIRST * 2_i32.pow((row - 1).min(5))).min(LONGEST),
    }
}

/// When the container that ended like this may start again.
pub(crate) fn restart_at(exit: &Exit, restarts_in_row: u32) -> Timestamp {
    let row = if has_settled(exit) { 0 } else { restarts_in_row };
    let finished = Timestamp::from_millisecond(exit.finished_at).unwrap_or_default();
    finished.saturating_add(pause(row)).unwrap_or(Timestamp::MAX)
}

/// The row after a restart that follows this exit.
pub(crate) fn next_row(exit: &Exit, restarts_in_row: u32) -> u32 {
    if has_settled(exit) { 1 } else { restarts_in_row.saturating_add(1) }
}

fn has_settled(exit: &Exit) -> bool {
    SignedDuration::from_millis(exit.finished_at.saturating_sub(exit.started_at)) >= RESET_AFTER
}
