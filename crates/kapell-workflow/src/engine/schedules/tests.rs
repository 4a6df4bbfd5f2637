use kapell_api::workflow::ScheduleStatus;
use serde_json::json;

use super::{Started, after_the_last};

const BEGUN: i64 = 1_000_000;

/// `after` counts from the end of the run before, whose end is known or not; names have whole seconds.
#[test]
fn after_counts_from_the_end_of_the_run_before() {
    let document = json!({
        "document": { "dsl": "1.0.0", "namespace": "t", "name": "t", "version": "1.0.0" },
        "schedule": { "after": { "seconds": 10 } },
        "do": [{ "a": { "set": {} } }],
    });
    let program = crate::compile::program(&document).unwrap();
    let schedule = program.schedule.as_ref().unwrap();
    let none = ScheduleStatus::default();
    let one = ScheduleStatus { last_run: Some("one".to_owned()), ..ScheduleStatus::default() };
    let going_on = Started { going_on: ["one".to_owned()].into(), ..Started::default() };
    let ended = |at| Started { ended: [("one".to_owned(), at)].into(), ..Started::default() };
    for (status, started, last, expected) in [
        // The first at once, and none while one goes on.
        (&none, Started::default(), None, Some(BEGUN)),
        (&one, going_on, Some(BEGUN), None),
        // It may have ended at the end of that second.
        (&one, ended(BEGUN + 5_000), Some(BEGUN), Some(BEGUN + 16_000)),
        // One that was deleted ended when it began, as far as anybody knows; never two within a second.
        (&one, Started::default(), Some(BEGUN), Some(BEGUN + 10_000)),
        (&one, ended(BEGUN - 20_000), Some(BEGUN), Some(BEGUN + 1_000)),
    ] {
        assert_eq!(after_the_last(schedule, status, &started, BEGUN, last), expected, "{status:?} {last:?}");
    }
}
