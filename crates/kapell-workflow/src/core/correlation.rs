//! Whether an event is one that a strategy waits for, and whether the strategy has all that it waits for.
//!
//! Pure, and the same for `listen` and for schedules. A filter whose expression fails on an event does not accept it:
//! an event that someone publishes by mistake must not fault everyone who listens.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::cloud_event::{CloudEvent, LIFECYCLE};
use crate::expression::{Arguments, Datum, EvaluationError};
use crate::program::events::{EventFilter, Mode, Pattern, Strategy, Until};

/// Correlation keys with their values.
pub(crate) type Keys = BTreeMap<String, Datum>;

/// What a strategy has got so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// For each filter, the values that its keys must have: what `expect` said when listening began.
    pub(crate) expected: Vec<Keys>,
    /// Keys that an event has given a value.
    pub(crate) bound: Keys,
    /// Filters that have met an event.
    pub(crate) met: BTreeSet<usize>,
}

/// An event that is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Match {
    /// Which filter it meets.
    pub(crate) filter: usize,
    /// The keys that it binds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) binds: Keys,
}

/// What `expect` says, for each filter.
pub(crate) fn expectations(
    strategy: &Strategy,
    input: &Datum,
    arguments: &dyn Arguments,
) -> Result<Vec<Keys>, EvaluationError> {
    let of_filter = |filter: &EventFilter| {
        let given = filter.correlate.iter().filter_map(|correlation| {
            let expect = correlation.expect.as_ref()?;
            Some(expect.evaluate(input, arguments).map(|value| (correlation.key.clone(), value)))
        });
        given.collect()
    };
    strategy.filters.iter().map(of_filter).collect()
}

/// The filter that this event meets, if it is wanted.
pub(crate) fn offer(
    strategy: &Strategy,
    tally: &Tally,
    event: &CloudEvent,
    arguments: &dyn Arguments,
) -> Option<Match> {
    let ending_mode = match strategy.until {
        Some(Until::Events(mode)) => mode,
        _ => Mode::Any,
    };
    let wanted = |index: usize| {
        let mode = if index < strategy.wanted { strategy.mode } else { ending_mode };
        mode == Mode::Any || !tally.met.contains(&index)
    };
    // What ends the listening comes first: an event that also meets another filter is not consumed by that.
    let order = (strategy.wanted..strategy.filters.len()).chain(0..strategy.wanted);
    order.filter(|index| wanted(*index)).find_map(|index| {
        let filter = &strategy.filters[index];
        let binds = accepts(filter, tally.expected.get(index), &tally.bound, event, arguments)?;
        Some(Match { filter: index, binds })
    })
}

impl Tally {
    pub(crate) fn note(&mut self, met: &Match) {
        self.met.insert(met.filter);
        self.bound.extend(met.binds.iter().map(|(key, value)| (key.clone(), value.clone())));
    }

    /// Whether nothing more is waited for. What `until` says as a condition is not known here.
    pub(crate) fn is_complete(&self, strategy: &Strategy) -> bool {
        let has = |mode: Mode, mut filters: std::ops::Range<usize>| match mode {
            Mode::All => filters.all(|index| self.met.contains(&index)),
            Mode::Any => filters.any(|index| self.met.contains(&index)),
        };
        match &strategy.until {
            None => has(strategy.mode, 0..strategy.wanted),
            Some(Until::Condition(_)) => false,
            Some(Until::Events(mode)) => has(*mode, strategy.wanted..strategy.filters.len()),
        }
    }
}

fn accepts(
    filter: &EventFilter,
    expected: Option<&Keys>,
    bound: &Keys,
    event: &CloudEvent,
    arguments: &dyn Arguments,
) -> Option<Keys> {
    // Whoever listens to everything would hear of everybody's listening, and so would the others.
    if event.type_().starts_with(LIFECYCLE) && !filter.with.iter().any(|(name, _)| name == "type") {
        return None;
    }
    for (name, pattern) in &filter.with {
        let value = if name == "data" { event.data() } else { event.attribute(name).cloned().unwrap_or_default() };
        if !fits(pattern, &value, arguments) {
            return None;
        }
    }
    let mut binds = Keys::new();
    for correlation in &filter.correlate {
        let value = correlation.from.evaluate(event.envelope(), arguments).ok()?;
        // Without a value there is nothing to be correlated by.
        if value == Datum::Null {
            return None;
        }
        let key = &correlation.key;
        match expected.and_then(|keys| keys.get(key)).or_else(|| bound.get(key)) {
            Some(wanted) if *wanted != value => return None,
            Some(_) => {}
            None => drop(binds.insert(key.clone(), value)),
        }
    }
    Some(binds)
}

fn fits(pattern: &Pattern, value: &Datum, arguments: &dyn Arguments) -> bool {
    match pattern {
        Pattern::Equals(literal) => literal == value,
        Pattern::Matches(literal, regex) => {
            literal == value || regex.evaluate(value, arguments).is_ok_and(|verdict| verdict.is_truthy())
        }
        Pattern::Computed(expression) => match expression.evaluate(value, arguments) {
            Ok(Datum::Bool(verdict)) => verdict,
            Ok(Datum::Null) | Err(_) => false,
            Ok(wanted) => wanted == *value,
        },
        Pattern::Members(members) => {
            members.iter().all(|(name, pattern)| value.get(name).is_some_and(|value| fits(pattern, value, arguments)))
        }
    }
}
