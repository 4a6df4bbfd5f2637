//! The arguments of the `workflow` verbs that deal with runs.

use clap::Args;

use super::Output;

/// Which runs are meant, besides by name.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RunFilter {
    /// Only runs in these phases: Pending, Running, Suspended, Completed, Faulted, Cancelled
    #[arg(long, value_name = "PHASE", value_delimiter = ',')]
    pub(crate) phase: Vec<String>,
    /// Only runs with these labels: `app=shop,tier!=test`
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Only runs that were created before: 90s, 15m, 2h, 7d
    #[arg(long, value_name = "AGE")]
    pub(crate) older: Option<String>,
    /// Only runs that were created since: 90s, 15m, 2h, 7d
    #[arg(long, value_name = "AGE")]
    pub(crate) newer: Option<String>,
    /// Only runs with this search attribute; several must all hold
    #[arg(long = "where", value_name = "ATTRIBUTE=VALUE")]
    pub(crate) attributes: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only the runs of this workflow
    #[arg(value_name = "WORKFLOW")]
    pub(crate) workflow: Option<String>,
    #[command(flatten)]
    pub(crate) filter: RunFilter,
    /// How to print
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Output>,
    /// Runs in all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
}

/// Runs by name, or all that a filter lets through.
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// Names of runs; without any, the filters say which
    #[arg(value_name = "RUN")]
    pub(crate) runs: Vec<String>,
    /// Only runs of this workflow
    #[arg(long, value_name = "WORKFLOW")]
    pub(crate) workflow: Option<String>,
    #[command(flatten)]
    pub(crate) filter: RunFilter,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub(crate) runs: RunsArgs,
    /// Return at once
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    pub(crate) runs: RunsArgs,
    /// Begin with this task (its name, or its JSON pointer from `show -o json`) instead of the one that faulted
    #[arg(long, value_name = "TASK")]
    pub(crate) from: Option<String>,
    /// Give that task this input instead: JSON text, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub(crate) input: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SkipArgs {
    /// Name of the run
    pub(crate) run: String,
    /// The task: its name, or its JSON pointer from `show -o json`
    pub(crate) task: String,
    /// What the task is to have produced: JSON text, @FILE, or - for standard input
    #[arg(long = "result", value_name = "JSON|@FILE|-", default_value = "{}")]
    pub(crate) result: String,
}
