//! `emit` and `listen` within a run: what of them is decided and how it changes the run.
//!
//! A listening task counts events from the position on that the log of its namespace ended at when the task began,
//! and each position once: the position of the last event that it took in is in its journal. Its filters see
//! `$context` as it was when it began, so that looking at an event again after a crash comes to the same verdict.
//!
//! With `foreach`, events wait in the run's state. When [`MOST_WAITING`] do, the run turns deaf and the engine keeps
//! the rest in the log until it has caught up.

use std::collections::VecDeque;
use std::sync::Arc;

use super::arguments::Surroundings;
use super::correlation::{self, Keys, Match, Tally};
use super::record::{Body, FrameId, Record, Time};
use super::state::{Action, Effect, Frame, FrameState, Interest, Owner, Run};
use super::{Occurrence, decide};
use crate::cloud_event::CloudEvent;
use crate::expression::Datum;
use crate::fault::{Fault, Standard};
use crate::program::TaskKind;
use crate::program::events::{Emit, Listen, Read, Until};

/// Events of a `foreach` that wait in a run. More would be held twice, here and in the log.
const MOST_WAITING: usize = 64;

/// A `listen` that is under way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hearing {
    /// Events before this position do not count, or no longer.
    pub(crate) from: u64,
    /// All events before this position have been looked at; not part of the state, as looking again does no harm.
    pub(crate) seen: u64,
    /// `$context` as the filters see it.
    pub(crate) context: Datum,
    pub(crate) tally: Tally,
    /// What the task's output will be.
    pub(crate) outputs: Datum,
    /// `foreach`: what is being gone through, and what waits.
    pub(crate) item: Option<Datum>,
    pub(crate) index: usize,
    pub(crate) waiting: VecDeque<Datum>,
    /// Nothing more is wanted.
    pub(crate) closed: bool,
}

impl Hearing {
    /// Whether nothing is left out when an event that follows this position comes now. When a run was deaf, or was taken
    /// up again, events may still be on their way to what it was before; those between them will come again.
    fn is_next(&self, follows: u64) -> bool {
        !self.is_deaf() && follows <= self.seen.max(self.from)
    }

    pub(super) fn is_deaf(&self) -> bool {
        self.closed || self.waiting.len() >= MOST_WAITING
    }
}

pub(super) fn listen_of(run: &Run, id: FrameId) -> Option<(&Frame, &Listen, &Hearing)> {
    let frame = run.frames.get(&id)?;
    let Owner::Task(task) = frame.owner else { return None };
    match (&run.task(task).kind, &frame.state) {
        (TaskKind::Listen(listen), FrameState::Listen(hearing)) => Some((frame, listen, hearing)),
        _ => None,
    }
}

/// The event that an `emit` publishes. Its id is that of the deed, so it is one event however often it is tried.
pub(super) fn emitted(run: &Run, id: FrameId, frame: &Frame, emit: &Emit, now: Time) -> Result<Record, Fault> {
    let pointer = run.pointer(frame);
    let around = Surroundings::of_frame(run, id, frame);
    let given = emit.event.evaluate(&frame.input, &around).map_err(|error| decide::failed("emit", pointer, &error))?;
    // Who reads the log must not learn how tokens look.
    let given = if run.identity.secrets.is_some() { crate::secrets::shown_datum(&given) } else { given };
    let id_of_deed = || crate::engine::idempotency_key(&run.identity.uid, &run.key(frame));
    let time = || jiff::Timestamp::from_millisecond(now).map(|at| at.to_string()).unwrap_or_default();
    let mut members = vec![("specversion".into(), Datum::string("1.0"))];
    let has = |name: &str| given.get(name).is_some_and(|value| *value != Datum::Null);
    if !has("id") {
        members.push(("id".into(), Datum::string(id_of_deed())));
    }
    if !has("time") {
        members.push(("time".into(), Datum::string(time())));
    }
    if has("data") && !has("datacontenttype") {
        members.push(("datacontenttype".into(), Datum::string("application/json")));
    }
    let given = given.as_object().into_iter().flat_map(|given| given.members());
    // An attribute that is null is one that is not there; data may be null.
    let given = given.filter(|(name, value)| **value != Datum::Null || &***name == "data");
    members.extend(given.map(|(name, value)| (name.clone(), value.clone())));
    let refused = |error: String| Fault::new(Standard::Validation, pointer, format!("emit: {error}"));
    let envelope = Datum::object::<Arc<str>>(members).map_err(|error| refused(error.to_string()))?;
    decide::admissible(&envelope).map_err(refused)?;
    let event = CloudEvent::new(envelope).map_err(|error| refused(error.to_string()))?;
    let length = event.envelope().to_json().len();
    if length > crate::engine::LONGEST_EVENT {
        let most = crate::engine::LONGEST_EVENT;
        return Err(refused(format!("the event has {length} bytes, {most} are allowed")));
    }
    Ok(Record::Emitted { event: event.envelope().clone() })
}

/// What a `listen` settles when it begins.
pub(super) fn begun(listen: &Listen, around: &Surroundings<'_>, pointer: &str) -> Result<Body, Fault> {
    let expected = correlation::expectations(&listen.to, &around.input, around)
        .map_err(|error| decide::failed("listen.to.correlate.expect", pointer, &error))?;
    let expected = if expected.iter().all(Keys::is_empty) { Vec::new() } else { expected };
    Ok(Body::Listen { from: around.run.log_end, expected })
}

/// The record of an event, if the task wants it.
pub(super) fn heard(run: &Run, id: FrameId, follows: u64, occurrence: &Occurrence) -> Option<Record> {
    let (frame, listen, hearing) = listen_of(run, id)?;
    if !hearing.is_next(follows) || occurrence.position < hearing.from {
        return None;
    }
    // What the run itself emitted before it began to listen has the position of a later event when both were
    // committed together.
    if let Some((origin, emitter)) = &occurrence.origin
        && *origin == run.identity.uid
        && (*emitter < id)
    {
        return None;
    }
    let mut around = Surroundings::of_frame(run, id, frame);
    around.context = Some(hearing.context.clone());
    let met = correlation::offer(&listen.to, &hearing.tally, &occurrence.event, &around)?;
    let event = occurrence.event.envelope().clone();
    Some(Record::Heard { frame: id, position: occurrence.position, met, event })
}

/// Whether `until` says that it was enough.
pub(super) fn judged(run: &Run, id: FrameId) -> Result<Record, Fault> {
    let Some((frame, listen, hearing)) = listen_of(run, id) else { return Ok(Record::Unfulfilled) };
    let Some(Until::Condition(condition)) = &listen.to.until else { return Ok(Record::Unfulfilled) };
    let around = Surroundings::of_frame(run, id, frame);
    let verdict = condition
        .evaluate(&hearing.outputs, &around)
        .map_err(|error| decide::failed("listen.to.until", run.pointer(frame), &error))?;
    if verdict.is_truthy() { decide::finish(run, id, &hearing.outputs, None) } else { Ok(Record::Unfulfilled) }
}

/// The end of one item of a `foreach`.
pub(super) fn collected(run: &Run, id: FrameId, raw_output: &Datum) -> Result<Record, Fault> {
    let Some((frame, Listen { foreach: Some(foreach), .. }, _)) = listen_of(run, id) else {
        return Ok(Record::Collected { output: None, context: None });
    };
    let pointer = run.pointer(frame);
    let mut around = Surroundings::of_frame(run, id, frame);
    around.raw_output = Some(raw_output.clone());
    let output = decide::filtered(&foreach.output, "foreach.output.as", raw_output, &around, pointer)?;
    let final_output = output.as_ref().unwrap_or(raw_output);
    decide::fits(&foreach.output, "foreach.output.schema", final_output, pointer)?;
    around.output = Some(final_output.clone());
    let context = decide::filtered(&foreach.export, "foreach.export.as", final_output, &around, pointer)?;
    let kept = context.as_ref().unwrap_or(&run.context);
    decide::fits(&foreach.export, "foreach.export.schema", kept, pointer)?;
    Ok(Record::Collected { output, context })
}

impl Run {
    /// An event was looked at, or could not be.
    pub(super) fn note_offered(&mut self, id: FrameId, follows: u64, position: u64) {
        if let Some(frame) = self.frames.get_mut(&id)
            && let FrameState::Listen(hearing) = &mut frame.state
            && (hearing.is_next(follows) || hearing.from == position + 1)
        {
            hearing.seen = hearing.seen.max(position + 1);
        }
    }

    pub(super) fn begin_listening(&mut self, id: FrameId, from: u64, expected: &[Keys]) -> Option<()> {
        let context = self.context.clone();
        let tally = Tally { expected: expected.to_vec(), ..Tally::default() };
        let hearing = Hearing {
            from,
            seen: from,
            context,
            tally,
            outputs: Datum::Array(Arc::default()),
            item: None,
            index: 0,
            waiting: VecDeque::new(),
            closed: false,
        };
        self.frames.get_mut(&id)?.state = FrameState::Listen(Box::new(hearing));
        let interest = self.interest(id)?;
        self.outbox.push(Effect::Listen { frame: id, interest });
        self.offer_signals(id);
        Some(())
    }

    /// What the engine has to know to find events for this task.
    pub(super) fn interest(&self, id: FrameId) -> Option<Interest> {
        let (_, listen, hearing) = listen_of(self, id)?;
        let keys = (0..listen.to.filters.len()).map(|index| {
            let probe = listen.to.filters[index].correlate.iter().find_map(|correlation| {
                let expected = hearing.tally.expected.get(index)?.get(&correlation.key)?;
                // Only what depends on nothing but the event is the same for all who listen.
                correlation.from.is_closed().then(|| (correlation, expected.to_json()))
            });
            super::state::Key {
                type_: listen.to.type_of(index).map(Arc::from),
                probe: probe.map(|(correlation, value)| super::state::Probe {
                    code: correlation.code.clone(),
                    expression: correlation.from.clone(),
                    value,
                }),
            }
        });
        Some(Interest { from: hearing.from, deaf: hearing.is_deaf(), keys: keys.collect() })
    }

    pub(super) fn note_emitted(&mut self, id: FrameId, event: &Datum) -> Option<()> {
        self.frames.get(&id)?;
        let event = CloudEvent::new(event.clone()).ok()?;
        self.agenda.push_back(Action::Finish { frame: id, output: event.envelope().clone() });
        self.outbox.push(Effect::Publish { frame: id, event });
        Some(())
    }

    pub(super) fn note_heard(&mut self, id: FrameId, position: u64, met: &Match, event: &Datum) -> Option<()> {
        let FrameState::Listen(hearing) = &mut self.frames.get_mut(&id)?.state else { return None };
        hearing.from = position + 1;
        self.take_in(id, met, event)
    }

    /// An event that is wanted, wherever it comes from.
    pub(super) fn take_in(&mut self, id: FrameId, met: &Match, event: &Datum) -> Option<()> {
        let program = self.program.clone();
        let frame = self.frames.get_mut(&id)?;
        let Owner::Task(task) = frame.owner else { return None };
        let (TaskKind::Listen(listen), FrameState::Listen(hearing)) = (&program.task(task).kind, &mut frame.state)
        else {
            return None;
        };
        hearing.tally.note(met);
        hearing.closed = hearing.tally.is_complete(&listen.to);
        let event = CloudEvent::new(event.clone()).ok()?;
        let item = (met.filter < listen.to.wanted).then(|| read(listen.read, &event));
        if listen.foreach.is_some() {
            hearing.waiting.extend(item);
            if hearing.is_deaf() {
                let interest = self.interest(id)?;
                self.outbox.push(Effect::Listen { frame: id, interest });
            }
            return self.go_on_listening(id);
        }
        if let Some(item) = item {
            push(&mut hearing.outputs, item).ok()?;
        }
        if hearing.closed {
            let output = hearing.outputs.clone();
            self.agenda.push_back(Action::Finish { frame: id, output });
        } else if matches!(listen.to.until, Some(Until::Condition(_))) {
            self.agenda.push_back(Action::Judge { frame: id });
        }
        Some(())
    }

    /// `foreach`: the next item, if there is one and none is being gone through.
    pub(super) fn go_on_listening(&mut self, id: FrameId) -> Option<()> {
        let program = self.program.clone();
        let frame = self.frames.get_mut(&id)?;
        let Owner::Task(task) = frame.owner else { return None };
        let TaskKind::Listen(listen) = &program.task(task).kind else { return None };
        let Some(foreach) = &listen.foreach else { return Some(()) };
        let FrameState::Listen(hearing) = &mut frame.state else { return None };
        if hearing.item.is_some() {
            return Some(());
        }
        let was_deaf = hearing.is_deaf();
        match hearing.waiting.pop_front() {
            Some(item) => {
                hearing.item = Some(item.clone());
                frame.visits.clear();
                self.agenda.push_back(match foreach.body {
                    Some(_) => Action::Enter { parent: id, slot: 0, input: item },
                    None => Action::Collect { frame: id, output: item },
                });
            }
            None if hearing.closed => {
                let output = hearing.outputs.clone();
                self.agenda.push_back(Action::Finish { frame: id, output });
            }
            None => {}
        }
        let interest = self.interest(id)?;
        if was_deaf && !interest.deaf {
            self.outbox.push(Effect::Listen { frame: id, interest });
            self.offer_signals(id);
        }
        Some(())
    }

    /// `foreach`: an item is done.
    pub(super) fn note_collected(&mut self, id: FrameId, output: Datum, context: Option<&Datum>) -> Option<()> {
        let program = self.program.clone();
        if let Some(context) = context {
            self.context = context.clone();
        }
        let frame = self.frames.get_mut(&id)?;
        let Owner::Task(task) = frame.owner else { return None };
        let TaskKind::Listen(listen) = &program.task(task).kind else { return None };
        let FrameState::Listen(hearing) = &mut frame.state else { return None };
        hearing.item = None;
        hearing.index += 1;
        if let Err(error) = push(&mut hearing.outputs, output) {
            let fault = Fault::new(Standard::Runtime, &program.task(task).pointer, error);
            self.agenda.push_back(Action::Propagate { frame: id, fault });
            return Some(());
        }
        if matches!(listen.to.until, Some(Until::Condition(_))) {
            self.agenda.push_back(Action::Judge { frame: id });
            return Some(());
        }
        self.go_on_listening(id)
    }
}

/// In place while nobody else holds the array.
fn push(outputs: &mut Datum, item: Datum) -> Result<(), String> {
    match outputs {
        Datum::Array(array) => Arc::make_mut(array).push(item).map_err(|error| error.to_string()),
        _ => Ok(()),
    }
}

/// What of an event is handed on.
pub(crate) fn read(read: Read, event: &CloudEvent) -> Datum {
    match read {
        Read::Data => event.data(),
        Read::Raw => event.raw(),
        Read::Envelope => event.envelope().clone(),
    }
}
