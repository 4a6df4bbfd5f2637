use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::{Due, Verdict, due, judge, run_name};
use crate::core::record::Time;
use crate::program::schedule::{Overlap, Schedule};

fn schedule(schedule: Value, ours: Value) -> Schedule {
    let document = json!({
        "document": {
            "dsl": "1.0.0", "namespace": "t", "name": "t", "version": "1.0.0",
            "metadata": { "kapell.dev/v1": { "schedule": ours } },
        },
        "schedule": schedule,
        "do": [{ "a": { "set": {} } }],
    });
    crate::compile::program(&document).unwrap_or_else(|problems| panic!("{problems:?}")).schedule.unwrap()
}

fn at(text: &str) -> Time {
    text.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{text}: {error}")).as_millisecond()
}

fn show(time: Time) -> String {
    jiff::Timestamp::from_millisecond(time).unwrap().to_string()
}

/// The next five due times after `from`.
fn following(schedule: &Schedule, anchor: &str, from: &str) -> Vec<String> {
    let mut times = Vec::new();
    let mut time = at(from);
    for _ in 0..5 {
        let Some(next) = super::next(schedule, at(anchor), time) else { break };
        time = next;
        times.push(show(next));
    }
    times
}

#[test]
fn cron_follows_the_calendar_and_the_clock_of_its_zone() {
    let cases = [
        ("0 2 * * *", "UTC", "2026-01-01T00:00:00Z", ["2026-01-01T02:00:00Z", "2026-01-02T02:00:00Z"]),
        // Leap days.
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ("0 0 L * *", "UTC", "2027-12-31T12:00:00Z", ["2028-01-31T00:00:00Z", "2028-02-29T00:00:00Z"]),
        // Berlin springs from 02:00 to 03:00 on 2026-03-29: 02:30 does not exist, and the job runs once all the same.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
        // It falls back from 03:00 to 02:00 on 2026-10-25: 02:30 exists twice, and the job runs once.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
        // What runs each hour runs in both.
        ("0 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", ["2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"]),
        ("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", ["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]),
        (
            "0 9 * * MON-FRI",
            "America/New_York",
            "2026-03-06T15:00:00Z",
            ["2026-03-09T13:00:00Z", "2026-03-10T13:00:00Z"],
        ),
        ("15 30 9 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", ["2026-01-01T04:00:15Z", "2026-01-02T04:00:15Z"]),
    ];
    for (cron, zone, from, expected) in cases {
        let schedule = schedule(json!({ "cron": cron }), json!({ "timeZone": zone }));
        assert_eq!(following(&schedule, from, from)[..2], expected, "{cron} in {zone} after {from}");
    }
}

#[test]
fn every_counts_from_its_beginning() {
    let schedule = schedule(json!({ "every": { "hours": 6 } }), json!({}));
    let times = following(&schedule, "2026-01-01T00:10:00Z", "2026-01-01T13:00:00Z");
    assert_eq!(times[..2], ["2026-01-01T18:10:00Z", "2026-01-02T00:10:00Z"]);
    // Time does not run backwards for it, but a clock may.
    assert_eq!(following(&schedule, "2026-01-01T00:10:00Z", "2025-12-01T00:00:00Z")[0], "2026-01-01T06:10:00Z");
}

#[test]
fn several_kinds_of_times_are_merged() {
    let schedule = schedule(json!({ "every": { "hours": 1 }, "cron": "0 2 * * *" }), json!({}));
    let times = following(&schedule, "2026-01-01T00:30:00Z", "2026-01-01T01:00:00Z");
    assert_eq!(times[..3], ["2026-01-01T01:30:00Z", "2026-01-01T02:00:00Z", "2026-01-01T02:30:00Z"]);
}

#[test]
fn what_was_missed_is_caught_up_as_the_policy_says() {
    let anchor = at("2026-01-01T00:00:00Z");
    let hour = |hour: i64| anchor + hour * 3_600_000;
    // (policy, last, now in minutes) → due hours, passed, next hour
    type Case<'a> = (&'a str, Option<i64>, i64, &'a [i64], usize, i64);
    let cases: [Case<'_>; 10] = [
        ("latest", None, 30, &[], 0, 1),
        ("latest", None, 60, &[1], 0, 2),
        ("latest", Some(1), 60, &[], 0, 2),
        ("latest", Some(1), 330, &[5], 3, 6),
        // On time, so what was missed before it need not be made up for.
        ("latest", Some(1), 300, &[5], 3, 6),
        ("skip", Some(1), 330, &[], 4, 6),
        ("skip", Some(1), 300, &[5], 3, 6),
        ("all", Some(1), 330, &[2, 3, 4, 5], 0, 6),
        // The clock was set back.
        ("all", Some(5), 60, &[], 0, 6),
        ("all", None, 60, &[1], 0, 2),
    ];
    for (policy, last, minutes, times, passed, next) in cases {
        let schedule = schedule(json!({ "every": "PT1H" }), json!({ "catchUp": policy }));
        let found = due(&schedule, anchor, last.map(hour), anchor + minutes * 60_000);
        let expected = Due { times: times.iter().copied().map(hour).collect(), passed, next: Some(hour(next)) };
        assert_eq!(found, expected, "{policy}, last {last:?}, after {minutes} minutes");
    }
}

#[test]
fn long_absence_is_bounded() {
    let anchor = at("2026-01-01T00:00:00Z");
    let year = anchor + 365 * 86_400_000;
    for when in [json!({ "every": { "seconds": 1 } }), json!({ "cron": "* * * * * *" })] {
        let all = due(&schedule(when.clone(), json!({ "catchUp": "all" })), anchor, None, year);
        assert_eq!((all.times.len(), all.times.last()), (100, Some(&year)), "{when}");
        let queued = due(&schedule(when.clone(), json!({ "overlap": "queue" })), anchor, None, year);
        assert_eq!(queued.times.len(), 100, "{when}");
    }
}

#[test]
fn overlaps_are_resolved_as_the_policy_says() {
    let verdict = |start: &[Time], cancel, last| Verdict { start: start.to_vec(), cancel, last };
    let cases = [
        (Overlap::Allow, true, verdict(&[1, 2], false, Some(2))),
        (Overlap::Skip, true, verdict(&[], false, Some(2))),
        (Overlap::Skip, false, verdict(&[1], false, Some(2))),
        (Overlap::Queue, true, verdict(&[], false, None)),
        (Overlap::Queue, false, verdict(&[1], false, Some(1))),
        (Overlap::Replace, true, verdict(&[2], true, Some(2))),
        (Overlap::Replace, false, verdict(&[2], false, Some(2))),
    ];
    for (overlap, is_running, expected) in cases {
        assert_eq!(judge(overlap, is_running, &[1, 2]), expected, "{overlap:?}, running: {is_running}");
        assert_eq!(judge(overlap, is_running, &[]), Verdict::default(), "{overlap:?}");
    }
}

#[test]
fn names_say_when() {
    assert_eq!(run_name("nightly", at("2026-03-29T01:00:00Z")), "nightly-20260329t010000z");
}

/// What the desk does at each look, when crashes come between the runs and the status and the clock jumps. Schedules have no
/// part in the core's storm: what they start are objects, and what they remember stands in the Workflow's status.
#[test]
fn a_storm_of_crashes_and_clock_jumps_starts_each_due_time_once() {
    let mut schedules =
        [1, 2, 5].map(|every| (every, schedule(json!({ "every": { "seconds": every } }), json!({ "catchUp": "all" }))));
    let mut complete = 0;
    for seed in 0..2_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let overlap = [Overlap::Allow, Overlap::Skip, Overlap::Queue, Overlap::Replace][rng.random_range(0..4)];
        let (every, schedule) = &mut schedules[rng.random_range(0..3)];
        schedule.overlap = overlap;
        // Due times of runs, and whether they go on; what the status says.
        let mut runs: BTreeMap<Time, bool> = BTreeMap::new();
        let mut last = None;
        let mut now = 0;
        // More due times than count have come together.
        let mut overrun = false;
        for _ in 0..80 {
            match rng.random_range(0..10) {
                0..=4 => now += rng.random_range(0..4_000),
                // Nobody is there.
                5 => now += rng.random_range(0..60_000),
                6 => now -= rng.random_range(0..3_000),
                _ => {
                    let going_on: Vec<Time> = runs.iter().filter(|(_, goes_on)| **goes_on).map(|(at, _)| *at).collect();
                    let ends = going_on.get(rng.random_range(0..=going_on.len()));
                    runs.extend(ends.map(|at| (*at, false)));
                }
            }
            let is_running = runs.values().any(|goes_on| *goes_on);
            let due = due(schedule, 0, last, now);
            overrun |= due.passed > 0;
            let verdict = judge(overlap, is_running, &due.times);
            if verdict.cancel {
                runs.values_mut().for_each(|goes_on| *goes_on = false);
            }
            let mut crashed = rng.random_range(0..8) == 0;
            for at in verdict.start {
                assert!(last.is_none_or(|last| at > last) && at <= now, "seed {seed}: {at} again, or too early");
                if crashed && rng.random_range(0..2) == 0 {
                    break;
                }
                // One that exists is not created again.
                runs.entry(at).or_insert(true);
                crashed |= rng.random_range(0..20) == 0;
            }
            if !crashed {
                last = verdict.last.or(last);
            }
            let going_on = runs.values().filter(|goes_on| **goes_on).count();
            assert!(overlap == Overlap::Allow || going_on <= 1, "seed {seed}: {going_on} at a time");
        }
        let until = last.unwrap_or(0);
        let expected = (1..).map(|n| n * *every * 1000).take_while(|at| *at <= until);
        if matches!(overlap, Overlap::Allow | Overlap::Queue) && !overrun {
            complete += 1;
            let dealt_with: Vec<Time> = runs.keys().copied().filter(|at| *at <= until).collect();
            assert_eq!(dealt_with, expected.collect::<Vec<Time>>(), "seed {seed}: one is missing");
        }
    }
    assert!(complete > 500, "{complete}");
}
