//! Holds the engine against the specification: `cargo xtask ctk PATH`, where PATH is a checkout of it.
//!
//! Every scenario of `ctk/features` runs on the engine with an in-memory store; the hosts that the kit calls are
//! played by `standin`, to which the engine's egress rewrites lead, so nothing leaves the machine. With `--examples` every file in `examples` is validated
//! instead, those that need nobody else run, and what is refused is named. The specification is read where it lies; nothing of it is kept here.

#![allow(clippy::print_stdout, reason = "a report goes to stdout")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use kapell_store::memory::MemoryStore;
use kapell_workflow::Config;
use kapell_workflow::bench::{Bench, Report};
use kapell_workflow::egress::Egress;
use serde_json::Value;

mod feature;
mod standin;

use feature::{Scenario, Then};

/// A scenario that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    let (flags, paths): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let [path] = paths.as_slice() else {
        println!("usage: ctk PATH [--examples], where PATH is a checkout of the specification");
        return ExitCode::FAILURE;
    };
    let result = match flags.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => scenarios(Path::new(path)).await,
        ["--examples"] => examples(Path::new(path)),
        other => Err(format!("unknown options {other:?}")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The files with this extension, in order of their names.
fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

async fn scenarios(specification: &Path) -> Result<bool, String> {
    let address = standin::serve().await.map_err(|error| format!("the stand-in cannot listen: {error}"))?;
    let rewrites = standin::HOSTS.map(|host| format!("{host}=http://{address}").parse());
    let rewrites = rewrites.into_iter().collect::<Result<_, _>>().map_err(|error| format!("{error}"))?;
    let egress = Egress { rewrites, ..Egress::default() };
    let (mut passed, mut failed) = (0, 0);
    for file in files(&specification.join("ctk/features"), "feature")? {
        for scenario in feature::scenarios(&read(&file)?)? {
            let label = format!("{}: {}", name(&file), scenario.name);
            match run(&scenario, &egress).await {
                Ok(()) => {
                    passed += 1;
                    println!("ok      {label}");
                }
                Err(reason) => {
                    failed += 1;
                    println!("FAILED  {label}: {reason}");
                }
            }
        }
    }
    println!("{passed} of {} scenarios pass", passed + failed);
    Ok(failed == 0 && passed > 0)
}

async fn run(scenario: &Scenario, egress: &Egress) -> Result<(), String> {
    let problems = kapell_workflow::validate(&scenario.definition);
    if let Some(problem) = problems.first() {
        return Err(problem.to_string());
    }
    let config = Config { egress: egress.clone(), ..Config::default() };
    let bench = Bench::with_config(config, Arc::new(MemoryStore::new()), Arc::new(standin::Caller::new()));
    let report = tokio::time::timeout(LIMIT, bench.once(&scenario.definition, &scenario.input))
        .await
        .map_err(|_| format!("did not end within {} s", LIMIT.as_secs()))?;
    scenario.then.iter().try_for_each(|then| check(then, &report))
}

fn check(then: &Then, report: &Report) -> Result<(), String> {
    let output = || report.result.as_ref().map_err(|fault| format!("did not complete: {fault:?}"));
    let property = |path: &str| {
        let value = path.split('.').try_fold(output()?, |value, key| value.get(key).ok_or(()));
        value.map_err(|()| format!("the output has no {path}: {}", output().unwrap_or(&Value::Null)))
    };
    let holds = |holds: bool, otherwise: String| if holds { Ok(()) } else { Err(otherwise) };
    let at = |task: &str| {
        let position = report.order.iter().position(|name| name == task);
        position.ok_or_else(|| format!("{task} did not run, only {:?}", report.order))
    };
    match then {
        Then::Completes => output().map(drop),
        Then::CompletesWith(wanted) => holds(output()? == wanted, format!("the output is {}", output()?)),
        Then::Faults => holds(matches!(report.result, Err(Some(_))), format!("came out as {:?}", report.result)),
        Then::FaultsWith(wanted) => {
            let Err(Some(fault)) = &report.result else { return Err(format!("came out as {:?}", report.result)) };
            let fault = serde_json::to_value(fault).map_err(|error| error.to_string())?;
            let wanted = wanted.as_object().ok_or("the error is not an object")?;
            let differs = wanted.iter().find(|(key, value)| fault.get(key) != Some(value));
            holds(differs.is_none(), format!("the error is {fault}"))
        }
        Then::Cancelled => holds(matches!(report.result, Err(None)), format!("came out as {:?}", report.result)),
        Then::Has(paths) => paths.iter().try_for_each(|path| property(path).map(drop)),
        Then::Is(path, wanted) => holds(property(path)? == wanted, format!("{path} is {}", property(path)?)),
        Then::Contains(path, count) => {
            let found = property(path)?.as_array().map(Vec::len);
            holds(found == Some(*count), format!("{path} is {}", property(path)?))
        }
        Then::First(task) => holds(at(task)? == 0, format!("the order is {:?}", report.order)),
        Then::Last(task) => holds(at(task)? + 1 == report.order.len(), format!("the order is {:?}", report.order)),
        Then::After(task, other) => holds(at(task)? > at(other)?, format!("the order is {:?}", report.order)),
        Then::Before(task, other) => holds(at(task)? < at(other)?, format!("the order is {:?}", report.order)),
    }
}

/// Examples that need nobody else: their input, and how they end.
const ALONE: [(&str, &str, &str); 9] = [
    ("conditional-task", r#"{"customer": {"age": 17}}"#, "Faulted"),
    ("emit", "{}", "Completed"),
    ("raise-inline", "{}", "Faulted"),
    ("raise-reusable", "{}", "Faulted"),
    ("set", r#"[{"type": "trigger"}]"#, "Completed"),
    ("set-expression", r#"[{"type": "trigger"}]"#, "Completed"),
    ("switch-then-string", r#"{"orderType": "physical"}"#, "Completed"),
    ("wait-duration-inline", "{}", "Completed"),
    ("wait-duration-iso8601", "{}", "Completed"),
];

/// Every example validates, or each of its problems says that something is not supported; those that need nobody
/// else run, with a virtual clock.
fn examples(specification: &Path) -> Result<bool, String> {
    let mut counts = BTreeMap::new();
    for file in files(&specification.join("examples"), "yaml")? {
        let document = kapell_api::decode::from_yaml(read(&file)?);
        let document = document.map_err(|error| format!("{}: {error}", file.display()))?.value;
        let problems: Vec<String> = kapell_workflow::validate(&document).iter().map(ToString::to_string).collect();
        let by_name = problems.iter().all(|problem| problem.contains("is not supported yet"));
        let name = name(&file);
        let alone = ALONE.iter().find(|(known, ..)| *known == name);
        let (label, details) = match (problems.is_empty(), by_name, alone) {
            (true, _, Some((_, input, phase))) => match rehearse(&document, input, phase) {
                Ok(()) => ("runs", Vec::new()),
                Err(why) => ("FAILED", vec![why]),
            },
            (true, _, None) => ("validates", vec![format!("needs others: {}", needs(&document).join(", "))]),
            (false, true, _) => ("refused", problems),
            (false, false, _) => ("WRONG", problems),
        };
        *counts.entry(label).or_insert(0) += 1;
        println!("{label:<10}{name}");
        details.iter().for_each(|detail| println!("            {detail}"));
    }
    let total: Vec<String> = counts.iter().map(|(label, count)| format!("{count} {label}")).collect();
    println!("{}", total.join(", "));
    Ok(!counts.contains_key("WRONG") && !counts.contains_key("FAILED"))
}

fn rehearse(document: &Value, input: &str, phase: &str) -> Result<(), String> {
    let input: Value = serde_json::from_str(input).map_err(|error| error.to_string())?;
    let case = serde_json::json!({ "name": "example", "workflow": document, "input": input, "phase": phase });
    let cases = kapell_workflow::cases::read(&case.to_string()).map_err(|error| error.to_string())?;
    for case in cases {
        let differences = case.run().map_err(|error| error.to_string())?;
        if !differences.is_empty() {
            return Err(format!("{differences:?}"));
        }
    }
    Ok(())
}

/// Whom a document calls, by host, and what else it waits for.
fn needs(document: &Value) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut ahead = vec![document];
    while let Some(value) = ahead.pop() {
        match value {
            Value::String(text) => {
                let host = text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https" | "file"));
                found.extend(host.and_then(|(_, rest)| rest.split(['/', '?']).next()).map(str::to_owned));
            }
            Value::Array(items) => ahead.extend(items),
            Value::Object(members) => {
                let waits = ["listen", "run", "schedule"].into_iter().filter(|key| members.contains_key(*key));
                found.extend(waits.map(str::to_owned));
                ahead.extend(members.values());
            }
            _ => {}
        }
    }
    found.into_iter().collect()
}
