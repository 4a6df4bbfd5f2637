//! Lifecycle hooks: which there are, and the end of a container that has a preStop hook.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use tokio::time::Instant;

use crate::probe::Target;
use crate::shim_client::ShimError;

/// A postStart hook has no time limit of its own in Kubernetes; one that takes longer than this never ends.
pub(crate) const POST_START_LIMIT: Duration = Duration::from_secs(3600);

/// What is left for SIGTERM when the hook has used up the grace period, as the kubelet allows.
const LEAST_GRACE: Duration = Duration::from_secs(2);

pub(crate) fn post_start(container: &Container) -> Option<&LifecycleHandler> {
    container.lifecycle.as_ref()?.post_start.as_ref()
}

pub(crate) fn pre_stop(container: &Container) -> Option<&LifecycleHandler> {
    container.lifecycle.as_ref()?.pre_stop.as_ref()
}

/// How a stop with a hook went: of the hook itself, and of the request to stop that always follows it.
pub(crate) struct Stopped {
    pub(crate) container: String,
    pub(crate) hook: Result<(), String>,
    pub(crate) stop: Result<(), ShimError>,
}

/// Runs the hook, then stops the container with what is left of its grace period.
pub(crate) async fn stop_after(hook: &LifecycleHandler, container: &str, target: &Target, grace: Duration) -> Stopped {
    let begin = Instant::now();
    let hook = target.run_hook(container, hook, grace).await;
    let left = left_of(grace, begin.elapsed());
    Stopped { container: container.to_owned(), hook, stop: target.shim.stop(container, left).await }
}

fn left_of(grace: Duration, used: Duration) -> Duration {
    grace.saturating_sub(used).max(LEAST_GRACE)
}
