//! Which run may begin: as many run at a time as there is room for, of those with the same concurrency key one, and
//! of those that wait the one with the highest priority first. Among equals namespaces take turns, and within one the
//! oldest goes first. Pure; the desk carries it out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use kapell_client::ObjectKey;
use kapell_store::StreamId;

use crate::settings::Policy;

/// Who goes before whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    priority: Reverse<i64>,
    /// Grows by one with each run of a namespace that waits, and starts where those that begin are: so a run of a
    /// namespace that has few goes before the hundredth one of another.
    turn: u64,
    /// Order in which the runs came, as far as this process knows.
    arrival: u64,
    key: ObjectKey,
}

/// The runs of one workflow with the same concurrency key.
pub(crate) type Group = (ObjectKey, String);

#[derive(Clone, Debug)]
struct Waiting {
    rank: Rank,
    group: Option<Group>,
}

#[derive(Default)]
struct Members {
    holder: Option<(StreamId, u64)>,
    waiting: BTreeSet<Rank>,
}

#[derive(Default)]
pub(crate) struct Gate {
    /// Runs that wait for room.
    crowd: BTreeSet<Rank>,
    groups: BTreeMap<Group, Members>,
    held: HashMap<StreamId, Group>,
    waiting: HashMap<ObjectKey, Waiting>,
    arrivals: u64,
    /// The greatest turn of a run that has begun.
    turn: u64,
    /// The latest turn of each namespace that is ahead of that.
    turns: HashMap<String, u64>,
}

/// What is asked of the gate.
pub(crate) struct Request {
    pub(crate) key: ObjectKey,
    pub(crate) stream: StreamId,
    pub(crate) priority: i64,
    pub(crate) group: Option<(Group, Policy)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may begin, and holds its key from now on.
    Go,
    /// Others come first. It is named by [`Gate::next`] when it is worth asking again.
    NoRoom,
    /// Another run has its key.
    Held,
    /// The same, and its policy is not to wait.
    Rejected,
    /// This run is to be cancelled first.
    Cancel(StreamId),
    /// A run that came later takes its place.
    Superseded,
}

impl Gate {
    /// How many runs wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A run that was begun before this process holds its key.
    pub(crate) fn hold(&mut self, stream: StreamId, group: Group) {
        self.groups.entry(group.clone()).or_default().holder = Some((stream, 0));
        self.held.insert(stream, group);
    }

    /// Takes the key for a run that does not wait for it; false when another one has it.
    pub(crate) fn take(&mut self, stream: StreamId, group: Group) -> bool {
        let holder = self.groups.get(&group).and_then(|members| members.holder);
        let free = holder.is_none_or(|(holder, _)| holder == stream);
        if free {
            self.hold(stream, group);
        }
        free
    }

    /// `room`: how many more runs may begin now.
    pub(crate) fn ask(&mut self, request: &Request, room: usize) -> Verdict {
        let (turn, arrival) = match self.waiting.get(&request.key) {
            Some(waiting) => (waiting.rank.turn, waiting.rank.arrival),
            None => {
                self.arrivals += 1;
                (self.next_turn(&request.key.namespace), self.arrivals)
            }
        };
        // It may have asked with another priority or key before; where it waits now is decided below.
        self.leave(&request.key);
        let rank = Rank { priority: Reverse(request.priority), turn, arrival, key: request.key.clone() };
        if let Some((group, policy)) = &request.group {
            let members = self.groups.entry(group.clone()).or_default();
            let verdict = match (members.holder, policy) {
                (Some((holder, _)), _) if holder == request.stream => None,
                (Some(_), Policy::Reject) => Some(Verdict::Rejected),
                (Some((_, came)), Policy::Cancel) if came > arrival => Some(Verdict::Superseded),
                (Some((holder, _)), Policy::Cancel) => Some(Verdict::Cancel(holder)),
                (Some(_), Policy::Queue) => Some(Verdict::Held),
                (None, Policy::Cancel) if members.waiting.iter().any(|other| other.arrival > arrival) => {
                    Some(Verdict::Superseded)
                }
                (None, Policy::Queue) if members.waiting.first().is_some_and(|first| *first < rank) => {
                    Some(Verdict::Held)
                }
                (None, _) => None,
            };
            if let Some(verdict) = verdict {
                if !matches!(verdict, Verdict::Rejected | Verdict::Superseded) {
                    self.wait(rank, Some(group.clone()));
                }
                self.tidy(group);
                return verdict;
            }
        }
        let ahead = self.crowd.range(..&rank).take(room).count();
        if ahead >= room {
            self.wait(rank.clone(), request.group.as_ref().map(|(group, _)| group.clone()));
            self.crowd.insert(rank);
            return Verdict::NoRoom;
        }
        self.has_begun(turn, &request.key.namespace);
        if let Some((group, _)) = &request.group {
            self.groups.entry(group.clone()).or_default().holder = Some((request.stream, arrival));
            self.held.insert(request.stream, group.clone());
        }
        Verdict::Go
    }

    fn next_turn(&self, namespace: &str) -> u64 {
        self.turns.get(namespace).map_or(self.turn, |latest| self.turn.max(latest + 1))
    }

    fn has_begun(&mut self, turn: u64, namespace: &str) {
        if turn > self.turn {
            self.turn = turn;
            self.turns.retain(|_, latest| *latest >= turn);
        }
        if self.waiting.is_empty() {
            self.turns.clear();
        } else {
            let latest = self.turns.entry(namespace.to_owned()).or_insert(turn);
            *latest = turn.max(*latest);
        }
    }

    fn wait(&mut self, rank: Rank, group: Option<Group>) {
        if let Some(group) = &group {
            self.groups.entry(group.clone()).or_default().waiting.insert(rank.clone());
        }
        let latest = self.turns.entry(rank.key.namespace.clone()).or_insert(rank.turn);
        *latest = rank.turn.max(*latest);
        self.waiting.insert(rank.key.clone(), Waiting { rank, group });
    }

    /// The run will not begin, at least not now; those that may ask again because of it, with room for `room` more.
    pub(crate) fn give_up(&mut self, key: &ObjectKey, room: usize) -> Vec<ObjectKey> {
        let Some(Waiting { group, .. }) = self.waiting.get(key).cloned() else { return Vec::new() };
        self.leave(key);
        let mut next = self.next(room);
        let members = group.and_then(|group| self.groups.get(&group)).filter(|members| members.holder.is_none());
        next.extend(members.into_iter().flat_map(|members| members.waiting.iter().map(|rank| rank.key.clone())));
        next
    }

    fn leave(&mut self, key: &ObjectKey) {
        let Some(Waiting { rank, group }) = self.waiting.remove(key) else { return };
        self.crowd.remove(&rank);
        if let Some(group) = group
            && let Some(members) = self.groups.get_mut(&group)
        {
            members.waiting.remove(&rank);
            self.tidy(&group);
        }
    }

    fn tidy(&mut self, group: &Group) {
        if self.groups.get(group).is_some_and(|members| members.holder.is_none() && members.waiting.is_empty()) {
            self.groups.remove(group);
        }
    }

    /// The run has ended; those that may ask again because of it, with room for `room` more.
    pub(crate) fn release(&mut self, stream: StreamId, room: usize) -> Vec<ObjectKey> {
        let mut next = self.next(room);
        if let Some(group) = self.held.remove(&stream) {
            if let Some(members) = self.groups.get_mut(&group).filter(|members| members.holder.is_some()) {
                members.holder = None;
                next.extend(members.waiting.iter().map(|rank| rank.key.clone()));
            }
            self.tidy(&group);
        }
        next
    }

    /// The first of those that wait for room.
    pub(crate) fn next(&self, room: usize) -> Vec<ObjectKey> {
        self.crowd.iter().take(room).map(|rank| rank.key.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
