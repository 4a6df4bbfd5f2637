//! Suspending, skipping and retrying, also under crashes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::exchange::Reply;
use crate::core::record::{Entry, Record};
use crate::core::rewind::{Refusal, Retry, plan};
use crate::core::simulation::{Answer, EPOCH, Services, World};
use crate::core::state::{Outcome, Phase};
use crate::core::{Event, Run};
use crate::expression::Datum;
use crate::expression::meter::on_deep_stack;
use crate::program::Program;

fn compile(tasks: Value) -> Arc<Program> {
    let head = json!({ "dsl": "1.0.0", "namespace": "test", "name": "test", "version": "1.0.0" });
    Arc::new(crate::compile::program(&json!({ "document": head, "do": tasks })).unwrap())
}

fn call(path: &str) -> Value {
    json!({ "call": "http", "with": { "method": "post", "endpoint": format!("http://s/{path}"), "body": "${ . }" } })
}

fn undone_by(mut task: Value, path: &str) -> Value {
    task["metadata"] = json!({ "kapell.dev/v1": { "compensate": [{ "undo": call(path) }] } });
    task
}

/// Services that answer each path with these statuses in turn, the last one for ever.
fn services(statuses: &[(&str, &[u16])]) -> Services {
    let answer = |status: &u16| {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Answer { after: 10, result: Ok(Reply { status: *status, headers, body: "{\"n\":1}".into() }) }
    };
    let answers: HashMap<String, VecDeque<Answer>> = statuses
        .iter()
        .map(|(path, statuses)| (format!("POST http://s/{path}"), statuses.iter().map(answer).collect()))
        .collect();
    Services::new(answers)
}

fn paths(world: &World) -> Vec<String> {
    world.services.seen.iter().map(|seen| seen.request.uri.trim_start_matches("http://s/").to_owned()).collect()
}

fn completed(run: &Run) -> Value {
    match &run.phase {
        Phase::Ended(Outcome::Completed(output)) => output.to_value(),
        other => panic!("{other:?}, waits for {:?}", run.waiting_for()),
    }
}

/// Goes on like an engine does: the plan is written, the run is taken up from its journal.
fn retry(world: &mut World, from: Option<&str>, input: Option<Value>) -> Result<(), Refusal> {
    let number = world.run.operated.retries + 1;
    let input = input.map(|input| Datum::from_json(&input).unwrap());
    let rewind = plan(&world.run.program, &world.entries(), &Retry { number, from: from.map(str::to_owned), input })?;
    let entries = [Entry(world.now, Record::Rewound(Box::new(rewind)))];
    // A retry takes a cancellation back.
    world.cancel = None;
    world.journal.extend(crate::journal::encode(&entries, &mut world.run.kept));
    world.recover();
    world.live();
    Ok(())
}

#[test]
fn a_suspended_run_takes_answers_in_and_begins_nothing() {
    on_deep_stack(|| {
        let program =
            compile(json!([{ "a": call("a") }, { "b": call("b") }, { "w": { "wait": "PT1S" } }, { "c": call("c") }]));
        let mut world = World::new(program, Datum::Null, services(&[("a", &[200]), ("b", &[200]), ("c", &[200])]), 1);
        world.happens(EPOCH + 5, Event::Suspend);
        world.happens(EPOCH + 6, Event::Suspend);
        world.live();
        assert_eq!(paths(&world), ["a"]);
        assert_eq!(world.run.waiting_for().as_deref(), Some("to be resumed"));
        assert!(world.run.calls.is_empty(), "the answer was taken in");
        world.recover();
        world.happens(EPOCH + 5_000, Event::Resume);
        // While it waits: the timer comes due, and is heard only afterwards.
        world.happens(EPOCH + 5_500, Event::Suspend);
        world.live();
        assert_eq!(paths(&world), ["a", "b"]);
        world.happens(EPOCH + 9_000, Event::Resume);
        world.live();
        assert_eq!(paths(&world), ["a", "b", "c"]);
        assert_eq!(completed(&world.run), json!({ "n": 1 }));
        assert_eq!(world.run.ended_at, Some(EPOCH + 9_010));
    });
}

#[test]
fn a_suspended_run_can_be_cancelled() {
    on_deep_stack(|| {
        let program = compile(json!([{ "a": undone_by(call("a"), "undo") }, { "w": { "wait": "PT1H" } }]));
        let mut world = World::new(program, Datum::Null, services(&[("a", &[200]), ("undo", &[200])]), 1);
        world.happens(EPOCH + 100, Event::Suspend);
        world.happens(EPOCH + 200, Event::Cancel { reason: "enough".to_owned() });
        world.live();
        assert_eq!(paths(&world), ["a", "undo"]);
        assert!(matches!(world.run.phase, Phase::Ended(Outcome::Cancelled(_))));
    });
}

#[test]
fn a_given_output_is_taken_now_or_when_the_task_begins() {
    let skip = |number, task: &str, output: Value| Event::Substitute {
        number,
        task: task.to_owned(),
        output: Datum::from_json(&output).unwrap(),
    };
    on_deep_stack(|| {
        let mut b = call("b");
        b["output"] = json!({ "as": "{ got: .v }" });
        let tasks = json!([{ "a": call("a") }, { "b": b }, { "a2": { "do": [{ "a": { "set": {} } }] } }, { "c": { "set": "${ . }" } }]);
        let mut services = services(&[("a", &[200])]);
        services.answers.values_mut().flatten().for_each(|answer| answer.after = 1_000_000);
        let mut world = World::new(compile(tasks), Datum::Null, services, 1);
        world.happens(EPOCH + 1, skip(1, "/do/1/b", json!({ "v": 2 })));
        world.happens(EPOCH + 2, skip(2, "a", json!(0)));
        world.happens(EPOCH + 2, skip(2, "nobody", json!(0)));
        world.happens(EPOCH + 3, skip(3, "/do/2/a2", json!("given")));
        world.happens(EPOCH + 4, skip(4, "/do/0/a", json!("said")));
        world.live();
        assert_eq!(completed(&world.run), json!("given"));
        assert_eq!(paths(&world), ["a"], "b was not called");
        let refusal = "skip 2: there are several tasks a: /do/0/a, /do/2/a2/do/0/a";
        assert_eq!(world.run.operated.refusal.as_deref(), Some(refusal));
        let timeline = crate::timeline::timeline(world.run.program.clone(), &world.entries()).unwrap();
        let lines: Vec<String> = timeline["items"].as_array().unwrap().iter().map(line).collect();
        assert_eq!(
            lines,
            [
                "a Substituted \"said\"",
                "b Substituted {\"got\":2}",
                "a2 Substituted \"given\"",
                "c Completed \"given\""
            ]
        );
    });
}

fn line(item: &Value) -> String {
    format!("{} {} {}", item["name"].as_str().unwrap(), item["outcome"].as_str().unwrap(), item["output"])
}

#[test]
fn a_retry_goes_on_where_the_run_faulted() {
    on_deep_stack(|| {
        let tasks = json!([{ "a": call("a") }, { "b": { "try": [{ "c": call("c") }], "catch": { "retry": { "limit": { "attempt": { "count": 1 } } } } } }, { "d": call("d") }]);
        let services = services(&[("a", &[200]), ("c", &[500, 500, 500, 200]), ("d", &[200])]);
        let mut world = World::new(compile(tasks), Datum::Null, services, 1);
        world.live();
        assert_eq!(paths(&world), ["a", "c", "c"]);
        retry(&mut world, None, None).unwrap();
        assert!(matches!(world.run.phase, Phase::Ended(Outcome::Faulted(_))));
        retry(&mut world, None, None).unwrap();
        assert_eq!(completed(&world.run), json!({ "n": 1 }));
        assert_eq!(paths(&world), ["a", "c", "c", "c", "c", "d"]);
        let keys = world.services.seen.iter().filter(|seen| seen.request.uri.ends_with("/c")).map(|seen| &seen.key);
        assert_eq!(keys.collect::<std::collections::BTreeSet<_>>().len(), 1, "the same deed has the same key");
        assert_eq!(world.run.operated.retries, 2);
        assert_eq!(plan(&world.run.program, &world.entries(), &Retry::default()), Err(Refusal::NotFailed));
        let timeline = crate::timeline::timeline(world.run.program.clone(), &world.entries()).unwrap();
        let lines: Vec<String> = timeline["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| format!("{} {}", line(item), item["retry"]))
            .collect();
        assert_eq!(
            lines,
            [
                "a Completed {\"n\":1} null",
                "b Completed {\"n\":1} null",
                "c Retrying null null",
                "c Faulted null null",
                "c Faulted null 1",
                "c Completed {\"n\":1} 2",
                "d Completed {\"n\":1} 2",
            ]
        );
    });
}

#[test]
fn a_retry_from_a_task_does_it_and_what_follows_anew() {
    on_deep_stack(|| {
        let tasks = json!([{ "a": call("a") }, { "b": call("b") }, { "c": call("c") }]);
        let services = services(&[("a", &[200]), ("b", &[200]), ("c", &[500, 200])]);
        let mut world = World::new(compile(tasks), Datum::Null, services, 1);
        world.live();
        let no_task = Refusal::NoTask("the workflow has no task z".to_owned());
        assert_eq!(retry(&mut world, Some("z"), None), Err(no_task));
        retry(&mut world, Some("b"), Some(json!({ "edited": true }))).unwrap();
        assert_eq!(paths(&world), ["a", "b", "c", "b", "c"]);
        let seen = &world.services.seen;
        assert_eq!(seen[3].request.body.as_deref(), Some("{\"edited\":true}"));
        assert_ne!(seen[1].key, seen[3].key, "another deed has another key");
        assert_ne!(seen[2].key, seen[4].key);
    });
}

#[test]
fn what_ran_beside_a_fault_is_not_done_again() {
    on_deep_stack(|| {
        let branch = json!({ "do": [{ "x": call("x") }, { "y": call("y") }] });
        let tasks = json!([{ "both": { "fork": { "branches": [{ "left": call("l") }, { "right": branch }] } } }]);
        let mut services = services(&[("l", &[500, 200]), ("x", &[200]), ("y", &[200])]);
        let left = services.answers.get_mut("POST http://s/l").unwrap();
        left.iter_mut().for_each(|answer| answer.after = 15);
        let mut world = World::new(compile(tasks), Datum::Null, services, 1);
        world.live();
        retry(&mut world, None, None).unwrap();
        assert_eq!(completed(&world.run), json!([{ "n": 1 }, { "n": 1 }]));
        // `y` was under way; its answer was not taken in, so it is called again with its key.
        assert_eq!(paths(&world), ["l", "x", "y", "y", "l"]);
        assert_eq!(world.services.seen[2].key, world.services.seen[3].key);
    });
}

#[test]
fn what_was_compensated_is_done_again_as_a_new_deed() {
    on_deep_stack(|| {
        let tasks = json!([{ "z": call("z") }, { "a": undone_by(call("a"), "undo-a") }, { "b": undone_by(call("b"), "undo-b") }, { "c": call("c") }]);
        let statuses: &[(&str, &[u16])] =
            &[("z", &[200]), ("a", &[200]), ("b", &[200]), ("c", &[500, 200]), ("undo-a", &[200]), ("undo-b", &[200])];
        let mut world = World::new(compile(tasks), Datum::Null, services(statuses), 1);
        world.live();
        let undone = Refusal::Undone { task: "c".to_owned(), undone: "a".to_owned() };
        assert_eq!(retry(&mut world, Some("c"), None), Err(undone));
        retry(&mut world, None, None).unwrap();
        completed(&world.run);
        assert_eq!(paths(&world), ["z", "a", "b", "c", "undo-b", "undo-a", "a", "b", "c"]);
        assert_ne!(world.services.seen[1].key, world.services.seen[6].key);
    });
}

#[test]
fn a_cancelled_or_timed_out_run_goes_on_with_all_its_time() {
    on_deep_stack(|| {
        let head = json!({ "dsl": "1.0.0", "namespace": "test", "name": "test", "version": "1.0.0" });
        let tasks = json!([{ "w": { "wait": "PT10S" } }, { "a": call("a") }, { "v": { "wait": "PT55S" } }]);
        let document = json!({ "document": head, "do": tasks, "timeout": { "after": "PT1M" } });
        let program = Arc::new(crate::compile::program(&document).unwrap());
        let mut world = World::new(program, Datum::Null, services(&[("a", &[200])]), 1);
        world.happens(EPOCH + 4_000, Event::Cancel { reason: "wait".to_owned() });
        world.live();
        assert_eq!(retry(&mut world, None, Some(json!(1))), Err(Refusal::NoInput));
        world.now = EPOCH + 1_000_000;
        retry(&mut world, None, None).unwrap();
        let Phase::Ended(Outcome::Faulted(fault)) = &world.run.phase else { panic!("{:?}", world.run.phase) };
        assert_eq!(fault.status, 408);
        world.now += 1_000_000;
        let again = world.now;
        retry(&mut world, None, None).unwrap();
        completed(&world.run);
        assert!(world.run.ended_at.unwrap() - again < 56_000);
    });
}

/// A journal with retries is replayed like any other, wherever the process dies.
#[test]
fn crashes_do_not_change_what_operators_did() {
    on_deep_stack(|| {
        for seed in 0..100 {
            let tasks = json!([{ "a": call("a") }, { "b": call("b") }, { "c": call("c") }]);
            let mut services = services(&[("a", &[200]), ("b", &[200]), ("c", &[500, 200])]);
            services.idempotent = true;
            let mut world = World::new(compile(tasks), Datum::Null, services, seed);
            world.crash_one_in = 3;
            world.live();
            assert!(matches!(world.run.phase, Phase::Ended(Outcome::Faulted(_))));
            retry(&mut world, Some("b"), None).unwrap();
            completed(&world.run);
            let mut keys: Vec<_> = world.services.seen.iter().map(|seen| seen.key.clone()).collect();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), 5, "seed {seed}: a, b, c, and b and c anew");
        }
    });
}

/// A retry goes back to where nothing was undone since: behind a scope that was undone and handled, before one that was not.
#[test]
fn a_retry_knows_what_sagas_have_undone() {
    let saga = |tasks: Value, more: Value| {
        let mut scope = json!({ "metadata": { "kapell.dev/v1": { "saga": {} } } });
        let key = if more.is_null() { "do" } else { "try" };
        scope[key] = tasks;
        if !more.is_null() {
            scope["catch"] = more;
        }
        scope
    };
    on_deep_stack(|| {
        let statuses: &[(&str, &[u16])] =
            &[("a", &[200]), ("c", &[500, 200]), ("d", &[500, 200]), ("h", &[200]), ("undo-a", &[200])];
        let body = json!([{ "a": undone_by(call("a"), "undo-a") }, { "c": call("c") }]);
        let handled = saga(body.clone(), json!({ "do": [{ "h": call("h") }] }));
        let tasks = json!([{ "scope": handled }, { "d": call("d") }]);
        let mut world = World::new(compile(tasks), Datum::Null, services(statuses), 1);
        world.live();
        retry(&mut world, None, None).unwrap();
        completed(&world.run);
        assert_eq!(paths(&world), ["a", "c", "undo-a", "h", "d", "d"]);

        let tasks = json!([{ "scope": saga(body, Value::Null) }]);
        let mut world = World::new(compile(tasks), Datum::Null, services(statuses), 1);
        world.live();
        let undone = Refusal::Undone { task: "c".to_owned(), undone: "a".to_owned() };
        assert_eq!(retry(&mut world, Some("c"), None), Err(undone));
        retry(&mut world, None, None).unwrap();
        completed(&world.run);
        assert_eq!(paths(&world), ["a", "c", "undo-a", "a", "c"]);
        assert_ne!(world.services.seen[0].key, world.services.seen[3].key);
    });
}
