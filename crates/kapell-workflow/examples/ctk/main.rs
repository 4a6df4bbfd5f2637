//! Holds the engine against the specification: `cargo xtask ctk PATH`, where PATH is a checkout of it.
//!
//! Every scenario of `ctk/features` runs on the engine with an in-memory store; the hosts that the kit calls are
//! played by `standin`, to which the engine's egress rewrites lead, so nothing leaves the machine. With `--examples` every file in `examples` is validated
//! instead, and what is refused is named. The specification is read where it lies; nothing of it is kept here.

#![allow(clippy::print_stdout, reason = "a report goes to stdout")]

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

/// Every example validates, or each of its problems says that something is not supported.
fn examples(specification: &Path) -> Result<bool, String> {
    let (mut clean, mut refused, mut wrong) = (0, 0, 0);
    for file in files(&specification.join("examples"), "yaml")? {
        let document = kapell_api::decode::from_yaml(read(&file)?);
        let document = document.map_err(|error| format!("{}: {error}", file.display()))?.value;
        let problems: Vec<String> = kapell_workflow::validate(&document).iter().map(ToString::to_string).collect();
        let by_name = problems.iter().all(|problem| problem.contains("is not supported yet"));
        let label = match (problems.is_empty(), by_name) {
            (true, _) => {
                clean += 1;
                "ok      "
            }
            (false, true) => {
                refused += 1;
                "refused "
            }
            (false, false) => {
                wrong += 1;
                "WRONG   "
            }
        };
        println!("{label}{}", name(&file));
        problems.iter().for_each(|problem| println!("          {problem}"));
    }
    println!("{clean} examples validate, {refused} are refused by name, {wrong} for other reasons");
    Ok(wrong == 0)
}
