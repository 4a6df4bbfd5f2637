//! What a run does, as the CloudEvents that the specification has for it ("Lifecycle events").
//!
//! They are published in the transaction of the step that they tell of, so there is one for each thing that happened,
//! whatever is killed. Their ids follow from the run and the number of the record.

use std::collections::BTreeSet;

use super::record::{Entry, FrameId, Record, Time};
use super::state::{Action, Effect, FrameState, Outcome, Owner, Phase, Run};
use crate::cloud_event::{CloudEvent, LIFECYCLE};
use crate::expression::Datum;
use crate::fault::Fault;

/// What has to be remembered of a run to tell what a record has changed.
pub(super) struct Before {
    action: Option<Action>,
    tasks: BTreeSet<FrameId>,
    pointers: Vec<(FrameId, String)>,
    was_ended: bool,
    listening: BTreeSet<FrameId>,
}

impl Before {
    /// Nothing, for a run that does not report.
    pub(super) fn of(run: &Run) -> Option<Self> {
        run.reports.then(|| {
            let of_task = run.frames.iter().filter(|(_, frame)| matches!(frame.owner, Owner::Task(_)));
            let pointers: Vec<_> = of_task.map(|(id, frame)| (*id, run.pointer(frame).to_owned())).collect();
            Self {
                action: run.agenda.front().cloned(),
                tasks: pointers.iter().map(|(id, _)| *id).collect(),
                pointers,
                was_ended: run.is_ended(),
                listening: listening(run),
            }
        })
    }

    fn pointer(&self, id: FrameId) -> &str {
        self.pointers.iter().find(|(known, _)| *known == id).map_or("/do", |(_, pointer)| pointer)
    }
}

/// Tasks that still wait for events.
fn listening(run: &Run) -> BTreeSet<FrameId> {
    let open = run.frames.iter().filter(|(_, frame)| match &frame.state {
        FrameState::Listen(hearing) => !hearing.closed,
        _ => false,
    });
    open.map(|(id, _)| *id).collect()
}

/// Collects the events of one record.
struct Report<'r> {
    run: &'r Run,
    at: Time,
    events: Vec<CloudEvent>,
}

/// Publishes what `entry` means; it has been applied.
pub(super) fn report(run: &mut Run, before: &Before, entry: &Entry) {
    let Entry(at, record) = entry;
    let mut report = Report { run, at: *at, events: Vec::new() };
    report.tasks(before, record);
    report.listening(before);
    report.workflow(before, record);
    let events = report.events;
    run.outbox.extend(events.into_iter().map(|event| Effect::Publish { frame: 0, event }));
}

impl Report<'_> {
    fn tasks(&mut self, before: &Before, record: &Record) {
        let ended = before.action.as_ref().map(Action::frame).filter(|frame| before.tasks.contains(frame));
        match (record, &before.action) {
            (Record::Entered { .. }, Some(Action::Enter { .. })) => {
                let id = self.run.next_frame - 1;
                if let Some(frame) = self.run.frames.get(&id).filter(|frame| matches!(frame.owner, Owner::Task(_))) {
                    let pointer = self.run.pointer(frame).to_owned();
                    self.task("created", &pointer, "createdAt", "pending", None);
                    self.task("started", &pointer, "startedAt", "running", None);
                }
            }
            (Record::Left { .. }, _) => {
                if let Some(id) = ended {
                    let uri = ("outputUri", Datum::string(self.source()));
                    self.task("completed", before.pointer(id), "completedAt", "completed", Some(uri));
                }
            }
            (Record::Faulted { fault }, Some(action)) => {
                let carried = match action {
                    Action::Catch { fault, .. } | Action::Propagate { fault, .. } => Some(fault),
                    _ => None,
                };
                let error = fault.as_ref().or(carried).map(|fault| ("error", fault.to_datum()));
                if let Some(id) = ended.filter(|_| !matches!(action, Action::Enter { .. })) {
                    self.task("faulted", before.pointer(id), "faultedAt", "faulted", error);
                }
            }
            (Record::Caught { retry: Some(_) }, _) => {
                if let Some(id) = ended {
                    self.task("retried", before.pointer(id), "retriedAt", "running", None);
                }
            }
            _ => {}
        }
        // Whatever is gone without having ended was dropped: a losing branch, a timeout, a cancellation.
        let told = matches!(record, Record::Left { .. } | Record::Faulted { .. }).then_some(ended).flatten();
        let gone = before.tasks.iter().filter(|id| !self.run.frames.contains_key(id) && Some(**id) != told);
        for id in gone.copied().collect::<Vec<_>>() {
            self.task("cancelled", before.pointer(id), "cancelledAt", "cancelled", None);
        }
    }

    fn listening(&mut self, before: &Before) {
        let now = listening(self.run);
        if now.difference(&before.listening).next().is_some() {
            self.workflow_event("correlation-started", "startedAt", Vec::new());
        }
        if before.listening.difference(&now).next().is_some() {
            self.workflow_event("correlation-completed", "completedAt", Vec::new());
        }
    }

    fn workflow(&mut self, before: &Before, record: &Record) {
        match record {
            Record::Suspended => self.workflow_event("suspended", "suspendedAt", Vec::new()),
            Record::Resumed => self.workflow_event("resumed", "resumedAt", Vec::new()),
            _ => {}
        }
        if matches!(record, Record::Opened { .. }) {
            let document = self.run.program.definition.get("document");
            let names = ["namespace", "name", "version"].into_iter();
            let definition = Datum::object(
                names.map(|name| (name, document.and_then(|document| document.get(name)).cloned().unwrap_or_default())),
            );
            self.workflow_event("started", "startedAt", vec![("definition", definition.unwrap_or_default())]);
            self.workflow_status("running");
        }
        let (false, Phase::Ended(outcome)) = (before.was_ended, self.run.phase.clone()) else { return };
        match outcome {
            Outcome::Completed(_) => {
                self.workflow_event("completed", "completedAt", vec![("outputUri", Datum::string(self.source()))]);
                self.workflow_status("completed");
            }
            Outcome::Faulted(fault) => {
                self.workflow_event("faulted", "faultedAt", vec![("error", Fault::to_datum(&fault))]);
                self.workflow_status("faulted");
            }
            Outcome::Cancelled(_) => {
                self.workflow_event("cancelled", "cancelledAt", Vec::new());
                self.workflow_status("cancelled");
            }
        }
    }

    fn task(&mut self, what: &str, pointer: &str, at: &str, status: &str, more: Option<(&'static str, Datum)>) {
        let workflow = Datum::string(self.qualified_name());
        let task = Datum::string(pointer);
        let members = vec![("workflow", workflow.clone()), ("task", task.clone())];
        self.push(&format!("task.{what}"), at, members.iter().cloned().chain(more).collect());
        if what != "created" && what != "retried" {
            let status = [("status", Datum::string(status))];
            self.push("task.status-changed", "updatedAt", members.into_iter().chain(status).collect());
        }
    }

    fn workflow_event(&mut self, what: &str, at: &str, more: Vec<(&'static str, Datum)>) {
        let name = ("name", Datum::string(self.qualified_name()));
        self.push(&format!("workflow.{what}"), at, [name].into_iter().chain(more).collect());
    }

    fn workflow_status(&mut self, status: &'static str) {
        self.workflow_event("status-changed", "updatedAt", vec![("status", Datum::string(status))]);
    }

    /// The run's name and namespace.
    fn qualified_name(&self) -> String {
        format!("{}.{}", self.run.identity.name, self.run.identity.namespace)
    }

    fn source(&self) -> String {
        let identity = &self.run.identity;
        format!("/apis/kapell.dev/v1alpha1/namespaces/{}/workflowruns/{}", identity.namespace, identity.name)
    }

    fn push(&mut self, what: &str, at: &str, mut members: Vec<(&'static str, Datum)>) {
        let time = jiff::Timestamp::from_millisecond(self.at).map(|at| at.to_string()).unwrap_or_default();
        let number = format!("lifecycle/{}/{}", self.run.records, self.events.len());
        let id = crate::engine::idempotency_key(&self.run.identity.uid, &number);
        let time = Datum::string(time);
        members.retain(|(_, value)| *value != Datum::Null);
        let data = members.into_iter().map(|(name, value)| (name.to_owned(), value));
        let Ok(data) = Datum::object(data.chain([(at.to_owned(), time.clone())])) else { return };
        // Who reads the log must not learn how tokens look.
        let data = if self.run.identity.secrets.is_some() { crate::secrets::shown_datum(&data) } else { data };
        let envelope = Datum::object([
            ("specversion", Datum::string("1.0")),
            ("id", Datum::string(id)),
            ("source", Datum::string(self.source())),
            ("type", Datum::string(format!("{LIFECYCLE}{what}.v1"))),
            ("time", time),
            ("subject", Datum::string(self.run.identity.name.as_str())),
            ("datacontenttype", Datum::string("application/json")),
            ("data", data),
        ]);
        self.events.extend(envelope.ok().and_then(|envelope| CloudEvent::new(envelope).ok()));
    }
}
