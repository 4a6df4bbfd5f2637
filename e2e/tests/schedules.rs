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

/// Runs of it end when an event of type `go-NAME` comes.
fn apply_holding(kapell: &Kapell, name: &str, schedule: &str, settings: &str) {
    let head = format!("dsl: '1.0.0', namespace: default, name: {name}, version: '1.0.0'");
    let document = format!(
        "document: {{{head}, metadata: {{kapell.dev/v1: {{schedule: {settings}}}}}}}\n\
         schedule: {schedule}\n\
         do: [{{hear: {{listen: {{to: {{one: {{with: {{type: go-{name}}}}}}}}}}}}}]\n"
    );
    kapell.cli_with_input(&["apply", "-f", "-"], &document).ok();
}

fn until_it_listens(kapell: &Kapell, run: &str) {
    eventually(&format!("{run} listens"), || {
        let run = kapell.object("default", &format!("workflowrun/{run}"));
        run["status"]["waitingFor"].as_str()?.contains("listens").then_some(())
    });
}

fn name_of(run: &Value) -> String {
    run["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// The run of the workflow that is first in time and has not ended, once it hears what is said to it.
fn holding(kapell: &Kapell, workflow: &str) -> String {
    let name = eventually(&format!("a run of {workflow} goes on"), || {
        let runs = runs_of(kapell, workflow);
        runs.iter().find(|run| !has_ended(run)).map(name_of)
    });
    until_it_listens(kapell, &name);
    name
}

fn has_ended(run: &Value) -> bool {
    ["Completed", "Faulted", "Cancelled"].iter().any(|phase| run["status"]["phase"] == *phase)
}

fn let_go(kapell: &Kapell, workflow: &str, run: &str) -> Value {
    kapell.cli(&["workflow", "emit", "--type", &format!("go-{workflow}"), "--source", "/e2e"]).ok();
    kapell.cli(&["workflow", "wait", run]).ok();
    kapell.object("default", &format!("workflowrun/{run}"))
}

/// When the run was due, in seconds since the epoch.
fn due(workflow: &str, name: &str) -> i64 {
    let time = jiff::civil::DateTime::strptime(format!("{workflow}-%Y%m%dt%H%M%Sz"), name).unwrap();
    time.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second()
}

/// Waits until a schedule that lets runs overlap has started so many more, one each second.
fn seconds_pass(kapell: &Kapell, clock: &str, more: usize) {
    let before = runs_of(kapell, clock).len();
    eventually("time passes", || (runs_of(kapell, clock).len() >= before + more).then_some(()));
}

#[test]
fn after_counts_from_the_end_of_the_run_before() {
    let mut kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], EVERY_SECOND).ok();
    apply_holding(&kapell, "rest", "{after: {seconds: 1}}", "{}");
    let mut last_end: Option<i64> = None;
    for round in 0..3 {
        let run = holding(&kapell, "rest");
        if let Some(end) = last_end {
            // Times have whole seconds: it may have ended at the end of that one.
            assert!(
                due("rest", &run) > end + 1,
                "{run} began within a second after the end of the one before at {end}"
            );
        }
        seconds_pass(&kapell, "tick", 3);
        assert_eq!(runs_of(&kapell, "rest").len(), round + 1, "one at a time");
        if round == 1 {
            kapell.kill();
            kapell.restart();
            until_it_listens(&kapell, &run);
        }
        let ended = let_go(&kapell, "rest", &run);
        let end: jiff::Timestamp = ended["status"]["completionTime"].as_str().unwrap().parse().unwrap();
        last_end = Some(end.as_second());
    }
}

#[test]
fn overlap_is_as_the_workflow_says() {
    let kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], EVERY_SECOND).ok();
    for policy in ["allow", "skip", "queue", "replace"] {
        apply_holding(&kapell, policy, "{every: {seconds: 1}}", &format!("{{overlap: {policy}}}"));
    }
    let skip = holding(&kapell, "skip");
    let queue = holding(&kapell, "queue");
    seconds_pass(&kapell, "tick", 4);

    // Each due time has its run, and all go on.
    let allowed = runs_of(&kapell, "allow");
    assert!(allowed.len() >= 4 && !allowed.iter().any(has_ended), "{allowed:#?}");

    // The due times meanwhile have passed.
    assert_eq!(runs_of(&kapell, "skip").len(), 1);
    let passed = kapell.object("default", "workflow/skip")["status"]["schedule"]["lastTime"].clone();
    let passed: jiff::Timestamp = passed.as_str().unwrap().parse().unwrap();
    let_go(&kapell, "skip", &skip);
    let next = holding(&kapell, "skip");
    assert!(due("skip", &next) > passed.as_second(), "{next} was due while {skip} went on, at {passed} at the latest");

    // They have waited, and come one by one.
    assert_eq!(runs_of(&kapell, "queue").len(), 1);
    let_go(&kapell, "queue", &queue);
    let next = holding(&kapell, "queue");
    assert_eq!(due("queue", &next), due("queue", &queue) + 1);
    assert_eq!(runs_of(&kapell, "queue").len(), 2);

    // All but the latest are cancelled.
    eventually("the latest of several runs has replaced the others", || {
        let runs = runs_of(&kapell, "replace");
        let (_, former) = runs.split_last()?;
        let cancelled = former.iter().filter(|run| run["status"]["phase"] == "Cancelled").count();
        (cancelled >= 3 && cancelled == former.len()).then_some(())
    });
}
