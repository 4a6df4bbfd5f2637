//! What can be typed: the command line as values, nothing resolved yet.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) mod runs;

/// Runs services, connects them, orchestrates them with durable workflows.
#[derive(Debug, Parser)]
#[command(name = "kapell", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
Start with:  kapell up examples/shop
Data:        $KAPELL_DATA, else $XDG_DATA_HOME/kapell (~/.local/share/kapell; root: /var/lib/kapell)
Exit codes:  0 done, 1 failed, 2 wrong use")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Which server the client verbs talk to.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// Data directory of the server
    #[arg(long, global = true, env = "KAPELL_DATA", value_name = "DIR", help_heading = "Server")]
    pub(crate) data: Option<PathBuf>,
    /// Talk to the cluster that this kubeconfig names, instead of the data directory's server
    #[arg(long, global = true, value_name = "FILE", help_heading = "Server")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Namespace of the objects that are named
    #[arg(short, long, global = true, value_name = "NAME", help_heading = "Server")]
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Bring everything in these files up and show it becoming ready; starts a server if none is running
    Up(UpArgs),
    /// Delete what is in these files; without files, stop the server and its pods and keep the data
    Down(DownArgs),
    /// Run the server in the foreground
    Server(ServerArgs),
    /// Create or change objects as the files say
    Apply(ApplyArgs),
    /// List objects
    Get(GetArgs),
    /// Show one object with its conditions and events
    Describe(NamedArgs),
    /// Print the output of a pod
    Logs(LogsArgs),
    /// Run a command beside a container, with its environment
    Exec(ExecArgs),
    /// Follow a container's output, and write to its standard input
    Attach(ContainerArgs),
    /// Let ports here lead to ports of a pod
    PortForward(PortForwardArgs),
    /// Delete objects
    Delete(DeleteArgs),
    /// Set the number of replicas
    Scale(ScaleArgs),
    /// Follow or undo the rollout of a deployment
    #[command(subcommand)]
    Rollout(RolloutVerb),
    /// Check and test workflows; start, list, show and cancel their runs
    #[command(subcommand, visible_alias = "wf")]
    Workflow(WorkflowVerb),
    /// Say what an object is waiting for
    Why(NamedArgs),
    /// Print the versions of this program and of the server
    Version,
    /// Print a completion script for a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Files or directories with Kubernetes objects and workflow documents
    #[arg(value_name = "FILE|DIR")]
    pub(crate) files: Vec<PathBuf>,
    /// Port of the API, if a server has to be started (0: any free one)
    #[arg(long, value_name = "N")]
    pub(crate) api_port: Option<u16>,
    /// Give up waiting after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) timeout: u64,
    /// Start the server in the background and return when everything is ready
    #[arg(short, long)]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) workflows: WorkflowSettings,
}

#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// Files or directories whose objects are to be deleted
    #[arg(value_name = "FILE|DIR")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Port of the API on the loopback interface (0: any free one)
    #[arg(long, value_name = "N", default_value_t = 6443, env = "KAPELL_API_PORT")]
    pub(crate) api_port: u16,
    /// Name of this node (default: the host's name)
    #[arg(long, value_name = "NAME", env = "KAPELL_NODE_NAME")]
    pub(crate) node_name: Option<String>,
    /// How long events are kept after they last happened
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(60..),
          env = "KAPELL_EVENT_TTL")]
    pub(crate) event_ttl: u32,
    #[command(flatten)]
    pub(crate) workflows: WorkflowSettings,
}

/// What workflows on the server may reach.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Workflows")]
pub(crate) struct WorkflowSettings {
    /// Let workflows call this host, address or network besides Services and public addresses (repeatable)
    #[arg(long, value_name = "HOST|*.HOST|NETWORK", env = "KAPELL_EGRESS_ALLOW", value_delimiter = ',')]
    pub(crate) egress_allow: Vec<kapell_server::EgressTarget>,
    /// Do not let workflows call this host, address or network (repeatable)
    #[arg(long, value_name = "HOST|*.HOST|NETWORK", env = "KAPELL_EGRESS_DENY", value_delimiter = ',')]
    pub(crate) egress_deny: Vec<kapell_server::EgressTarget>,
    /// Send workflows' calls for a host somewhere else (repeatable)
    #[arg(long, value_name = "HOST[:PORT]=URL", env = "KAPELL_EGRESS_REWRITE", value_delimiter = ',')]
    pub(crate) egress_rewrite: Vec<kapell_server::EgressRewrite>,
    /// Directory below which `file:` resources of workflows are
    #[arg(long, value_name = "DIR", env = "KAPELL_WORKFLOW_RESOURCES")]
    pub(crate) workflow_resources: Option<PathBuf>,
    /// Publish what workflow runs and their tasks do as CloudEvents, which runs may listen for
    #[arg(long, env = "KAPELL_LIFECYCLE_EVENTS")]
    pub(crate) lifecycle_events: bool,
    /// Let workflows run shell commands and scripts on this machine, as the user who starts the server
    #[arg(long, env = "KAPELL_ALLOW_RUN")]
    pub(crate) allow_run: bool,
    /// Runs that may be in memory at a time; new ones are refused then (default: 100,000)
    #[arg(long, value_name = "N", env = "KAPELL_MAX_RUNS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_runs: Option<u32>,
    /// Runs that may wait to begin; new ones are refused then (default: 10,000)
    #[arg(long, value_name = "N", env = "KAPELL_MAX_WAITING_RUNS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_waiting_runs: Option<u32>,
    /// Size up to which the event log of a namespace is kept (default: 64)
    #[arg(long, value_name = "MIB", env = "KAPELL_EVENT_LOG_MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) event_log_mib: Option<u32>,
}

impl WorkflowSettings {
    pub(crate) fn settings(&self) -> kapell_server::Workflows {
        let egress = kapell_server::Egress {
            rewrites: self.egress_rewrite.clone(),
            allow: self.egress_allow.clone(),
            deny: self.egress_deny.clone(),
            own: Vec::new(),
        };
        kapell_server::Workflows {
            egress,
            resources: self.workflow_resources.clone(),
            lifecycle_events: self.lifecycle_events,
            allow_run: self.allow_run,
            max_runs: self.max_runs,
            max_waiting_runs: self.max_waiting_runs,
            event_log_mib: self.event_log_mib,
        }
    }

    /// The same for another process.
    pub(crate) fn arguments(&self) -> Vec<std::ffi::OsString> {
        let mut arguments = Vec::new();
        for target in &self.egress_allow {
            arguments.push(format!("--egress-allow={target}").into());
        }
        for target in &self.egress_deny {
            arguments.push(format!("--egress-deny={target}").into());
        }
        for rewrite in &self.egress_rewrite {
            arguments.push(format!("--egress-rewrite={rewrite}").into());
        }
        if let Some(directory) = &self.workflow_resources {
            let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
            arguments.extend(["--workflow-resources".into(), directory.into_os_string()]);
        }
        let numbers = [
            ("--max-runs", self.max_runs),
            ("--max-waiting-runs", self.max_waiting_runs),
            ("--event-log-mib", self.event_log_mib),
        ];
        let given = numbers.into_iter().filter_map(|(flag, number)| Some(format!("{flag}={}", number?).into()));
        arguments.extend(given);
        let flags = [("--lifecycle-events", self.lifecycle_events), ("--allow-run", self.allow_run)];
        arguments.extend(flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag.into()));
        arguments
    }
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Files or directories; `-` reads standard input
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    /// `server` asks the server for the outcome without storing it
    #[arg(long, value_name = "none|server", default_value = "none")]
    pub(crate) dry_run: DryRun,
    /// How to print
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    None,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Json,
    Yaml,
    Name,
    Wide,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// `pods`, `deployment/web`, `pods,services`, or a kind followed by names
    #[arg(value_name = "KIND[/NAME]", required = true)]
    pub(crate) targets: Vec<String>,
    /// How to print
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Output>,
    /// Labels to select by, e.g. `app=web,tier!=db`
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Fields to select by, e.g. `status.phase=Running`
    #[arg(long, value_name = "FIELDS")]
    pub(crate) field_selector: Option<String>,
    /// Objects of all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Print changes as they happen
    #[arg(short, long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NamedArgs {
    /// `KIND/NAME`, or a kind followed by a name
    #[arg(value_name = "KIND/NAME", required = true, num_args = 1..=2)]
    pub(crate) target: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// A pod, or `deployment/NAME` for one of its pods
    #[arg(value_name = "POD")]
    pub(crate) pod: String,
    /// Which container (default: the only one)
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Go on printing as the pod writes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// The instance before the last restart
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<u64>,
    /// Each line with the time at which it was written
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Only what was written in the last `30s`, `5m`, `1h30m`
    #[arg(long, value_name = "DURATION", conflicts_with = "since_time")]
    pub(crate) since: Option<String>,
    /// Only what was written from this time on (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(crate) since_time: Option<String>,
    /// At most this many bytes
    #[arg(long, value_name = "BYTES")]
    pub(crate) limit_bytes: Option<u64>,
    /// All containers of the pod
    #[arg(long, conflicts_with = "container")]
    pub(crate) all_containers: bool,
    /// Each line with its pod and container
    #[arg(long)]
    pub(crate) prefix: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ContainerArgs {
    /// A pod, or `deployment/NAME` for one of its pods
    #[arg(value_name = "POD")]
    pub(crate) pod: String,
    /// Which container (default: the first)
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Pass standard input on; to attach to it, the container must say `stdin: true`
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// Give the command a terminal; to attach to one, the container must say `tty: true`
    #[arg(short, long)]
    pub(crate) tty: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) at: ContainerArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PortForwardArgs {
    /// A pod, or `service/NAME` or `deployment/NAME` for one of its pods
    #[arg(value_name = "POD")]
    pub(crate) target: String,
    /// `PORT`, `LOCAL:PORT`, or `:PORT` for any free one here
    #[arg(value_name = "[LOCAL:]PORT", required = true)]
    pub(crate) ports: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// `KIND/NAME…`, or a kind followed by names
    #[arg(value_name = "KIND/NAME")]
    pub(crate) targets: Vec<String>,
    /// Files or directories whose objects are to be deleted; `-` reads standard input
    #[arg(short, long = "filename", value_name = "FILE|DIR|-")]
    pub(crate) filename: Vec<PathBuf>,
    /// Labels of the objects to delete
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Seconds that a pod gets to end by itself
    #[arg(long, value_name = "SECONDS")]
    pub(crate) grace_period: Option<u32>,
    /// Do not wait until the objects are gone
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// An object that is gone already is no failure
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// `deployment/NAME` or `replicaset/NAME`
    #[arg(value_name = "KIND/NAME", required = true, num_args = 1..=2)]
    pub(crate) target: Vec<String>,
    /// How many there shall be
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) replicas: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutVerb {
    /// Wait until the rollout is complete
    Status {
        /// `deployment/NAME`
        #[arg(value_name = "KIND/NAME", required = true, num_args = 1..=2)]
        target: Vec<String>,
        /// Give up after this many seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        timeout: u64,
    },
    /// Go back to the revision before, or to a given one
    Undo {
        /// `deployment/NAME`
        #[arg(value_name = "KIND/NAME", required = true, num_args = 1..=2)]
        target: Vec<String>,
        /// The revision to go back to (default: the one before)
        #[arg(long, value_name = "N")]
        to_revision: Option<i64>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowVerb {
    /// Start a run; with --wait print its output (exit 1 when it faults or is cancelled)
    Run {
        /// Name of the workflow
        name: String,
        /// The input: JSON text, @FILE, or - for standard input
        #[arg(long, value_name = "JSON|@FILE|-", default_value = "{}")]
        input: String,
        /// Name of the run; the same name again is the same run
        #[arg(long = "name", value_name = "ID")]
        run_name: Option<String>,
        /// Wait for the end and print the output
        #[arg(long)]
        wait: bool,
        /// How to print
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// List runs
    List(runs::ListArgs),
    /// Show a run with the timeline of every attempt
    Show {
        /// Name of the run
        run: String,
        /// Also the input and output of every step
        #[arg(long)]
        full: bool,
        /// How to print
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// Cancel runs: what they completed is compensated
    Cancel(runs::CancelArgs),
    /// Let runs begin no further task; what is under way is finished
    Suspend(runs::RunsArgs),
    /// Let suspended runs go on
    Resume(runs::RunsArgs),
    /// Let runs that faulted or were cancelled go on
    Retry(runs::RetryArgs),
    /// Give the output of a task instead of doing it; a run that has faulted there goes on
    Skip(runs::SkipArgs),
    /// Check workflow documents, without a server (exit 1 when something is wrong)
    Lint {
        /// Files or directories; `-` reads standard input
        #[arg(value_name = "FILE|DIR|-", required = true)]
        files: Vec<PathBuf>,
        /// How to print
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// Draw a workflow as a Mermaid flowchart
    Graph {
        /// A file, or the name of a workflow of the server
        #[arg(value_name = "FILE|NAME")]
        which: String,
    },
    /// Run cases: workflows against stubs, with a virtual clock and without a server (exit 1 when one fails)
    Test {
        /// Files with cases
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Only cases whose name has this in it
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
    },
    /// Send an event to one run, which takes it by a `listen` for its type; returns when it is on disk
    Signal {
        /// Name of the run
        run: String,
        /// Name of the signal: the event's type, e.g. `com.example.approved`
        name: String,
        /// Its data: JSON text, @FILE, or - for standard input (`--data` is the server's directory)
        #[arg(long, value_name = "JSON|@FILE|-")]
        payload: Option<String>,
        /// Its id; the same id is the same signal (default: a new one)
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
    /// Publish a CloudEvent, which runs may listen for; returns when it is on disk
    Emit {
        /// The event's type, e.g. `com.example.order.paid`
        #[arg(long = "type", value_name = "TYPE")]
        type_: String,
        /// Where it comes from: a URI or a path
        #[arg(long, value_name = "URI")]
        source: String,
        /// Its data: JSON text, @FILE, or - for standard input (`--data` is the server's directory)
        #[arg(long, value_name = "JSON|@FILE|-")]
        payload: Option<String>,
        /// What it is about
        #[arg(long, value_name = "TEXT")]
        subject: Option<String>,
        /// Its id; the same id of the same source is the same event (default: a new one)
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
    /// List the events of the namespace
    Events {
        /// Only those from this position of the log on
        #[arg(long, value_name = "N", default_value_t = 0)]
        from: u64,
        /// How to print
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// Wait for the end of a run and print its output
    Wait {
        /// Name of the run
        run: String,
        /// How to print
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
}
