use serde_json::{Value, json};

use super::*;

fn known(change: Value) -> KnownRun {
    let mut run = json!({
        "metadata": {
            "name": "r", "namespace": "n", "uid": "00000000-0000-0000-0000-000000000007", "resourceVersion": "9",
            "labels": { SCHEDULE_LABEL: "w" },
        },
        "spec": { "workflow": "w", "input": { "large": "x".repeat(10_000) } },
        "status": { "phase": "Completed", "completionTime": "2026-01-01T00:00:00Z", "output": "x".repeat(10_000) },
    });
    for (pointer, value) in change.as_object().unwrap() {
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        run.pointer_mut(parent).unwrap()[member] = value.clone();
    }
    RunReader::default().read(serde_json::from_value(run).unwrap())
}

#[test]
fn of_an_ended_run_only_what_is_read_of_thousands_is_kept() {
    let run = known(json!({}));
    assert!(run.whole().is_none() && run.is_final());
    assert_eq!((run.key(), run.workflow()), (ObjectKey::new("n", "r"), ObjectKey::new("n", "w")));
    assert_eq!(run.scheduled_by(), Some(run.workflow()));
    assert_eq!((run.stream(), run.identity().version), (stream_of("00000000-0000-0000-0000-000000000007"), "9"));
    assert_eq!(run.ended_at, Some(1_767_225_600_000));
    // The texts of their own are the name, the UID and the version.
    assert!(size_of::<KnownRun>() <= 128, "{}", size_of::<KnownRun>());
}

#[test]
fn all_is_kept_of_a_run_about_which_there_is_something_to_do() {
    let cases = [
        (json!({ "/status/phase": "Running" }), true),
        (json!({ "/status/phase": "Pending" }), true),
        (json!({ "/status/phase": "Faulted" }), false),
        (json!({ "/status/phase": null }), true),
        (json!({ "/metadata/deletionTimestamp": "2026-01-01T00:00:00Z" }), true),
        (json!({ "/spec/retry": { "number": 1 } }), true),
        (json!({ "/spec/retry": { "number": 1 }, "/status/retried": 1 }), false),
    ];
    for (change, whole) in cases {
        assert_eq!(known(change.clone()).whole().is_some(), whole, "{change}");
    }
}
