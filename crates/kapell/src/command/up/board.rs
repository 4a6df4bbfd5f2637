//! What a person sees while objects become ready: lines that change in place on a terminal; elsewhere one line for each
//! object once it is ready, and one for each new reason why it is not.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::command::apply::Applied;
use crate::command::settle::News;
use crate::readiness::Readiness;

pub(super) struct Board {
    progress: MultiProgress,
    lines: RefCell<BTreeMap<String, Line>>,
    terminal: bool,
}

#[derive(Default)]
struct Line {
    applied: Option<Applied>,
    /// What was printed last, or stands in the bar.
    said: String,
    bar: Option<ProgressBar>,
}

impl Board {
    pub(super) fn new() -> Self {
        Self { progress: MultiProgress::new(), lines: RefCell::default(), terminal: std::io::stderr().is_terminal() }
    }

    /// What applying has done to an object; shown together with its state.
    pub(super) fn applied(&self, label: String, applied: Applied) {
        self.lines.borrow_mut().entry(label).or_default().applied = Some(applied);
    }

    pub(super) fn show(&self, label: &str, news: &News<'_>) {
        let mut lines = self.lines.borrow_mut();
        let line = lines.entry(label.to_owned()).or_default();
        let words = words(line.applied, news);
        let ready = matches!(news, News::State(Readiness::Ready));
        if self.terminal {
            let bar = line.bar.get_or_insert_with(|| self.bar(label));
            if ready { bar.finish_with_message(words) } else { bar.set_message(words) }
        } else if worth_a_line(news) && line.said != words {
            eprintln!("  {label:<36} {words}");
            line.said = words;
        }
    }

    fn bar(&self, label: &str) -> ProgressBar {
        let style =
            ProgressStyle::with_template("  {prefix:<36} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        self.progress.add(ProgressBar::new(1).with_style(style).with_prefix(label.to_owned()))
    }
}

impl Drop for Board {
    /// Leaves the lines as they are, also when a person has interrupted; what follows starts below them.
    fn drop(&mut self) {
        let bars: Vec<&ProgressBar> = self.lines.get_mut().values().filter_map(|line| line.bar.as_ref()).collect();
        bars.iter().filter(|bar| !bar.is_finished()).for_each(|bar| bar.abandon());
        if !bars.is_empty() {
            eprintln!();
        }
    }
}

fn words(applied: Option<Applied>, news: &News<'_>) -> String {
    let state = match news {
        News::State(Readiness::Ready) => "ready".to_owned(),
        News::State(Readiness::Waiting(why)) => format!("waits: {why}"),
        News::State(Readiness::Failed(why)) => format!("FAILED: {why}"),
        News::Reason(why) => format!("waits: {why}"),
    };
    match applied {
        Some(applied) if applied != Applied::Unchanged => format!("{}, {state}", applied.as_str()),
        _ => state,
    }
}

/// States on the way pass in milliseconds; in a log only ends and lasting reasons are worth a line.
fn worth_a_line(news: &News<'_>) -> bool {
    !matches!(news, News::State(Readiness::Waiting(_)))
}

#[cfg(test)]
mod tests;
