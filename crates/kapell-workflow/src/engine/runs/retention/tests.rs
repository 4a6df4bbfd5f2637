use super::*;
use crate::duration::Millis;

#[test]
fn the_oldest_of_too_many_go() {
    let key = |name: &str| ObjectKey::new("n", name);
    let retention = Retention { after: Millis(100), runs: 2 };
    let mut ended = Ended::default();
    assert_eq!(ended.add(&key("b"), key("w"), 20, &retention), []);
    assert_eq!(ended.add(&key("a"), key("w"), 30, &retention), []);
    assert_eq!(ended.add(&key("x"), key("other"), 1, &retention), []);
    assert_eq!(ended.add(&key("c"), key("w"), 40, &retention), [key("b")]);
    assert_eq!(ended.add(&key("c"), key("w"), 40, &retention), [], "whoever was told deletes it");
    assert_eq!(ended.add(&key("d"), key("w"), 10, &retention), [key("d")], "it ended first");
    for name in ["a", "c", "d", "x"] {
        ended.remove(&key(name));
    }
    assert!(ended.of_workflow.is_empty() && ended.known.is_empty());
}

#[test]
fn runs_are_due_after_their_time() {
    let key = |name: &str| ObjectKey::new("n", name);
    let kept_for = |after| Retention { after: Millis(after), runs: 9 };
    let mut ended = Ended::default();
    assert_eq!(ended.next_in(0), None);
    for (name, workflow, at, after) in [("a", "slow", 10, 1000), ("b", "fast", 20, 100), ("c", "fast", 60, 100)] {
        ended.add(&key(name), key(workflow), at, &kept_for(after));
    }
    assert_eq!(ended.next_in(50), Some(70));
    assert_eq!(ended.take_due(119), []);
    assert_eq!(ended.next_in(130), Some(0));
    assert_eq!(ended.take_due(160), [key("b"), key("c")]);
    assert_eq!(ended.next_in(160), Some(850));
    assert_eq!(ended.take_due(1010), [key("a")]);
    assert!(ended.of_workflow.is_empty() && ended.known.is_empty());
}

#[test]
fn a_run_is_kept_for_its_time() {
    let retention = Retention { after: Millis(100), runs: 2 };
    let cases = [(50, 50, Some(100)), (50, 149, Some(1)), (50, 150, None), (50, 10_000, None), (50, 0, Some(150))];
    for (at, now, expected) in cases {
        assert_eq!(kept_for(at, &retention, now), expected, "{at} {now}");
    }
    assert_eq!(kept_for(5, &Retention { after: Millis(i64::MAX), runs: 0 }, 6), Some(i64::MAX as u64 - 6));
}
