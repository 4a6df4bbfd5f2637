//! What has been fetched, and what is being fetched now: each resource by one run at a time, and few at a time, so that those
//! that do not answer leave the desk's workers to the other runs. Who finds no room is looked at again when there is.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use kapell_client::{ObjectKey, Queue};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::fault::Fault;

/// How long a fetched resource is taken for what it is.
const FRESH: Duration = Duration::from_secs(60);
/// How long one that cannot be fetched is not asked for again: as long as it takes to tell those who wait for it.
const FAILED: Duration = Duration::from_secs(5);
/// Resources kept.
const MOST_KEPT: usize = 256;
/// Resources fetched at a time: a quarter of the workers that look at runs.
const PLACES: usize = 8;
/// Of these, as many as one namespace may have.
const SHARE: usize = PLACES - PLACES / 4;

/// The namespace that it was fetched for, its key, and what was to be proved.
pub(super) type Name = (String, String, String);

pub(in crate::engine) struct Fetched {
    state: Mutex<State>,
    /// Runs to look at.
    queue: Queue<ObjectKey>,
}

#[derive(Default)]
struct State {
    kept: HashMap<Name, (Instant, Result<Value, Fault>)>,
    under_way: BTreeSet<Name>,
    /// Runs that found no room.
    waiting: HashSet<ObjectKey>,
}

/// What there is of a resource.
pub(super) enum Found<'f> {
    Known(Result<Value, Fault>),
    /// It is to be fetched, and this is the place for it.
    Unknown(Place<'f>),
    /// It is being fetched, or too many others are.
    Busy,
}

impl Fetched {
    pub(in crate::engine) fn new(queue: Queue<ObjectKey>) -> Self {
        Self { state: Mutex::default(), queue }
    }

    /// Looks for a resource on behalf of the run `who`.
    pub(super) fn find(&self, name: &Name, who: &ObjectKey) -> Found<'_> {
        let mut state = self.state.lock();
        if let Some((at, known)) = state.kept.get(name)
            && at.elapsed() < lifetime(known)
        {
            return Found::Known(known.clone());
        }
        let own = state.under_way.iter().filter(|(namespace, ..)| *namespace == name.0).count();
        if own >= SHARE || state.under_way.len() >= PLACES || !state.under_way.insert(name.clone()) {
            state.waiting.insert(who.clone());
            return Found::Busy;
        }
        Found::Unknown(Place { fetched: self, name: name.clone() })
    }
}

fn lifetime(known: &Result<Value, Fault>) -> Duration {
    if known.is_ok() { FRESH } else { FAILED }
}

/// The right to fetch one resource. Dropping it lets the next ones look.
pub(super) struct Place<'f> {
    fetched: &'f Fetched,
    name: Name,
}

impl Place<'_> {
    pub(super) fn keep(self, found: Result<Value, Fault>) {
        let mut state = self.fetched.state.lock();
        if state.kept.len() >= MOST_KEPT {
            state.kept.retain(|_, (at, known)| at.elapsed() < lifetime(known));
            if state.kept.len() >= MOST_KEPT {
                state.kept.clear();
            }
        }
        state.kept.insert(self.name.clone(), (Instant::now(), found));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.fetched.state.lock();
            state.under_way.remove(&self.name);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|who| self.fetched.queue.add(who));
    }
}
