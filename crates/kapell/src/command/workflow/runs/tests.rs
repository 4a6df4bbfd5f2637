use serde_json::json;

use super::*;

#[test]
fn ages_have_a_unit() {
    let cases = [("90s", Some(90)), ("15m", Some(900)), ("2h", Some(7_200)), ("7d", Some(604_800)), ("0s", Some(0))];
    let wrong = [("", None), ("s", None), ("7", None), ("-1s", None), ("1.5h", None), ("1w", None), ("7ä", None)];
    for (age, expected) in cases.into_iter().chain(wrong) {
        assert_eq!(seconds(age), expected, "{age}");
    }
}

#[test]
fn every_part_of_a_filter_has_to_hold() {
    let filter = |phase: &[&str], older: Option<&str>, newer: Option<&str>, attributes: &[&str]| {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let filter = RunFilter {
            phase: owned(phase),
            selector: None,
            older: older.map(str::to_owned),
            newer: newer.map(str::to_owned),
            attributes: owned(attributes),
        };
        // 2026-01-01T00:10:00Z
        Wanted::new(&filter, 1_767_225_600 + 600)
    };
    let run = json!({
        "metadata": { "creationTimestamp": "2026-01-01T00:00:00Z" },
        "status": { "phase": "Faulted", "searchAttributes": { "customer": "ann", "amount": 3 } },
    });
    let holds = [
        (filter(&[], None, None, &[]), true),
        (filter(&["faulted", "Running"], None, None, &[]), true),
        (filter(&["Pending"], None, None, &[]), false),
        (filter(&[], Some("10m"), None, &[]), true),
        (filter(&[], Some("11m"), None, &[]), false),
        (filter(&[], None, Some("10m"), &[]), true),
        (filter(&[], None, Some("9m"), &[]), false),
        (filter(&[], None, None, &["customer=ann", "amount=3"]), true),
        (filter(&[], None, None, &["customer=ann", "amount=4"]), false),
        (filter(&[], None, None, &["nobody=ann"]), false),
    ];
    for (index, (wanted, expected)) in holds.into_iter().enumerate() {
        assert_eq!(wanted.unwrap().holds(&run), expected, "{index}");
    }
    assert!(filter(&["Pending"], None, None, &[]).unwrap().holds(&json!({})));
    assert!(filter(&["Done"], None, None, &[]).is_err());
    assert!(filter(&[], Some("long"), None, &[]).is_err());
    assert!(filter(&[], None, None, &["customer"]).is_err());
}

#[test]
fn each_retry_has_the_next_number() {
    let run = |phase: &str| json!({ "metadata": { "name": "r" }, "spec": { "retry": { "number": 2, "from": "a" } }, "status": { "phase": phase, "retried": 2 } });
    let patch = retry_patch(&run("Faulted"), None, Some(&json!({ "n": 1 }))).unwrap();
    assert_eq!(
        patch,
        json!({ "spec": { "retry": { "number": 3, "from": null, "input": { "n": 1 } }, "cancel": null } })
    );
    assert!(retry_patch(&run("Running"), None, None).unwrap_err().message.contains("only a faulted or cancelled run"));
}
