//! Takes runs up from their journals: all at the start, and single ones whose step panicked or whose journal was
//! written to by someone else.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// How long to wait before the store is asked again, at first and at most.
const READ_RETRY: Duration = Duration::from_millis(200);
const LONGEST_READ_RETRY: Duration = Duration::from_secs(10);

/// Journals read and replayed side by side at the start. Twice the cores of a small machine: one is read while another
/// one is replayed. Bounds what of the past is in memory beside the runs.
pub(super) const SIDE_BY_SIDE: usize = 8;

/// How often a run that falls is taken up again before it rests until the next start, and how long each time waits.
/// Its pending calls are made again each time.
const MOST_FALLS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What runs wait for that cannot be taken up.
pub(super) const DEFECT: &str =
    "a start of kapell without the defect that stopped the run; the server's log says which";
const UNREADABLE: &str = "a version of kapell that can read the run's journal; the server's log says why";
const UNREAD: &str = "the store to be readable; the server's log says what is wrong with it";

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

/// Takes up every run whose journal is open; returns their streams. One whose journal makes no sense rests.
pub(super) async fn recover(shared: &Arc<Shared>) -> HashSet<StreamId> {
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
    let mut recovered = HashSet::new();
    for (stream, until) in sleeping {
        shared.tell(stream, Command::Sleeps { stream, until });
        recovered.insert(stream);
    }
    let awake: Vec<StreamId> = streams.into_iter().filter(|stream| !recovered.contains(stream)).collect();
    let taken = futures::stream::iter(awake).map(|stream| async move { (stream, take(shared, stream).await) });
    let mut taken = taken.buffer_unordered(SIDE_BY_SIDE);
    let mut unread = Vec::new();
    while let Some((stream, outcome)) = taken.next().await {
        match outcome {
            Ok(false) => continue,
            Ok(true) => {}
            Err(error) => unread.extend(give_up(shared, stream, &error)),
        }
        recovered.insert(stream);
    }
    come_back(shared, unread);
    recovered
}

/// The run rests; `Some`: it is to be tried again.
fn give_up(shared: &Shared, stream: StreamId, error: &TakeError) -> Option<StreamId> {
    let run = uuid::Uuid::from_bytes(stream.0);
    let is_unread = matches!(error, TakeError::Read(_));
    if is_unread {
        tracing::warn!(%run, %error, "a run cannot be taken up now, trying again");
    } else {
        tracing::error!(%run, %error, "a run cannot be taken up");
    }
    shared.rests(stream, if is_unread { UNREAD } else { UNREADABLE });
    is_unread.then_some(stream)
}

/// Takes up runs whose journals could not be read, each as soon as it can. They rest until then.
fn come_back(shared: &Arc<Shared>, mut unread: Vec<StreamId>) {
    let shared = shared.clone();
    let trying = async move {
        let mut pause = READ_RETRY;
        while !unread.is_empty() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_READ_RETRY);
            let Ok(_permit) = shared.wakers.acquire().await else { return };
            for stream in std::mem::take(&mut unread) {
                if shared.partition(stream).is_closed() {
                    return;
                }
                // Else it was deleted meanwhile.
                if shared.resting.lock().contains_key(&stream)
                    && let Err(error) = take(&shared, stream).await
                {
                    unread.extend(give_up(&shared, stream, &error));
                }
            }
        }
    };
    tokio::spawn(trying);
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
        shared.rests(stream, DEFECT);
        return;
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        tokio::time::sleep(FIRST_PAUSE * 2u32.pow(falls - 1)).await;
        match take(&shared, stream).await {
            Ok(true) => {}
            // Its first step fell.
            Ok(false) => shared.rests(stream, DEFECT),
            Err(error) => come_back(&shared, give_up(&shared, stream, &error).into_iter().collect()),
        }
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
            let error = TakeError::Read(error);
            // They come back one by one, each with its own fate; what someone wanted of them is said again then.
            let forgotten =
                streams.into_iter().inspect(|stream| shared.tell(*stream, Command::Forget { stream: *stream }));
            let unread = forgotten.filter_map(|stream| give_up(&shared, stream, &error)).collect();
            return come_back(&shared, unread);
        }
    };
    let worker = shared.clone();
    let replayed = tokio::task::spawn_blocking(move || {
        for ((stream, place), records) in streams.into_iter().zip(places).zip(journals) {
            // It was deleted meanwhile.
            if records.is_empty() {
                worker.tell(stream, Command::Forget { stream });
                continue;
            }
            match replayed(&worker, stream, &records) {
                Ok(Replayed { hash, run, records }) => {
                    let (run, place) = (Box::new(run), Some(place));
                    worker.tell(stream, Command::Resume { stream, hash, run, records, place });
                }
                Err(error) => {
                    worker.tell(stream, Command::Forget { stream });
                    give_up(&worker, stream, &error);
                }
            }
        }
    });
    // Only a shutdown ends it before its time.
    let _ = replayed.await;
}

/// False: there is no journal.
async fn take(shared: &Arc<Shared>, stream: StreamId) -> Result<bool, TakeError> {
    let Some(Replayed { hash, run, records }) = replay(shared, stream).await? else { return Ok(false) };
    shared.resting.lock().remove(&stream);
    shared.tell(stream, Command::Resume { stream, hash, run: Box::new(run), records, place: None });
    Ok(true)
}

async fn replay(shared: &Arc<Shared>, stream: StreamId) -> Result<Option<Replayed>, TakeError> {
    let records = shared.store.read_stream(stream, 0).await?;
    if records.is_empty() {
        return Ok(None);
    }
    let shared = shared.clone();
    let replayed = tokio::task::spawn_blocking(move || replayed(&shared, stream, &records));
    Ok(Some(replayed.await.map_err(|_| TakeError::Panicked)??))
}

/// One journal that cannot be replayed must not take along those that are read with it.
fn replayed(shared: &Shared, stream: StreamId, records: &[Bytes]) -> Result<Replayed, TakeError> {
    // Unwind safety: a run that is half replayed is dropped, and nothing else has been touched.
    let replayed = catch_unwind(AssertUnwindSafe(|| replay_records(shared, stream, records)));
    Ok(replayed.map_err(|_| TakeError::Panicked)??)
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
