//! A run's history as text: which step did what, under which, and how the run ended. Pure: reads the run and the
//! items of its timeline, asks nobody.

use serde_json::Value;

use crate::print;

/// How wide a page may become; what is longer continues on the next line.
const WIDTH: usize = 100;

/// How much is said about why a run ended; `-o json` has the rest.
const LONGEST_CAUSE: usize = 400;

/// The names of the tasks on the way to the one at `pointer`: `/do/2/charge/try/0/pay` is `charge`, `pay`. In a task
/// list each task stands behind its index; a compensation starts anew, for it is a list of its own.
pub(crate) fn path(pointer: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut segments = pointer.split('/').skip(1);
    while let Some(segment) = segments.next() {
        if segment == "metadata" {
            names.clear();
        } else if segment.parse::<usize>().is_ok() {
            // RFC 6901 §3: `~1` is a slash, `~0` a tilde.
            names.extend(segments.next().map(|name| name.replace("~1", "/").replace("~0", "~")));
        }
    }
    names
}

/// `charge → pay`.
pub(crate) fn step(pointer: &str) -> String {
    path(pointer).join(" → ")
}

/// Where and why a run ended unhappily, and what became of the completed steps.
pub(crate) fn unhappy_end(name: &str, run: &Value) -> String {
    let phase = text(run, "/status/phase").to_lowercase();
    let mut message = format!("run {name} {}", if phase == "cancelled" { "was cancelled" } else { &phase });
    if phase != "cancelled" {
        let cause = cause(&run["status"]["error"]);
        message.push_str(if cause.starts_with("at step") { " " } else { ": " });
        message.push_str(&cause);
    }
    match text(run, "/status/compensation") {
        "Done" => message.push_str("; the completed steps were compensated"),
        "Failed" => message.push_str("; COMPENSATION FAILED, some completed steps are not undone"),
        _ => {}
    }
    message
}

/// `at step charge → pay: Communication error: … (status 402)`.
fn cause(error: &Value) -> String {
    let step = step(text(error, "/instance"));
    let place = if step.is_empty() { String::new() } else { format!("at step {step}") };
    let parts = [place.as_str(), text(error, "/title"), text(error, "/detail")];
    let cause = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    // A service may answer with a whole page; of that the beginning is enough, and in one line.
    let words = cause.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut cause: String = words.chars().take(LONGEST_CAUSE).collect();
    if cause.len() < words.len() {
        cause.push('…');
    }
    if let Some(status) = error["status"].as_u64()
        && !cause.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == status.to_string())
    {
        cause.push_str(&format!(" (status {status})"));
    }
    cause
}

/// The page of `workflow show`; `data`: with the input and output of each step.
pub(crate) fn page(run: &Value, items: &[Value], data: bool) -> String {
    let status = &run["status"];
    let mut page = String::new();
    let mut line = |title: &str, value: &str| {
        if !value.is_empty() && value != "None" {
            page.push_str(&format!("{title:<11}{}\n", print::wrap(value, WIDTH - 11).join(&format!("\n{:11}", ""))));
        }
    };
    line("Run", text(run, "/metadata/name"));
    line("Workflow", text(run, "/spec/workflow"));
    line("Phase", text(status, "/phase"));
    line("Started", text(status, "/startTime"));
    line("Ended", text(status, "/completionTime"));
    line("Waits for", text(status, "/waitingFor"));
    line("Input", &run["spec"]["input"].to_string());
    if !status["output"].is_null() {
        line("Output", &status["output"].to_string());
    }
    if !status["error"].is_null() {
        line("Error", &cause(&status["error"]));
    }
    line("Undoing", text(status, "/compensation"));
    if let Some(retried) = status["retried"].as_u64() {
        line("Retries", &retried.to_string());
    }
    line("Refused", text(status, "/message"));
    if !items.is_empty() {
        page.push('\n');
        page.push_str(&table(items, data));
    }
    page
}

/// One line for each attempt, tasks under the one that they belong to. A detail that does not fit stands below its line.
fn table(items: &[Value], data: bool) -> String {
    let header = ["STEP", "TRY", "OUTCOME", "STARTED", "TOOK", ""].map(str::to_owned);
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    let lines = print::columns(&header, &rows);
    let mut lines = lines.lines();
    let mut page = lines.next().unwrap_or_default().to_owned() + "\n";
    // `columns` trims the empty last column away; its place is where short details start.
    let start = print::widths(&header, &rows).iter().map(|width| width + 3).sum::<usize>() - 3;
    for ((position, item), line) in items.iter().enumerate().zip(lines) {
        page.push_str(line);
        let detail = detail(items, position);
        if !detail.is_empty() && start + detail.chars().count() <= WIDTH {
            let gap = start - line.chars().count();
            page.push_str(&format!("{:gap$}{detail}", ""));
        } else if !detail.is_empty() {
            let indent = 2 * path(text(item, "/task")).len();
            for part in print::wrap(detail, WIDTH - indent) {
                page.push_str(&format!("\n{:indent$}{part}", ""));
            }
        }
        page.push('\n');
        let indent = 2 * path(text(item, "/task")).len();
        for (title, key) in [("in:  ", "input"), ("out: ", "output")] {
            if data && !item[key].is_null() {
                let lines = print::wrap(&item[key].to_string(), WIDTH - indent - title.len());
                let next = format!("\n{:1$}", "", indent + title.len());
                page.push_str(&format!("{:indent$}{title}{}\n", "", lines.join(&next)));
            }
        }
    }
    page
}

fn row(item: &Value) -> Vec<String> {
    let time = |pointer| text(item, pointer).parse::<jiff::Timestamp>();
    let (start, end) = (time("/startTime"), time("/endTime"));
    let took = match (&start, end) {
        (Ok(start), Ok(end)) => print::duration(end.as_millisecond() - start.as_millisecond()),
        _ => String::new(),
    };
    let depth = path(text(item, "/task")).len().saturating_sub(1);
    vec![
        format!("{:indent$}{}", "", text(item, "/name"), indent = 2 * depth),
        match item["retry"].as_u64() {
            Some(retry) => format!("{} (retry {retry})", item["attempt"].as_u64().unwrap_or(1)),
            None => item["attempt"].as_u64().unwrap_or(1).to_string(),
        },
        text(item, "/outcome").to_owned(),
        start.map(|start| start.strftime("%H:%M:%S%.3f").to_string()).unwrap_or_default(),
        took,
        String::new(),
    ]
}

/// What there is to say about an attempt, unless the lines around it say the same: the task that it contains, or the
/// attempt before it.
fn detail(items: &[Value], position: usize) -> &str {
    let item = &items[position];
    let (task, detail) = (text(item, "/task"), text(item, "/detail"));
    let inside = |other: &Value| text(other, "/task").strip_prefix(task).is_some_and(|rest| rest.starts_with('/'));
    let said_inside = items[position + 1..].iter().any(|other| inside(other) && text(other, "/detail") == detail);
    let before = items[..position].iter().rev().find(|other| text(other, "/task") == task);
    match before {
        _ if detail.is_empty() || said_inside => "",
        Some(before) if text(before, "/detail") == detail => "the same",
        _ => detail,
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
