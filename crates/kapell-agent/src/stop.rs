//! Stopping the pods of a node that has no agent: for `kapell down`, and for `kapell up` when it is interrupted.

use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::record::PodRecord;
use crate::shim_client::ShimClient;

/// Stops every pod below `data_dir`, each within its own grace period, and returns how many were running. Their
/// directories stay: the next agent starts the pods whose objects still exist, and counts a restart.
pub async fn stop_pods(data_dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(data_dir.join("pods")) else { return 0 };
    let mut stops = JoinSet::new();
    for entry in entries.flatten() {
        stops.spawn(async move { stop_pod(&entry.path()).await });
    }
    let mut stopped = 0;
    while let Some(was_running) = stops.join_next().await {
        stopped += usize::from(was_running.unwrap_or(false));
    }
    stopped
}

async fn stop_pod(pod: &Path) -> bool {
    // Nothing to stop without a shim: what it started died with the machine, or its next shim will deal with it.
    let Ok(shim) = ShimClient::connect(pod).await else { return false };
    let grace = PodRecord::read(pod).map_or(Duration::ZERO, |record| Duration::from_secs(record.grace_seconds));
    shim.stop_all(grace).await;
    // When the answer is lost, so is the shim, which is what was wanted.
    let _ = shim.shutdown().await;
    true
}
