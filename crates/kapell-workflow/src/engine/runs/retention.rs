//! Which ended runs are kept. Pure; the desk deletes the others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kapell_client::ObjectKey;

use crate::core::record::Time;
use crate::settings::Retention;

/// The ended runs of all workflows.
#[derive(Default)]
pub(crate) struct Ended {
    /// By namespace and name of the workflow, the oldest end first.
    of_workflow: BTreeMap<ObjectKey, BTreeSet<(Time, ObjectKey)>>,
    known: HashMap<ObjectKey, (ObjectKey, Time)>,
}

impl Ended {
    /// A run has ended at `at`; says which runs of the workflow are too many now.
    pub(crate) fn add(
        &mut self,
        run: &ObjectKey,
        workflow: ObjectKey,
        at: Time,
        retention: &Retention,
    ) -> Vec<ObjectKey> {
        self.remove(run);
        let of = self.of_workflow.entry(workflow.clone()).or_default();
        of.insert((at, run.clone()));
        self.known.insert(run.clone(), (workflow, at));
        let over = of.len().saturating_sub(retention.runs);
        of.iter().take(over).map(|(_, key)| key.clone()).collect()
    }

    /// The run is gone, or goes on.
    pub(crate) fn remove(&mut self, run: &ObjectKey) {
        let Some((workflow, at)) = self.known.remove(run) else { return };
        if let Some(of) = self.of_workflow.get_mut(&workflow) {
            of.remove(&(at, run.clone()));
            if of.is_empty() {
                self.of_workflow.remove(&workflow);
            }
        }
    }
}

/// How many milliseconds a run that ended at `at` is still to be kept; `None`: it goes now.
pub(crate) fn kept_for(at: Time, retention: &Retention, now: Time) -> Option<u64> {
    let left = at.saturating_add(retention.after.0).saturating_sub(now);
    u64::try_from(left).ok().filter(|left| *left > 0)
}

#[cfg(test)]
mod tests;
