//! What a document says about its runs as a whole, under `document.metadata."kapell.dev/v1"`: how long they are kept,
//! what they are found by, which of them exclude each other, and which go first. Other runtimes ignore it.

use serde_json::{Map, Value};

use crate::duration::Millis;
use crate::expression::{Arguments, Datum, EvaluationError, Template};

/// Ended runs are kept for a week, and the latest 10,000 of each workflow (some 80 MB with their journals).
const KEPT_FOR: Millis = Millis(7 * 86_400_000);
const KEPT_RUNS: usize = 10_000;

#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) retention: Retention,
    pub(crate) search_attributes: Vec<(String, Template)>,
    pub(crate) concurrency: Option<Concurrency>,
    pub(crate) priority: Option<Template>,
}

/// `retention: {after, runs}`: an ended run goes when one of them says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    pub(crate) after: Millis,
    pub(crate) runs: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { after: KEPT_FOR, runs: KEPT_RUNS }
    }
}

/// `concurrency: {key, policy}`: of the runs with the same key one runs at a time.
#[derive(Clone, Debug)]
pub(crate) struct Concurrency {
    pub(crate) key: Template,
    pub(crate) policy: Policy,
}

/// What happens to a run whose key another one has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    /// It waits for its turn.
    #[default]
    Queue,
    /// It faults.
    Reject,
    /// The older one is cancelled, with its compensations; then this one begins.
    Cancel,
}

/// What [`Settings`] say of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Standing {
    pub(crate) search_attributes: Map<String, Value>,
    pub(crate) concurrency: Option<(String, Policy)>,
    /// The greater the earlier; 0 where nothing is said.
    pub(crate) priority: i64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StandingError {
    #[error("{place}: {source}")]
    Expression { place: String, source: EvaluationError },
    #[error("priority: {0} is not a whole number")]
    Priority(Datum),
}

/// Settings are evaluated before there is a run: their expressions see its input and nothing else.
struct Nothing;

impl Arguments for Nothing {
    fn argument(&self, _name: &str) -> Datum {
        Datum::Null
    }
}

impl Settings {
    /// Whether there is anything to evaluate.
    pub(crate) fn is_plain(&self) -> bool {
        self.search_attributes.is_empty() && self.concurrency.is_none() && self.priority.is_none()
    }

    /// For threads with a deep stack, unless [`Settings::is_plain`].
    pub(crate) fn standing(&self, input: &Datum) -> Result<Standing, StandingError> {
        let evaluate = |place: &str, template: &Template| {
            template
                .evaluate(input, &Nothing)
                .map_err(|source| StandingError::Expression { place: place.to_owned(), source })
        };
        let mut standing = Standing::default();
        for (name, template) in &self.search_attributes {
            let value = evaluate(&format!("searchAttributes.{name}"), template)?;
            standing.search_attributes.insert(name.clone(), value.to_value());
        }
        if let Some(Concurrency { key, policy }) = &self.concurrency {
            let key = evaluate("concurrency.key", key)?;
            let key = key.as_str().map_or_else(|| key.to_json(), str::to_owned);
            standing.concurrency = Some((key, *policy));
        }
        if let Some(priority) = &self.priority {
            let value = evaluate("priority", priority)?;
            standing.priority = value.as_i64().ok_or(StandingError::Priority(value))?;
        }
        Ok(standing)
    }
}
