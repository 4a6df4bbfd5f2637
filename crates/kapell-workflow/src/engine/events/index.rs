//! Who may want an event, without asking everyone: by type, and by what a correlation expects.
//!
//! Of a hundred thousand runs that each wait for the payment of their own order, `correlate` with `expect` finds the one
//! at the cost of one evaluation. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kapell_store::StreamId;

use crate::cloud_event::CloudEvent;
use crate::core::record::FrameId;
use crate::core::state::{Key, Probe};
use crate::expression::{Expression, NoArguments};

/// A task of a run; or a schedule, by its Workflow's UID.
pub(super) type ListenerId = (StreamId, FrameId);

#[derive(Default)]
pub(super) struct Index {
    by_type: HashMap<Arc<str>, Group>,
    of_any_type: Group,
}

#[derive(Default)]
struct Group {
    plain: BTreeSet<ListenerId>,
    /// By the code of an expression.
    probed: HashMap<Arc<str>, Probed>,
}

struct Probed {
    expression: Expression,
    by_value: HashMap<String, BTreeSet<ListenerId>>,
}

impl Index {
    pub(super) fn insert(&mut self, id: ListenerId, keys: &[Key]) {
        for key in keys {
            let group = match &key.type_ {
                Some(type_) => self.by_type.entry(type_.clone()).or_default(),
                None => &mut self.of_any_type,
            };
            match &key.probe {
                None => drop(group.plain.insert(id)),
                Some(Probe { code, expression, value }) => {
                    let probed = group.probed.entry(code.clone());
                    let probed =
                        probed.or_insert_with(|| Probed { expression: expression.clone(), by_value: HashMap::new() });
                    probed.by_value.entry(value.clone()).or_default().insert(id);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, id: ListenerId, keys: &[Key]) {
        for key in keys {
            match &key.type_ {
                None => self.of_any_type.remove(id, key),
                Some(type_) => {
                    if let Some(group) = self.by_type.get_mut(type_) {
                        group.remove(id, key);
                        if group.plain.is_empty() && group.probed.is_empty() {
                            self.by_type.remove(type_);
                        }
                    }
                }
            }
        }
    }

    /// Each once, in order.
    pub(super) fn candidates(&self, event: &CloudEvent) -> BTreeSet<ListenerId> {
        let mut found = BTreeSet::new();
        for group in self.by_type.get(event.type_()).into_iter().chain([&self.of_any_type]) {
            found.extend(&group.plain);
            for probed in group.probed.values() {
                // An event that the expression fails on has no value, and nobody expects that.
                let Ok(value) = probed.expression.evaluate(event.envelope(), &NoArguments) else { continue };
                found.extend(probed.by_value.get(&value.to_json()).into_iter().flatten());
            }
        }
        found
    }
}

impl Group {
    fn remove(&mut self, id: ListenerId, key: &Key) {
        let Some(Probe { code, value, .. }) = &key.probe else {
            self.plain.remove(&id);
            return;
        };
        let Some(probed) = self.probed.get_mut(code) else { return };
        if let Some(listeners) = probed.by_value.get_mut(value) {
            listeners.remove(&id);
            if listeners.is_empty() {
                probed.by_value.remove(value);
            }
        }
        if probed.by_value.is_empty() {
            self.probed.remove(code);
        }
    }
}
