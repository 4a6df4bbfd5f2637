//! Writes steps to the journal, those of many runs in one transaction, and then lets them have their effects.
//!
//! Several transactions of a partition may be under way at a time, in any order: a run has one step in them at most.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use kapell_store::{CommitError, JournalWrite, StreamId, Transaction};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::cold::Place;
use super::pace::Pace;
use super::partition::Command;
use super::{Notice, Shared, effects, rescue};
use crate::core::state::Effect;

/// How long to wait before a write that failed is tried again: a full disk is not emptied in microseconds.
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// One step of one run.
pub(super) struct Work {
    pub(super) stream: StreamId,
    pub(super) namespace: String,
    pub(super) uid: String,
    /// The step's records and the events that it publishes.
    pub(super) writes: Vec<JournalWrite>,
    pub(super) effects: Vec<Effect>,
    pub(super) notice: Option<Notice>,
    pub(super) pace: Arc<Pace>,
    /// Given back when all of this is done.
    pub(super) place: Option<Place>,
}

/// Where commits wait for the disk.
#[derive(Clone)]
pub(super) struct Committer {
    shared: Arc<Shared>,
    runtime: Handle,
    under_way: TaskTracker,
}

impl Committer {
    /// # Panics
    /// Outside of a Tokio runtime.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, runtime: Handle::current(), under_way: TaskTracker::new() }
    }

    /// Makes the calling thread one that can spawn tasks.
    pub(super) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Hands steps to the store; what follows happens once they are on disk.
    pub(super) fn submit(&self, steps: Vec<Work>) {
        if steps.is_empty() {
            return;
        }
        let mut task: Pin<Box<_>> = Box::pin(carry_out(self.shared.clone(), steps));
        // Begun here, so that the store has the transaction without another thread having to wake up for it.
        let begun = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if begun == Poll::Pending {
            self.under_way.spawn_on(task, &self.runtime);
        }
    }

    /// Waits for everything that was submitted; the partitions have ended.
    pub(super) async fn finish(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }
}

async fn carry_out(shared: Arc<Shared>, mut steps: Vec<Work>) {
    let mut journal = Vec::with_capacity(steps.len());
    for step in &mut steps {
        journal.extend(step.writes.drain(..).map(|write| (step.stream, write)));
    }
    let begun = Instant::now();
    let lost = if journal.is_empty() {
        Vec::new()
    } else {
        shared.metrics.records.fetch_add(journal.len() as u64, Ordering::Relaxed);
        commit(&shared, journal).await
    };
    shared.metrics.commits.note(begun.elapsed());
    for step in steps.into_iter().filter(|step| !lost.contains(&step.stream)) {
        finish(&shared, step);
    }
}

/// Commits, however long that takes: the runs' states are ahead of the disk and cannot go back. Returns the streams
/// that someone else has written to.
async fn commit(shared: &Arc<Shared>, mut journal: Vec<(StreamId, JournalWrite)>) -> Vec<StreamId> {
    let mut lost = Vec::new();
    let mut unwritten = None;
    let mut delay = FIRST_RETRY;
    loop {
        let transaction =
            Transaction { writes: Vec::new(), journal: journal.iter().map(|(_, write)| write.clone()).collect() };
        let stream = match shared.store.commit(transaction).await {
            Ok(_) => return lost,
            Err(CommitError::Sequence { stream, expected, got }) => {
                // Another owner, or a defect: the run goes on from what its journal says.
                let run = uuid::Uuid::from_bytes(stream.0);
                tracing::error!(%run, expected, got, "a run's journal has moved on");
                rescue::retake(shared, stream);
                stream
            }
            Err(CommitError::Closed { stream }) => {
                tracing::error!(run = %uuid::Uuid::from_bytes(stream.0), "a run's journal was closed by someone else");
                shared.tell(stream, Command::Forget { stream });
                shared.rests(stream, rescue::DEFECT);
                stream
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the journal cannot be written, trying again");
                unwritten.get_or_insert_with(|| Unwritten::new(shared));
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(LONGEST_RETRY);
                continue;
            }
        };
        journal.retain(|(of, _)| *of != stream);
        lost.push(stream);
        if journal.is_empty() {
            return lost;
        }
    }
}

/// A transaction that could not be written, as long as that is so.
struct Unwritten(Arc<Shared>);

impl Unwritten {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.unwritten.fetch_add(1, Ordering::AcqRel);
        Self(shared.clone())
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        self.0.unwritten.fetch_sub(1, Ordering::AcqRel);
    }
}

fn finish(shared: &Arc<Shared>, step: Work) {
    let stream = step.stream;
    for effect in step.effects {
        effects::perform(shared, stream, &step.namespace, &step.uid, effect);
    }
    if let Some(notice) = step.notice {
        shared.publish(stream, notice);
    }
    if step.pace.committed() {
        shared.tell(stream, Command::Committed { stream });
    }
    drop(step.place);
}
