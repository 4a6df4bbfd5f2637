//! `kapell up` and `kapell down`.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::cli::{DownArgs, DryRun, Target, UpArgs};
use crate::cluster::{Cluster, kind_called, query};
use crate::error::{Failure, Outcome};
use crate::manifest;
use crate::print;
use crate::readiness::{Readiness, readiness};

use super::{apply, delete, get::Lines, server, text, why};

pub(crate) async fn up(target: &Target, args: &UpArgs) -> Outcome {
    let begun = Instant::now();
    let manifests = if args.files.is_empty() { Vec::new() } else { manifest::read(&args.files)? };
    let mut running = server::find_or_start(target, args).await?;
    let outcome = tokio::select! {
        outcome = bring_up(&running.cluster, &manifests, Duration::from_secs(args.timeout), begun) => outcome,
        () = server::interrupted(), if running.is_ours() => Err(Failure::new("interrupted before everything was ready")),
    };
    if running.is_ours() && outcome.is_ok() {
        eprintln!("Ctrl-C stops the server and its pods; the data stays in {}", running.data.display());
        running.until_interrupted().await?;
    }
    running.stop().await?;
    outcome
}

async fn bring_up(cluster: &Cluster, manifests: &[manifest::Manifest], timeout: Duration, begun: Instant) -> Outcome {
    let mut objects = Vec::new();
    for manifest in manifests {
        let (applied, mut object) = apply::apply(cluster, manifest, DryRun::None).await?;
        object["kind"] = manifest.kind.kind.into();
        if applied != apply::Applied::Unchanged {
            eprintln!("  {} {}", manifest.label(), applied.as_str());
        }
        objects.push(object);
    }
    let board = Board::new();
    let ready = wait_until_ready(cluster, objects, timeout, |label, state| board.show(label, state)).await;
    board.finish();
    let ready = ready?;
    if !ready.is_empty() {
        eprintln!("\n{} objects ready in {:.2} s\n", ready.len(), begun.elapsed().as_secs_f64());
    }
    print_addresses(&ready)?;
    print_next(&ready)
}

/// Lines that change in place on a terminal, and are written once per change elsewhere.
struct Board {
    progress: MultiProgress,
    bars: std::cell::RefCell<BTreeMap<String, ProgressBar>>,
    said: std::cell::RefCell<BTreeMap<String, String>>,
    terminal: bool,
}

impl Board {
    fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { progress: MultiProgress::new(), bars: Default::default(), said: Default::default(), terminal }
    }

    fn show(&self, label: &str, state: &Readiness) {
        let line = match state {
            Readiness::Ready => "ready".to_owned(),
            Readiness::Waiting(why) => format!("waits: {why}"),
            Readiness::Failed(why) => format!("FAILED: {why}"),
        };
        if !self.terminal {
            let changed = self.said.borrow_mut().insert(label.to_owned(), line.clone()).as_ref() != Some(&line);
            if changed {
                eprintln!("  {label:<36} {line}");
            }
            return;
        }
        let mut bars = self.bars.borrow_mut();
        let bar = bars.entry(label.to_owned()).or_insert_with(|| {
            let style =
                ProgressStyle::with_template("  {prefix:<36} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            self.progress.add(ProgressBar::new(1).with_style(style).with_prefix(label.to_owned()))
        });
        if *state == Readiness::Ready { bar.finish_with_message(line) } else { bar.set_message(line) }
    }

    fn finish(&self) {
        self.bars.borrow().values().filter(|bar| !bar.is_finished()).for_each(ProgressBar::abandon);
    }
}

fn label_of(object: &Value) -> String {
    let kind = text(object, "/kind").to_ascii_lowercase();
    match text(object, "/metadata/namespace") {
        "" => format!("{kind}/{}", text(object, "/metadata/name")),
        namespace => format!("{kind}/{namespace}/{}", text(object, "/metadata/name")),
    }
}

/// Follows the objects until each is ready; `show` is told of every change of state. On time-out or failure says, for each object that
/// is not ready, what it waits for.
pub(crate) async fn wait_until_ready(
    cluster: &Cluster,
    objects: Vec<Value>,
    timeout: Duration,
    mut show: impl FnMut(&str, &Readiness),
) -> Outcome<Vec<Value>> {
    let mut state: BTreeMap<String, Value> = BTreeMap::new();
    // One watch feeds this per kind and namespace; a handful of changes may wait.
    let (changes_tx, mut changes) = mpsc::channel(64);
    let mut watches = BTreeMap::new();
    for object in objects {
        let place = (text(&object, "/kind").to_owned(), text(&object, "/metadata/namespace").to_owned());
        if matches!(place.0.as_str(), "Deployment" | "ReplicaSet" | "Pod" | "Service") {
            watches.entry(place).or_insert(());
        }
        show(&label_of(&object), &readiness(&object));
        state.insert(label_of(&object), object);
    }
    let follow = async {
        let streams = watches.keys().map(|(kind, namespace)| follow(cluster, kind, namespace, changes_tx.clone()));
        futures::future::try_join_all(streams).await.map(|_| ())
    };
    let settle = async {
        while !state.values().all(|object| readiness(object) == Readiness::Ready) {
            if let Some((label, why)) = state.iter().find_map(|(label, object)| match readiness(object) {
                Readiness::Failed(why) => Some((label, why)),
                _ => None,
            }) {
                return Err(Failure::new(format!("{label}: {why}")));
            }
            let Some(object) = changes.recv().await else { return Err(Failure::new("the watch ended")) };
            let label = label_of(&object);
            if let Some(known) = state.get_mut(&label) {
                show(&label, &readiness(&object));
                *known = object;
            }
        }
        Ok(())
    };
    let outcome = tokio::select! {
        outcome = settle => outcome,
        broken = follow => broken,
        () = tokio::time::sleep(timeout) => Err(Failure::new(format!("not everything was ready after {} s", timeout.as_secs()))),
    };
    match outcome {
        Ok(()) => Ok(state.into_values().collect()),
        Err(failure) => Err(with_reasons(cluster, failure, &state).await),
    }
}

/// Adds what each unready object waits for.
async fn with_reasons(cluster: &Cluster, failure: Failure, state: &BTreeMap<String, Value>) -> Failure {
    let mut message = failure.message.clone();
    for (label, object) in state.iter().filter(|(_, object)| readiness(object) != Readiness::Ready) {
        let place = cluster.within(text(object, "/metadata/namespace"));
        let reasons = why::explain(&place, object).await.unwrap_or_default();
        for reason in reasons {
            message.push_str(&format!("\n  {label}: {reason}"));
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

/// The addresses that people open: those of Services with a type that faces outwards.
fn print_addresses(objects: &[Value]) -> Outcome {
    let mut rows = Vec::new();
    for service in objects.iter().filter(|object| object["kind"] == "Service") {
        if !matches!(text(service, "/spec/type"), "LoadBalancer" | "NodePort") {
            continue;
        }
        let listen = service["metadata"]["annotations"]["kapell.dev/listen"].as_str().unwrap_or_default();
        for entry in listen.split(',').filter(|entry| !entry.is_empty()) {
            let address = entry.split_once('=').map_or(entry, |(_, address)| address);
            let name = format!("{}/{}", text(service, "/metadata/namespace"), text(service, "/metadata/name"));
            rows.push(vec![format!("  {name}"), format!("http://{address}")]);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    print::out(&print::columns(&["  SERVICE".to_owned(), "ADDRESS".to_owned()], &rows))
}

fn print_next(objects: &[Value]) -> Outcome {
    let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind);
    let mut next = vec!["kapell get pods -A".to_owned()];
    if let Some(deployment) = find("Deployment") {
        let namespace = text(deployment, "/metadata/namespace");
        next.push(format!("kapell logs -f deployment/{} -n {namespace}", text(deployment, "/metadata/name")));
    }
    if let Some(workflow) = find("Workflow") {
        let namespace = text(workflow, "/metadata/namespace");
        let example =
            workflow.pointer("/metadata/annotations/kapell.dev~1example-input").and_then(Value::as_str).unwrap_or("{}");
        next.push(format!(
            "kapell workflow run {} -n {namespace} --wait --input '{example}'",
            text(workflow, "/metadata/name")
        ));
    }
    eprintln!("\nNext:");
    next.iter().for_each(|command| eprintln!("  {command}"));
    eprintln!();
    Ok(())
}

pub(crate) async fn down(target: &Target, args: &DownArgs) -> Outcome {
    if args.files.is_empty() {
        return server::stop_running(target).await;
    }
    let manifests = manifest::read(&args.files)?;
    let cluster = Cluster::connect(target).await?;
    let paths: Vec<(String, String)> = manifests
        .iter()
        .rev()
        .map(|object| (object.label(), cluster.path(object.kind, object.namespace(), Some(object.name()))))
        .collect();
    delete::delete_all(&cluster, &paths, None, true, true).await
}
