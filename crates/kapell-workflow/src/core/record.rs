//! What the journal holds: facts about a run, each of which changes its state in one way.
//!
//! A record carries what cannot be derived again: results of expressions, answers from outside, times and random
//! delays. Everything else follows from the state that it is applied to, so replaying needs no evaluation.

use serde::{Deserialize, Serialize};

use super::correlation::{Keys, Match};
use super::running::Job;
use crate::authentication::Credentials;
use crate::expression::Datum;
use crate::fault::Fault;
use crate::secrets::Sealed;

/// Milliseconds since the epoch.
pub(crate) type Time = i64;

/// Names one activation of a task within its run; never used twice. The workflow itself is 0.
pub(crate) type FrameId = u64;

/// Which run this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The Workflow object's name, for messages; the definition itself is in the record.
    pub(crate) workflow: String,
    /// The secrets that expressions may name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secrets: Option<Sealed>,
}

/// A record with the time at which it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry(pub(crate) Time, pub(crate) Record);

/// The records of the journal, in all its versions. Serialised names are part of the format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Record {
    /// Record 0: the definition that the run keeps, and its input.
    Started {
        run: Identity,
        definition: Datum,
        input: Datum,
        /// Tasks of extensions have keys of their own around each task that they extend. Journals without this go on
        /// with the keys that they began with; definitions without extensions do not need it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        extensions_apart: bool,
    },
    /// The workflow's input has been filtered.
    Opened {
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        input: Option<Datum>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Time>,
    },
    /// The next task's `if` was false.
    Skipped,
    /// The next task has begun.
    Entered {
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        input: Option<Datum>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Time>,
        #[serde(default, skip_serializing_if = "Body::is_plain")]
        body: Body,
    },
    /// A loop goes round.
    Iterated,
    /// A task has completed.
    Left {
        /// The filtered output, where it differs from what the task produced.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        output: Option<Datum>,
        /// The new context, where the task exports.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        context: Option<Datum>,
        /// The case that a `switch` chose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        case: Option<usize>,
    },
    /// A task has faulted: with this, or with what faulted inside of it.
    Faulted {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<Fault>,
    },
    /// A `try` handles an error: by another attempt at this time, or by its handler.
    Caught {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry: Option<Time>,
    },
    /// A call was answered.
    Answered { frame: FrameId, output: Datum },
    /// A call failed, or was answered with an error.
    Failed { frame: FrameId, fault: Fault },
    /// An `emit` has made its event, which is published in the same transaction.
    Emitted { event: Datum },
    /// A `listen` takes in an event that it waits for.
    Heard { frame: FrameId, position: u64, met: Match, event: Datum },
    /// What `until` of a `listen` says is not so yet; or no signal is one that it waits for.
    Unfulfilled,
    /// An event was sent to this run alone; `null` stands for what is no event, which is counted and has no effect.
    Signalled { event: Datum },
    /// A `listen` takes in a signal that it waits for: the one with this number.
    Received { signal: u32, met: Match },
    /// One item of a `listen` with `foreach` is done.
    Collected {
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        output: Option<Datum>,
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        context: Option<Datum>,
    },
    /// A timer came due.
    Fired { timer: TimerId },
    /// Someone asked for the run's cancellation.
    Cancelled { reason: String },
    /// The run was stopped by a limit of the engine.
    Aborted { fault: Fault },
    /// The workflow's output has been filtered; the run is complete.
    Concluded {
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        output: Option<Datum>,
    },
    /// A scope with `saga` faults: what was completed inside of it is undone before anything else comes of that.
    RollingBack,
    /// Nothing is left to be undone in it.
    RolledBack,
    /// The compensation of the task that completed last (of those left) begins.
    Undoing,
    /// A compensation faulted; it begins again at this time, or is given up.
    UndoFailed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry: Option<Time>,
    },
    /// A faulted or cancelled run has nothing left to compensate.
    Ended,
    /// Someone asked that no further task begins.
    Suspended,
    /// And that tasks begin again.
    Resumed,
    /// Someone gave an output instead of what a task does. What names no task is counted and has no effect.
    Substituted { task: String, output: Datum },
    /// An ended run goes on from an earlier state.
    Rewound(Box<Rewind>),
}

/// Where a retried run goes on: at the state that the first `to` entries of its journal make (see `core::rewind`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rewind {
    pub(crate) to: u64,
    /// Which retry of the run this is, as its WorkflowRun counts them.
    pub(crate) number: u32,
    /// The task that is begun again, where it is active in that state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) frame: Option<FrameId>,
    /// The raw input of the task that begins, where it was edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<Datum>,
    /// What is done from here on are new deeds, with idempotency keys of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) anew: bool,
    /// The workflow's own timeout, which has ended the run, begins again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) all_its_time: bool,
    /// Frames are numbered from here, so that none has the number of one that was dropped.
    pub(crate) next_frame: FrameId,
}

/// What a task of a certain kind evaluates when it begins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Body {
    #[default]
    Plain,
    Call(Box<Request>),
    Wait(Time),
    For(Datum),
    Run(Box<Job>),
    /// The input of a function.
    With(Datum),
    /// Which extensions apply.
    Extended(Vec<bool>),
    /// This is taken for what the task produced.
    Substituted(Datum),
    /// Events count from this position of the log on; what each filter's `expect` says.
    Listen {
        from: u64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        expected: Vec<Keys>,
    },
}

/// A member that is there is a value, also when it is `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Datum>, D::Error> {
    Datum::deserialize(deserializer).map(Some)
}

impl Body {
    fn is_plain(&self) -> bool {
        matches!(self, Body::Plain)
    }
}

/// An HTTP request that is due; sent again, with the same key, when its answer is not in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) uri: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::expression::outline::text")]
    pub(crate) body: Option<String>,
    /// How the body is written here: the text itself, or bytes in base64.
    #[serde(default, skip_serializing_if = "Encoding::is_text")]
    pub(crate) encoding: Encoding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) authentication: Option<Box<Credentials>>,
    /// The number in the tokens that this request holds, if any: see [`crate::secrets`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Encoding {
    #[default]
    Text,
    Base64,
}

impl Encoding {
    fn is_text(&self) -> bool {
        *self == Encoding::Text
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct TimerId {
    pub(crate) frame: FrameId,
    pub(crate) kind: TimerKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum TimerKind {
    /// A `wait` is over.
    Wait,
    /// A `try` makes its next attempt.
    Retry,
    /// An attempt of a `try` has taken too long.
    Attempt,
    /// A task or the workflow has taken too long.
    Timeout,
    /// A compensation begins again.
    Undo,
}
