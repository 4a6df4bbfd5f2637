//! A world for cases and tests: a virtual clock, scripted services, a journal in memory, and crashes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::exchange::{Reply, Unanswered};
use super::record::{Entry, FrameId, Identity, Record, Request, Time};
use super::running::{Job, JobEnd};
use super::state::{Effect, Run};
use super::{Event, Occurrence, Step, start, step};
use crate::authentication::{nested, parameter};
use crate::cloud_event::CloudEvent;
use crate::engine::exchange::disclosed;
use crate::expression::Datum;
use crate::journal;
use crate::program::Program;
use crate::secrets::{Disclosure, Sealed};

/// What a service answers: a reply or a failure, after so many milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) after: Time,
    pub(crate) result: Result<Reply, Unanswered>,
}

/// A call as a service saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) at: Time,
    pub(crate) key: String,
    pub(crate) request: Request,
}

/// Services, by `METHOD URI`: their answers in order, the last one for ever. Without an answer they do not exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    pub(crate) answers: HashMap<String, VecDeque<Answer>>,
    /// Whether a service knows a key again and answers as before.
    pub(crate) idempotent: bool,
    /// The Secrets of the namespace.
    pub(crate) secrets: BTreeMap<String, BTreeMap<String, String>>,
    answered: HashMap<String, Answer>,
    pub(crate) seen: Vec<Seen>,
}

impl Services {
    pub(crate) fn new(answers: HashMap<String, VecDeque<Answer>>) -> Self {
        Self { answers, ..Self::default() }
    }

    /// What goes over the wire. Schemes that ask somebody for a token are sent as they are described.
    fn disclosed(&self, request: &Request) -> Result<Request, Unanswered> {
        let mut disclosure = Disclosure::new(request.sealed.as_deref().unwrap_or_default());
        for (name, data) in &self.secrets {
            let data = data.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
            disclosure.learn(name, data.collect())?;
        }
        let mut proof = None;
        if let Some(credentials) = &request.authentication {
            let settings = nested(disclosure.disclosed_value(&credentials.settings.to_value())?);
            let parameter = parameter(credentials.scheme, &settings)?;
            let parameter = parameter.unwrap_or_else(|| format!("for {settings}"));
            disclosure.learn_authorization(&parameter);
            proof = Some(format!("{} {parameter}", credentials.scheme.authorization()));
        }
        let mut open = disclosed(request, &disclosure)?;
        open.headers.extend(proof.map(|proof| ("authorization".to_owned(), proof)));
        Ok(open)
    }

    fn call(&mut self, at: Time, key: &str, request: &Request) -> Answer {
        let request = match self.disclosed(request) {
            Ok(request) => request,
            Err(failure) => return Answer { after: 1, result: Err(failure) },
        };
        let request = &request;
        self.seen.push(Seen { at, key: key.to_owned(), request: request.clone() });
        if let Some(answer) = self.answered.get(key).filter(|_| self.idempotent) {
            return answer.clone();
        }
        let answer = match self.answers.get_mut(&format!("{} {}", request.method, request.uri)) {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        };
        let answer = answer.unwrap_or_else(|| Answer {
            after: 1,
            result: Err(Unanswered::NotConnected("no such service".to_owned())),
        });
        self.answered.insert(key.to_owned(), answer.clone());
        answer
    }
}

#[derive(Clone)]
enum Happening {
    Event(Event),
    Published(CloudEvent),
    /// Somebody adds this to the signals in the run's object.
    Signalled(CloudEvent),
}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) run: Run,
    pub(crate) journal: Vec<Bytes>,
    pub(crate) services: Services,
    program: Arc<Program>,
    /// What will happen, in order of time and then of cause.
    future: BTreeMap<(Time, u64), Happening>,
    /// The event log, and up to where each task has been handed what there is.
    pub(crate) log: Vec<Arc<Occurrence>>,
    listeners: BTreeMap<FrameId, u64>,
    /// What stands in the run's object: signals, and whether it is to be cancelled.
    signals: Vec<Datum>,
    pub(crate) cancel: Option<String>,
    /// Whether its lifecycle is published.
    pub(crate) reports: bool,
    /// How what the run starts ends, by its description.
    pub(crate) jobs: HashMap<String, JobEnd>,
    pub(crate) started: Vec<(FrameId, Job)>,
    causes: u64,
    rng: StdRng,
    /// One in so many steps ends in a crash; 0 for none.
    pub(crate) crash_one_in: u32,
    pub(crate) crashes: u32,
    /// What else goes wrong.
    pub(crate) trouble: Trouble,
    /// How far the clock that the engine reads is from the one by which things happen.
    offset: Time,
}

/// How often the world misbehaves: one in so many times; 0 for never.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    /// A commit waits for seconds until the disk has room again.
    pub(crate) full_disk: u32,
    /// The process dies in the middle of a write: what had been written of it stays.
    pub(crate) torn: u32,
    /// A request reaches its service twice, and is answered twice.
    pub(crate) duplicate: u32,
    /// The answer to a call that is not wanted any more comes all the same.
    pub(crate) late: u32,
    /// The engine's clock is set, forwards or backwards, by up to ten seconds.
    pub(crate) clock_jump: u32,
    /// How often any of this happened.
    pub(crate) count: u32,
}

/// A run that takes more turns is taken for endless.
const MOST_TURNS: u32 = 200_000;

/// The beginning of virtual time: 2026-01-01T00:00:00Z.
pub(crate) const EPOCH: Time = 1_767_225_600_000;

impl World {
    pub(crate) fn new(program: Arc<Program>, input: Datum, services: Services, seed: u64) -> Self {
        let identity = Identity {
            uid: "0a000000-0000-4000-8000-000000000001".to_owned(),
            namespace: "default".to_owned(),
            name: "test".to_owned(),
            workflow: "test".to_owned(),
            secrets: program.sealed.then(|| {
                let keys = services.secrets.iter().map(|(name, data)| (name.clone(), data.keys().cloned().collect()));
                Sealed { nonce: "0".repeat(24), keys: keys.collect() }
            }),
        };
        let (mut run, entry) = start(program.clone(), identity, input, EPOCH).expect("a run starts");
        let journal = journal::encode(&[entry], &mut run.kept);
        Self {
            now: EPOCH,
            run,
            journal,
            services,
            program,
            future: BTreeMap::from([((EPOCH, 0), Happening::Event(Event::Continue))]),
            log: Vec::new(),
            listeners: BTreeMap::new(),
            signals: Vec::new(),
            cancel: None,
            reports: false,
            jobs: HashMap::new(),
            started: Vec::new(),
            causes: 1,
            rng: StdRng::seed_from_u64(seed),
            crash_one_in: 0,
            crashes: 0,
            trouble: Trouble::default(),
            offset: 0,
        }
    }

    pub(crate) fn happens(&mut self, at: Time, event: Event) {
        self.future.insert((at, self.causes), Happening::Event(event));
        self.causes += 1;
    }

    /// Someone outside publishes an event.
    pub(crate) fn is_published(&mut self, at: Time, event: CloudEvent) {
        self.future.insert((at, self.causes), Happening::Published(event));
        self.causes += 1;
    }

    /// Someone outside sends an event to the run.
    pub(crate) fn is_signalled(&mut self, at: Time, event: CloudEvent) {
        self.future.insert((at, self.causes), Happening::Signalled(event));
        self.causes += 1;
    }

    /// What the engine does whenever it looks at the run's object: passes on what the run has not heard.
    fn tell_signals(&mut self) {
        for number in self.run.operated.signals + 1..=self.signals.len() as u32 {
            let event = self.signals[number as usize - 1].clone();
            self.happens(self.true_now(), Event::Signal { number, event });
        }
    }

    /// The log takes an event once.
    fn publish(&mut self, event: CloudEvent, origin: Option<(String, FrameId)>) {
        let known = |other: &Arc<Occurrence>| other.event.id() == event.id() && other.event.source() == event.source();
        if self.log.iter().any(known) {
            return;
        }
        let occurrence = Arc::new(Occurrence { position: self.log.len() as u64, event, origin });
        self.log.push(occurrence.clone());
        for (frame, follows) in self.listeners.clone() {
            self.listeners.insert(frame, occurrence.position + 1);
            let occurrence = occurrence.clone();
            let at = self.true_now();
            self.happens(at, Event::Occurred { frame, follows, occurrence, receipt: None });
        }
    }

    /// Lets time pass until nothing more happens.
    pub(crate) fn live(&mut self) {
        let mut turns = 0;
        while let Some(((at, _), happening)) = self.future.pop_first() {
            turns += 1;
            if turns > MOST_TURNS {
                return;
            }
            if self.strikes(self.trouble.clock_jump) {
                let jump = self.rng.random_range(-10_000..10_000);
                self.offset += jump;
                self.now += jump;
            }
            self.now = self.now.max(at + self.offset);
            match happening {
                Happening::Event(event) => {
                    if let Event::Cancel { reason } = &event {
                        self.cancel = Some(reason.clone());
                    }
                    self.turn(event);
                }
                Happening::Published(event) => self.publish(event, None),
                Happening::Signalled(event) => {
                    self.signals.push(event.envelope().clone());
                    self.tell_signals();
                }
            }
        }
    }

    fn turn(&mut self, event: Event) {
        self.run.log_end = self.log.len() as u64;
        self.run.reports = self.reports;
        let Step { entries, effects, more } =
            step(&mut self.run, event, self.now, &mut self.rng).expect("decisions fit the state");
        if self.strikes(self.trouble.full_disk) {
            self.now += self.rng.random_range(0..3_000);
        }
        if self.crash() {
            return self.recover(); // before the journal had it
        }
        if !entries.is_empty() {
            let mut records = journal::encode(&entries, &mut self.run.kept);
            if self.strikes(self.trouble.torn) {
                records.truncate(self.rng.random_range(0..records.len()));
                self.journal.extend(records);
                return self.recover();
            }
            self.journal.extend(records);
            for effect in &effects {
                if let Effect::Publish { frame, event } = effect {
                    self.publish(event.clone(), Some((self.run.identity.uid.clone(), *frame)));
                }
            }
        }
        if self.crash() {
            return self.recover(); // after the journal, before any effect
        }
        for effect in effects {
            self.perform(effect);
            if self.crash() {
                return self.recover(); // between two effects
            }
        }
        if more {
            self.happens(self.true_now(), Event::Continue);
        }
    }

    fn strikes(&mut self, one_in: u32) -> bool {
        let strikes = one_in > 0 && self.trouble.count < 500 && self.rng.random_ratio(1, one_in);
        self.trouble.count += u32::from(strikes);
        strikes
    }

    /// The time by which things happen.
    fn true_now(&self) -> Time {
        self.now - self.offset
    }

    fn crash(&mut self) -> bool {
        let crash = self.crash_one_in > 0 && self.crashes < 500 && self.rng.random_ratio(1, self.crash_one_in);
        self.crashes += u32::from(crash);
        crash
    }

    /// What the next process does: the journal is all there is. Answers under way are lost, and some arrive late.
    pub(crate) fn recover(&mut self) {
        let stays = |what: &Happening| match what {
            Happening::Published(_) | Happening::Signalled(_) => true,
            Happening::Event(event) => matches!(event, Event::Cancel { .. }),
        };
        self.future.retain(|_, what| stays(what));
        self.listeners.clear();
        // Published events have their times; who listens for them is not to be late.
        if !self.future.values().any(stays) {
            self.now += self.rng.random_range(0..50);
        }
        self.run = self.replayed();
        for effect in self.run.pending() {
            self.perform(effect);
        }
        self.happens(self.true_now(), Event::Continue);
        self.tell_signals();
        if let Some(reason) = self.cancel.clone() {
            self.happens(self.true_now(), Event::Cancel { reason });
        }
    }

    pub(crate) fn replayed(&self) -> Run {
        let entries = journal::decode(&self.journal).expect("the journal can be read");
        let mut run = journal::replay(self.program.clone(), &entries).expect("the journal makes sense");
        run.kept = journal::kept(&self.journal);
        run
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Call { frame, request, key } => {
                let answer = self.services.call(self.now - EPOCH, &key, &request);
                let event = match answer.result {
                    Ok(reply) => Event::Replied { frame, reply },
                    Err(failure) => Event::Unanswered { frame, failure },
                };
                let at = self.true_now() + answer.after;
                if self.strikes(self.trouble.duplicate) {
                    self.services.call(self.now - EPOCH, &key, &request);
                    let later = at + self.rng.random_range(0..2_000);
                    self.happens(later, event.clone());
                }
                self.happens(at, event);
            }
            Effect::Timer { timer, at } => {
                let at = (at - self.offset).max(self.true_now());
                self.happens(at, Event::TimerDue { timer });
            }
            Effect::Abandon { .. } if self.strikes(self.trouble.late) => {}
            Effect::Abandon { frame } => self.future.retain(|_, what| called(what) != Some(frame)),
            Effect::Listen { frame, interest } if !interest.deaf => {
                self.listeners.insert(frame, self.log.len() as u64);
                for occurrence in self.log.clone().into_iter().skip(interest.from as usize) {
                    let follows = occurrence.position;
                    let at = self.true_now();
                    self.happens(at, Event::Occurred { frame, follows, occurrence, receipt: None });
                }
            }
            Effect::Listen { frame, .. } | Effect::Unlisten { frame } => drop(self.listeners.remove(&frame)),
            Effect::Run { frame, job, .. } => {
                let end = self.jobs.get(&job.describe()).cloned().unwrap_or(JobEnd::Started);
                self.started.push((frame, job));
                self.happens(self.now + 1, Event::JobEnded { frame, end });
            }
            // With the journal.
            Effect::Publish { .. } | Effect::End => {}
        }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        journal::decode(&self.journal).expect("the journal can be read")
    }

    /// What the run has published.
    pub(crate) fn emitted(&self) -> impl Iterator<Item = &CloudEvent> {
        self.log.iter().filter(|occurrence| occurrence.origin.is_some()).map(|occurrence| &occurrence.event)
    }

    /// Names of tasks in the order in which they began.
    pub(crate) fn order(&self) -> Vec<String> {
        let entries = self.entries();
        let mut run = Run::start(self.program.clone(), &entries[0]).expect("a run starts");
        let mut names = Vec::new();
        for entry in &entries[1..] {
            run.apply(entry).expect("the journal makes sense");
            if matches!(entry.1, Record::Entered { .. })
                && let Some(frame) = run.frames.get(&(run.next_frame - 1))
                && let super::state::Owner::Task(task) = frame.owner
                && !run.is_inner(frame.parent, frame.slot)
            {
                names.push(run.task(task).name.clone());
            }
        }
        names
    }
}

fn called(what: &Happening) -> Option<FrameId> {
    match what {
        Happening::Event(Event::Replied { frame, .. } | Event::Unanswered { frame, .. }) => Some(*frame),
        _ => None,
    }
}
