//! Schedules against the real server: once for each due time, across kills; events that start runs.

use std::collections::BTreeSet;
use std::time::Duration;

use kapell_e2e::{Kapell, eventually};
use serde_json::Value;

const EVERY_SECOND: &str = r#"
document:
  dsl: '1.0.0'
  namespace: default
  name: tick
  version: '1.0.0'
  metadata: {kapell.dev/v1: {schedule: {catchUp: all}}}
schedule: {every: {seconds: 1}}
do:
- mark: {set: {done: true}}
"#;

const ON_EVENTS: &str = r#"
document: {dsl: '1.0.0', namespace: default, name: paired, version: '1.0.0'}
schedule:
  on:
    all:
    - {with: {type: left}, correlate: {pair: {from: .data.pair}}}
    - {with: {type: right}, correlate: {pair: {from: .data.pair}}}
do:
- tell: {set: {types: "${ map(.type) }", pair: "${ .[0].data.pair }"}}
"#;

fn runs_of(kapell: &Kapell, workflow: &str) -> Vec<Value> {
    let list = kapell.cli(&["get", "workflowruns", "-l", &format!("kapell.dev/schedule={workflow}"), "-o", "json"]);
    list.ok().json()["items"].as_array().cloned().unwrap_or_default()
}

/// Seconds since the epoch, from `tick-20260101t000000z`.
fn second(run: &Value) -> i64 {
    let name = run["metadata"]["name"].as_str().unwrap();
    let time = jiff::civil::DateTime::strptime("tick-%Y%m%dt%H%M%Sz", name).unwrap();
    time.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second()
}

#[test]
fn each_second_has_its_run_across_kills() {
    let mut kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], EVERY_SECOND).ok();
    for round in 1..=3 {
        eventually("runs are started", || (runs_of(&kapell, "tick").len() > round * 2).then_some(()));
        kapell.kill();
        // Some due times pass while nobody is there.
        std::thread::park_timeout(Duration::from_millis(rand::random_range(500..2_500)));
        kapell.restart();
    }
    let workflow = kapell.object("default", "workflow/tick");
    assert!(workflow["status"]["schedule"]["nextTime"].is_string(), "{workflow:#}");
    let before = workflow["status"]["schedule"]["lastRun"].clone();
    eventually("it goes on", || {
        let workflow = kapell.object("default", "workflow/tick");
        (workflow["status"]["schedule"]["lastRun"] != before).then_some(())
    });
    let seconds: Vec<i64> = runs_of(&kapell, "tick").iter().map(second).collect();
    let distinct: BTreeSet<i64> = seconds.iter().copied().collect();
    assert_eq!(distinct.len(), seconds.len());
    let (first, last) = (*distinct.first().unwrap(), *distinct.last().unwrap());
    assert_eq!(distinct.len() as i64, last - first + 1, "a due time is missing: {distinct:?}");
}

#[test]
fn events_start_runs_once_across_a_kill() {
    let mut kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], ON_EVENTS).ok();
    eventually("the schedule is noted", || {
        kapell.object("default", "workflow/paired")["status"]["schedule"]["position"].is_u64().then_some(())
    });
    let emit = |kapell: &Kapell, type_: &str, pair: u32, id: &str| {
        let data = format!("{{\"pair\": {pair}}}");
        kapell.cli(&["workflow", "emit", "--type", type_, "--source", "/e2e", "--id", id, "--payload", &data]).ok();
    };
    emit(&kapell, "left", 1, "a");
    emit(&kapell, "right", 2, "b");
    kapell.kill();
    kapell.restart();
    emit(&kapell, "right", 1, "c");
    let run = eventually("a run is started", || runs_of(&kapell, "paired").into_iter().next());
    let name = run["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(name, "paired-e2");
    let output = kapell.cli(&["workflow", "wait", &name]).ok().json();
    assert_eq!(output, serde_json::json!({"types": ["left", "right"], "pair": 1}));
    kapell.kill();
    kapell.restart();
    emit(&kapell, "left", 3, "d");
    emit(&kapell, "right", 3, "e");
    eventually("another one is started", || (runs_of(&kapell, "paired").len() == 2).then_some(()));
}
