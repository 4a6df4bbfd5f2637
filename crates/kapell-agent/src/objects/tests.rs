use futures::FutureExt as _;

use super::*;

fn map(name: &str) -> Dependency {
    Dependency::ConfigMap(ObjectKey::new("ns", name))
}

#[test]
fn a_change_wakes_its_users_and_nobody_else() {
    let register = Arc::new(Mutex::new(Register::default()));
    let (mut one, mut two) = (interest(&register), interest(&register));
    one.set(BTreeSet::from([map("a"), map("b")]));
    two.set(BTreeSet::from([map("b")]));
    let woken = |interest: &Interest| interest.changed().now_or_never().is_some();

    register.lock().wake(&map("a"));
    register.lock().wake(&map("a"));
    assert_eq!((woken(&one), woken(&two)), (true, false));
    assert!(!woken(&one), "several changes wake once");
    register.lock().wake(&map("b"));
    assert_eq!((woken(&one), woken(&two)), (true, true));

    one.set(BTreeSet::from([map("a")]));
    register.lock().wake(&map("b"));
    assert_eq!((woken(&one), woken(&two)), (false, true));
    drop((one, two));
    assert!(register.lock().used.is_empty(), "nothing stays behind");
}
