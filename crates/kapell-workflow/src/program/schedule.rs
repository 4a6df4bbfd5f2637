//! When runs of a workflow are started without anyone asking for one.

use croner::Cron;
use jiff::tz::TimeZone;

use super::events::{Read, Strategy};
use crate::duration::Millis;

/// `schedule`, with what our metadata says about it. Several of the first four may be given.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) every: Option<Millis>,
    pub(crate) cron: Option<Cron>,
    /// So long after the run before it has ended.
    pub(crate) after: Option<Millis>,
    pub(crate) on: Option<On>,
    pub(crate) zone: TimeZone,
    pub(crate) overlap: Overlap,
    pub(crate) catch_up: CatchUp,
}

/// Events that start a run, whose input is the array of them.
#[derive(Debug)]
pub(crate) struct On {
    pub(crate) strategy: Strategy,
    pub(crate) read: Read,
}

/// What happens at a due time while a run that the schedule started goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// Both run.
    #[default]
    Allow,
    /// The due time passes.
    Skip,
    /// The new one waits for the end of the old one.
    Queue,
    /// The old one is cancelled.
    Replace,
}

/// What happens with due times that nobody was there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CatchUp {
    /// They pass.
    Skip,
    /// The latest counts.
    #[default]
    Latest,
    /// All count.
    All,
}
