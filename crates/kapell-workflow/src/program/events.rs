//! What `emit` and `listen` are compiled to. Schedules that events start share the strategies.

use std::sync::Arc;

use super::{Block, DataFilter};
use crate::expression::{Datum, Expression, Template};

/// `emit.event.with`; what is not given there is generated.
#[derive(Debug)]
pub(crate) struct Emit {
    pub(crate) event: Template,
}

#[derive(Debug)]
pub(crate) struct Listen {
    pub(crate) to: Strategy,
    pub(crate) read: Read,
    pub(crate) foreach: Option<Subscription>,
}

/// What of an event is handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Read {
    #[default]
    Data,
    Envelope,
    Raw,
}

/// `listen.foreach`: events are gone through one after the other.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) item: Arc<str>,
    pub(crate) at: Arc<str>,
    pub(crate) body: Option<Block>,
    pub(crate) output: DataFilter,
    pub(crate) export: DataFilter,
}

/// Which events are waited for.
#[derive(Debug)]
pub(crate) struct Strategy {
    pub(crate) mode: Mode,
    /// Those of `until`, if it is a strategy, stand at the end.
    pub(crate) filters: Vec<EventFilter>,
    /// How many of the filters are not those of `until`.
    pub(crate) wanted: usize,
    pub(crate) until: Option<Until>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Each filter has to meet an event.
    All,
    /// Any of the filters has to; with `until`, again and again.
    Any,
}

#[derive(Debug)]
pub(crate) enum Until {
    /// About the array of what has been consumed.
    Condition(Expression),
    /// The filters at the end: any of them, or all of them.
    Events(Mode),
}

/// One filter. Without conditions it accepts every event.
#[derive(Debug, Default)]
pub(crate) struct EventFilter {
    /// By attribute.
    pub(crate) with: Vec<(String, Pattern)>,
    pub(crate) correlate: Vec<Correlation>,
}

#[derive(Debug)]
pub(crate) enum Pattern {
    Equals(Datum),
    /// This text, or what its regular expression matches as a whole.
    Matches(Datum, Expression),
    /// True, or what the attribute has to be.
    Computed(Expression),
    Members(Vec<(String, Pattern)>),
}

#[derive(Debug)]
pub(crate) struct Correlation {
    pub(crate) key: String,
    pub(crate) from: Expression,
    /// The code of `from`, by which equal ones are known.
    pub(crate) code: Arc<str>,
    pub(crate) expect: Option<Template>,
}

impl Strategy {
    /// The type that a filter asks for, if it asks for a single one.
    pub(crate) fn type_of(&self, filter: usize) -> Option<&str> {
        let (_, pattern) = self.filters.get(filter)?.with.iter().find(|(name, _)| name == "type")?;
        match pattern {
            Pattern::Equals(literal) => literal.as_str(),
            _ => None,
        }
    }
}
