//! Runs the cases in `tests/cases/*.yaml` and holds the core against a model under random crashes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Event;
use super::exchange::Reply;
use super::record::Record;
use super::simulation::{EPOCH, Services, World};
use super::state::{Outcome, Phase};
use crate::cases::{self, Case};
use crate::expression::Datum;
use crate::expression::meter::on_deep_stack;
use crate::program::Program;

mod storm;

fn cases() -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let cases = files.iter().flat_map(|file| {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        let cases = cases::read(&std::fs::read_to_string(file).unwrap());
        let cases = cases.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        cases.into_iter().map(move |case| Case { name: format!("{stem}: {}", case.name), ..case })
    });
    cases.collect()
}

fn compile(name: &str, workflow: &Value) -> Arc<Program> {
    let fields = Map::from_iter([("workflow".to_owned(), workflow.clone())]);
    let case = Case { name: name.to_owned(), position: None, fields };
    case.program().unwrap_or_else(|error| panic!("{error}"))
}

fn services(fields: &Map<String, Value>) -> Services {
    let case = Case { name: String::new(), position: None, fields: fields.clone() };
    case.services().unwrap_or_else(|error| panic!("{error}"))
}

fn world(case: &Case, seed: u64) -> World {
    world_of(case, case.program().unwrap_or_else(|error| panic!("{error}")), seed)
}

fn world_of(case: &Case, program: Arc<Program>, seed: u64) -> World {
    case.world(program, seed).unwrap_or_else(|error| panic!("{error}"))
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
    let differences = case.differences(&world);
    assert!(differences.is_empty(), "{name}: {differences:#?}");
    // What is rebuilt from the journal is what made it.
    let replayed = world.replayed();
    assert_eq!(format!("{:?}", replayed.phase), format!("{:?}", world.run.phase), "{name}: replay");
    assert_eq!(replayed.records, world.run.records, "{name}: replay");
}

#[test]
fn cases_come_out_as_written() {
    let cases = cases();
    assert!(cases.len() >= 250, "only {} cases", cases.len());
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

/// The same extension around two tasks: a service that knows keys again sees two calls, the log takes two events, and both
/// deeds are undone.
#[test]
fn tasks_of_an_extension_are_deeds_of_their_own_around_each_task() {
    let call = |uri: &str| json!({ "call": "http", "with": { "method": "post", "endpoint": uri, "body": "${ . }" } });
    let mut note = call("http://log/note");
    note["metadata"] = json!({ "kapell.dev/v1": { "compensate": [{ "erase": call("http://log/erase") }] } });
    let told = json!({ "emit": { "event": { "with": { "source": "https://example.com/log", "type": "told" } } } });
    let workflow = json!({
        "use": { "extensions": [{ "log": { "extend": "set", "before": [{ "note": note }, { "tell": told }] } }] },
        "do": [
            { "a": { "set": { "n": 1 } } },
            { "b": { "set": { "n": 2 } } },
            { "c": { "raise": { "error": { "type": "https://example.com/oops", "status": 500 } } } },
        ],
    });
    let script =
        json!({ "services": { "POST http://log/note": { "json": 1 }, "POST http://log/erase": { "json": 1 } } });
    on_deep_stack(|| {
        let program = compile("extended", &workflow);
        for seed in 0..20 {
            let mut world = World::new(program.clone(), Datum::Null, services(script.as_object().unwrap()), seed);
            world.services.idempotent = true;
            world.crash_one_in = if seed == 0 { 0 } else { 4 };
            world.live();
            assert_eq!(distinct_calls(&world).len(), 4, "{:?}", distinct_calls(&world));
            assert_eq!(world.emitted().count(), 2);
            let undone = world.entries().iter().filter(|entry| matches!(entry.1, Record::Undoing)).count();
            assert_eq!(undone, 2);
        }
    });
}

#[test]
fn what_a_run_reports_shows_no_tokens() {
    let text = r#"
name: a secret goes to a process, and into an error
workflow:
  use: { secrets: [api] }
  do:
  - process: { run: { shell: { command: env, environment: { KEY: "${ $secrets.api.key }" } } } }
  - refused: { raise: { error: { type: "https://example.com/no", status: 400, detail: "${ $secrets.api.key }" } } }
secrets: { api: { key: swordfish } }
jobs: { a process: { code: 0 } }
lifecycle: []
error: { status: 400 }
"#;
    let case = cases::read(text).unwrap().remove(0);
    on_deep_stack(|| {
        let mut world = world(&case, 1);
        world.live();
        assert!(matches!(outcome(&world, &case.name), Outcome::Faulted(_)), "{:?}", world.run.phase);
        let nonce = world.run.identity.secrets.as_ref().unwrap().nonce.clone();
        let reported = world.emitted().map(|event| event.envelope().to_json());
        let texts: Vec<String> = reported.filter(|text| text.contains("secret api")).collect();
        assert!(texts.len() >= 2, "a task's error and the run's: {texts:#?}");
        // What is started learns its token, which whoever starts it replaces by a reference.
        let [(_, job)] = world.started.as_slice() else { panic!("{:?}", world.started) };
        let job = serde_json::to_string(job).unwrap();
        assert!(job.contains(&nonce) && !job.contains("swordfish"), "{job}");
        assert!(texts.iter().all(|text| !text.contains(&nonce)), "{texts:#?}");
    });
}
