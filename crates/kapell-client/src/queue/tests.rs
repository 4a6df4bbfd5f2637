use super::*;

/// The next key if one is due now.
async fn next_now(queue: &Queue<&'static str>) -> Option<&'static str> {
    tokio::time::timeout(Duration::ZERO, queue.next()).await.ok()
}

#[tokio::test(start_paused = true)]
async fn a_key_added_twice_is_handed_out_once() {
    let queue = Queue::new();
    queue.add("a");
    queue.add("b");
    queue.add("a");
    assert_eq!(next_now(&queue).await, Some("a"));
    assert_eq!(next_now(&queue).await, Some("b"));
    assert_eq!(next_now(&queue).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_key_added_during_its_work_comes_back_only_when_that_is_done() {
    let queue = Queue::new();
    queue.add("a");
    assert_eq!(queue.next().await, "a");
    queue.add("a");
    assert_eq!(next_now(&queue).await, None);
    queue.done(&"a");
    assert_eq!(next_now(&queue).await, Some("a"));
    queue.done(&"a");
    assert_eq!(next_now(&queue).await, None);
}

#[tokio::test(start_paused = true)]
async fn the_earliest_of_several_delays_counts_and_the_others_are_forgotten() {
    let queue = Queue::new();
    for seconds in [30, 10, 20] {
        queue.add_after("a", Duration::from_secs(seconds));
    }
    let start = Instant::now();
    assert_eq!(queue.next().await, "a");
    assert_eq!(start.elapsed().as_secs(), 10);
    queue.done(&"a");
    let waited = tokio::time::timeout(Duration::from_secs(60), queue.next()).await;
    assert!(waited.is_err(), "an overtaken delay must not hand the key out again");
}

#[tokio::test(start_paused = true)]
async fn a_delay_that_no_clock_can_tell_never_ends() {
    let queue = Queue::new();
    queue.add_after("never", Duration::MAX);
    queue.add_after("soon", Duration::from_secs(1));
    assert_eq!(queue.next().await, "soon");
    queue.done(&"soon");
    assert_eq!(next_now(&queue).await, None);
}

#[tokio::test(start_paused = true)]
async fn retries_double_up_to_the_longest_and_success_starts_over() {
    let queue = Queue::new();
    let mut delays = Vec::new();
    for _ in 0..16 {
        queue.retry("a");
        let start = Instant::now();
        assert_eq!(queue.next().await, "a");
        queue.done(&"a");
        delays.push(start.elapsed());
    }
    assert_eq!(delays[..4].iter().map(Duration::as_millis).collect::<Vec<_>>(), [5, 10, 20, 40]);
    assert_eq!(delays[15], LONGEST_RETRY);

    queue.forget(&"a");
    queue.retry("a");
    let start = Instant::now();
    queue.next().await;
    assert_eq!(start.elapsed(), FIRST_RETRY);
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_kept_although_the_worker_that_waited_for_it_took_other_work() {
    let queue: Queue<&'static str> = Queue::new();
    queue.add_after("later", Duration::from_secs(5));
    let first = tokio::spawn({
        let queue = queue.clone();
        async move { queue.next().await }
    });
    tokio::task::yield_now().await;
    let second = tokio::spawn({
        let queue = queue.clone();
        async move { queue.next().await }
    });
    tokio::task::yield_now().await;
    queue.add("now");
    let start = Instant::now();
    // Neither worker calls `next` again, so the one that is left has to notice the delay on its own.
    let mut got = vec![first.await.unwrap(), second.await.unwrap()];
    got.sort_unstable();
    assert_eq!(got, ["later", "now"]);
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn lanes_take_turns() {
    let queue: Queue<&'static str> = Queue::in_turns(|key| &key[..1]);
    for key in ["a1", "a2", "a3", "b1", "c1", "b2"] {
        queue.add(key);
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        order.push(queue.next().await);
    }
    assert_eq!(order, ["a1", "b1", "c1", "a2", "b2", "a3"]);
}
