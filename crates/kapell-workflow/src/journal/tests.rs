//! Journals of every released version stay readable. `WRITE_FIXTURES=1` writes those of the present version anew,
//! which is right only before its release.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::{JournalError, decode, definition, encode, replay};
use crate::core::correlation::Match;
use crate::core::record::{Body, Entry, Identity, Record, Request, TimerId, TimerKind};
use crate::core::state::{Outcome, Phase};
use crate::expression::Datum;
use crate::expression::outline::Kept;
use crate::fault::{Fault, Standard};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/journal").join(name)
}

/// One record after the other, each on a line of its own behind its version.
fn read(name: &str) -> Vec<Bytes> {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    let records = text.lines().map(|line| {
        let (version, json) = line.split_once(' ').unwrap();
        let mut record = vec![version.parse::<u8>().unwrap()];
        record.extend_from_slice(json.as_bytes());
        Bytes::from(record)
    });
    records.collect()
}

fn write(name: &str, records: &[Bytes]) {
    let lines: String =
        records.iter().map(|record| format!("{} {}\n", record[0], String::from_utf8_lossy(&record[1..]))).collect();
    std::fs::write(fixture(name), lines).unwrap();
}

/// A run that calls, waits, retries, faults and compensates.
fn journal() -> Vec<Bytes> {
    let call = |uri: &str| json!({ "call": "http", "with": { "method": "post", "endpoint": uri, "body": { "n": 1 } } });
    let mut reserve = call("http://stock/reserve");
    reserve["metadata"] = json!({ "kapell.dev/v1": { "compensate": [{ "release": { "set": {} } }] } });
    reserve["export"] = json!({ "as": "{ reserved: .id }" });
    let workflow = json!({
        "document": { "dsl": "1.0.0", "namespace": "shop", "name": "order", "version": "1.0.0" },
        "timeout": { "after": "PT1H" },
        "do": [
            { "skipped": { "if": "false", "set": {} } },
            { "nothing": { "set": {}, "output": { "as": "null" } } },
            { "reserve": reserve },
            { "pause": { "wait": "PT1S" } },
            { "loop": { "for": { "in": "[1]" }, "do": [{ "choose": { "switch": [{ "one": { "when": "$item == 1", "then": "continue" } }] } }] } },
            { "attempt": { "try": [{ "charge": call("http://payment/charge") }], "catch": { "retry": { "delay": "PT1S", "limit": { "attempt": { "count": 1 } } } } } },
        ],
    });
    let program = Arc::new(crate::compile::program(&workflow).unwrap());
    let answers = |status, body: &'static str| {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let reply = crate::core::exchange::Reply { status, headers, body: body.into() };
        crate::core::simulation::Answer { after: 5, result: Ok(reply) }
    };
    let services = [
        ("POST http://stock/reserve".to_owned(), [answers(200, "{\"id\":7}")].into()),
        ("POST http://payment/charge".to_owned(), [answers(402, "{\"message\":\"balance too low\"}")].into()),
    ];
    let services = crate::core::simulation::Services::new(services.into());
    let mut world = crate::core::simulation::World::new(program, Datum::Null, services, 1);
    world.live();
    world.journal
}

#[test]
fn version_1_can_be_read() {
    if std::env::var_os("WRITE_FIXTURES").is_some() {
        write("v1-order.txt", &journal());
    }
    let entries = decode(&read("v1-order.txt")).unwrap();
    let program = crate::compile::program(&definition(&entries).unwrap().to_value()).unwrap();
    let run = replay(Arc::new(program), &entries).unwrap();
    let Phase::Ended(Outcome::Faulted(fault)) = &run.phase else { panic!("{:?}", run.phase) };
    assert_eq!((fault.status, fault.instance.as_deref()), (402, Some("/do/5/attempt/try/0/charge")));
    assert_eq!(run.compensation.as_str(), "Done");

    let program = crate::compile::program(&definition(&entries).unwrap().to_value()).unwrap();
    let timeline = crate::timeline::timeline(Arc::new(program), &entries).unwrap();
    let lines = timeline["items"].as_array().unwrap().iter().map(|item| {
        let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let line = format!("{} {} {} {}", text("name"), item["attempt"], text("outcome"), text("detail"));
        line.trim_end().to_owned()
    });
    let declined = "POST http://payment/charge answered 402 Payment Required: balance too low";
    let expected = [
        "skipped 1 Skipped".to_owned(),
        "nothing 1 Completed".to_owned(),
        "reserve 1 Compensated".to_owned(),
        "pause 1 Completed".to_owned(),
        "loop 1 Completed".to_owned(),
        "choose 1 Completed case one".to_owned(),
        format!("attempt 1 Faulted {declined}"),
        format!("charge 1 Retrying {declined}"),
        format!("charge 2 Faulted {declined}"),
        "release 1 Completed undoes reserve".to_owned(),
    ];
    assert_eq!(lines.collect::<Vec<_>>(), expected);
}

/// The same run makes the same journal: a change here is a change of the format.
#[test]
fn version_1_is_what_is_written() {
    assert_eq!(journal(), read("v1-order.txt"));
}

/// A run that hands a long text from task to task, to a service and back.
fn long_journal() -> Vec<Bytes> {
    let workflow = json!({
        "document": { "dsl": "1.0.0", "namespace": "shop", "name": "long", "version": "1.0.0" },
        "do": [
            { "double": { "set": { "n": 1, "text": "${ .text + .text }" } } },
            { "again": { "set": { "n": 2, "text": "${ .text }" } } },
            { "store": { "call": "http", "with": { "method": "post", "endpoint": "http://store/", "body": "${ .text }" } } },
        ],
    });
    let program = Arc::new(crate::compile::program(&workflow).unwrap());
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let reply = crate::core::exchange::Reply { status: 200, headers, body: "{\"stored\":true}".into() };
    let answer = crate::core::simulation::Answer { after: 5, result: Ok(reply) };
    let services = [("POST http://store/".to_owned(), [answer].into())];
    let services = crate::core::simulation::Services::new(services.into());
    let input = Datum::from_json(&json!({ "text": "long ".repeat(4_000) })).unwrap();
    let mut world = crate::core::simulation::World::new(program, input, services, 1);
    world.live();
    world.journal
}

#[test]
fn version_2_can_be_read_and_is_what_is_written() {
    if std::env::var_os("WRITE_FIXTURES").is_some() {
        write("v2-long.txt", &long_journal());
    }
    let records = read("v2-long.txt");
    assert_eq!(long_journal(), records);
    let payloads = records.iter().filter(|record| record[0] == super::PAYLOAD).count();
    // The text, which is the body as well.
    assert_eq!(payloads, 1);
    let entries = decode(&records).unwrap();
    let program = crate::compile::program(&definition(&entries).unwrap().to_value()).unwrap();
    let run = replay(Arc::new(program), &entries).unwrap();
    let stored = Datum::from_json(&json!({ "stored": true })).unwrap();
    assert_eq!(run.phase, Phase::Ended(Outcome::Completed(stored)));
    let request = entries.iter().find_map(|entry| match &entry.1 {
        Record::Entered { body: Body::Call(request), .. } => request.body.clone(),
        _ => None,
    });
    assert_eq!(request, Some("long ".repeat(8_000)));
}

/// Ten megabytes that pass through ten tasks are kept once, also across a restart.
#[test]
fn a_payload_is_kept_once() {
    let tasks: Vec<_> = (0..10)
        .map(|n| json!({ format!("t{n}"): { "set": { "n": n, "payload": "${ .payload }" }, "export": { "as": "${ . }" } } }))
        .collect();
    let workflow = json!({
        "document": { "dsl": "1.0.0", "namespace": "shop", "name": "big", "version": "1.0.0" }, "do": tasks,
    });
    let program = Arc::new(crate::compile::program(&workflow).unwrap());
    let payload = "y".repeat(10 << 20);
    let input = Datum::from_json(&json!({ "payload": payload })).unwrap();
    let services = crate::core::simulation::Services::default();
    let mut world = crate::core::simulation::World::new(program, input, services, 1);
    world.crash_one_in = 3;
    crate::expression::meter::on_deep_stack(|| world.live());
    let total: usize = world.journal.iter().map(Bytes::len).sum();
    assert!(total < payload.len() + (64 << 10), "{total} bytes");
    assert!(world.run.is_ended());
}

/// A run whose extension posts before each of two tasks, and is undone. Written before extensions were told apart by the task
/// that they extend: both posts had the same key, so the second took the place of the first.
#[test]
fn a_journal_whose_extensions_share_a_key_goes_on_with_it() {
    let entries = decode(&read("v1-extended.txt")).unwrap();
    let program = Arc::new(crate::compile::program(&definition(&entries).unwrap().to_value()).unwrap());
    let run = replay(program.clone(), &entries).unwrap();
    assert!(matches!(run.phase, Phase::Ended(Outcome::Faulted(_))), "{:?}", run.phase);
    let mut keys = Vec::new();
    crate::core::rewind::replay(program, &entries, |run, _| {
        keys.extend(run.pending().into_iter().filter_map(|effect| match effect {
            crate::core::state::Effect::Call { key, .. } => Some(key),
            _ => None,
        }));
    })
    .unwrap();
    keys.dedup();
    let note = "/use/extensions/0/log/before/0/note#0";
    assert!(keys.starts_with(&[note.to_owned()]) && keys[1].starts_with(&format!("undo:{note};")), "{keys:?}");
    assert_eq!(keys.len(), 2, "asked again under the key of before: {keys:?}");
    let undone = entries.iter().filter(|entry| matches!(entry.1, Record::Undoing)).count();
    assert_eq!(undone, 1);
}

#[test]
fn every_record_survives_its_encoding() {
    let fault = Fault::new(Standard::Timeout, "/do/0/a", "late");
    let run =
        Identity { uid: "u".into(), namespace: "n".into(), name: "r".into(), workflow: "w".into(), secrets: None };
    let request = Request {
        method: "GET".into(),
        uri: "http://a/".into(),
        headers: vec![("a".into(), "b".into())],
        ..Request::default()
    };
    let timer = TimerId { frame: 3, kind: TimerKind::Attempt };
    let null = Some(Datum::Null);
    let records = [
        Record::Started {
            run: run.clone(),
            definition: Datum::Null,
            input: Datum::Float(1.5),
            extensions_apart: false,
        },
        Record::Started { run, definition: Datum::Null, input: Datum::Null, extensions_apart: true },
        Record::Opened { input: null.clone(), deadline: Some(1) },
        Record::Opened { input: None, deadline: None },
        Record::Skipped,
        Record::Entered { input: null.clone(), deadline: None, body: Body::Call(Box::new(request)) },
        Record::Entered { input: None, deadline: Some(2), body: Body::Plain },
        Record::Entered { input: None, deadline: None, body: Body::Wait(5) },
        Record::Entered { input: None, deadline: None, body: Body::For(Datum::Null) },
        Record::Entered { input: None, deadline: None, body: Body::Listen { from: 3, expected: Vec::new() } },
        Record::Entered {
            input: None,
            deadline: None,
            body: Body::Listen { from: 3, expected: vec![Default::default(), [("k".to_owned(), Datum::Null)].into()] },
        },
        Record::Emitted { event: Datum::Null },
        Record::Heard {
            frame: 1,
            position: 4,
            met: Match { filter: 1, binds: [("k".to_owned(), Datum::Int(1))].into() },
            event: Datum::Null,
        },
        Record::Heard {
            frame: 1,
            position: 5,
            met: Match { filter: 0, binds: Default::default() },
            event: Datum::Null,
        },
        Record::Unfulfilled,
        Record::Signalled { event: Datum::Null },
        Record::Received { signal: 1, met: Match { filter: 0, binds: Default::default() } },
        Record::RollingBack,
        Record::RolledBack,
        Record::Collected { output: null.clone(), context: null.clone() },
        Record::Collected { output: None, context: None },
        Record::Iterated,
        Record::Left { output: null.clone(), context: null.clone(), case: Some(1) },
        Record::Left { output: None, context: None, case: None },
        Record::Faulted { fault: Some(fault.clone()) },
        Record::Faulted { fault: None },
        Record::Caught { retry: Some(9) },
        Record::Caught { retry: None },
        Record::Answered { frame: 1, output: Datum::Null },
        Record::Failed { frame: 1, fault: fault.clone() },
        Record::Fired { timer },
        Record::Cancelled { reason: "x".into() },
        Record::Aborted { fault },
        Record::Concluded { output: null },
        Record::Concluded { output: None },
        Record::Undoing,
        Record::UndoFailed { retry: Some(1) },
        Record::Ended,
    ];
    let entries: Vec<Entry> = records.into_iter().map(|record| Entry(7, record)).collect();
    assert_eq!(decode(&encode(&entries, &mut Kept::new())).unwrap(), entries);
}

#[test]
fn what_is_not_a_journal_is_refused() {
    assert!(matches!(decode(&[Bytes::new()]), Err(JournalError::Empty)));
    assert!(matches!(decode(&[Bytes::from_static(b"\x09[]")]), Err(JournalError::Version(0, 9))));
    assert!(matches!(decode(&[Bytes::from_static(b"\x01[[1,{\"what\":{}}]]")]), Err(JournalError::Format { .. })));
    let out_of_order = encode(&[Entry(0, Record::Ended)], &mut Kept::new());
    assert!(matches!(definition(&decode(&out_of_order).unwrap()), Err(JournalError::NoStart)));
    let mut entries = decode(&read("v1-order.txt")).unwrap();
    let program = Arc::new(crate::compile::program(&definition(&entries).unwrap().to_value()).unwrap());
    entries.remove(2);
    assert!(matches!(replay(program, &entries), Err(JournalError::Misfit(_))));
}
