//! Waits until objects have become what their files say, and tells of each step on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cluster::{Cluster, kind_called, query};
use crate::error::{Failure, Outcome};
use crate::readiness::{Readiness, readiness};

use super::{get::Lines, text, why};

/// After this long a person starts to wonder what an object waits for; it is looked up, and again each time it has passed.
const PATIENCE: Duration = Duration::from_secs(2);

/// What `until_ready` tells of an object.
pub(crate) enum News<'a> {
    State(&'a Readiness),
    /// It is not ready for some time already, and this is why.
    Reason(&'a str),
}

/// `deployment/web`, or `deployment/web -n shop`: what a person can give to `kapell why`.
pub(crate) fn label_of(object: &Value) -> String {
    let label = format!("{}/{}", text(object, "/kind").to_ascii_lowercase(), text(object, "/metadata/name"));
    match text(object, "/metadata/namespace") {
        "" | "default" => label,
        namespace => format!("{label} -n {namespace}"),
    }
}

/// Follows the objects until each is ready. On time-out or failure says, for each object that is not ready, what it waits for.
pub(crate) async fn until_ready(
    cluster: &Cluster,
    objects: Vec<Value>,
    timeout: Duration,
    mut tell: impl FnMut(&str, News<'_>),
) -> Outcome<Vec<Value>> {
    let mut watches = BTreeSet::new();
    let mut state = Vec::new();
    for object in objects {
        let kind = text(&object, "/kind").to_owned();
        if matches!(kind.as_str(), "Deployment" | "ReplicaSet" | "Pod" | "Service") {
            watches.insert((kind, text(&object, "/metadata/namespace").to_owned()));
        }
        tell(&label_of(&object), News::State(&readiness(&object)));
        state.push((label_of(&object), object));
    }
    let mut state: BTreeMap<String, Value> = state.into_iter().collect();
    // One watch feeds this per kind and namespace; a handful of changes may wait.
    let (changes_tx, changes) = mpsc::channel(64);
    let follow = async {
        let streams = watches.iter().map(|(kind, namespace)| follow(cluster, kind, namespace, changes_tx.clone()));
        futures::future::try_join_all(streams).await.map(|_| ())
    };
    let outcome = tokio::select! {
        outcome = settle(cluster, &mut state, changes, &mut tell) => outcome,
        // Without anything to follow there is nothing to wait for, and `settle` ends by itself.
        broken = follow, if !watches.is_empty() => broken,
        () = tokio::time::sleep(timeout) => Err(Failure::new(format!("not everything was ready after {} s", timeout.as_secs()))),
    };
    match outcome {
        Ok(()) => Ok(state.into_values().collect()),
        Err(failure) => Err(with_reasons(cluster, failure, &state).await),
    }
}

async fn settle(
    cluster: &Cluster,
    state: &mut BTreeMap<String, Value>,
    mut changes: mpsc::Receiver<Value>,
    tell: &mut impl FnMut(&str, News<'_>),
) -> Outcome {
    let mut wonder = tokio::time::interval_at(Instant::now() + PATIENCE, PATIENCE);
    loop {
        let mut waiting = false;
        for (label, object) in state.iter() {
            match readiness(object) {
                Readiness::Ready => {}
                Readiness::Waiting(_) => waiting = true,
                Readiness::Failed(why) => return Err(Failure::new(format!("{label}: {why}"))),
            }
        }
        if !waiting {
            return Ok(());
        }
        tokio::select! {
            change = changes.recv() => {
                let Some(object) = change else { return Err(Failure::new("the watch ended")) };
                let label = label_of(&object);
                if let Some(known) = state.get_mut(&label) {
                    tell(&label, News::State(&readiness(&object)));
                    *known = object;
                }
            }
            _ = wonder.tick() => {
                for (label, object) in state.iter().filter(|(_, object)| readiness(object) != Readiness::Ready) {
                    // Only what a person would look up by hand: when it cannot be had, the state stays on show.
                    let reasons = reasons(cluster, object).await;
                    if !reasons.is_empty() {
                        tell(label, News::Reason(&in_short(&reasons)));
                    }
                }
            }
        }
    }
}

/// The first reasons in one line: replicas mostly wait for the same.
fn in_short(reasons: &[String]) -> String {
    let (shown, rest) = reasons.split_at(reasons.len().min(2));
    let more = if rest.is_empty() { String::new() } else { format!("; and {} more", rest.len()) };
    shown.join("; ") + &more
}

async fn reasons(cluster: &Cluster, object: &Value) -> Vec<String> {
    let place = cluster.within(text(object, "/metadata/namespace"));
    why::explain(&place, object).await.unwrap_or_default()
}

/// Adds what each unready object waits for.
async fn with_reasons(cluster: &Cluster, failure: Failure, state: &BTreeMap<String, Value>) -> Failure {
    let mut message = failure.message.clone();
    for (label, object) in state.iter().filter(|(_, object)| readiness(object) != Readiness::Ready) {
        message.push_str(&format!("\n  {label}"));
        for reason in reasons(cluster, object).await {
            message.push_str(&format!("\n    {reason}"));
        }
    }
    Failure { message, ..failure }
}

/// Sends every object of a kind in a namespace, as it is now and each time it changes.
async fn follow(cluster: &Cluster, kind_name: &str, namespace: &str, changes: mpsc::Sender<Value>) -> Outcome {
    let kind = kind_called(kind_name)?;
    loop {
        let pairs = [
            ("watch", "true"),
            ("resourceVersion", "0"),
            ("sendInitialEvents", "true"),
            ("resourceVersionMatch", "NotOlderThan"),
            ("allowWatchBookmarks", "true"),
        ];
        let path = cluster.path(kind, Some(namespace), None) + &query(&pairs);
        let mut lines = Lines::new(cluster.stream(&path, "application/json").await?);
        while let Some(line) = lines.next().await? {
            let event: Value = serde_json::from_slice(&line).unwrap_or_default();
            if matches!(event["type"].as_str(), Some("ADDED" | "MODIFIED"))
                && changes.send(event["object"].clone()).await.is_err()
            {
                return Ok(());
            }
        }
    }
}
