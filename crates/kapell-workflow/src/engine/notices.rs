//! What the outside may know of runs, found by stream and by object.

use std::collections::{BTreeSet, HashMap};

use kapell_client::ObjectKey;
use kapell_store::StreamId;

use crate::core::record::Time;
use crate::core::state::{Compensation, Outcome};

/// A run as it stands on disk.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) key: ObjectKey,
    pub(crate) started_at: Time,
    pub(crate) definition: String,
    pub(crate) waiting_for: Option<String>,
    pub(crate) compensation: Compensation,
    pub(crate) ended: Option<(Time, Outcome)>,
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

    /// Runs of objects with this name, past and present, and whether they have ended.
    pub(super) fn of_key(&self, key: &ObjectKey) -> Vec<(StreamId, bool)> {
        let range = (key.clone(), StreamId([0; 16]))..=(key.clone(), StreamId([u8::MAX; 16]));
        let streams = self.by_key.range(range).map(|(_, stream)| *stream);
        streams.filter_map(|stream| Some((stream, self.by_stream.get(&stream)?.ended.is_some()))).collect()
    }
}
