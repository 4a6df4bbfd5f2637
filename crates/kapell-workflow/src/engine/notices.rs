//! What the outside may know of runs, found by stream and by object.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kapell_client::ObjectKey;
use kapell_store::StreamId;
use serde_json::{Map, Value};

use crate::core::record::Time;
use crate::core::state::{Compensation, Operated, Outcome, Phase, Run};

/// A run that has not ended after this many milliseconds says that it is running.
pub(super) const SHORT: Time = 250;

/// A run as it stands on disk.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) key: ObjectKey,
    pub(crate) started_at: Time,
    pub(crate) definition: String,
    pub(crate) waiting_for: Option<String>,
    pub(crate) compensation: Compensation,
    /// What operators have asked for, as far as the run has heard of it.
    pub(crate) operated: Operated,
    /// What the run is found by; `None`: what was said before.
    pub(crate) search_attributes: Option<Arc<Map<String, Value>>>,
    /// The run is about to leave memory: once this has been told, it is not needed any more.
    pub(crate) cold: bool,
    pub(crate) ended: Option<(Time, Outcome)>,
}

impl Notice {
    /// The run as it stands; `waiting`: also what it waits for.
    pub(super) fn of(run: &Run, hash: &str, waiting: bool) -> Self {
        let ended = match &run.phase {
            Phase::Ended(outcome) => Some((run.ended_at.unwrap_or(run.latest), outcome.clone())),
            _ => None,
        };
        Self {
            key: ObjectKey::new(run.identity.namespace.as_str(), run.identity.name.as_str()),
            started_at: run.started_at,
            definition: hash.to_owned(),
            waiting_for: if waiting { run.waiting_for() } else { None },
            compensation: run.compensation,
            operated: run.operated.clone(),
            search_attributes: None,
            cold: false,
            ended,
        }
    }
}

impl Notice {
    /// A run that has begun and about which there is no more to say: until when it may still end without having said
    /// that it runs.
    pub(super) fn may_be_short(&self, now: Time) -> Option<Time> {
        let plain = self.ended.is_none()
            && self.waiting_for.is_none()
            && self.compensation == Compensation::None
            && self.operated == Operated::default()
            && !self.cold;
        let until = self.started_at.saturating_add(SHORT);
        // A clock that was set back must not silence a run.
        (plain && (now..=now.saturating_add(SHORT)).contains(&until)).then_some(until)
    }
}

#[derive(Default)]
pub(super) struct Notices {
    by_stream: HashMap<StreamId, Notice>,
    by_key: BTreeSet<(ObjectKey, StreamId)>,
}

impl Notices {
    pub(super) fn insert(&mut self, stream: StreamId, notice: Notice) {
        self.by_key.insert((notice.key.clone(), stream));
        self.by_stream.insert(stream, notice);
    }

    pub(super) fn get(&self, stream: StreamId) -> Option<&Notice> {
        self.by_stream.get(&stream)
    }

    pub(super) fn remove(&mut self, stream: StreamId) -> Option<Notice> {
        let notice = self.by_stream.remove(&stream)?;
        self.by_key.remove(&(notice.key.clone(), stream));
        Some(notice)
    }

    /// Forgets a run that has left memory, unless it has come back meanwhile.
    pub(super) fn remove_cold(&mut self, stream: StreamId) {
        if self.by_stream.get(&stream).is_some_and(|notice| notice.cold) {
            self.remove(stream);
        }
    }

    /// Runs of objects with this name, past and present, and whether they have ended.
    pub(super) fn of_key(&self, key: &ObjectKey) -> Vec<(StreamId, bool)> {
        let range = (key.clone(), StreamId([0; 16]))..=(key.clone(), StreamId([u8::MAX; 16]));
        let streams = self.by_key.range(range).map(|(_, stream)| *stream);
        streams.filter_map(|stream| Some((stream, self.by_stream.get(&stream)?.ended.is_some()))).collect()
    }
}
