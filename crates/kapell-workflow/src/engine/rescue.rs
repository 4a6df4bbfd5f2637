//! Takes runs up from their journals: all at the start, and single ones whose step panicked or whose journal was
//! written to by someone else.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use kapell_store::{ReadError, StreamId};
use parking_lot::Mutex;

use super::Shared;
use super::cold::Place;
use super::partition::Command;
use crate::core::state::Run;
use crate::journal::{self, JournalError};

/// How long to wait before the store is asked again at the start.
const READ_RETRY: Duration = Duration::from_millis(200);

/// Journals read and replayed side by side at the start. Twice the cores of a small machine: one is read while another
/// one is replayed. Bounds what of the past is in memory beside the runs.
pub(super) const SIDE_BY_SIDE: usize = 8;

/// How often a run that falls is taken up again before it rests until the next start, and how long each time waits.
/// Its pending calls are made again each time.
const MOST_FALLS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How often each run has fallen since the start.
pub(super) type Falls = Mutex<HashMap<StreamId, u32>>;

/// A run as its journal says.
struct Replayed {
    hash: String,
    run: Run,
    records: u64,
}

#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error("its journal cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("its journal makes no sense: {0}")]
    Journal(#[from] JournalError),
    #[error("replaying its journal panicked")]
    Panicked,
}

/// The open journals at the start.
#[derive(Default)]
pub(super) struct Recovered {
    pub(super) taken: HashSet<StreamId>,
    pub(super) unreadable: HashSet<StreamId>,
}

/// Takes up every run whose journal is open. A journal that makes no sense is reported and left alone.
pub(super) async fn recover(shared: &Arc<Shared>) -> Recovered {
    let (streams, sleeping) = loop {
        let opened = async {
            shared.open_logs().await?;
            Ok::<_, ReadError>((shared.store.open_streams().await?, shared.store.sleeping_streams().await?))
        };
        match opened.await {
            Ok(streams) => break streams,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot list the open journals, trying again");
                tokio::time::sleep(READ_RETRY).await;
            }
        }
    };
    let mut recovered = Recovered::default();
    for (stream, until) in sleeping {
        shared.tell(stream, Command::Sleeps { stream, until });
        recovered.taken.insert(stream);
    }
    let awake: Vec<StreamId> = streams.into_iter().filter(|stream| !recovered.taken.contains(stream)).collect();
    let taken = futures::stream::iter(awake).map(|stream| async move { (stream, take(shared, stream).await) });
    let mut taken = taken.buffer_unordered(SIDE_BY_SIDE);
    while let Some((stream, is_taken)) = taken.next().await {
        let set = if is_taken { &mut recovered.taken } else { &mut recovered.unreadable };
        set.insert(stream);
    }
    recovered
}

/// Takes up a run that has fallen, after a while; gives up on one that does nothing but fall.
pub(super) fn retake(shared: &Arc<Shared>, stream: StreamId) {
    let falls = {
        let mut falls = shared.falls.lock();
        let falls = falls.entry(stream).or_default();
        *falls += 1;
        *falls
    };
    shared.tell(stream, Command::Forget { stream });
    if falls > MOST_FALLS {
        let run = uuid::Uuid::from_bytes(stream.0);
        tracing::error!(%run, "the run rests until the next start: it has failed more than {MOST_FALLS} times");
        shared.rests(stream);
        return;
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        tokio::time::sleep(FIRST_PAUSE * 2u32.pow(falls - 1)).await;
        take(&shared, stream).await;
    });
}

/// Takes up runs that were not in memory, when it is their turn.
pub(super) async fn wake(shared: Arc<Shared>, places: Vec<(StreamId, Place)>) {
    let (streams, places): (Vec<StreamId>, Vec<Place>) = places.into_iter().unzip();
    shared.metrics.woken.fetch_add(streams.len() as u64, std::sync::atomic::Ordering::Relaxed);
    let Ok(_permit) = shared.wakers.acquire().await else { return };
    let journals = match shared.store.read_streams(&streams).await {
        Ok(journals) => journals,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "journals cannot be read, trying again");
            tokio::time::sleep(READ_RETRY).await;
            // One by one, each with its own fate.
            for stream in streams {
                if !take(&shared, stream).await {
                    shared.tell(stream, Command::Forget { stream });
                }
            }
            return;
        }
    };
    let worker = shared.clone();
    let replayed = tokio::task::spawn_blocking(move || {
        for ((stream, place), records) in streams.into_iter().zip(places).zip(journals) {
            let taken = match records.is_empty() {
                true => None,
                false => replay_records(&worker, stream, &records).inspect_err(|error| report(stream, error)).ok(),
            };
            match taken {
                Some(Replayed { hash, run, records }) => {
                    let (run, place) = (Box::new(run), Some(place));
                    worker.tell(stream, Command::Resume { stream, hash, run, records, place });
                }
                None => worker.tell(stream, Command::Forget { stream }),
            }
        }
    });
    if replayed.await.is_err() {
        tracing::error!("replaying a journal panicked; the runs that were read with it sleep until the next start");
    }
}

async fn take(shared: &Arc<Shared>, stream: StreamId) -> bool {
    match replay(shared, stream).await {
        Ok(Some(Replayed { hash, run, records })) => {
            shared.tell(stream, Command::Resume { stream, hash, run: Box::new(run), records, place: None });
            true
        }
        // It was deleted meanwhile.
        Ok(None) => false,
        Err(error) => {
            report(stream, &error);
            false
        }
    }
}

fn report(stream: StreamId, error: &dyn std::fmt::Display) {
    tracing::error!(run = %uuid::Uuid::from_bytes(stream.0), %error, "a run cannot be taken up");
}

async fn replay(shared: &Arc<Shared>, stream: StreamId) -> Result<Option<Replayed>, TakeError> {
    let records = shared.store.read_stream(stream, 0).await?;
    if records.is_empty() {
        return Ok(None);
    }
    let shared = shared.clone();
    let replayed = tokio::task::spawn_blocking(move || replay_records(&shared, stream, &records));
    Ok(Some(replayed.await.map_err(|_| TakeError::Panicked)??))
}

fn replay_records(shared: &Shared, stream: StreamId, records: &[Bytes]) -> Result<Replayed, JournalError> {
    let entries = journal::decode(records)?;
    let (hash, program) = shared.programs.of_journal(&entries)?;
    let mut run = journal::replay(program, &entries)?;
    run.kept = journal::kept(records);
    // At the start nobody else can have it.
    shared.take_key(stream, &run);
    Ok(Replayed { hash, run, records: records.len() as u64 })
}
