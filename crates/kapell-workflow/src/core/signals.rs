//! Signals: CloudEvents that are sent to one run, and wait in it until a `listen` takes them.
//!
//! They are admitted to the journal in the order in which they stand in the run's object, each once, and kept there until
//! something listens for them: so one that comes before its `listen` is not lost. Whether a signal is wanted is decided as for any
//! other event, with the filters and correlations of the `listen`.

use super::arguments::Surroundings;
use super::correlation::{self, Match};
use super::listening::listen_of;
use super::record::{FrameId, Record};
use super::state::{Action, FrameState, Run};
use crate::cloud_event::CloudEvent;
use crate::expression::Datum;

impl Run {
    pub(super) fn signalled(&mut self, event: &Datum) {
        self.operated.signals += 1;
        let number = self.operated.signals;
        if let Err(error) = CloudEvent::new(event.clone()) {
            self.operated.refusal = Some(format!("signal {number}: {error}"));
            return;
        }
        self.mailbox.push_back((number, event.clone()));
        let is_open = |state: &FrameState| matches!(state, FrameState::Listen(hearing) if !hearing.closed);
        let listening: Vec<FrameId> =
            self.frames.iter().filter(|(_, frame)| is_open(&frame.state)).map(|(id, _)| *id).collect();
        listening.into_iter().for_each(|id| self.offer_signals(id));
    }

    /// Lets the task look through the mailbox.
    pub(super) fn offer_signals(&mut self, id: FrameId) {
        let action = Action::Receive { frame: id };
        if !self.mailbox.is_empty() && !self.agenda.contains(&action) {
            self.agenda.push_back(action);
        }
    }

    /// The task takes a signal in.
    pub(super) fn received(&mut self, id: FrameId, signal: u32, met: &Match) -> Option<()> {
        let position = self.mailbox.iter().position(|(number, _)| *number == signal)?;
        let (_, event) = self.mailbox.remove(position)?;
        self.take_in(id, met, &event)?;
        let listens = matches!(&self.frames.get(&id)?.state, FrameState::Listen(hearing) if !hearing.is_deaf());
        if listens {
            self.offer_signals(id);
        }
        Some(())
    }
}

/// The first signal that the task waits for.
pub(super) fn wanted(run: &Run, id: FrameId) -> Record {
    let Some((frame, listen, hearing)) = listen_of(run, id).filter(|(_, _, hearing)| !hearing.is_deaf()) else {
        return Record::Unfulfilled;
    };
    let mut around = Surroundings::of_frame(run, id, frame);
    around.context = Some(hearing.context.clone());
    let met = run.mailbox.iter().find_map(|(number, event)| {
        let event = CloudEvent::new(event.clone()).ok()?;
        Some((*number, correlation::offer(&listen.to, &hearing.tally, &event, &around)?))
    });
    met.map_or(Record::Unfulfilled, |(signal, met)| Record::Received { signal, met })
}
