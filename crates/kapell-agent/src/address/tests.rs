use super::*;

fn addresses() -> Addresses {
    Addresses::new((Ipv4Addr::new(127, 1, 128, 1), Ipv4Addr::new(127, 1, 128, 3)))
}

#[test]
fn addresses_are_unique_stable_and_reused_late() {
    let mut addresses = addresses();
    let a = addresses.allocate("a").unwrap();
    assert_eq!(addresses.allocate("a"), Some(a));
    let b = addresses.allocate("b").unwrap();
    assert_ne!(a, b);
    addresses.release("a");
    let c = addresses.allocate("c").unwrap();
    assert_ne!(c, a, "the one that was just released comes last");
    assert_eq!(addresses.allocate("d"), Some(a));
    assert_eq!(addresses.allocate("e"), None);
}

#[test]
fn claims_of_found_pods_hold() {
    let mut addresses = addresses();
    let second = Ipv4Addr::new(127, 1, 128, 2);
    assert!(addresses.claim(second, "a"));
    assert!(!addresses.claim(second, "b"));
    assert!(!addresses.claim(Ipv4Addr::new(10, 0, 0, 1), "c"));
    assert_eq!(addresses.allocate("a"), Some(second));
}
