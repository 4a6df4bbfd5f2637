use super::*;

#[test]
fn equal_values_are_one_and_unused_ones_are_forgotten() {
    let mut interner = Interner::<str>::default();
    let (first, second) = (interner.text("web"), interner.text("web"));
    assert!(Arc::ptr_eq(&first, &second));
    // Different values with something in common stay apart.
    assert_eq!(&*interner.share("same", "a".into()), "a");
    assert_eq!(&*interner.share("same", "b".into()), "b");
    for number in 0..10 * FIRST_SWEEP {
        interner.text(&number.to_string());
    }
    assert!(interner.held <= FIRST_SWEEP + 1, "{} are held", interner.held);
    assert!(Arc::ptr_eq(&first, &interner.text("web")), "what is in use stays");
}
