//! The loop around a reconcile function.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::queue::Queue;

/// When to look at a key again although nothing about it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    OnChange,
    After(Duration),
}

/// Reconciles keys from `queue` with `workers` tasks until `shutdown`, then finishes what has begun.
///
/// A reconcile that fails or panics is logged and retried with back-off; other keys go on undisturbed.
pub async fn run<T, F, Fut, E>(
    name: &'static str,
    queue: Queue<T>,
    workers: usize,
    shutdown: CancellationToken,
    reconcile: F,
) where
    T: Clone + Eq + Hash + fmt::Display + Send + Sync + 'static,
    F: Fn(T) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Next, E>> + Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(work(name, queue.clone(), shutdown.clone(), reconcile.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

async fn work<T, F, Fut, E>(name: &'static str, queue: Queue<T>, shutdown: CancellationToken, reconcile: F)
where
    T: Clone + Eq + Hash + fmt::Display + Send + Sync + 'static,
    F: Fn(T) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Next, E>> + Send,
    E: std::error::Error + 'static,
{
    loop {
        let key = tokio::select! {
            () = shutdown.cancelled() => return,
            key = queue.next() => key,
        };
        let span = tracing::debug_span!("reconcile", controller = name, %key);
        // Unwind safety: a reconcile owns nothing that outlives it but handles to the API and to informers, whose
        // locks it cannot hold across an await.
        let outcome =
            std::panic::AssertUnwindSafe(async { reconcile(key.clone()).await }.instrument(span)).catch_unwind().await;
        match outcome {
            Ok(Ok(next)) => {
                queue.forget(&key);
                if let Next::After(delay) = next {
                    queue.add_after(key.clone(), delay);
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(controller = name, %key, error = &error as &dyn std::error::Error, "reconcile failed, retrying");
                queue.retry(key.clone());
            }
            Err(_panic) => {
                tracing::error!(controller = name, %key, "reconcile panicked, retrying");
                queue.retry(key.clone());
            }
        }
        queue.done(&key);
    }
}

#[cfg(test)]
mod tests;
