//! Reads logs in order and hands events to those who may want them.
//!
//! A thread of its own, because finding candidates may evaluate expressions. It has one cursor for each log, and those
//! who are behind it (they began at an earlier position, or could not take more) have their own until they have caught
//! up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kapell_store::{JournalWrite, LogExtent, ReadError, StreamId, Transaction};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::index::{Index, ListenerId};
use super::{decode, now};
use crate::cloud_event::CloudEvent;
use crate::core::record::FrameId;
use crate::core::state::Interest;
use crate::core::{Event, Occurrence, Receipt};
use crate::engine::Shared;
use crate::engine::partition::Command;
use crate::engine::schedules::on::Delivery;
use crate::expression::meter::{DEEP_STACK, describe_stack};

/// Events in the hands of one listener. A run takes one in with each commit, so this keeps it busy.
pub(super) const WINDOW: usize = 64;

/// Records read at a time.
const PAGE: usize = 256;

/// How often logs are trimmed. What is trimmed was handed out one round before, so its journal records are on disk.
const TIDY_EVERY: Duration = Duration::from_secs(30);

/// The same while a log is so full that publishers are refused. Steps that take events in are in the store's queue within
/// milliseconds, before what trims them; if they cannot be written, nothing is trimmed.
const TIDY_WHEN_FULL: Duration = Duration::from_secs(1);

pub(in crate::engine) enum Signal {
    Listen {
        log: StreamId,
        listener: ListenerId,
        interest: Interest,
        target: Target,
    },
    Unlisten {
        log: StreamId,
        listener: ListenerId,
    },
    Published {
        log: StreamId,
    },
    /// Someone was refused because a log is full.
    Full,
    /// A listener that had its hands full has them free.
    Drained {
        log: StreamId,
        listener: ListenerId,
    },
}

/// Who is told.
#[derive(Clone)]
pub(in crate::engine) enum Target {
    Run,
    Schedule(mpsc::UnboundedSender<Delivery>),
}

struct Listener {
    interest: Interest,
    target: Target,
    hands: Arc<Hands>,
    /// Everything for it before this position has been handed out.
    handed: u64,
    /// What was handed out first of all that is in its hands.
    held: Option<u64>,
    /// Where it goes on, when it is behind the log's cursor.
    behind: Option<u64>,
}

/// What a listener has been handed and not taken in.
struct Hands {
    count: AtomicUsize,
    /// It would have been handed more.
    starved: AtomicBool,
    log: StreamId,
    listener: ListenerId,
    shared: std::sync::Weak<Shared>,
}

/// One event in someone's hands.
struct Handed(Arc<Hands>);

impl Drop for Handed {
    fn drop(&mut self) {
        let hands = &self.0;
        if hands.count.fetch_sub(1, Ordering::AcqRel) == 1
            && hands.starved.load(Ordering::Acquire)
            && let Some(shared) = hands.shared.upgrade()
        {
            shared.events.signal(Signal::Drained { log: hands.log, listener: hands.listener });
        }
    }
}

#[derive(Default)]
struct Space {
    index: Index,
    listeners: HashMap<ListenerId, Listener>,
    cursor: u64,
    /// Those behind the cursor that can take something, by where they go on.
    behind: BTreeSet<(u64, ListenerId)>,
    /// There may be something to read.
    stirred: bool,
    /// Everything before this had been taken in when logs were last trimmed.
    settled: u64,
}

struct Hub {
    shared: Arc<Shared>,
    spaces: BTreeMap<StreamId, Space>,
    next_tidy: Instant,
}

/// Starts the thread; `None` when the process can have no more of them.
pub(in crate::engine) fn spawn(
    shared: Arc<Shared>,
    mut signals: mpsc::UnboundedReceiver<Signal>,
    stop: CancellationToken,
) -> Option<JoinHandle<()>> {
    let runtime = Handle::current();
    let body = move || {
        describe_stack(DEEP_STACK);
        let mut hub = Hub { shared, spaces: BTreeMap::new(), next_tidy: Instant::now() + TIDY_EVERY };
        runtime.block_on(hub.run(&mut signals, &stop));
    };
    let thread = std::thread::Builder::new().name("workflow-events".to_owned()).stack_size(DEEP_STACK).spawn(body);
    thread.inspect_err(|error| tracing::error!(%error, "cannot start the thread that hands out events")).ok()
}

impl Hub {
    async fn run(&mut self, signals: &mut mpsc::UnboundedReceiver<Signal>, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                signal = signals.recv() => match signal {
                    Some(signal) => self.take(signal),
                    None => return,
                },
                () = tokio::time::sleep_until(self.next_tidy) => {
                    self.next_tidy = Instant::now() + TIDY_EVERY;
                    if let Err(error) = self.tidy().await {
                        tracing::warn!(error = &*error, "event logs could not be trimmed");
                    }
                }
            }
            // Without waiting in between, so that those who come together are caught up together.
            loop {
                while let Ok(signal) = signals.try_recv() {
                    self.take(signal);
                }
                let Some(log) = self.spaces.iter().find(|(_, space)| space.stirred).map(|(log, _)| *log) else { break };
                if stop.is_cancelled() {
                    return;
                }
                if let Err(error) = self.advance(log).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "an event log cannot be read, trying again"
                    );
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    fn take(&mut self, signal: Signal) {
        match signal {
            Signal::Listen { log, listener, interest, target } => self.listen(log, listener, interest, target),
            Signal::Unlisten { log, listener } => {
                if let Some(space) = self.spaces.get_mut(&log) {
                    space.remove(listener);
                }
            }
            Signal::Published { log } => {
                if let Some(space) = self.spaces.get_mut(&log) {
                    space.stirred = !space.listeners.is_empty();
                } else {
                    self.spaces.insert(log, Space::default());
                }
            }
            // What has been taken in by now goes in the second round from here.
            Signal::Full => self.next_tidy = self.next_tidy.min(Instant::now() + TIDY_WHEN_FULL),
            Signal::Drained { log, listener } => {
                if let Some(space) = self.spaces.get_mut(&log) {
                    space.wake(listener);
                }
            }
        }
    }

    fn listen(&mut self, log: StreamId, id: ListenerId, interest: Interest, target: Target) {
        let space = self.spaces.entry(log).or_default();
        space.remove(id);
        if space.listeners.is_empty() {
            space.cursor = interest.from;
        }
        let behind = (interest.deaf || interest.from < space.cursor).then_some(interest.from);
        let hands = Arc::new(Hands {
            count: AtomicUsize::new(0),
            starved: AtomicBool::new(false),
            log,
            listener: id,
            shared: Arc::downgrade(&self.shared),
        });
        space.index.insert(id, &interest.keys);
        space.listeners.insert(id, Listener { handed: interest.from, interest, target, hands, held: None, behind });
        space.stirred = true;
        space.wake(id);
    }

    /// One page: for those who are behind, else for all.
    async fn advance(&mut self, log: StreamId) -> Result<(), ReadError> {
        let Some(space) = self.spaces.get_mut(&log) else { return Ok(()) };
        let first_behind = space.behind.first().map(|(position, _)| *position);
        let from = first_behind.unwrap_or(space.cursor);
        let records = self.shared.store.read_log(log, from, PAGE).await?;
        let end = records.last().map_or(from, |(position, _)| position + 1);
        let full = records.len() == PAGE;
        // Where those who are behind have caught up, or have got to.
        let reached = if full { end.min(space.cursor) } else { space.cursor };
        let mut catching_up: Option<BTreeMap<ListenerId, u64>> = first_behind.map(|_| {
            let late = space.behind.range(..(reached, (StreamId([0; 16]), 0)));
            late.map(|(position, id)| (*id, *position)).collect()
        });
        for (position, record) in &records {
            if catching_up.is_some() && *position >= reached {
                break;
            }
            let Some(recorded) = decode(record) else { continue };
            let Ok(event) = CloudEvent::new(recorded.event) else { continue };
            let candidates = space.index.candidates(&event);
            if candidates.is_empty() {
                continue;
            }
            let occurrence = Arc::new(Occurrence { position: *position, event, origin: recorded.origin });
            for id in candidates {
                let wanted = match &catching_up {
                    Some(late) => late.get(&id).is_some_and(|from| from <= position),
                    None => true,
                };
                if wanted
                    && !space.hand(&self.shared, id, &occurrence, catching_up.is_some())
                    && let Some(late) = &mut catching_up
                {
                    late.remove(&id);
                }
            }
        }
        match catching_up {
            Some(late) => space.caught_up(late, reached),
            None => {
                space.cursor = end;
                space.stirred = full || !space.behind.is_empty();
                self.shared.events.note_end(log, end);
            }
        }
        Ok(())
    }

    /// Forgets what is older or more than is kept.
    async fn tidy(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.shared.unwritten.load(Ordering::Acquire) > 0 {
            // What has been taken in may not be in the journals.
            return Ok(());
        }
        for (log, extent) in self.shared.store.logs().await? {
            let settled = match self.spaces.get_mut(&log) {
                Some(space) => {
                    let taken_in = space.taken_in(extent);
                    std::mem::replace(&mut space.settled, taken_in)
                }
                None => {
                    self.spaces.insert(log, Space { settled: extent.next, ..Space::default() });
                    0
                }
            };
            let before = self.surplus(log, extent, settled).await?;
            if before > extent.first {
                let journal = vec![JournalWrite::Trim { log, before }];
                self.shared.store.commit(Transaction { writes: Vec::new(), journal }).await?;
            }
        }
        Ok(())
    }

    /// The position before which nothing need be kept.
    async fn surplus(&self, log: StreamId, extent: LogExtent, settled: u64) -> Result<u64, ReadError> {
        let limits = self.shared.config.events;
        let oldest = now() - i64::try_from(limits.max_age.as_millis()).unwrap_or(i64::MAX);
        let mut excess = extent.bytes.saturating_sub(limits.max_bytes);
        let mut before = extent.first;
        while before < settled {
            let records = self.shared.store.read_log(log, before, PAGE).await?;
            if records.is_empty() {
                break;
            }
            for (position, record) in records {
                let is_old = decode(&record).is_none_or(|recorded| recorded.time < oldest);
                if position >= settled || (excess == 0 && !is_old) {
                    return Ok(before);
                }
                excess = excess.saturating_sub(record.len() as u64);
                before = position + 1;
            }
        }
        Ok(before)
    }
}

impl Space {
    fn remove(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.remove(&id) else { return };
        self.index.remove(id, &listener.interest.keys);
        if let Some(position) = listener.behind {
            self.behind.remove(&(position, id));
        }
    }

    /// Lets a listener that is behind go on, if it can.
    fn wake(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        let free = listener.hands.count.load(Ordering::Acquire) == 0;
        if let Some(position) = listener.behind.filter(|_| free && !listener.interest.deaf) {
            listener.hands.starved.store(false, Ordering::Release);
            self.behind.insert((position, id));
            self.stirred = true;
        }
    }

    /// Hands an event to one who may want it. False: its hands are full, and it is noted that it has to come back.
    fn hand(&mut self, shared: &Shared, id: ListenerId, occurrence: &Arc<Occurrence>, catching_up: bool) -> bool {
        let Some(listener) = self.listeners.get_mut(&id) else { return true };
        let position = occurrence.position;
        let comes_to_it = !catching_up && listener.behind.is_some();
        if comes_to_it || position < listener.interest.from {
            return true;
        }
        if listener.hands.count.load(Ordering::Acquire) >= WINDOW {
            if let Some(former) = listener.behind.replace(position) {
                self.behind.remove(&(former, id));
            }
            listener.hands.starved.store(true, Ordering::Release);
            // It may have taken in the last one just before it could see that it starves.
            self.wake(id);
            return false;
        }
        if listener.hands.count.fetch_add(1, Ordering::AcqRel) == 0 {
            listener.held = Some(position);
        }
        let follows = std::mem::replace(&mut listener.handed, position + 1);
        let receipt: Receipt = Some(Arc::new(Handed(listener.hands.clone())));
        match &listener.target {
            Target::Run => {
                let (stream, frame): (StreamId, FrameId) = id;
                let event = Event::Occurred { frame, follows, occurrence: occurrence.clone(), receipt };
                shared.tell(stream, Command::Event { stream, event });
            }
            Target::Schedule(sender) => {
                let (stream, occurrence) = (id.0, occurrence.clone());
                // Whoever does not receive any more is shutting down.
                let _ = sender.send(Delivery { stream, follows, occurrence, _receipt: receipt });
            }
        }
        true
    }

    /// Those who were behind have got as far as `reached`, but for those whose hands are full.
    fn caught_up(&mut self, late: BTreeMap<ListenerId, u64>, reached: u64) {
        for (id, from) in late {
            let Some(listener) = self.listeners.get_mut(&id) else { continue };
            self.behind.remove(&(from, id));
            listener.behind = (reached < self.cursor).then_some(reached);
            if listener.behind.is_some() {
                self.behind.insert((reached, id));
            }
        }
        self.stirred = true;
    }

    /// The position before which everybody has taken in what there was.
    fn taken_in(&self, extent: LogExtent) -> u64 {
        let cursor = if self.listeners.is_empty() { extent.next } else { self.cursor };
        let of_listener = |listener: &Listener| {
            let in_hands = listener.hands.count.load(Ordering::Acquire) > 0;
            listener.behind.into_iter().chain(listener.held.filter(|_| in_hands)).min()
        };
        self.listeners.values().filter_map(of_listener).fold(cursor, u64::min)
    }
}

#[cfg(test)]
mod tests;
