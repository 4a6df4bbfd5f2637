//! The decisions: from an action and the run as it stands to one record.
//!
//! Here expressions are evaluated, in the order that the DSL prescribes: `if`, `input.from`, the task's own
//! definition, `output.as`, `export.as`. Whatever fails faults the task.

use rand::{Rng as _, RngCore};

use super::arguments::Surroundings;
use super::exchange;
use super::listening;
use super::record::{Body, FrameId, Record, Time};
use super::running;
use super::signals;
use super::state::{Action, Frame, FrameState, Owner, Run};
use crate::duration::Millis;
use crate::expression::{Datum, EvaluationError, Expression, Template};
use crate::fault::{Fault, Standard, same_type};
use crate::program::{
    Backoff, DataFilter, DurationTemplate, ErrorFilter, ErrorTemplate, Extension, Retry, Task, TaskKind, TryCatch,
};

/// Data that tasks hand on is not nested deeper, so that what the journal wraps around it stays readable (its parser
/// stops at 128 levels).
const MAX_DATA_DEPTH: u16 = 100;

/// A compensation that faults begins again this often, after 1, 2, 4, … and at most 30 seconds: about three minutes
/// for whatever it needs to come back.
const UNDO_RETRIES: u32 = 10;
const UNDO_DELAY: Time = 1000;
const LONGEST_UNDO_DELAY: Time = 30_000;

/// Data that tasks hand on is not heavier: about 32 MB of text, or two million values. What holds it beside the data that it came
/// from has to stay within the bounds on any value.
const MAX_DATA_WEIGHT: u64 = 2_000_000;

pub(crate) fn admissible(value: &Datum) -> Result<(), String> {
    if value.weight() > MAX_DATA_WEIGHT {
        return Err(format!("data of more than {MAX_DATA_WEIGHT} values and pieces of 16 bytes of text (about 32 MB)"));
    }
    if value.depth() > MAX_DATA_DEPTH {
        return Err(format!("data nested more than {MAX_DATA_DEPTH} levels deep"));
    }
    Ok(())
}

pub(super) fn decide(run: &Run, action: &Action, now: Time, rng: &mut dyn RngCore) -> Record {
    let decided = match action {
        Action::Open => open(run, now),
        Action::Enter { parent, slot, input } => enter(run, *parent, *slot, input, now),
        Action::Perform { frame } => perform(run, *frame, now),
        Action::Judge { frame } => listening::judged(run, *frame),
        Action::Collect { frame, output } => listening::collected(run, *frame, output),
        Action::Iterate { frame, index, input } => iterate(run, *frame, *index, input),
        Action::Spawn { .. } => Ok(Record::Iterated),
        Action::Finish { frame, output } => finish(run, *frame, output, None),
        Action::Catch { frame, .. } | Action::Propagate { frame, .. } if run.has_to_roll_back(*frame) => {
            Ok(Record::RollingBack)
        }
        Action::Rollback { scope } => Ok(if run.owes(*scope) { Record::Undoing } else { Record::RolledBack }),
        Action::Receive { frame } => Ok(signals::wanted(run, *frame)),
        Action::Catch { frame, fault } => Ok(catch(run, *frame, fault, now, rng)),
        Action::Propagate { frame, .. } => Ok(propagate(run, *frame, now)),
        Action::Conclude { output } => conclude(run, output),
        Action::Undo => Ok(if run.done.is_empty() { Record::Ended } else { Record::Undoing }),
    };
    decided.unwrap_or_else(|fault| Record::Faulted { fault: Some(fault) })
}

pub(super) fn failed(place: &str, pointer: &str, error: &EvaluationError) -> Fault {
    Fault::new(Standard::Expression, pointer, format!("{place}: {error}"))
}

/// Whether data fits the schema at this place, if there is one.
pub(super) fn fits(filter: &DataFilter, place: &'static str, data: &Datum, pointer: &str) -> Result<(), Fault> {
    let Some(schema) = &filter.schema else { return Ok(()) };
    schema.check(data).map_err(|misfit| Fault::new(Standard::Validation, pointer, format!("{place}: {misfit}")))
}

/// Evaluates a data filter; `None` when there is none.
pub(super) fn filtered(
    filter: &DataFilter,
    place: &'static str,
    data: &Datum,
    around: &Surroundings<'_>,
    pointer: &str,
) -> Result<Option<Datum>, Fault> {
    let Some(template) = &filter.template else { return Ok(None) };
    let result = template.evaluate(data, around).map_err(|error| failed(place, pointer, &error))?;
    admissible(&result).map_err(|error| Fault::new(Standard::Expression, pointer, format!("{place}: {error}")))?;
    Ok(Some(result))
}

fn deadline(
    timeout: Option<&DurationTemplate>,
    around: &Surroundings<'_>,
    pointer: &str,
    now: Time,
) -> Result<Option<Time>, Fault> {
    timeout.map(|timeout| Ok(now + duration(timeout, "timeout", around, pointer)?.0)).transpose()
}

fn duration(
    template: &DurationTemplate,
    place: &str,
    around: &Surroundings<'_>,
    pointer: &str,
) -> Result<Millis, Fault> {
    match template {
        DurationTemplate::Fixed(duration) => Ok(*duration),
        DurationTemplate::Computed(template) => {
            let value = template.evaluate(&around.input, around).map_err(|error| failed(place, pointer, &error))?;
            Millis::from_datum(&value)
                .map_err(|error| Fault::new(Standard::Expression, pointer, format!("{place}: {value} {error}")))
        }
    }
}

fn open(run: &Run, now: Time) -> Result<Record, Fault> {
    let around = Surroundings::of_workflow(run);
    admissible(&run.raw_input).map_err(|error| Fault::new(Standard::Validation, "/input", error))?;
    fits(&run.program.input, "input.schema", &run.raw_input, "/input")?;
    let input = filtered(&run.program.input, "input.from", &run.raw_input, &around, "/input")?;
    let deadline = deadline(run.program.timeout.as_ref(), &around, "/timeout", now)?;
    Ok(Record::Opened { input, deadline })
}

fn enter(run: &Run, parent: FrameId, slot: usize, raw_input: &Datum, now: Time) -> Result<Record, Fault> {
    let Some(id) = run.frames.get(&parent).and_then(|above| run.child(above, slot)) else {
        return Err(Fault::new(Standard::Runtime, "/do", "the task list ends unexpectedly"));
    };
    let task = run.task(id);
    let pointer = task.pointer.as_str();
    let mut around = Surroundings::of_workflow(run);
    around.task = Some((task, raw_input.clone(), now));
    around.input = raw_input.clone();
    around.frame = parent;
    around.belongs_to(parent, slot);
    if let Some(condition) = &task.condition {
        let holds = condition.evaluate(raw_input, &around).map_err(|error| failed("if", pointer, &error))?;
        if !holds.is_truthy() {
            return Ok(Record::Skipped);
        }
    }
    if let Some(output) = run.operated.substitutes.get(&id) {
        return Ok(Record::Entered { input: None, deadline: None, body: Body::Substituted(output.clone()) });
    }
    fits(&task.input, "input.schema", raw_input, pointer)?;
    let input = filtered(&task.input, "input.from", raw_input, &around, pointer)?;
    if let Some(input) = &input {
        around.input = input.clone();
    }
    let deadline = deadline(task.timeout.as_ref(), &around, pointer, now)?;
    let body = body(task, &around, now)?;
    Ok(Record::Entered { input, deadline, body })
}

/// What a task evaluates when it begins.
fn body(task: &Task, around: &Surroundings<'_>, now: Time) -> Result<Body, Fault> {
    let pointer = task.pointer.as_str();
    Ok(match &task.kind {
        TaskKind::Call(call) => {
            let request = exchange::request(call, around).map_err(|error| {
                let kind = match error {
                    exchange::RequestError::Expression { .. } => Standard::Expression,
                    exchange::RequestError::Invalid(_) => Standard::Validation,
                };
                Fault::new(kind, pointer, error.to_string())
            })?;
            Body::Call(Box::new(request))
        }
        TaskKind::Run(run) => running::begun(run, around, pointer)?,
        TaskKind::Listen(listen) => listening::begun(listen, around, pointer)?,
        TaskKind::Function(function) => {
            let with =
                function.with.evaluate(&around.input, around).map_err(|error| failed("with", pointer, &error))?;
            admissible(&with).map_err(|error| Fault::new(Standard::Expression, pointer, format!("with: {error}")))?;
            Body::With(with)
        }
        TaskKind::Extended(extended) => {
            let mut around = around.clone();
            around.extends = true;
            let applies = |extension: &Extension| match &extension.when {
                Some(when) => holds(when, &around).map_err(|error| failed("extension.when", pointer, &error)),
                None => Ok(true),
            };
            Body::Extended(extended.extensions.iter().map(applies).collect::<Result<_, _>>()?)
        }
        TaskKind::Wait(length) => Body::Wait(now + duration(length, "wait", around, pointer)?.0),
        TaskKind::For(each) => {
            let items =
                each.items.evaluate(&around.input, around).map_err(|error| failed("for.in", pointer, &error))?;
            if items.as_array().is_none() {
                let detail = format!("for.in: must be an array, not {}", items.type_name());
                return Err(Fault::new(Standard::Expression, pointer, detail));
            }
            admissible(&items)
                .map_err(|error| Fault::new(Standard::Expression, pointer, format!("for.in: {error}")))?;
            Body::For(items)
        }
        _ => Body::Plain,
    })
}

/// A frame that the agenda speaks of; the agenda forgets frames that are gone.
fn frame_of(run: &Run, id: FrameId) -> Result<&Frame, Fault> {
    run.frames.get(&id).ok_or_else(|| Fault::new(Standard::Runtime, "/do", "the task is gone"))
}

fn perform(run: &Run, id: FrameId, now: Time) -> Result<Record, Fault> {
    let frame = frame_of(run, id)?;
    let Owner::Task(task) = frame.owner else { return finish(run, id, &frame.input, None) };
    let task = run.task(task);
    let around = Surroundings::of_frame(run, id, frame);
    let pointer = task.pointer.as_str();
    match &task.kind {
        TaskKind::Set(template) => {
            let value = template.evaluate(&frame.input, &around).map_err(|error| failed("set", pointer, &error))?;
            admissible(&value).map_err(|error| Fault::new(Standard::Expression, pointer, format!("set: {error}")))?;
            let record = finish(run, id, &value, None)?;
            Ok(match record {
                Record::Left { output: None, context, case } => Record::Left { output: Some(value), context, case },
                other => other,
            })
        }
        TaskKind::Switch(cases) => {
            for (i, case) in cases.iter().enumerate() {
                let Some(when) = &case.when else { continue };
                let place = format!("switch.{}.when", case.name);
                if holds(when, &around).map_err(|error| failed(&place, pointer, &error))? {
                    return finish(run, id, &frame.input, Some(i));
                }
            }
            finish(run, id, &frame.input, cases.iter().position(|case| case.when.is_none()))
        }
        TaskKind::Raise(error) => Err(raised(error, &around, pointer)?),
        TaskKind::Emit(emit) => listening::emitted(run, id, frame, emit, now),
        _ => finish(run, id, &frame.input, None),
    }
}

fn holds(condition: &Expression, around: &Surroundings<'_>) -> Result<bool, EvaluationError> {
    Ok(condition.evaluate(&around.input, around)?.is_truthy())
}

fn raised(error: &ErrorTemplate, around: &Surroundings<'_>, pointer: &str) -> Result<Fault, Fault> {
    let evaluate = |place: &'static str, template: &Template| {
        template.evaluate(&around.input, around).map_err(|error| failed(place, pointer, &error))
    };
    let text = |place, template: Option<&Template>| {
        let Some(template) = template else { return Ok(None) };
        let value = evaluate(place, template)?;
        Ok(Some(value.as_str().map_or_else(|| value.to_json(), str::to_owned)))
    };
    let status = evaluate("raise.error.status", &error.status)?;
    let number = status.as_i64().or_else(|| status.as_str()?.parse().ok());
    let Some(status) = number.and_then(|status| u16::try_from(status).ok()) else {
        let detail = format!("raise.error.status: {status} is not a status");
        return Err(Fault::new(Standard::Expression, pointer, detail));
    };
    Ok(Fault {
        type_: text("raise.error.type", Some(&error.type_))?.unwrap_or_default(),
        status,
        instance: Some(pointer.to_owned()),
        title: text("raise.error.title", error.title.as_ref())?,
        detail: text("raise.error.detail", error.detail.as_ref())?,
    })
}

fn iterate(run: &Run, id: FrameId, index: usize, input: &Datum) -> Result<Record, Fault> {
    let frame = frame_of(run, id)?;
    let (Owner::Task(task), FrameState::For { items, .. }) = (frame.owner, &frame.state) else {
        return finish(run, id, input, None);
    };
    let TaskKind::For(each) = &run.task(task).kind else { return finish(run, id, input, None) };
    let Some(item) = items.as_array().and_then(|items| items.get(index)) else {
        return finish(run, id, input, None);
    };
    if let Some(condition) = &each.condition {
        let mut around = Surroundings::of_frame(run, id, frame);
        around.input = input.clone();
        around.extra = vec![(&each.each, item.clone()), (&each.at, Datum::from(index))];
        if !holds(condition, &around).map_err(|error| failed("while", run.pointer(frame), &error))? {
            return finish(run, id, input, None);
        }
    }
    Ok(Record::Iterated)
}

/// The filters at the end of a task. The record's output is what the task's `output.as` made of it, if it has one.
pub(super) fn finish(run: &Run, id: FrameId, raw_output: &Datum, case: Option<usize>) -> Result<Record, Fault> {
    let frame = frame_of(run, id)?;
    let Owner::Task(task) = frame.owner else { return Ok(Record::Left { output: None, context: None, case: None }) };
    let task = run.task(task);
    let pointer = task.pointer.as_str();
    admissible(raw_output).map_err(|error| Fault::new(Standard::Runtime, pointer, error))?;
    if task.output.is_empty() && task.export.is_empty() {
        return Ok(Record::Left { output: None, context: None, case });
    }
    let mut around = Surroundings::of_frame(run, id, frame);
    around.raw_output = Some(raw_output.clone());
    let output = filtered(&task.output, "output.as", raw_output, &around, pointer)?;
    let final_output = output.as_ref().unwrap_or(raw_output);
    fits(&task.output, "output.schema", final_output, pointer)?;
    around.output = Some(final_output.clone());
    let context = filtered(&task.export, "export.as", final_output, &around, pointer)?;
    fits(&task.export, "export.schema", context.as_ref().unwrap_or(&run.context), pointer)?;
    Ok(Record::Left { output, context, case })
}

fn conclude(run: &Run, raw_output: &Datum) -> Result<Record, Fault> {
    let around = Surroundings::of_workflow(run);
    let output = filtered(&run.program.output, "output.as", raw_output, &around, "/output")?;
    fits(&run.program.output, "output.schema", output.as_ref().unwrap_or(raw_output), "/output")?;
    Ok(Record::Concluded { output })
}

fn propagate(run: &Run, id: FrameId, now: Time) -> Record {
    match run.frames.get(&id).map(|frame| &frame.state) {
        Some(FrameState::Undoing { of, .. }) => {
            let faults = run.undo_faults_of(*of);
            let retry = (faults < UNDO_RETRIES).then(|| {
                let delay = UNDO_DELAY.saturating_mul(1 << faults.min(20));
                now + delay.min(LONGEST_UNDO_DELAY)
            });
            Record::UndoFailed { retry }
        }
        _ => Record::Faulted { fault: None },
    }
}

fn catch(run: &Run, id: FrameId, fault: &Fault, now: Time, rng: &mut dyn RngCore) -> Record {
    let unhandled = Record::Faulted { fault: None };
    let Ok(frame) = frame_of(run, id) else { return unhandled };
    let (Owner::Task(task), FrameState::Try { attempt, .. }) = (frame.owner, &frame.state) else { return unhandled };
    let task = run.task(task);
    let TaskKind::Try(catch) = &task.kind else { return unhandled };

    let mut around = Surroundings::of_frame(run, id, frame);
    around.extra = vec![(&catch.variable, fault.to_datum()), ("error", fault.to_datum())];
    match catches(catch, fault, &around) {
        Ok(true) => {}
        Ok(false) => return unhandled,
        Err(error) => return Record::Faulted { fault: Some(failed("catch", &task.pointer, &error)) },
    }
    if let Some(retry) = &catch.retry {
        match retry_at(retry, *attempt, frame.started_at, now, &around, rng) {
            Ok(Some(at)) => return Record::Caught { retry: Some(at) },
            // Without a handler, an error that was not overcome is not swallowed.
            Ok(None) if catch.handler.is_none() => return unhandled,
            Ok(None) => {}
            Err(error) => return Record::Faulted { fault: Some(failed("catch.retry", &task.pointer, &error)) },
        }
    }
    Record::Caught { retry: None }
}

fn catches(catch: &TryCatch, fault: &Fault, around: &Surroundings<'_>) -> Result<bool, EvaluationError> {
    if !matches(&catch.filter, fault) {
        return Ok(false);
    }
    if let Some(when) = &catch.when
        && !holds(when, around)?
    {
        return Ok(false);
    }
    match &catch.except_when {
        Some(except) => Ok(!holds(except, around)?),
        None => Ok(true),
    }
}

fn matches(filter: &ErrorFilter, fault: &Fault) -> bool {
    let same = |wanted: &Option<String>, actual: Option<&String>| wanted.is_none() || wanted.as_ref() == actual;
    filter.type_.as_ref().is_none_or(|wanted| same_type(wanted, &fault.type_))
        && filter.status.is_none_or(|wanted| wanted == i64::from(fault.status))
        && same(&filter.instance, fault.instance.as_ref())
        && same(&filter.title, fault.title.as_ref())
        && same(&filter.detail, fault.detail.as_ref())
}

/// When the next attempt is due, `attempt` having failed; `None` when the policy allows none.
fn retry_at(
    retry: &Retry,
    attempt: u32,
    began: Time,
    now: Time,
    around: &Surroundings<'_>,
    rng: &mut dyn RngCore,
) -> Result<Option<Time>, EvaluationError> {
    if retry.max_attempts.is_some_and(|most| attempt > most) {
        return Ok(None);
    }
    if let Some(when) = &retry.when
        && !holds(when, around)?
    {
        return Ok(None);
    }
    if let Some(except) = &retry.except_when
        && holds(except, around)?
    {
        return Ok(None);
    }
    let delay = match retry.backoff {
        Backoff::Constant => retry.delay.0,
        Backoff::Linear => retry.delay.0.saturating_mul(i64::from(attempt)),
        Backoff::Exponential { factor, max } => {
            let exponent = i32::try_from(attempt - 1).unwrap_or(i32::MAX);
            // Casting saturates; milliseconds of a year are exact in a double.
            let delay = (retry.delay.0 as f64 * factor.powi(exponent)).round() as i64;
            delay.min(max.map_or(i64::MAX, |max| max.0))
        }
    };
    let jitter = retry.jitter.map_or(0, |(from, to)| rng.random_range(from.0..=to.0.max(from.0)));
    // A year is as good as never, and keeps sums in range.
    let delay = delay.saturating_add(jitter).min(365 * 86_400_000);
    let at = now + delay;
    Ok(retry.total_duration.is_none_or(|limit| at - began <= limit.0).then_some(at))
}
