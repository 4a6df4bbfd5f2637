//! `kapell up` and `kapell down`.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::{DownArgs, DryRun, Target, UpArgs};
use crate::cluster::{Cluster, quoted};
use crate::error::{Failure, Outcome};
use crate::manifest::{self, Manifest};
use crate::print;

use super::{apply, delete, server, settle, text};

mod board;

use board::Board;

pub(crate) async fn up(target: &Target, args: &UpArgs) -> Outcome {
    let begun = Instant::now();
    let manifests = if args.files.is_empty() { Vec::new() } else { manifest::read(&args.files)? };
    let mut running = server::find_or_start(target, args).await?;
    let outcome = tokio::select! {
        outcome = bring_up(&running.cluster, &manifests, Duration::from_secs(args.timeout), begun) => outcome,
        () = server::interrupted(), if running.is_ours() => Err(Failure::new("interrupted before everything was ready")),
    };
    if outcome.is_ok() {
        if running.is_ours() {
            eprintln!("Ctrl-C stops the server and its pods; the data stays in {}", running.data.display());
            running.until_interrupted().await?;
        } else {
            eprintln!(
                "`{}` stops the server and its pods, and keeps the data",
                running.cluster.within("default").command("down")
            );
        }
    }
    running.stop().await?;
    outcome
}

async fn bring_up(cluster: &Cluster, manifests: &[Manifest], timeout: Duration, begun: Instant) -> Outcome {
    let board = Board::new();
    let mut objects = Vec::new();
    for manifest in manifests {
        let (applied, mut object) = apply::apply(cluster, manifest, DryRun::None).await.map_err(|failure| {
            let before = objects.len();
            let note = format!("\n  {before} of {} objects were applied before it and stay", manifests.len());
            Failure { message: failure.message + if before > 0 { &note } else { "" }, ..failure }
        })?;
        object["kind"] = manifest.kind.kind.into();
        board.applied(settle::label_of(&object), applied);
        objects.push(object);
    }
    let ready = settle::until_ready(cluster, objects, timeout, |label, news| board.show(label, &news)).await;
    drop(board);
    let ready = ready?;
    if !ready.is_empty() {
        eprintln!("\n{} objects ready in {:.2} s", ready.len(), begun.elapsed().as_secs_f64());
    }
    let addresses = addresses(&ready);
    if !addresses.is_empty() {
        eprintln!();
        print::out(&print::columns(&["  SERVICE".to_owned(), "ADDRESS".to_owned()], &addresses))?;
    }
    eprintln!("\nNext:");
    next(cluster, &ready).iter().for_each(|command| eprintln!("  {command}"));
    eprintln!();
    Ok(())
}

/// The addresses that people open: those of Services with a type that faces outwards.
fn addresses(objects: &[Value]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for service in objects.iter().filter(|object| object["kind"] == "Service") {
        if !matches!(text(service, "/spec/type"), "LoadBalancer" | "NodePort") {
            continue;
        }
        let listen = service["metadata"]["annotations"]["kapell.dev/listen"].as_str().unwrap_or_default();
        for entry in listen.split(',').filter(|entry| !entry.is_empty()) {
            let address = entry.split_once('=').map_or(entry, |(_, address)| address);
            rows.push(vec![format!("  {}", settle::label_of(service)), format!("http://{address}")]);
        }
    }
    rows
}

/// Commands worth typing now, complete with the flags that lead to this server.
fn next(cluster: &Cluster, objects: &[Value]) -> Vec<String> {
    let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind);
    let place = |object: &Value| cluster.within(text(object, "/metadata/namespace"));
    let mut next = Vec::new();
    match find("Deployment") {
        Some(deployment) => {
            next.push(place(deployment).command("get pods,services"));
            next.push(place(deployment).command(&format!("logs -f deployment/{}", text(deployment, "/metadata/name"))));
        }
        None => next.push(cluster.within("default").command("get pods -A")),
    }
    if let Some(workflow) = find("Workflow") {
        let name = text(workflow, "/metadata/name");
        // An extension of the document, as `compensate` is one of a task: any JSON that a run may start with.
        let example = workflow.pointer("/spec/document/metadata/kapell.dev~1v1/exampleInput");
        let input = example.map_or(String::new(), |input| format!(" --input {}", quoted(&input.to_string())));
        next.push(place(workflow).command(&format!("workflow run {name}")) + " --wait" + &input);
    }
    next
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

#[cfg(test)]
mod tests;
