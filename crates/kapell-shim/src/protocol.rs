//! What agent and shim say to each other: one JSON document per line, in both directions, over `shim.sock`.
//!
//! A [`Request`] carries an id that its [`Answer`] repeats; answers may overtake each other (a probe command takes its
//! time). After [`Op::Subscribe`] the shim also sends [`Body::Changed`] with id 0 whenever its state changes. Both sides
//! refuse a version that they do not know. Times are milliseconds since the Unix epoch.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cgroup::Backend;
use crate::proc::ProcessId;

/// Of the protocol and of `state.json`. A shim may be older than the agent that finds it after an upgrade: never reuse
/// a number for another meaning, and add fields with defaults only.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    pub v: u32,
    pub id: u64,
    pub op: Op,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Op {
    /// Answered with [`Body::State`].
    State,
    /// Answered with [`Body::State`]; changes follow.
    Subscribe,
    /// Starts a container that is not running; answered with [`Body::State`]. A command that cannot be executed is no
    /// error of the request: it shows as an [`Exit`] with `start_error`.
    Start(Box<ContainerSpec>),
    /// SIGTERM to the container's process group now, SIGKILL to everything that belongs to it after `grace_ms`. A second
    /// request can only bring the end forward. Answered at once; the end shows as a change.
    Stop { container: String, grace_ms: u64 },
    /// Runs a command beside the container: same environment, directory and cgroup. Answered with [`Body::Executed`].
    Exec { container: String, command: Vec<String>, timeout_ms: u64 },
    /// Runs a command beside the container with the descriptors that came with the request (`SCM_RIGHTS`) as its streams:
    /// what it reads and writes does not pass through the shim. Answered with [`Body::Ended`] when its first process has
    /// ended. When the connection ends before, it is hung up, and killed if it goes on.
    Session { container: String, command: Vec<String>, streams: Streams },
    /// The standard input of a container that has it [`Stdin::Once`] ends, as soon as nobody else writes to it.
    /// Answered with [`Body::Done`].
    CloseStdin { container: String },
    /// Kills what still runs and ends the shim. Answered with [`Body::Done`] before it goes.
    Shutdown,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    pub v: u32,
    pub id: u64,
    pub body: Body,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Body {
    Done,
    State(PodState),
    Changed(PodState),
    Executed(Executed),
    Ended(Ended),
    Failed { message: String },
}

/// What the descriptors of an [`Op::Session`] are, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Streams {
    /// One: a terminal, which becomes the controlling one of the command's session.
    Terminal,
    /// One for each that is named; the others are `/dev/null`.
    Pipes { stdin: bool, stdout: bool, stderr: bool },
}

impl Streams {
    /// How many descriptors come with the request.
    pub fn count(self) -> usize {
        match self {
            Self::Terminal => 1,
            Self::Pipes { stdin, stdout, stderr } => {
                [stdin, stdout, stderr].into_iter().filter(|wanted| *wanted).count()
            }
        }
    }
}

/// The end of a session's first process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// As a shell reports it.
    pub code: i32,
    /// It never ran; why not.
    #[serde(default)]
    pub start_error: Option<String>,
}

/// What a container reads from its standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stdin {
    #[default]
    Nothing,
    /// What is written to `stdin.fifo`; it never ends.
    Open,
    /// The same, until [`Op::CloseStdin`]. It also ends with the shim, which alone keeps it open.
    Once,
}

/// Everything needed to start one container; kept until its next start, for [`Op::Exec`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSpec {
    pub name: String,
    /// How often the container has been started before: Kubernetes' `restartCount` after this start.
    pub attempt: u32,
    /// Program and arguments; the program is looked up in the PATH of `env` unless it contains a slash.
    pub command: Vec<String>,
    /// The complete environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Must exist.
    pub cwd: PathBuf,
    #[serde(default)]
    pub stdin: Stdin,
    /// All three streams are one terminal, which it controls. It ends with the shim.
    #[serde(default)]
    pub terminal: bool,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub log: LogLimits,
    /// As whom it runs, and every command beside it.
    #[serde(default)]
    pub identity: Identity,
}

/// As whom a process runs and what it may do; what is not set is as the shim has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Identity {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// All supplementary groups.
    pub groups: Option<Vec<u32>>,
    /// The capabilities that may remain, as a set of their numbers; none remain to another user than root.
    pub capabilities: Option<u64>,
    /// Executing a program gives no privileges, whatever its file says.
    pub no_new_privileges: bool,
}

/// Enforced as far as the machine's cgroups allow; see [`Backend`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Thousandths of a processor.
    pub cpu_milli: Option<u64>,
    /// Thousandths of a processor that it gets under contention.
    pub cpu_request_milli: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub pids: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogLimits {
    /// A log file that has reached this size is rotated.
    pub max_bytes: u64,
    /// Files kept for one start of a container, the current one included.
    pub max_files: u32,
}

impl Default for LogLimits {
    /// The kubelet's `containerLogMaxSize` and `containerLogMaxFiles`.
    fn default() -> Self {
        Self { max_bytes: 10 << 20, max_files: 5 }
    }
}

/// The content of `state.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodState {
    pub version: u32,
    /// Processes of another boot are gone, whatever their numbers say.
    pub boot_id: String,
    pub shim: ProcessId,
    pub cgroup: Backend,
    /// The shim knows [`Identity`]. One that does not would start every container as itself.
    #[serde(default)]
    pub identities: bool,
    pub containers: BTreeMap<String, ContainerState>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerState {
    /// Of the start that `running` or `exit` belong to.
    pub attempt: u32,
    /// Set exactly while the container runs: until its output is drained and its last process is gone.
    pub running: Option<Running>,
    /// How this attempt ended.
    pub exit: Option<Exit>,
    /// How the attempt before ended.
    pub previous: Option<Exit>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    pub process: ProcessId,
    pub started_at: i64,
    #[serde(default)]
    pub stopping: bool,
    /// Directories of its cgroups, for a shim that takes over.
    #[serde(default)]
    pub cgroups: Vec<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Exit {
    pub attempt: u32,
    pub started_at: i64,
    pub finished_at: i64,
    /// As a shell reports it: 128 + signal number after a signal.
    pub code: i32,
    pub signal: Option<i32>,
    pub oom_killed: bool,
    /// Nobody saw it end (the shim or the machine went down first); `code` is 137 then, as in Kubernetes.
    pub unknown: bool,
    /// It never ran; why not. `code` is 128 then, as in Kubernetes.
    pub start_error: Option<String>,
}

/// Exit code of an end that nobody saw.
pub const CODE_UNKNOWN: i32 = 137;

/// Exit code of a command that could not be executed.
pub const CODE_START_ERROR: i32 = 128;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Executed {
    /// `None` when the command was killed at its timeout.
    pub code: Option<i32>,
    /// The first [`EXEC_OUTPUT_LIMIT`] bytes of both streams, as text.
    pub output: String,
}

/// More than this of a probe's output helps nobody and would end up in an Event.
pub const EXEC_OUTPUT_LIMIT: usize = 10 << 10;
