use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("n", name)
}

fn stream(name: &str) -> StreamId {
    let mut id = [0; 16];
    id[..name.len()].copy_from_slice(name.as_bytes());
    StreamId(id)
}

fn request(name: &str, priority: i64, group: Option<(&str, Policy)>) -> Request {
    let group = group.map(|(group, policy)| ((key("w"), group.to_owned()), policy));
    Request { key: key(name), stream: stream(name), priority, group }
}

fn names(keys: Vec<ObjectKey>) -> Vec<String> {
    keys.into_iter().map(|key| key.name).collect()
}

#[test]
fn those_with_priority_and_those_that_came_first_get_the_room() {
    let mut gate = Gate::default();
    assert_eq!(gate.ask(&request("a", 0, None), 1), Verdict::Go);
    for (name, priority) in [("b", 0), ("c", 5), ("d", 0)] {
        assert_eq!(gate.ask(&request(name, priority, None), 0), Verdict::NoRoom);
    }
    assert_eq!(names(gate.release(stream("a"), 1)), ["c"]);
    // Whoever comes now has to wait behind c.
    assert_eq!(gate.ask(&request("e", 0, None), 1), Verdict::NoRoom);
    assert_eq!(gate.ask(&request("f", 9, None), 1), Verdict::Go);
    assert_eq!(gate.ask(&request("c", 5, None), 1), Verdict::Go);
    assert_eq!(names(gate.give_up(&key("b"), 1)), ["d"]);
    assert_eq!(names(gate.next(5)), ["d", "e"]);
    assert_eq!(gate.ask(&request("e", 0, None), 2), Verdict::Go, "there is room for both");
}

#[test]
fn one_run_of_a_key_at_a_time_and_the_others_queue() {
    let mut gate = Gate::default();
    let ask = |gate: &mut Gate, name, priority| gate.ask(&request(name, priority, Some(("k", Policy::Queue))), 9);
    assert_eq!(ask(&mut gate, "a", 0), Verdict::Go);
    assert_eq!(ask(&mut gate, "a", 0), Verdict::Go, "it has the key");
    assert_eq!(ask(&mut gate, "b", 0), Verdict::Held);
    assert_eq!(ask(&mut gate, "c", 1), Verdict::Held);
    assert_eq!(gate.ask(&request("z", 0, Some(("other", Policy::Queue))), 9), Verdict::Go);
    assert_eq!(names(gate.release(stream("a"), 9)), ["c", "b"]);
    assert_eq!(ask(&mut gate, "b", 0), Verdict::Held, "c is first");
    assert_eq!(ask(&mut gate, "c", 1), Verdict::Go);
    assert_eq!(names(gate.release(stream("c"), 9)), ["b"]);
    assert_eq!(ask(&mut gate, "b", 0), Verdict::Go);
    assert_eq!(names(gate.release(stream("b"), 9)), [""; 0]);
    assert_eq!(gate.groups.len(), 1, "only z's is left");
}

#[test]
fn a_key_that_is_taken_rejects_or_cancels() {
    let mut gate = Gate::default();
    let rejecting = |name| request(name, 0, Some(("k", Policy::Reject)));
    assert_eq!(gate.ask(&rejecting("a"), 9), Verdict::Go);
    assert_eq!(gate.ask(&rejecting("b"), 9), Verdict::Rejected);
    gate.release(stream("a"), 9);
    assert_eq!(gate.ask(&rejecting("b"), 9), Verdict::Go);

    let mut gate = Gate::default();
    let cancelling = |name| request(name, 0, Some(("k", Policy::Cancel)));
    gate.hold(stream("old"), (key("w"), "k".to_owned()));
    assert_eq!(gate.ask(&cancelling("b"), 9), Verdict::Cancel(stream("old")));
    assert_eq!(gate.ask(&cancelling("c"), 9), Verdict::Cancel(stream("old")));
    assert_eq!(names(gate.release(stream("old"), 9)), ["b", "c"]);
    assert_eq!(gate.ask(&cancelling("b"), 9), Verdict::Superseded);
    assert_eq!(gate.ask(&cancelling("c"), 9), Verdict::Go);
    assert_eq!(gate.ask(&cancelling("d"), 9), Verdict::Cancel(stream("c")));
}

#[test]
fn a_flood_in_one_namespace_does_not_keep_others_waiting() {
    let of = |namespace: &str, name: &str| Request {
        key: ObjectKey::new(namespace, name),
        stream: stream(name),
        priority: 0,
        group: None,
    };
    let mut gate = Gate::default();
    assert_eq!(gate.ask(&of("flood", "f0"), 1), Verdict::Go);
    for name in ["f1", "f2", "f3"] {
        assert_eq!(gate.ask(&of("flood", name), 0), Verdict::NoRoom);
    }
    for name in ["c1", "c2"] {
        assert_eq!(gate.ask(&of("calm", name), 0), Verdict::NoRoom);
    }
    let mut order = Vec::new();
    while let Some(next) = gate.next(1).pop() {
        assert_eq!(gate.ask(&of(&next.namespace, &next.name), 1), Verdict::Go);
        order.push(next.name);
    }
    assert_eq!(order, ["f1", "c1", "f2", "c2", "f3"]);
    assert!(gate.turns.is_empty(), "nobody waits");
}

#[test]
fn a_run_that_asks_otherwise_than_before_leaves_nothing_behind() {
    let asking = |priority, group| request("b", priority, group);
    let queue = |group: &'static str| Some((group, Policy::Queue));
    let mut gate = Gate::default();
    gate.hold(stream("a"), (key("w"), "k".to_owned()));
    assert_eq!(gate.ask(&asking(0, queue("k")), 9), Verdict::Held);
    assert_eq!(gate.ask(&asking(5, queue("k")), 9), Verdict::Held);
    assert_eq!(gate.ask(&asking(5, queue("free")), 0), Verdict::NoRoom);
    assert_eq!(gate.ask(&asking(7, None), 0), Verdict::NoRoom);
    assert_eq!(names(gate.release(stream("a"), 1)), ["b"]);
    assert_eq!(gate.ask(&asking(1, queue("k")), 1), Verdict::Go);
    assert_eq!(gate.ask(&request("c", 0, queue("free")), 1), Verdict::Go);
    assert_eq!(names(gate.release(stream("b"), 1)), [""; 0]);
    gate.release(stream("c"), 1);
    assert!(gate.crowd.is_empty() && gate.groups.is_empty() && gate.waiting.is_empty() && gate.held.is_empty());
}

#[test]
fn who_gives_up_lets_those_behind_ask_again() {
    let mut gate = Gate::default();
    let ask = |gate: &mut Gate, name, priority| gate.ask(&request(name, priority, Some(("k", Policy::Queue))), 9);
    assert_eq!(ask(&mut gate, "a", 0), Verdict::Go);
    assert_eq!(ask(&mut gate, "b", 0), Verdict::Held);
    assert_eq!(ask(&mut gate, "c", 1), Verdict::Held);
    assert_eq!(names(gate.give_up(&key("nobody"), 9)), [""; 0]);
    gate.release(stream("a"), 9);
    assert_eq!(ask(&mut gate, "b", 0), Verdict::Held, "c is first");
    assert_eq!(names(gate.give_up(&key("c"), 9)), ["b"]);
    assert_eq!(ask(&mut gate, "b", 0), Verdict::Go);
}
