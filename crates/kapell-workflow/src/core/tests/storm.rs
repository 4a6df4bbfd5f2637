//! Every case of the language in a world that misbehaves, held against the same run in a calm one.
//!
//! Crashes before, in the middle of and after each write, full disks, requests that arrive twice, answers that come late or twice, and
//! clocks that are set: the run has to end in the same way, having done the same deeds, each once in its journal. `SIMULATED_RUNS=100000 cargo test
//! --release -p kapell-workflow --lib -- --ignored a_hundred_thousand` takes minutes; a failure prints the case and the seed.

use std::collections::BTreeMap;

use super::*;
use crate::core::record::{Entry, Record, TimerId, TimerKind};
use crate::core::simulation::Trouble;

/// What a world may do to a case without changing what has to come of it.
#[derive(Clone, Copy, PartialEq)]
enum Weather {
    /// Anything.
    Storm,
    /// Everything that takes no time: someone publishes or cancels at a certain time.
    Squall,
    /// Nothing: it is about how long things take, or about an endless expression, which ends at the first of several bounds.
    Calm,
}

fn weather(case: &Case) -> Weather {
    let workflow = case.fields["workflow"].to_string();
    let mentions = |words: &[&str]| words.iter().any(|word| workflow.contains(word));
    let has = |fields: &[&str]| fields.iter().any(|field| case.fields.contains_key(*field));
    if mentions(&["timeout", "compete", "duration", "000000000", "startedAt"]) || has(&["took"]) {
        Weather::Calm
    } else if mentions(&["listen"]) || has(&["cancelAt", "events", "signals"]) {
        Weather::Squall
    } else {
        Weather::Storm
    }
}

fn trouble(weather: Weather) -> Trouble {
    let squall = Trouble { torn: 4, duplicate: 3, late: 2, ..Trouble::default() };
    match weather {
        Weather::Storm => Trouble { full_disk: 4, clock_jump: 4, ..squall },
        Weather::Squall => squall,
        Weather::Calm => Trouble::default(),
    }
}

/// The model: what a run is to come to, whatever happens.
#[derive(Debug, PartialEq)]
struct Outline {
    outcome: String,
    compensation: &'static str,
    /// Each deed in the journal, with how often it was completed.
    deeds: BTreeMap<String, u32>,
    /// What services were asked for, each under its key.
    calls: Vec<String>,
    /// What was undone, in order.
    undone: Vec<String>,
}

fn outline(world: &World, name: &str) -> Outline {
    let entries = world.entries();
    let mut run = crate::core::state::Run::start(world.run.program.clone(), &entries[0]).unwrap();
    let mut deeds: BTreeMap<String, u32> = BTreeMap::new();
    let mut undone = Vec::new();
    let mut fired: BTreeMap<TimerId, u32> = BTreeMap::new();
    for entry in &entries[1..] {
        match &entry.1 {
            Record::Left { .. } => {
                if let Some(frame) = run.agenda.front().and_then(|action| run.frames.get(&action.frame())) {
                    *deeds.entry(run.key(frame)).or_default() += 1;
                }
            }
            Record::Undoing => undone.extend(run.next_undone(run.agenda.front()).map(|done| done.key.clone())),
            // The timer of compensations is used again and again.
            Record::Fired { timer } if timer.kind != TimerKind::Undo => {
                *fired.entry(*timer).or_default() += 1;
            }
            _ => {}
        }
        run.apply(entry).unwrap();
        if let Entry(_, Record::Caught { retry: Some(_) }) = entry {
            // The next attempt has timers of the same name.
            fired.clear();
        }
    }
    assert!(fired.values().all(|times| *times == 1), "{name}: a timer rang twice: {fired:?}");
    let mut calls = distinct_calls(world);
    calls.sort();
    Outline {
        outcome: format!("{:?}", outcome(world, name)),
        compensation: world.run.compensation.as_str(),
        deeds,
        calls,
        undone,
    }
}

/// Runs cases in turn until `runs` have been; returns how often something went wrong on purpose.
fn storm(runs: u64) -> u32 {
    let cases: Vec<Case> = cases().into_iter().filter(|case| weather(case) != Weather::Calm).collect();
    let mut calm_ones = Vec::new();
    for case in &cases {
        let program = case.program().unwrap();
        let mut calm = world_of(case, program.clone(), 1);
        calm.live();
        // Flaky services answer by the number of the attempt, which crashes multiply.
        let flaky = calm.services.answers.values().any(|answers| answers.len() > 1)
            || distinct_calls(&calm).len() != calm.services.seen.len();
        // What is done beside a fault may come before or after it.
        let races = matches!(outcome(&calm, &case.name), Outcome::Faulted(_))
            && ["fork", "dag", "parallel"].iter().any(|word| case.fields["workflow"].to_string().contains(word));
        if !flaky && !races {
            calm_ones.push((case, program, outline(&calm, &case.name)));
        }
    }
    let squalls = calm_ones.iter().filter(|(case, ..)| weather(case) == Weather::Squall).count();
    assert!(calm_ones.len() >= 80 && squalls >= 20, "only {} cases, {squalls} with events", calm_ones.len());
    let mut wrongs = 0;
    for seed in 0..runs {
        let (case, program, calm) = &calm_ones[(seed % calm_ones.len() as u64) as usize];
        let mut wild = world_of(case, program.clone(), seed);
        wild.services.idempotent = true;
        wild.crash_one_in = 3 + (seed % 5) as u32;
        wild.trouble = trouble(weather(case));
        wild.live();
        wrongs += wild.crashes + wild.trouble.count;
        let context = format!("{} with seed {seed}", case.name);
        assert_eq!(&outline(&wild, &context), calm, "{context}");
        let replayed = wild.replayed();
        assert_eq!(format!("{:?}", replayed.phase), format!("{:?}", wild.run.phase), "{context}: replay");
    }
    wrongs
}

#[test]
fn nothing_is_lost_or_done_twice_in_a_storm() {
    let wrongs = on_deep_stack(|| storm(1_500));
    assert!(wrongs > 1_500, "only {wrongs}");
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_thousand_runs_in_a_storm() {
    let runs = std::env::var("SIMULATED_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(100_000);
    let wrongs = on_deep_stack(|| storm(runs));
    assert!(u64::from(wrongs) > runs, "only {wrongs}");
}
