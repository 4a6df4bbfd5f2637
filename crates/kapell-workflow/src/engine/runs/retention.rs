//! Which ended runs are kept. Pure; the desk deletes the others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kapell_client::ObjectKey;

use crate::core::record::Time;
use crate::settings::Retention;

/// The ended runs of all workflows. There are tens of thousands of them, so each has its name here once.
#[derive(Default)]
pub(crate) struct Ended {
    of_workflow: BTreeMap<Arc<ObjectKey>, Kept>,
    known: HashMap<Arc<ObjectKey>, (Arc<ObjectKey>, Time)>,
}

struct Kept {
    retention: Retention,
    /// The oldest end first.
    runs: BTreeSet<(Time, Arc<ObjectKey>)>,
}

impl Ended {
    /// A run has ended at `at`; says which runs of the workflow are too many now. They are forgotten here: whoever cannot
    /// delete one adds it again.
    pub(crate) fn add(
        &mut self,
        run: &ObjectKey,
        workflow: ObjectKey,
        at: Time,
        retention: &Retention,
    ) -> Vec<ObjectKey> {
        self.remove(run);
        let workflow =
            self.of_workflow.get_key_value(&workflow).map_or_else(|| Arc::new(workflow), |(of, _)| of.clone());
        let run = Arc::new(run.clone());
        let kept = self.of_workflow.entry(workflow.clone());
        let kept = kept.or_insert_with(|| Kept { retention: retention.clone(), runs: BTreeSet::new() });
        kept.retention = retention.clone();
        kept.runs.insert((at, run.clone()));
        let over = kept.runs.len().saturating_sub(retention.runs);
        let over: Vec<ObjectKey> = kept.runs.iter().take(over).map(|(_, key)| ObjectKey::clone(key)).collect();
        self.known.insert(run, (workflow, at));
        over.iter().for_each(|key| self.remove(key));
        over
    }

    /// The run is gone, or goes on.
    pub(crate) fn remove(&mut self, run: &ObjectKey) {
        let Some((run, (workflow, at))) = self.known.remove_entry(run) else { return };
        if let Some(kept) = self.of_workflow.get_mut(&workflow) {
            kept.runs.remove(&(at, run));
            if kept.runs.is_empty() {
                self.of_workflow.remove(&workflow);
            }
        }
    }

    /// How many milliseconds from `now` the next run has been kept for its time.
    pub(crate) fn next_in(&self, now: Time) -> Option<u64> {
        let first = |kept: &Kept| Some(kept_for(kept.runs.first()?.0, &kept.retention, now).unwrap_or(0));
        self.of_workflow.values().filter_map(first).min()
    }

    /// Runs that have been kept for their time by `now`. They are forgotten here.
    pub(crate) fn take_due(&mut self, now: Time) -> Vec<ObjectKey> {
        let due = self.of_workflow.values().flat_map(|kept| {
            let due = |at: &Time| kept_for(*at, &kept.retention, now).is_none();
            kept.runs.iter().take_while(move |(at, _)| due(at)).map(|(_, key)| ObjectKey::clone(key))
        });
        let due: Vec<ObjectKey> = due.collect();
        due.iter().for_each(|key| self.remove(key));
        due
    }
}

/// How many milliseconds a run that ended at `at` is still to be kept; `None`: it goes now.
pub(crate) fn kept_for(at: Time, retention: &Retention, now: Time) -> Option<u64> {
    let left = at.saturating_add(retention.after.0).saturating_sub(now);
    u64::try_from(left).ok().filter(|left| *left > 0)
}

#[cfg(test)]
mod tests;
