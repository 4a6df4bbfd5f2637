use serde_json::{Value, json};

use super::*;

#[test]
fn a_pointer_names_the_tasks_on_its_way() {
    let cases = [
        ("", ""),
        ("/do/0/a", "a"),
        ("/do/2/charge/try/0/pay", "charge → pay"),
        ("/do/2/charge/catch/do/0/giveUp", "charge → giveUp"),
        ("/do/1/par/fork/branches/1/right/do/0/deep", "par → right → deep"),
        ("/do/0/do/do/0/7", "do → 7"),
        ("/do/0/a~1b~01", "a/b~1"),
        ("/do/1/reserve/metadata/kapell.dev~1v1/compensate/0/release", "release"),
    ];
    for (pointer, expected) in cases {
        assert_eq!(step(pointer), expected, "{pointer}");
    }
}

#[test]
fn the_end_of_a_run_names_step_and_cause() {
    let cases = [
        (
            json!({"phase": "Faulted", "compensation": "Done", "error": {"instance": "/do/2/charge/try/0/pay", "status": 402,
                "title": "Communication error", "detail": "POST http://payment answered 402"}}),
            "run r faulted at step charge → pay: Communication error: POST http://payment answered 402; \
             the completed steps were compensated",
        ),
        (
            json!({"phase": "Faulted", "compensation": "Failed", "error": {"instance": "/do/0/a", "status": 400, "title": "no"}}),
            "run r faulted at step a: no (status 400); COMPENSATION FAILED, some completed steps are not undone",
        ),
        (
            json!({"phase": "Faulted", "error": {"instance": "/do/0/a", "detail": "answered <html>\n  <p>no</p>\n</html>"}}),
            "run r faulted at step a: answered <html> <p>no</p> </html>",
        ),
        (
            json!({"phase": "Faulted", "error": {"instance": "/do/0/a", "status": 400, "detail": "limit is 4000000"}}),
            "run r faulted at step a: limit is 4000000 (status 400)",
        ),
        (json!({"phase": "Faulted", "error": {"title": "no such workflow"}}), "run r faulted: no such workflow"),
        (
            json!({"phase": "Cancelled", "compensation": "Done"}),
            "run r was cancelled; the completed steps were compensated",
        ),
        (json!({"phase": "Cancelled", "compensation": "None"}), "run r was cancelled"),
    ];
    for (status, expected) in cases {
        assert_eq!(unhappy_end("r", &json!({"status": status})), expected);
    }
}

fn item(task: &str, attempt: u64, outcome: &str, detail: &str) -> Value {
    json!({"task": task, "name": path(task).pop(), "attempt": attempt, "outcome": outcome, "detail": detail,
        "startTime": "2026-01-01T10:00:00.5Z", "endTime": "2026-01-01T10:00:01.75Z"})
}

#[test]
fn steps_stand_under_their_own_and_details_are_said_once() {
    let long = "POST http://payment/charge answered 503 Service Unavailable: payment fails because POST /fault said so";
    let items = [
        item("/do/0/charge", 1, "Faulted", long),
        item("/do/0/charge/try/0/pay", 1, "Retrying", long),
        item("/do/0/charge/try/0/pay", 2, "Faulted", long),
        item("/do/0/charge/metadata/kapell.dev~1v1/compensate/0/refund", 1, "Completed", "undoes charge"),
    ];
    let expected = "\
STEP     TRY   OUTCOME     STARTED        TOOK
charge   1     Faulted     10:00:00.500   1.25 s
  pay    1     Retrying    10:00:00.500   1.25 s
    POST http://payment/charge answered 503 Service Unavailable: payment fails because POST /fault
    said so
  pay    2     Faulted     10:00:00.500   1.25 s   the same
refund   1     Completed   10:00:00.500   1.25 s   undoes charge
";
    assert_eq!(table(&items, false), expected);
}

#[test]
fn a_page_keeps_to_its_width() {
    let run = json!({
        "metadata": {"name": "r"}, "spec": {"workflow": "w", "input": {"text": "word ".repeat(40)}},
        "status": {"phase": "Running", "waitingFor": "x".repeat(150), "compensation": "None"},
    });
    let page = page(&run, &[item("/do/0/a", 1, "Running", &"y ".repeat(90))], false);
    assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
    assert!(!page.contains("Undoing"), "{page}");
}
