//! A world for cases and tests: a virtual clock, scripted services, a journal in memory, and crashes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::exchange::{Reply, Unanswered};
use super::record::{Entry, FrameId, Identity, Record, Request, Time};
use super::state::{Effect, Run};
use super::{Event, Step, start, step};
use crate::authentication::{nested, parameter};
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

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) run: Run,
    pub(crate) journal: Vec<Bytes>,
    pub(crate) services: Services,
    program: Arc<Program>,
    /// What will happen, in order of time and then of cause.
    future: BTreeMap<(Time, u64), Event>,
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
        let (run, entry) = start(program.clone(), identity, input, EPOCH).expect("a run starts");
        Self {
            now: EPOCH,
            run,
            journal: vec![journal::encode(&[entry])],
            services,
            program,
            future: BTreeMap::from([((EPOCH, 0), Event::Continue)]),
            causes: 1,
            rng: StdRng::seed_from_u64(seed),
            crash_one_in: 0,
            crashes: 0,
            trouble: Trouble::default(),
            offset: 0,
        }
    }

    pub(crate) fn happens(&mut self, at: Time, event: Event) {
        self.future.insert((at, self.causes), event);
        self.causes += 1;
    }

    /// Lets time pass until nothing more happens.
    pub(crate) fn live(&mut self) {
        let mut turns = 0;
        while let Some(((at, _), event)) = self.future.pop_first() {
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
            self.turn(event);
        }
    }

    fn turn(&mut self, event: Event) {
        let Step { entries, effects, more } =
            step(&mut self.run, event, self.now, &mut self.rng).expect("decisions fit the state");
        if self.strikes(self.trouble.full_disk) {
            self.now += self.rng.random_range(0..3_000);
        }
        if self.crash() {
            return self.recover(); // before the journal had it
        }
        if !entries.is_empty() {
            self.journal.push(journal::encode(&entries));
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
        let cancels: Vec<_> = self
            .future
            .iter()
            .filter(|(_, e)| matches!(e, Event::Cancel { .. }))
            .map(|(k, e)| (*k, e.clone()))
            .collect();
        self.future = cancels.into_iter().collect();
        self.now += self.rng.random_range(0..50);
        self.run = self.replayed();
        for effect in self.run.pending() {
            self.perform(effect);
        }
        self.happens(self.true_now(), Event::Continue);
    }

    pub(crate) fn replayed(&self) -> Run {
        let entries = journal::decode(&self.journal).expect("the journal can be read");
        journal::replay(self.program.clone(), &entries).expect("the journal makes sense")
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
            Effect::Abandon { frame } => self.future.retain(|_, event| called(event) != Some(frame)),
            Effect::End => {}
        }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        journal::decode(&self.journal).expect("the journal can be read")
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

fn called(event: &Event) -> Option<FrameId> {
    match event {
        Event::Replied { frame, .. } | Event::Unanswered { frame, .. } => Some(*frame),
        _ => None,
    }
}
