//! Goes on after a panic: a pod must not stay without its worker until something about it changes.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

/// Before the second try; doubles with each panic in a row. What panics at once would otherwise do nothing else.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause, as that of a container that crashes again and again would be far too long for its supervisor.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Runs what `start` makes until it ends by itself, anew after each panic, or until `shutdown` in a pause.
pub(crate) async fn supervise<F: Future<Output = ()>>(
    uid: &str,
    shutdown: &CancellationToken,
    mut start: impl FnMut() -> F,
) {
    for panics in 0_u32.. {
        let Err(panic) = AssertUnwindSafe(start()).catch_unwind().await else { return };
        let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let pause = FIRST_PAUSE.saturating_mul(1 << panics.min(16)).min(LONGEST_PAUSE);
        tracing::error!(uid, panic = message.unwrap_or_default(), ?pause, "pod worker panicked, starting it again");
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests;
