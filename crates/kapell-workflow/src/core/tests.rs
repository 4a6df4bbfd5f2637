//! Runs the cases in `tests/cases/*.yaml` and holds the core against a model under random crashes.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Event;
use super::exchange::{Reply, Unanswered};
use super::record::Record;
use super::running::JobEnd;
use super::simulation::{Answer, EPOCH, Services, World};
use super::state::{Outcome, Phase};
use crate::cloud_event::CloudEvent;
use crate::expression::Datum;
use crate::expression::meter::on_deep_stack;
use crate::program::Program;

mod storm;

/// A case: what is run, in which world, and what comes of it. See `tests/cases/README.md`.
struct Case {
    name: String,
    fields: Map<String, Value>,
}

const FIELDS: [&str; 16] = [
    "name",
    "workflow",
    "input",
    "services",
    "cancelAt",
    "events",
    "published",
    "lifecycle",
    "jobs",
    "output",
    "error",
    "phase",
    "order",
    "calls",
    "compensation",
    "took",
];

fn cases() -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let documents =
            kapell_api::decode::documents(&text).unwrap_or_else(|error| panic!("{}: {error:?}", file.display()));
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        for document in documents {
            let Value::Object(fields) = document.value else { panic!("{stem}: a case is an object") };
            let name = format!("{stem}: {}", fields["name"].as_str().unwrap());
            for key in fields.keys() {
                assert!(FIELDS.contains(&key.as_str()), "{name}: unknown field {key}");
            }
            cases.push(Case { name, fields });
        }
    }
    cases
}

fn compile(name: &str, workflow: &Value) -> Arc<Program> {
    let mut workflow = workflow.clone();
    let header = json!({ "dsl": "1.0.0", "namespace": "test", "name": "test", "version": "1.0.0" });
    workflow.as_object_mut().unwrap().entry("document").or_insert(header);
    Arc::new(crate::compile::program(&workflow).unwrap_or_else(|problems| panic!("{name}: {problems:#?}")))
}

fn services(fields: &Map<String, Value>) -> Services {
    let mut answers: HashMap<String, VecDeque<Answer>> = HashMap::new();
    for (call, script) in fields.get("services").and_then(Value::as_object).into_iter().flatten() {
        let script = script.as_array().cloned().unwrap_or_else(|| vec![script.clone()]);
        answers.insert(call.clone(), script.iter().map(answer).collect());
    }
    Services::new(answers)
}

fn answer(script: &Value) -> Answer {
    let after = script.get("after").and_then(Value::as_i64).unwrap_or(1);
    if let Some(failure) = script.get("failure").and_then(Value::as_str) {
        return Answer { after, result: Err(Unanswered::Broken(failure.to_owned())) };
    }
    let status = script.get("status").and_then(Value::as_u64).unwrap_or(200) as u16;
    let (kind, body) = match (script.get("json"), script.get("text").and_then(Value::as_str)) {
        (Some(json), _) => ("application/json", json.to_string()),
        (None, Some(text)) => ("text/plain", text.to_owned()),
        (None, None) => ("text/plain", String::new()),
    };
    let kind = script.get("type").and_then(Value::as_str).unwrap_or(kind);
    let headers = vec![("Content-Type".to_owned(), kind.to_owned())];
    Answer { after, result: Ok(Reply { status, headers, body: body.into() }) }
}

/// How a child or a process ends.
fn job_end(script: &Value) -> JobEnd {
    if let Some(fault) = script.get("error") {
        return JobEnd::Faulted(serde_json::from_value(fault.clone()).unwrap());
    }
    if let Some(code) = script.get("code").and_then(Value::as_i64) {
        let text = |key: &str| script.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        return JobEnd::Exited { code, stdout: text("stdout"), stderr: text("stderr") };
    }
    JobEnd::Completed(Datum::from_json(&script["output"]).unwrap())
}

fn world(case: &Case, seed: u64) -> World {
    world_of(case, compile(&case.name, &case.fields["workflow"]), seed)
}

fn world_of(case: &Case, program: Arc<Program>, seed: u64) -> World {
    let input = case.fields.get("input").cloned().unwrap_or_else(|| json!({}));
    let mut world = World::new(program, Datum::from_json(&input).unwrap(), services(&case.fields), seed);
    world.reports = case.fields.contains_key("lifecycle");
    for (job, end) in case.fields.get("jobs").and_then(Value::as_object).into_iter().flatten() {
        world.jobs.insert(job.clone(), job_end(end));
    }
    if let Some(at) = case.fields.get("cancelAt").and_then(Value::as_i64) {
        world.happens(EPOCH + at, Event::Cancel { reason: "test".to_owned() });
    }
    let events = case.fields.get("events").and_then(Value::as_array);
    for (number, given) in events.into_iter().flatten().enumerate() {
        let mut envelope = json!({ "specversion": "1.0", "source": "/case", "id": number.to_string() });
        for (key, value) in given.as_object().unwrap().iter().filter(|(key, _)| *key != "at") {
            envelope[key] = value.clone();
        }
        let event = CloudEvent::new(Datum::from_json(&envelope).unwrap());
        let event = event.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        world.is_published(EPOCH + given.get("at").and_then(Value::as_i64).unwrap_or(1), event);
    }
    world
}

fn outcome(world: &World, name: &str) -> Outcome {
    match &world.run.phase {
        Phase::Ended(outcome) => outcome.clone(),
        other => panic!("{name}: still {other:?}, waits for {:?}", world.run.waiting_for()),
    }
}

fn check(case: &Case) {
    let name = &case.name;
    let mut world = world(case, 1);
    world.live();
    let outcome = outcome(&world, name);
    let phase = match &outcome {
        Outcome::Completed(_) => "Completed",
        Outcome::Faulted(_) => "Faulted",
        Outcome::Cancelled(_) => "Cancelled",
    };
    let wanted = case.fields.get("phase").and_then(Value::as_str);
    let wanted = wanted.unwrap_or(if case.fields.contains_key("error") { "Faulted" } else { "Completed" });
    assert_eq!(phase, wanted, "{name}: {outcome:?}");
    match &outcome {
        Outcome::Completed(output) => {
            if let Some(wanted) = case.fields.get("output") {
                assert_eq!(&output.to_value(), wanted, "{name}: output");
            }
        }
        Outcome::Faulted(fault) => {
            let actual = serde_json::to_value(fault).unwrap();
            for (key, wanted) in case.fields["error"].as_object().unwrap() {
                match (key.as_str(), wanted.as_str()) {
                    ("type", Some(wanted)) if !wanted.contains(':') => {
                        assert!(fault.type_.ends_with(&format!("/{wanted}")), "{name}: {actual}");
                    }
                    ("detail", Some(wanted)) => {
                        let detail = fault.detail.as_deref().unwrap_or_default();
                        assert!(detail.contains(wanted), "{name}: {actual}");
                    }
                    _ => assert_eq!(&actual[key], wanted, "{name}: {actual}"),
                }
            }
        }
        Outcome::Cancelled(_) => {}
    }
    if let Some(order) = case.fields.get("order") {
        assert_eq!(&json!(world.order()), order, "{name}: order");
    }
    if let Some(calls) = case.fields.get("calls") {
        let seen = world.services.seen.iter().map(|seen| {
            let body = seen.request.body.as_deref().map(|body| format!(" {body}")).unwrap_or_default();
            format!("{} {}{body}", seen.request.method, seen.request.uri)
        });
        assert_eq!(&json!(seen.collect::<Vec<_>>()), calls, "{name}: calls");
    }
    if let Some(published) = case.fields.get("published").and_then(Value::as_array) {
        let emitted: Vec<Value> = world.emitted().map(|event| event.envelope().to_value()).collect();
        assert_eq!(emitted.len(), published.len(), "{name}: published {emitted:#?}");
        for (actual, wanted) in emitted.iter().zip(published) {
            for (key, wanted) in wanted.as_object().unwrap() {
                assert_eq!(&actual[key], wanted, "{name}: {key} of {actual}");
            }
        }
    }
    if let Some(lifecycle) = case.fields.get("lifecycle") {
        let line = |event: &CloudEvent| {
            let what = event.type_().strip_prefix("io.serverlessworkflow.")?.strip_suffix(".v1")?.to_owned();
            let detail = |key: &str| event.data().get(key).and_then(Datum::as_str).map(|text| format!(" {text}"));
            Some([Some(what), detail("task"), detail("status")].into_iter().flatten().collect::<String>())
        };
        let lines: Vec<String> = world.emitted().filter_map(line).collect();
        assert_eq!(&json!(lines), lifecycle, "{name}: lifecycle");
    }
    if let Some(compensation) = case.fields.get("compensation") {
        assert_eq!(&json!(world.run.compensation.as_str()), compensation, "{name}: compensation");
    }
    if let Some(took) = case.fields.get("took") {
        assert_eq!(&json!(world.run.ended_at.unwrap() - EPOCH), took, "{name}: virtual milliseconds");
    }
    // What is rebuilt from the journal is what made it.
    let replayed = world.replayed();
    assert_eq!(format!("{:?}", replayed.phase), format!("{:?}", world.run.phase), "{name}: replay");
    assert_eq!(replayed.records, world.run.records, "{name}: replay");
}

#[test]
fn cases_come_out_as_written() {
    let cases = cases();
    assert!(cases.len() >= 80, "only {} cases", cases.len());
    let only = std::env::var("CASE").unwrap_or_default();
    let mut failures = Vec::new();
    for case in cases.iter().filter(|case| case.name.contains(&only)) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| on_deep_stack(|| check(case))));
        failures.extend(result.err().map(|_| &case.name));
    }
    assert!(failures.is_empty(), "{} cases failed: {failures:#?}", failures.len());
}

/// Names of deeds in the journal: tasks left by their key and frame, with how often.
fn deeds(world: &World) -> HashMap<String, u32> {
    let entries = world.entries();
    let mut run = super::state::Run::start(world.run.program.clone(), &entries[0]).unwrap();
    let mut deeds = HashMap::new();
    for entry in &entries[1..] {
        if let (Record::Left { .. }, Some(action)) = (&entry.1, run.agenda.front())
            && let Some(frame) = run.frames.get(&action.frame())
        {
            let name = format!("{} of frame {}", run.key(frame), action.frame());
            *deeds.entry(name).or_insert(0) += 1;
        }
        run.apply(entry).unwrap();
    }
    deeds
}

/// What the services have to have seen, each deed once, in order of its first appearance.
fn distinct_calls(world: &World) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for seen in &world.services.seen {
        let call = format!("{} {} {}", seen.key, seen.request.method, seen.request.uri);
        if !keys.contains(&call) {
            keys.push(call);
        }
    }
    keys
}

/// Every case that does not depend on exact times ends in the same way, with the same deeds, however often the
/// process dies: before its journal, between journal and effect, between two effects.
#[test]
fn crashes_change_nothing() {
    // Crashes take time, so what depends on the time they take is left out; and an endless expression ends at the
    // first of several bounds.
    let timing = ["took", "cancelAt"];
    let depends = |case: &Case| {
        let workflow = case.fields["workflow"].to_string();
        timing.iter().any(|key| case.fields.contains_key(*key))
            || ["timeout", "compete", "duration", "000000000"].iter().any(|word| workflow.contains(word))
    };
    let rounds: u64 = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    on_deep_stack(|| {
        let mut crashes = 0;
        for case in cases().iter().filter(|case| !depends(case)) {
            let mut calm = world(case, 1);
            calm.services.idempotent = false;
            calm.live();
            // Flaky services answer by the number of the attempt, which crashes multiply.
            if calm.services.answers.values().any(|answers| answers.len() > 1)
                || distinct_calls(&calm).len() != calm.services.seen.len()
            {
                continue;
            }
            for seed in 0..rounds {
                let mut wild = world(case, seed);
                wild.services.idempotent = true;
                wild.crash_one_in = 3;
                wild.live();
                crashes += wild.crashes;
                let context = format!("{} with seed {seed}", case.name);
                assert_eq!(outcome(&wild, &context), outcome(&calm, &case.name), "{context}");
                assert_eq!(wild.run.compensation, calm.run.compensation, "{context}");
                assert_eq!(wild.order(), calm.order(), "{context}: steps in the journal");
                assert_eq!(deeds(&wild), deeds(&calm), "{context}: deeds");
                assert_eq!(distinct_calls(&wild), distinct_calls(&calm), "{context}: calls");
                let ids = |world: &World| world.emitted().map(|event| event.id().to_owned()).collect::<Vec<_>>();
                assert_eq!(ids(&wild), ids(&calm), "{context}: events");
            }
        }
        assert!(crashes > 100, "only {crashes} crashes");
    });
}

/// An answer that comes twice, a timer that rings twice or too early: nothing happens.
#[test]
fn late_and_repeated_events_change_nothing() {
    let workflow = json!({ "do": [
        { "call": { "call": "http", "with": { "method": "get", "endpoint": "http://a/" } } },
        { "pause": { "wait": "PT1S" } },
    ] });
    let script = json!({ "services": { "GET http://a/": { "json": 1 } } });
    on_deep_stack(|| {
        let program = compile("late", &workflow);
        let mut world = World::new(program, Datum::Null, services(script.as_object().unwrap()), 1);
        let reply = Reply { status: 200, headers: Vec::new(), body: "again".into() };
        for at in [1, 2, 500, 3000] {
            world.happens(EPOCH + at, Event::Replied { frame: 1, reply: reply.clone() });
            let timer = super::record::TimerId { frame: 2, kind: super::record::TimerKind::Wait };
            world.happens(EPOCH + at, Event::TimerDue { timer });
        }
        world.live();
        assert_eq!(outcome(&world, "late"), Outcome::Completed(Datum::string("again")));
        assert_eq!(world.order(), ["call", "pause"]);
        assert!(deeds(&world).values().all(|times| *times == 1));
    });
}

#[test]
fn keys_are_stable_across_retries_and_differ_between_iterations_and_repetitions() {
    let call = |uri: &str| json!({ "call": "http", "with": { "method": "get", "endpoint": uri } });
    let workflow = json!({ "do": [
        { "loop": { "for": { "in": "[1, 2]" }, "do": [{ "a": call("http://each/") }] } },
        { "retried": { "try": [{ "b": call("http://down/") }], "catch": { "retry": { "limit": { "attempt": { "count": 2 } } }, "do": [{ "c": { "set": { "n": 0 } } }] } } },
        { "again": { "call": "http", "with": { "method": "get", "endpoint": "http://again/" }, "export": { "as": "{ n: (($context.n // 0) + 1) }" } } },
        { "check": { "switch": [{ "more": { "when": "$context.n < 3", "then": "again" } }, { "enough": { "then": "end" } }] } },
    ] });
    let script = json!({ "services": {
        "GET http://each/": { "json": 1 }, "GET http://down/": { "status": 503 }, "GET http://again/": { "json": 1 },
    } });
    on_deep_stack(|| {
        let program = compile("keys", &workflow);
        let mut world = World::new(program, Datum::Null, services(script.as_object().unwrap()), 1);
        world.live();
        let keys = |uri: &str| {
            let seen = world.services.seen.iter().filter(|seen| seen.request.uri == uri);
            seen.map(|seen| seen.key.clone()).collect::<Vec<_>>()
        };
        let distinct = |mut keys: Vec<String>| {
            keys.sort();
            keys.dedup();
            keys.len()
        };
        assert_eq!((keys("http://each/").len(), distinct(keys("http://each/"))), (2, 2));
        assert_eq!((keys("http://down/").len(), distinct(keys("http://down/"))), (3, 1));
        assert_eq!((keys("http://again/").len(), distinct(keys("http://again/"))), (3, 3));
    });
}
