use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::Instant;

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("not yet")]
struct NotYet;

/// Runs until `key` has been reconciled `times` times; gives the time that took.
async fn run_until<F, Fut>(times: u32, outcome: F) -> Duration
where
    F: Fn(u32) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Next, NotYet>> + Send + 'static,
{
    let (queue, shutdown) = (Queue::new(), CancellationToken::new());
    queue.add("key");
    let calls = Arc::new(AtomicU32::new(0));
    let stop = shutdown.clone();
    let start = Instant::now();
    run("test", queue, 2, shutdown, move |_key| {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        if call == times {
            stop.cancel();
        }
        outcome(call)
    })
    .await;
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_retried_with_back_off() {
    let took = run_until(4, |_| async { Err(NotYet) }).await;
    assert_eq!(took.as_millis(), 5 + 10 + 20);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_retried_like_a_failure() {
    let took = run_until(3, |call| async move { if call == 1 { panic!("first call") } else { Err(NotYet) } }).await;
    assert_eq!(took.as_millis(), 5 + 10);
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_chooses_when_to_look_again() {
    let took = run_until(3, |_| async { Ok(Next::After(Duration::from_secs(7))) }).await;
    assert_eq!(took.as_secs(), 14);
}
