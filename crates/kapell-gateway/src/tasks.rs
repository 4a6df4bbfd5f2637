//! The tasks that one gateway owns, and the two steps of their end: first drain, then stop.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    /// No new work; connections finish what has begun.
    pub(crate) drain: CancellationToken,
    /// The time to finish is over.
    pub(crate) stop: CancellationToken,
}

impl Tasks {
    /// A task that drains by itself on [`Tasks::drain`] and is waited for; dropped at [`Tasks::stop`].
    pub(crate) fn spawn_draining(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// A task that only helps others and is dropped when they have gone.
    pub(crate) fn spawn_background(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Waits for the draining tasks at most for `grace`, then stops the rest.
    pub(crate) async fn close(&self, grace: std::time::Duration) {
        self.drain.cancel();
        self.tracker.close();
        let drained = tokio::time::timeout(grace, self.tracker.wait()).await.is_ok();
        self.stop.cancel();
        if !drained {
            tracing::warn!("connections were closed before they had finished");
            self.tracker.wait().await;
        }
    }
}
