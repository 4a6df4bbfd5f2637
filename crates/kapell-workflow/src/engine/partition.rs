//! The owner of a share of the runs: a thread that holds their state and takes their steps.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use kapell_client::ObjectKey;
use kapell_store::{JournalWrite, StreamId};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::cold::{self, Cold, Place, Places};
use super::committer::{Committer, Work};
use super::events::{log_of, publication};
use super::pace::Pace;
use super::timers::{Alarm, Wake};
use super::{Notice, Shared, now, rescue};
use crate::core::record::{Entry, Identity, Time};
use crate::core::state::{Compensation, Effect, Operated, Phase, Run};
use crate::core::{self, Event, Step};
use crate::expression::Datum;
use crate::expression::meter::{DEEP_STACK, describe_stack};
use crate::journal;
use crate::program::Program;

/// Steps in one transaction. With more, the first would wait for the last to be taken: up to a millisecond or two.
const MOST_STEPS: usize = 64;

/// Entries of one record, about: a run that is answered a thousand times at once writes a handful of records.
const MOST_ENTRIES: usize = 512;

/// A run that waits longer than this says in its status what for.
const LONG_WAIT: i64 = 1000;

pub(super) enum Command {
    /// Begin a run whose stream does not exist.
    Start {
        stream: StreamId,
        program: Arc<Program>,
        hash: String,
        identity: Identity,
        input: Datum,
    },
    /// Take over a run from its journal, which has this many records.
    Resume {
        stream: StreamId,
        hash: String,
        run: Box<Run>,
        records: u64,
        /// Of a run that was asleep.
        place: Option<Place>,
    },
    Event {
        stream: StreamId,
        event: Event,
    },
    /// The latest step is on disk, and the run has more to do.
    Committed {
        stream: StreamId,
    },
    /// Say what the run waits for, if it still waits as it did then.
    Describe {
        stream: StreamId,
        sequence: u64,
    },
    /// The journal says that the run sleeps.
    Sleeps {
        stream: StreamId,
        until: Time,
    },
    /// It is to wake up soon.
    Warm {
        stream: StreamId,
    },
    /// There are places for sleeping runs again.
    Room,
    /// The run has ended and is written down, or is not ours any more.
    Forget {
        stream: StreamId,
    },
    Stop,
}

impl Command {
    fn stream(&self) -> Option<StreamId> {
        match self {
            Command::Start { stream, .. }
            | Command::Resume { stream, .. }
            | Command::Event { stream, .. }
            | Command::Committed { stream }
            | Command::Describe { stream, .. }
            | Command::Sleeps { stream, .. }
            | Command::Warm { stream }
            | Command::Forget { stream } => Some(*stream),
            Command::Room | Command::Stop => None,
        }
    }
}

struct Active {
    run: Run,
    hash: String,
    key: ObjectKey,
    /// Number of the next journal record.
    sequence: u64,
    /// A step may be on its way to the disk; what comes meanwhile waits in `events`.
    pace: Arc<Pace>,
    more: bool,
    events: VecDeque<Event>,
    /// A [`Command::Describe`] is under way.
    describing: bool,
    compensation: Compensation,
    operated: Operated,
    search_attributes: Option<Arc<Map<String, Value>>>,
    /// The event log of its namespace, if it has to do with events.
    log: Option<StreamId>,
    /// It was asleep, and has made no step since.
    place: Option<Place>,
}

/// Starts the thread; `None` when the process can have no more of them, which the caller's committer then notices.
pub(super) fn spawn(
    index: usize,
    shared: Arc<Shared>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    committer: Committer,
) -> Option<JoinHandle<()>> {
    let body = move || {
        describe_stack(DEEP_STACK);
        let _runtime = committer.enter();
        let places = shared.config.max_woken.div_ceil(shared.partitions.len());
        let places = Places::new(places, shared.partitions[index].clone());
        let mut partition = Partition {
            shared,
            committer: committer.clone(),
            steps: Vec::new(),
            runs: HashMap::new(),
            cold: Cold::new(places),
            waking: Vec::new(),
        };
        while let Some(command) = commands.blocking_recv() {
            let mut next = Some(command);
            while let Some(command) = next.take() {
                if matches!(command, Command::Stop) {
                    partition.submit();
                    return;
                }
                partition.take(command);
                if partition.steps.len() < MOST_STEPS && partition.waking.len() < MOST_STEPS {
                    next = commands.try_recv().ok();
                }
            }
            partition.submit();
        }
    };
    let thread = std::thread::Builder::new().name(format!("workflow-{index}")).stack_size(DEEP_STACK).spawn(body);
    thread.inspect_err(|error| tracing::error!(%error, "cannot start a workflow thread")).ok()
}

struct Partition {
    shared: Arc<Shared>,
    committer: Committer,
    /// Taken, not submitted.
    steps: Vec<Work>,
    runs: HashMap<StreamId, Active>,
    cold: Cold,
    /// Runs that are to be read from their journals.
    waking: Vec<(StreamId, Place)>,
}

impl Partition {
    fn submit(&mut self) {
        if !self.waking.is_empty() {
            tokio::spawn(rescue::wake(self.shared.clone(), std::mem::take(&mut self.waking)));
        }
        self.committer.submit(std::mem::take(&mut self.steps));
    }

    /// Handles a command; a panic costs the run that it was for its state, which its journal has.
    fn take(&mut self, command: Command) {
        let stream = command.stream();
        // Unwind safety: a run whose step panicked is dropped, and nothing else has been touched.
        let handled = catch_unwind(AssertUnwindSafe(|| self.handle(command)));
        if handled.is_err()
            && let Some(stream) = stream
        {
            tracing::error!(run = %uuid::Uuid::from_bytes(stream.0), "a step panicked; the run goes on from its journal");
            self.forget(stream);
            rescue::retake(&self.shared, stream);
        }
    }

    fn forget(&mut self, stream: StreamId) {
        let was_cold = self.cold.forget(stream);
        // Ended runs are not among them.
        if self.runs.remove(&stream).is_some() || was_cold {
            self.shared.active.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Start { stream, program, hash, identity, input } => {
                match core::start(program, identity, input, now()) {
                    Ok((run, entry)) => self.begin(stream, run, hash, entry),
                    Err(misfit) => {
                        tracing::error!(%misfit, "a run cannot start");
                        self.shared.rests(stream, rescue::DEFECT);
                    }
                }
            }
            Command::Resume { stream, hash, run, records, place } => self.resume(stream, hash, *run, records, place),
            Command::Event { stream, event } => {
                if let Some(active) = self.runs.get_mut(&stream) {
                    active.events.push_back(event);
                    self.advance(stream);
                } else {
                    self.wake(stream, Some(event));
                }
            }
            Command::Sleeps { stream, until } => {
                self.shared.active.fetch_add(1, Ordering::Relaxed);
                self.shared.intake.asleep(stream);
                self.cold.insert(stream);
                let _ = self.shared.timers.send(Alarm { at: cold::warm_at(until), stream, wake: Wake::Warm });
            }
            Command::Warm { stream } => self.wake(stream, None),
            Command::Room => self.read_ahead(),
            Command::Committed { stream } => {
                self.advance(stream);
            }
            Command::Describe { stream, sequence } => self.describe(stream, sequence),
            Command::Forget { stream } => self.forget(stream),
            Command::Stop => {}
        }
    }

    fn wake(&mut self, stream: StreamId, event: Option<Event>) {
        self.cold.wake(stream, event);
        self.read_ahead();
    }

    /// Has sleeping runs read that are to be in memory, as far as there are places.
    fn read_ahead(&mut self) {
        while let Some(next) = self.cold.next() {
            self.waking.push(next);
        }
    }

    /// Drops a run from memory that will not be needed for long; it has nothing under way.
    fn chill(&mut self, stream: StreamId, until: Time) {
        self.runs.remove(&stream);
        self.shared.intake.asleep(stream);
        self.shared.admit_next();
        self.cold.insert(stream);
        let _ = self.shared.timers.send(Alarm { at: cold::warm_at(until), stream, wake: Wake::Warm });
    }

    fn begin(&mut self, stream: StreamId, run: Run, hash: String, first: Entry) {
        if self.runs.contains_key(&stream) {
            return;
        }
        self.shared.active.fetch_add(1, Ordering::Relaxed);
        self.shared.metrics.run_started();
        let active = Active::new(run, hash, 0, self.shared.config.lifecycle_events);
        self.runs.insert(stream, active);
        self.step(stream, Event::Continue, Some(first));
    }

    fn resume(&mut self, stream: StreamId, hash: String, run: Run, records: u64, place: Option<Place>) {
        if self.runs.contains_key(&stream) {
            return;
        }
        let mut active = Active::new(run, hash, records, self.shared.config.lifecycle_events);
        let woken = self.cold.woken(stream);
        let is_new = woken.is_none();
        if active.run.is_ended() {
            self.shared.active.fetch_sub(usize::from(!is_new), Ordering::Relaxed);
            self.shared.intake.gone(stream);
            self.shared.publish(stream, active.notice(false));
            return;
        }
        // A run that was asleep has been counted, and its object says what it waits for.
        self.shared.active.fetch_add(usize::from(is_new), Ordering::Relaxed);
        self.shared.intake.awake(stream, &active.key.namespace);
        let notice = is_new.then(|| active.notice(false));
        active.events.extend(woken.unwrap_or_default());
        active.place = place;
        let effects = active.run.pending();
        let namespace = active.key.namespace.clone();
        let uid = active.run.identity.uid.clone();
        let pace = active.pace.clone();
        // It is left alone until its timer rings; if that is not soon, it goes to sleep again.
        let rests = !is_new && active.run.sleeps_until().is_some_and(|until| until <= now() + cold::FAR);
        self.steps.push(Work { stream, namespace, uid, writes: Vec::new(), effects, notice, pace, place: None });
        self.runs.insert(stream, active);
        self.step(stream, Event::Continue, None);
        self.advance(stream);
        if !rests {
            self.watch_wait(stream);
        }
    }

    /// Takes the run's next step, if it may take one.
    fn advance(&mut self, stream: StreamId) {
        while let Some(active) = self.runs.get_mut(&stream) {
            let waits = !active.more && active.events.is_empty();
            if waits || !active.pace.is_free() {
                return;
            }
            let event = if active.more { None } else { active.events.pop_front() };
            let event = event.unwrap_or(Event::Continue);
            self.step(stream, event, None);
        }
    }

    fn step(&mut self, stream: StreamId, event: Event, first: Option<Entry>) {
        let Some(active) = self.runs.get_mut(&stream) else { return };
        let starting = first.is_some();
        if let Some(log) = active.log {
            active.run.log_end = self.shared.events.end(log);
            active.run.reports = self.shared.config.lifecycle_events;
        }
        let step = match active.take_steps(event) {
            Ok(step) => step,
            Err(misfit) => {
                // A defect in the core. The journal is sound, so the run is left as it is for a version without it.
                tracing::error!(run = %active.key, %misfit, "a run is stuck until the next start");
                self.forget(stream);
                self.shared.rests(stream, rescue::DEFECT);
                return;
            }
        };
        let Step { entries, effects, more } = step;
        active.more = more;
        let entries: Vec<Entry> = first.into_iter().chain(entries).collect();
        if entries.is_empty() && effects.is_empty() {
            return;
        }
        let mut writes = Vec::new();
        if !entries.is_empty() {
            for record in journal::encode(&entries, &mut active.run.kept) {
                writes.push(JournalWrite::Append { stream, sequence: active.sequence, record });
                active.sequence += 1;
            }
            // What excludes other runs has to be known after a restart, so it is replayed then.
            let exclusive = active.run.program.settings.concurrency.is_some();
            let until =
                active.run.sleeps_until().filter(|until| !exclusive && !active.more && *until > now() + cold::FAR);
            writes.extend(until.map(|until| JournalWrite::Sleep { stream, until }));
        }
        if let Some(log) = active.log {
            writes.extend(effects.iter().filter_map(|effect| match effect {
                Effect::Publish { frame, event } => {
                    Some(publication(log, event, Some((active.run.identity.uid.clone(), *frame))))
                }
                _ => None,
            }));
        }
        active.pace.begin();
        let ended = active.run.is_ended();
        if let Phase::Ended(outcome) = &active.run.phase {
            let took = active.run.ended_at.unwrap_or_default() - active.run.started_at;
            self.shared.metrics.run_ended(outcome, Duration::from_millis(took.try_into().unwrap_or(0)));
            self.shared.intake.gone(stream);
            self.shared.active.fetch_sub(1, Ordering::Relaxed);
        } else if active.more {
            // The commit is to say when it is done.
            let _ = active.pace.is_free();
        }
        let moved = active.compensation != active.run.compensation || active.operated != active.run.operated;
        let tell = starting || ended || moved;
        active.compensation = active.run.compensation;
        active.operated = active.run.operated.clone();
        let notice = tell.then(|| active.notice(false));
        let (namespace, uid) = (active.key.namespace.clone(), active.run.identity.uid.clone());
        let pace = active.pace.clone();
        let place = active.place.take();
        self.steps.push(Work { stream, namespace, uid, writes, effects, notice, pace, place });
        if ended {
            // What is still said to it has no effect, and its journal has it, should the step not reach the disk.
            self.runs.remove(&stream);
        } else {
            self.watch_wait(stream);
        }
    }

    /// If the run waits for something outside for long, its status shall say so.
    fn watch_wait(&mut self, stream: StreamId) {
        let Some(active) = self.runs.get_mut(&stream) else { return };
        if active.describing {
            return;
        }
        active.describing = true;
        let wake = Wake::Describe { sequence: active.sequence };
        let _ = self.shared.timers.send(Alarm { at: now() + LONG_WAIT, stream, wake });
    }

    fn describe(&mut self, stream: StreamId, sequence: u64) {
        let Some(active) = self.runs.get_mut(&stream) else { return };
        active.describing = false;
        if active.sequence != sequence || active.pace.is_committing() {
            return self.watch_wait(stream);
        }
        let mut notice = active.notice(true);
        let until = active.run.sleeps_until().filter(|until| *until > now() + cold::FAR && active.events.is_empty());
        notice.cold = until.is_some();
        self.shared.publish(stream, notice);
        if let Some(until) = until {
            self.chill(stream, until);
        }
    }
}

impl Active {
    /// Takes in the event and those that wait behind it, as one step: answers that came together share a record.
    fn take_steps(&mut self, event: Event) -> Result<Step, core::apply::Misfit> {
        let mut step = core::step(&mut self.run, event, now(), &mut rand::rng())?;
        while !step.more && step.entries.len() < MOST_ENTRIES {
            let Some(event) = self.events.pop_front() else { break };
            let next = core::step(&mut self.run, event, now(), &mut rand::rng())?;
            step.entries.extend(next.entries);
            step.effects.extend(next.effects);
            step.more = next.more;
        }
        Ok(step)
    }

    fn new(run: Run, hash: String, sequence: u64, reports: bool) -> Self {
        let key = ObjectKey::new(run.identity.namespace.as_str(), run.identity.name.as_str());
        let (compensation, operated) = (run.compensation, run.operated.clone());
        // They were evaluated before the run began, so they can be.
        let settings = &run.program.settings;
        let standing = (!settings.search_attributes.is_empty()).then(|| settings.standing(&run.raw_input).ok());
        let search_attributes = standing.flatten().map(|standing| Arc::new(standing.search_attributes));
        let log = (reports || run.program.uses_events()).then(|| log_of(&run.identity.namespace));
        Self {
            run,
            hash,
            key,
            sequence,
            pace: Arc::default(),
            more: false,
            events: VecDeque::new(),
            describing: false,
            compensation,
            operated,
            search_attributes,
            log,
            place: None,
        }
    }

    fn notice(&self, waiting: bool) -> Notice {
        Notice { search_attributes: self.search_attributes.clone(), ..Notice::of(&self.run, &self.hash, waiting) }
    }
}
