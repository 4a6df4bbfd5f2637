use std::cell::Cell;

use super::*;

#[tokio::test(start_paused = true)]
async fn what_panics_is_started_again_until_it_ends() {
    let starts = Cell::new(0);
    let begun = tokio::time::Instant::now();
    supervise("u", &CancellationToken::new(), || {
        starts.set(starts.get() + 1);
        let start = starts.get();
        async move {
            tokio::task::yield_now().await;
            assert!(start == 3, "no luck yet");
        }
    })
    .await;
    assert_eq!(starts.get(), 3);
    assert_eq!(begun.elapsed(), FIRST_PAUSE * 3, "the second pause is twice the first");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_pause() {
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let starts = Cell::new(0);
    supervise("u", &shutdown, || {
        starts.set(starts.get() + 1);
        async { panic!("always") }
    })
    .await;
    assert_eq!(starts.get(), 1);
}
