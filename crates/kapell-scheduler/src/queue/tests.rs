use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn higher_priority_goes_first_then_the_earlier() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    for (name, priority) in [("a", 0), ("b", 10), ("c", 0), ("d", 10)] {
        queue.add(key(name), priority);
    }
    let order: Vec<_> = std::iter::from_fn(|| queue.pop(now)).map(|key| key.name).collect();
    assert_eq!(order, ["b", "d", "a", "c"]);
}

#[test]
fn what_fits_nowhere_waits_for_a_change_and_not_for_time() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    queue.add(key("a"), 0);
    queue.pop(now);
    queue.unschedulable(&key("a"), now);
    assert_eq!(queue.next_at(), None);
    assert_eq!(queue.pop(now + seconds(3600)), None);
    queue.wake(now + seconds(3600));
    assert_eq!(queue.pop(now + seconds(3600)), Some(key("a")));
}

#[test]
fn a_change_during_the_attempt_is_not_missed() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    queue.add(key("a"), 0);
    queue.pop(now);
    queue.wake(now);
    queue.unschedulable(&key("a"), now);
    assert_eq!(queue.pop(now), None, "still backs off");
    assert_eq!(queue.pop(now + seconds(1)), Some(key("a")));
}

#[test]
fn back_off_doubles_from_one_second_to_ten() {
    let (mut queue, mut now) = (SchedulingQueue::default(), Instant::now());
    queue.add(key("a"), 0);
    let mut waits = Vec::new();
    for _ in 0..6 {
        assert_eq!(queue.pop(now), Some(key("a")));
        queue.retry(&key("a"), now);
        let at = queue.next_at().unwrap();
        waits.push((at - now).as_secs());
        now = at;
    }
    assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
}

#[test]
fn a_removed_pod_is_not_tried_again() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    for name in ["ready", "waiting", "backing-off"] {
        queue.add(key(name), 0);
    }
    queue.remove(&key("ready"));
    queue.pop(now);
    queue.unschedulable(&key("waiting"), now);
    queue.remove(&key("waiting"));
    queue.pop(now);
    queue.retry(&key("backing-off"), now);
    queue.remove(&key("backing-off"));
    queue.wake(now);
    assert_eq!(queue.pop(now + seconds(60)), None);
    assert_eq!(queue.next_at(), None);
}
