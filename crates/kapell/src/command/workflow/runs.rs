//! What operators do to runs, one by one or all that a filter finds: list, cancel, suspend, resume, retry, skip.

use serde_json::{Value, json};

use crate::cli::Output;
use crate::cli::runs::{CancelArgs, ListArgs, RetryArgs, RunFilter, RunsArgs, SkipArgs};
use crate::cluster::{AS_TABLE, Cluster, kind_called, query};
use crate::command::text;
use crate::error::{Failure, Outcome};
use crate::print::{self, TableView};
use crate::timeline;

use super::{ended, existing, read_json, until_ended};

const PHASES: [&str; 6] = ["Pending", "Running", "Suspended", "Completed", "Faulted", "Cancelled"];

/// A filter whose words have been understood.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    phases: Vec<&'static str>,
    /// Created at this second or before, and at this or after.
    before: Option<i64>,
    after: Option<i64>,
    attributes: Vec<(String, String)>,
}

impl Wanted {
    pub(super) fn new(filter: &RunFilter, now: i64) -> Outcome<Self> {
        let phase = |word: &String| {
            PHASES.into_iter().find(|phase| phase.eq_ignore_ascii_case(word)).ok_or_else(|| {
                Failure::usage(format!("--phase {word}: there is no such phase"))
                    .hint(format!("one of {}", PHASES.join(", ")))
            })
        };
        let at = |flag: &str, age: &Option<String>| {
            let seconds = age.as_deref().map(|age| {
                seconds(age).ok_or_else(|| {
                    Failure::usage(format!("{flag} {age}: must be a number with s, m, h or d"))
                        .hint(format!("{flag} 15m"))
                })
            });
            Ok::<_, Failure>(seconds.transpose()?.map(|seconds| now.saturating_sub(seconds)))
        };
        let attribute = |text: &String| {
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("--where {text}: must be ATTRIBUTE=VALUE")))?;
            Ok::<_, Failure>((key.to_owned(), value.to_owned()))
        };
        Ok(Self {
            phases: filter.phase.iter().map(phase).collect::<Result<_, _>>()?,
            before: at("--older", &filter.older)?,
            after: at("--newer", &filter.newer)?,
            attributes: filter.attributes.iter().map(attribute).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn holds(&self, run: &Value) -> bool {
        let phase = Some(text(run, "/status/phase")).filter(|phase| !phase.is_empty()).unwrap_or("Pending");
        let created = text(run, "/metadata/creationTimestamp").parse().map_or(0, |at: jiff::Timestamp| at.as_second());
        let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let attributes = &run["status"]["searchAttributes"];
        (self.phases.is_empty() || self.phases.contains(&phase))
            && self.before.is_none_or(|before| created <= before)
            && self.after.is_none_or(|after| created >= after)
            && self.attributes.iter().all(|(key, value)| attributes.get(key).map(shown).as_ref() == Some(value))
    }
}

/// `90s`, `15m`, `2h`, `7d`.
fn seconds(age: &str) -> Option<i64> {
    let (number, unit) = age.split_at_checked(age.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<i64>().ok().filter(|number| *number >= 0)?.checked_mul(unit)
}

/// The path of the list that the server makes; the rest of the filter is for us.
fn list_path(
    cluster: &Cluster,
    workflow: Option<&str>,
    filter: &RunFilter,
    wanted: &Wanted,
    all: bool,
) -> Outcome<String> {
    let mut fields: Vec<String> = workflow.iter().map(|name| format!("spec.workflow={name}")).collect();
    // A run without a status is pending, which a field selector cannot say.
    if let [phase] = wanted.phases[..]
        && phase != "Pending"
    {
        fields.push(format!("status.phase={phase}"));
    }
    let fields = fields.join(",");
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    if !fields.is_empty() {
        pairs.push(("fieldSelector", &fields));
    }
    pairs.extend(filter.selector.as_deref().map(|selector| ("labelSelector", selector)));
    pairs.push(("includeObject", "Object"));
    Ok(cluster.path(kind_called("workflowruns")?, all.then_some(""), None) + &query(&pairs))
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

pub(super) async fn list(cluster: &Cluster, args: &ListArgs) -> Outcome {
    let wanted = Wanted::new(&args.filter, now())?;
    let path = list_path(cluster, args.workflow.as_deref(), &args.filter, &wanted, args.all_namespaces)?;
    if let Some(output @ (Output::Json | Output::Yaml)) = args.output {
        let mut list = cluster.get(&path).await?;
        if let Some(items) = list["items"].as_array_mut() {
            items.retain(|run| wanted.holds(run));
        }
        return print::value(&list, output);
    }
    let mut table = cluster.get_as(&path, AS_TABLE).await?;
    if let Some(rows) = table["rows"].as_array_mut() {
        rows.retain(|row| wanted.holds(&row["object"]));
    }
    if args.output == Some(Output::Name) {
        let names = table["rows"].as_array().into_iter().flatten();
        let names: String = names.map(|row| format!("workflowrun/{}\n", text(row, "/object/metadata/name"))).collect();
        return print::out(&names);
    }
    let view = TableView { wide: args.output == Some(Output::Wide), namespaces: args.all_namespaces, prefix: None };
    let rows = view.rows(&table);
    if rows.is_empty() {
        eprintln!("no such runs");
        return Ok(());
    }
    print::out(&print::columns(&view.header(&table), &rows))
}

/// The runs that are named, or those that the filter finds among the ones in `phases`.
async fn chosen(cluster: &Cluster, args: &RunsArgs, phases: &[&str]) -> Outcome<Vec<Value>> {
    let wanted = Wanted::new(&args.filter, now())?;
    if !args.runs.is_empty() {
        let mut runs = Vec::new();
        for name in &args.runs {
            runs.push(existing(cluster, name).await?);
        }
        return Ok(runs);
    }
    let RunFilter { phase, selector, older, newer, attributes } = &args.filter;
    let unfiltered =
        phase.is_empty() && selector.is_none() && older.is_none() && newer.is_none() && attributes.is_empty();
    if unfiltered && args.workflow.is_none() {
        return Err(Failure::usage("which runs?")
            .hint("give their names, or --workflow, --phase, --selector, --older, --newer or --where"));
    }
    let path = list_path(cluster, args.workflow.as_deref(), &args.filter, &wanted, false)?;
    let list = cluster.get(&path).await?;
    let runs = list["items"].as_array().into_iter().flatten().filter(|run| wanted.holds(run));
    let fits = |run: &&Value| {
        phases.contains(&Some(text(run, "/status/phase")).filter(|phase| !phase.is_empty()).unwrap_or("Pending"))
    };
    let runs: Vec<Value> = runs.filter(fits).cloned().collect();
    if runs.is_empty() {
        eprintln!("no such runs");
    }
    Ok(runs)
}

fn path_of(cluster: &Cluster, run: &Value) -> Outcome<String> {
    Ok(cluster.path(kind_called("workflowruns")?, None, Some(text(run, "/metadata/name"))))
}

/// Patches each run and says so; goes on after a failure, which is reported in the end.
async fn patch_all(cluster: &Cluster, runs: &[Value], what: &str, patch: impl Fn(&Value) -> Outcome<Value>) -> Outcome {
    let mut failed = Vec::new();
    for run in runs {
        let name = text(run, "/metadata/name");
        let patched = match patch(run) {
            Ok(patch) => cluster.merge_patch(&path_of(cluster, run)?, &patch).await,
            Err(failure) => Err(failure),
        };
        match patched {
            Ok(_) => print::out(&format!("workflowrun/{name} {what}\n"))?,
            Err(failure) if runs.len() == 1 => return Err(failure),
            Err(failure) => {
                eprintln!("{failure}");
                failed.push(name);
            }
        }
    }
    match failed[..] {
        [] => Ok(()),
        _ => Err(Failure::new(format!(
            "{} of {} runs were left as they are: {}",
            failed.len(),
            runs.len(),
            failed.join(", ")
        ))),
    }
}

fn not_ended(run: &Value) -> Outcome {
    if ended(run) {
        let (name, phase) = (text(run, "/metadata/name"), text(run, "/status/phase"));
        return Err(Failure::new(format!("run {name} has ended already ({phase})")));
    }
    Ok(())
}

pub(super) async fn suspend(cluster: &Cluster, args: &RunsArgs) -> Outcome {
    let runs = chosen(cluster, args, &["Pending", "Running"]).await?;
    patch_all(cluster, &runs, "is being suspended", |run| {
        not_ended(run)?;
        Ok(json!({ "spec": { "suspend": true } }))
    })
    .await
}

pub(super) async fn resume(cluster: &Cluster, args: &RunsArgs) -> Outcome {
    let runs = chosen(cluster, args, &["Suspended"]).await?;
    patch_all(cluster, &runs, "goes on", |run| {
        not_ended(run)?;
        Ok(json!({ "spec": { "suspend": false } }))
    })
    .await
}

/// What asks for one more retry than was asked for before.
fn retry_patch(run: &Value, from: Option<&str>, input: Option<&Value>) -> Outcome<Value> {
    let (name, phase) = (text(run, "/metadata/name"), text(run, "/status/phase"));
    if !matches!(phase, "Faulted" | "Cancelled") {
        return Err(Failure::new(format!("run {name} is {phase}: only a faulted or cancelled run can be retried")));
    }
    let last = run["status"]["retried"].as_u64().max(run["spec"]["retry"]["number"].as_u64()).unwrap_or(0);
    // A merge patch would leave what the former retry said.
    let mut retry = json!({ "number": last + 1, "from": from, "input": null });
    if let Some(input) = input {
        retry["input"] = input.clone();
    }
    Ok(json!({ "spec": { "retry": retry, "cancel": null } }))
}

pub(super) async fn retry(cluster: &Cluster, args: &RetryArgs) -> Outcome {
    let input = args.input.as_deref().map(|input| read_json("--input", input)).transpose()?;
    let runs = chosen(cluster, &args.runs, &["Faulted", "Cancelled"]).await?;
    patch_all(cluster, &runs, "is retried", |run| retry_patch(run, args.from.as_deref(), input.as_ref())).await
}

/// Gives a task's output; an ended run goes on with it.
pub(super) async fn skip(cluster: &Cluster, args: &SkipArgs) -> Outcome {
    let output = read_json("--result", &args.result)?;
    let run = existing(cluster, &args.run).await?;
    let mut patch = json!({ "spec": {} });
    if ended(&run) {
        patch = retry_patch(&run, None, None)?;
    }
    let mut skips = run["spec"]["skip"].as_array().cloned().unwrap_or_default();
    skips.push(json!({ "task": args.task, "output": output }));
    patch["spec"]["skip"] = Value::Array(skips);
    // Somebody else's skip must not get lost under this one.
    patch["metadata"] = json!({ "resourceVersion": run["metadata"]["resourceVersion"] });
    cluster.merge_patch(&path_of(cluster, &run)?, &patch).await?;
    print::out(&format!("workflowrun/{}: {} is taken as done\n", args.run, args.task))
}

pub(super) async fn cancel(cluster: &Cluster, args: &CancelArgs) -> Outcome {
    let runs = chosen(cluster, &args.runs, &["Pending", "Running", "Suspended"]).await?;
    let ask = |run: &Value| {
        not_ended(run)?;
        Ok(json!({ "spec": { "cancel": true } }))
    };
    if args.no_wait || runs.len() > 1 {
        patch_all(cluster, &runs, "is being cancelled", ask).await?;
    }
    if args.no_wait {
        return Ok(());
    }
    for run in &runs {
        let name = text(run, "/metadata/name");
        if runs.len() == 1 {
            cluster.merge_patch(&path_of(cluster, run)?, &ask(run)?).await?;
        }
        let run = until_ended(cluster, name).await?;
        match text(&run, "/status/phase") {
            "Cancelled" => print::out(&format!(
                "{}\n",
                timeline::unhappy_end(name, &run).replacen(&format!("run {name}"), &format!("workflowrun/{name}"), 1)
            ))?,
            phase => return Err(Failure::new(format!("run {name} ended before it could be cancelled ({phase})"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
