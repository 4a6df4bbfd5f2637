//! Who may call next: at most so many calls are in flight, and namespaces that wait take turns.
//!
//! One namespace never holds all places, so that a service of it that does not answer leaves room for the others.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Of all places, this part is for namespaces that hold few: one may have at most the rest.
const RESERVED: usize = 4;

pub(super) struct Turns {
    places: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: usize,
    /// Only those that hold a place or wait.
    namespaces: BTreeMap<String, Share>,
    /// Namespaces in which someone waits, the one whose turn it is first; each once.
    order: VecDeque<String>,
}

#[derive(Default)]
struct Share {
    taken: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A place. Dropping it gives it to the next.
pub(super) struct Turn {
    /// `None`: it has been given back.
    turns: Option<Arc<Turns>>,
    namespace: String,
}

impl Turns {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places: places.max(1), state: Mutex::default() })
    }

    /// How many places are taken, and how many wait for one.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.taken, state.namespaces.values().map(|share| share.waiting.len()).sum())
    }

    /// Waits for a place. Whoever stops waiting loses nothing but the place in the queue.
    pub(super) async fn take(self: &Arc<Self>, namespace: &str) -> Turn {
        let turn = {
            let mut state = self.state.lock();
            let share = state.namespaces.entry(namespace.to_owned()).or_default();
            let (sender, turn) = oneshot::channel();
            share.waiting.push_back(sender);
            if share.waiting.len() == 1 {
                state.order.push_back(namespace.to_owned());
            }
            turn
        };
        self.hand_out();
        match turn.await {
            Ok(turn) => turn,
            // Senders are dropped only after a turn was sent, or with all of this.
            Err(_) => unreachable!("a place was neither given nor waited for"),
        }
    }

    /// Gives free places to those whose turn it is.
    fn hand_out(self: &Arc<Self>) {
        loop {
            let next = self.state.lock().next(self.places);
            let Some((namespace, waiter)) = next else { return };
            if let Err(mut turn) = waiter.send(Turn { turns: Some(self.clone()), namespace }) {
                // Whoever waited is gone. Dropping the turn would hand out again from in here, as deep as there are
                // such.
                turn.turns = None;
                self.state.lock().give_back(&turn.namespace);
            }
        }
    }
}

impl State {
    /// Takes a place for the namespace whose turn it is and that does not hold its share already.
    fn next(&mut self, places: usize) -> Option<(String, oneshot::Sender<Turn>)> {
        if self.taken >= places {
            return None;
        }
        let most = (places - places / RESERVED).max(1);
        let position =
            self.order.iter().position(|name| self.namespaces.get(name).is_some_and(|of| of.taken < most))?;
        let namespace = self.order.remove(position)?;
        let share = self.namespaces.get_mut(&namespace)?;
        let waiter = share.waiting.pop_front()?;
        share.taken += 1;
        if !share.waiting.is_empty() {
            self.order.push_back(namespace.clone());
        }
        self.taken += 1;
        Some((namespace, waiter))
    }

    fn give_back(&mut self, namespace: &str) {
        self.taken -= 1;
        if let Some(share) = self.namespaces.get_mut(namespace) {
            share.taken -= 1;
            if share.taken == 0 && share.waiting.is_empty() {
                self.namespaces.remove(namespace);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.state.lock().give_back(&self.namespace);
            turns.hand_out();
        }
    }
}

#[cfg(test)]
mod tests;
