//! What becomes of one object because of its owners and dependents.

use std::collections::BTreeMap;

use super::graph::{FOREGROUND, Node, ORPHAN};

/// What is known about one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is there.
    Solid,
    /// It is being deleted in the foreground and waits for this object to go first.
    Waiting,
    /// The server was asked: it is not there.
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Nothing,
    Delete(Propagation),
    /// Deletes in the foreground an object that its owners shall not wait for: it is part of a circle in which everybody waits.
    DeleteUnawaited,
    /// Drops the references to these owners' uids.
    ReleaseFrom(Vec<String>),
    /// Drops a finalizer of ours, whose work is done.
    Finalize(&'static str),
    /// Takes the references to this object out of its dependents, then drops the finalizer.
    OrphanDependents(Vec<String>),
    /// Looks at these: they have to go before this object can.
    Await(Vec<String>),
}

/// `owners` pairs each owner reference's uid with its state; `dependents` says which block.
pub(super) fn plan(node: &Node, owners: &[(String, Owner)], dependents: &BTreeMap<String, (Node, bool)>) -> Action {
    if node.deleting {
        if node.has_finalizer(ORPHAN) {
            return Action::OrphanDependents(dependents.keys().cloned().collect());
        }
        if node.waits_for_dependents() {
            let blocking: Vec<_> =
                dependents.iter().filter(|(_, (_, blocks))| *blocks).map(|(uid, _)| uid.clone()).collect();
            return if blocking.is_empty() { Action::Finalize(FOREGROUND) } else { Action::Await(blocking) };
        }
        return Action::Nothing;
    }
    if owners.is_empty() {
        return Action::Nothing;
    }
    let of = |wanted: Owner| owners.iter().filter(move |(_, state)| *state == wanted);
    if of(Owner::Solid).next().is_some() {
        let others: Vec<_> =
            owners.iter().filter(|(_, state)| *state != Owner::Solid).map(|(uid, _)| uid.clone()).collect();
        return if others.is_empty() { Action::Nothing } else { Action::ReleaseFrom(others) };
    }
    let awaited = of(Owner::Waiting).next().is_some();
    // As upstream, this may also meet a line of owners; then its end merely goes a little later than its beginning.
    if awaited && dependents.values().any(|(dependent, _)| dependent.deleting && dependent.waits_for_dependents()) {
        return Action::DeleteUnawaited;
    }
    Action::Delete(if node.has_finalizer(ORPHAN) {
        Propagation::Orphan
    } else if node.has_finalizer(FOREGROUND) || (awaited && !dependents.is_empty()) {
        Propagation::Foreground
    } else {
        Propagation::Background
    })
}
