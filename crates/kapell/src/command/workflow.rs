//! `kapell workflow run|show|wait`; the verbs that operate on runs are in [`runs`], those of events in [`events`].

use std::io::{IsTerminal as _, Read as _};

use http::StatusCode;
use serde_json::{Value, json};

use crate::cli::{Output, WorkflowVerb};
use crate::cluster::{Cluster, kind_called, query};
use crate::error::{Failure, Outcome};
use crate::print;
use crate::timeline;

use super::{get::Lines, text};

pub(crate) mod design;
mod events;
mod runs;

pub(crate) async fn run(cluster: &Cluster, verb: &WorkflowVerb) -> Outcome {
    match verb {
        WorkflowVerb::Run { name, input, run_name, wait, output } => {
            let input = read_input(input)?;
            let run = start(cluster, name, run_name.as_deref(), input).await?;
            let run_name = text(&run, "/metadata/name").to_owned();
            if *wait {
                // A person who loses patience needs the name; a script has given one or does not care.
                if std::io::stderr().is_terminal() && !ended(&run) {
                    eprintln!("workflowrun/{run_name} started");
                }
                return finish(cluster, &run_name, *output).await;
            }
            match output {
                Some(output) => print::value(&run, *output),
                None => print::out(&format!("workflowrun/{run_name} started\n")),
            }
        }
        WorkflowVerb::List(args) => runs::list(cluster, args).await,
        WorkflowVerb::Show { run, full, output } => show(cluster, run, *full, *output).await,
        WorkflowVerb::Cancel(args) => runs::cancel(cluster, args).await,
        WorkflowVerb::Suspend(args) => runs::suspend(cluster, args).await,
        WorkflowVerb::Resume(args) => runs::resume(cluster, args).await,
        WorkflowVerb::Retry(args) => runs::retry(cluster, args).await,
        WorkflowVerb::Skip(args) => runs::skip(cluster, args).await,
        // Those that need no server are not sent here.
        WorkflowVerb::Lint { .. } | WorkflowVerb::Graph { .. } | WorkflowVerb::Test { .. } => Ok(()),
        WorkflowVerb::Signal { run, name, payload, id } => {
            let data = payload.as_deref().map(|payload| read_json("--payload", payload)).transpose()?;
            events::signal(cluster, run, name, data, id.as_deref()).await
        }
        WorkflowVerb::Emit { type_, source, payload, subject, id } => {
            let data = payload.as_deref().map(|payload| read_json("--payload", payload)).transpose()?;
            events::emit(cluster, type_, source, data, subject.as_deref(), id.as_deref()).await
        }
        WorkflowVerb::Events { from, output } => events::list(cluster, *from, *output).await,
        WorkflowVerb::Wait { run, output } => finish(cluster, run, *output).await,
    }
}

fn read_input(argument: &str) -> Outcome<Value> {
    read_json("--input", argument)
}

/// JSON as an option gives it: text, @FILE, or - for standard input.
fn read_json(option: &'static str, argument: &str) -> Outcome<Value> {
    let (source, text) = match argument {
        "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            ("standard input", text)
        }
        _ => match argument.strip_prefix('@') {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| Failure::usage(format!("{option} {argument}: {error}")))?;
                (file, text)
            }
            None => (option, argument.to_owned()),
        },
    };
    serde_json::from_str(&text).map_err(|error| {
        let words = error.to_string();
        let words = words.split(" at line ").next().unwrap_or(&words);
        Failure::usage(format!("{source}:{}:{}: this is not JSON: {words}", error.line(), error.column()))
            .hint(format!("{option} '{{\"key\": \"value\"}}'"))
    })
}

/// Creates the run, or finds the one that the same name started before.
async fn start(cluster: &Cluster, workflow: &str, run_name: Option<&str>, input: Value) -> Outcome<Value> {
    let workflows = kind_called("workflows")?;
    if cluster.get_if_exists(&cluster.path(workflows, None, Some(workflow))).await?.is_none() {
        let known = cluster.get(&cluster.path(workflows, None, None)).await?;
        let names: Vec<&str> =
            known["items"].as_array().into_iter().flatten().map(|item| text(item, "/metadata/name")).collect();
        let known = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        return Err(Failure::new(format!("namespace {} has no workflow {workflow:?}; {known}", cluster.namespace))
            .hint("kapell apply -f FILE with the workflow document, or another namespace with -n"));
    }
    let metadata = match run_name {
        Some(name) => json!({"name": name}),
        None => json!({"generateName": format!("{workflow}-")}),
    };
    let body = json!({
        "apiVersion": "kapell.dev/v1alpha1", "kind": "WorkflowRun", "metadata": metadata,
        "spec": {"workflow": workflow, "input": input},
    });
    let runs = kind_called("workflowruns")?;
    match cluster.try_post(&cluster.path(runs, None, None), &body).await? {
        Ok(run) => Ok(run),
        Err((StatusCode::CONFLICT, failure)) => {
            let Some(name) = run_name else { return Err(failure) };
            let existing = cluster.get(&cluster.path(runs, None, Some(name))).await?;
            if existing["spec"]["workflow"] == workflow && existing["spec"]["input"] == body["spec"]["input"] {
                eprintln!("run {name} was started before, this is the same run");
                return Ok(existing);
            }
            Err(Failure::new(format!(
                "run {name:?} exists already, of workflow {:?} with another input; nothing was started",
                text(&existing, "/spec/workflow")
            ))
            .hint(format!("{}, or another --name", cluster.command(&format!("workflow show {name}")))))
        }
        Err((_, failure)) => Err(failure),
    }
}

async fn existing(cluster: &Cluster, name: &str) -> Outcome<Value> {
    let path = cluster.path(kind_called("workflowruns")?, None, Some(name));
    cluster.get_if_exists(&path).await?.ok_or_else(|| {
        Failure::new(format!("namespace {} has no run {name:?}", cluster.namespace))
            .hint(format!("{}, or another namespace with -n", cluster.command("workflow list")))
    })
}

fn ended(run: &Value) -> bool {
    matches!(text(run, "/status/phase"), "Completed" | "Faulted" | "Cancelled")
}

/// Follows the run until it has ended.
async fn until_ended(cluster: &Cluster, name: &str) -> Outcome<Value> {
    let runs = kind_called("workflowruns")?;
    loop {
        let run = existing(cluster, name).await?;
        if ended(&run) {
            return Ok(run);
        }
        let field = format!("metadata.name={name}");
        let pairs = [
            ("watch", "true"),
            ("fieldSelector", &field),
            ("resourceVersion", text(&run, "/metadata/resourceVersion")),
        ];
        let body = cluster.stream(&(cluster.path(runs, None, None) + &query(&pairs)), "application/json").await?;
        let mut lines = Lines::new(body);
        // A watch may end or be told to start over at any time: then the object is read again.
        while let Ok(Some(line)) = lines.next().await {
            let event: Value = serde_json::from_slice(&line).unwrap_or_default();
            match event["type"].as_str() {
                Some("DELETED") => return Err(Failure::new(format!("run {name} was deleted before it ended"))),
                Some("ERROR") => break,
                _ if ended(&event["object"]) => return Ok(event["object"].clone()),
                _ => {}
            }
        }
    }
}

/// Prints the output of a completed run; any other end is a failure that names the step and the cause.
async fn finish(cluster: &Cluster, name: &str, output: Option<Output>) -> Outcome {
    let run = until_ended(cluster, name).await?;
    if text(&run, "/status/phase") == "Completed" {
        let result = &run["status"]["output"];
        return match output {
            Some(Output::Yaml) => print::value(result, Output::Yaml),
            Some(Output::Name) => print::out(&format!("workflowrun/{name}\n")),
            _ => print::out(&format!("{result:#}\n")),
        };
    }
    Err(Failure::new(timeline::unhappy_end(name, &run)).hint(cluster.command(&format!("workflow show {name}"))))
}

async fn show(cluster: &Cluster, name: &str, data: bool, output: Option<Output>) -> Outcome {
    let mut run = existing(cluster, name).await?;
    let path = cluster.path(kind_called("workflowruns")?, None, Some(name)) + "/timeline";
    let timeline = cluster.get(&path).await?;
    if let Some(output) = output {
        run["timeline"] = timeline["items"].clone();
        return print::value(&run, output);
    }
    let items = timeline["items"].as_array().map_or(&[][..], Vec::as_slice);
    print::out(&timeline::page(&run, items, data))
}
