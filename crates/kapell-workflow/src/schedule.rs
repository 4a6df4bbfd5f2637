//! When a schedule is due: pure functions of the schedule, the past and the present.
//!
//! A due time is an instant; which instants a cron pattern means in its time zone, also where a clock time exists twice
//! or not at all, is decided by `croner`: a pattern for one time of day fires once on each day, one with steps or
//! wildcards follows the clock.

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::core::record::Time;
use crate::program::schedule::{CatchUp, Overlap, Schedule};

#[cfg(test)]
mod tests;

/// A due time that is noticed later than this was missed: nobody was there for it.
const LATE: Time = 60_000;

/// Due times that are made up for at most, the latest ones.
const MOST: usize = 100;

/// Due times looked at. A second's schedule that was away for longer is looked at from nearer on.
const MOST_LOOKED_AT: usize = 10_000;

/// What is due now, and what next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// In order. Each was after `last` and is not after `now`.
    pub(crate) times: Vec<Time>,
    /// How many passed without counting.
    pub(crate) passed: usize,
    pub(crate) next: Option<Time>,
}

/// The next due time of `every` and `cron` after `after`. `every` counts from `anchor`.
pub(crate) fn next(schedule: &Schedule, anchor: Time, after: Time) -> Option<Time> {
    let every = schedule.every.map(|every| {
        let every = every.0.max(1);
        anchor + ((after - anchor).max(0) / every + 1) * every
    });
    let cron = schedule.cron.as_ref().and_then(|cron| {
        let from = Timestamp::from_millisecond(after).ok()?.to_zoned(schedule.zone.clone());
        let found = cron.find_next_occurrence(&from, false).ok()?;
        Some(found.timestamp().as_millisecond())
    });
    every.into_iter().chain(cron).min()
}

/// What `every` and `cron` make due. `last` is the latest due time that has been dealt with.
pub(crate) fn due(schedule: &Schedule, anchor: Time, last: Option<Time>, now: Time) -> Due {
    let from = last.unwrap_or(anchor).max(anchor);
    let all = [Time::MAX, 86_400_000, 3_600_000, LATE].into_iter();
    let mut looked_at = all.filter_map(|reach| between(schedule, anchor, from.max(now.saturating_sub(reach)), now));
    let mut times = looked_at.next().unwrap_or_default();
    let found = times.len();
    let is_on_time = |time: &Time| now - *time <= LATE;
    // Whoever waits for the end of another run is not late by its own fault.
    match if schedule.overlap == Overlap::Queue { CatchUp::All } else { schedule.catch_up } {
        CatchUp::Skip => times.retain(is_on_time),
        CatchUp::Latest if times.iter().any(is_on_time) => times.retain(is_on_time),
        CatchUp::Latest => drop(times.drain(..times.len().saturating_sub(1))),
        CatchUp::All => {}
    }
    let surplus = times.len().saturating_sub(MOST);
    times.drain(..surplus);
    Due { passed: found - times.len(), times: times.into(), next: next(schedule, anchor, now.max(from)) }
}

/// Due times after `from` up to `now`; `None` when there are too many to look at.
fn between(schedule: &Schedule, anchor: Time, from: Time, now: Time) -> Option<VecDeque<Time>> {
    let mut times = VecDeque::new();
    let mut at = from;
    while let Some(time) = next(schedule, anchor, at).filter(|time| *time <= now) {
        if times.len() == MOST_LOOKED_AT {
            return None;
        }
        times.push_back(time);
        at = time;
    }
    Some(times)
}

/// What becomes of due times, given whether a run of the schedule goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) start: Vec<Time>,
    /// Runs that go on are cancelled first.
    pub(crate) cancel: bool,
    /// The latest due time that has been dealt with then. Those after it wait.
    pub(crate) last: Option<Time>,
}

pub(crate) fn judge(overlap: Overlap, is_running: bool, due: &[Time]) -> Verdict {
    let (Some(first), Some(latest)) = (due.first().copied(), due.last().copied()) else { return Verdict::default() };
    match overlap {
        Overlap::Allow => Verdict { start: due.to_vec(), cancel: false, last: Some(latest) },
        Overlap::Skip if is_running => Verdict { start: Vec::new(), cancel: false, last: Some(latest) },
        Overlap::Skip => Verdict { start: vec![first], cancel: false, last: Some(latest) },
        Overlap::Queue if is_running => Verdict::default(),
        Overlap::Queue => Verdict { start: vec![first], cancel: false, last: Some(first) },
        Overlap::Replace => Verdict { start: vec![latest], cancel: is_running, last: Some(latest) },
    }
}

/// The name of the run that is started for a due time: the same whoever starts it, and how often they try.
pub(crate) fn run_name(workflow: &str, due: Time) -> String {
    let second = Timestamp::from_second(due.div_euclid(1000)).unwrap_or_default();
    format!("{workflow}-{}", second.strftime("%Y%m%dt%H%M%Sz"))
}
