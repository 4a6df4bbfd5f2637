use super::*;

#[test]
fn a_commit_is_told_only_to_those_who_asked() {
    let pace = Pace::default();
    assert!(pace.is_free());
    pace.begin();
    assert!(pace.is_committing());
    assert!(!pace.committed(), "nobody asked");
    assert!(pace.is_free());

    pace.begin();
    assert!(!pace.is_free());
    assert!(!pace.is_free(), "asking twice is asking");
    assert!(pace.committed());
    assert!(!pace.is_committing());
}
