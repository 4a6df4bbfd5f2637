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
    // Until it is gone it is named again.
    assert_eq!(ended.add(&key("c"), key("w"), 40, &retention), [key("b")]);
    ended.remove(&key("b"));
    assert_eq!(ended.add(&key("d"), key("w"), 10, &retention), [key("d")], "it ended first");
    for name in ["a", "c", "d", "x"] {
        ended.remove(&key(name));
    }
    assert!(ended.of_workflow.is_empty());
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
