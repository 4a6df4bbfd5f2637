//! The harness: a real server in a directory of its own, spoken to by real clients.
//!
//! Every test has its own data directory, loopback block and ports, so tests run side by side and in any order.

use std::future::Future;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tempfile::TempDir;

pub mod conformance;
mod forward;
pub mod load;
pub mod shop;
pub mod stand_in;
pub mod steps;

pub use forward::Forward;

/// How long anything in these tests may take before it counts as never happening. Generous, because CI shares two cores.
pub const LIMIT: Duration = Duration::from_secs(120);

/// The user without rights, by convention.
const NOBODY: u32 = 65_534;

/// A `kapell server` process and its data directory. Dropping it stops the server and all of its pods.
pub struct Kapell {
    directory: TempDir,
    data: PathBuf,
    caller: Caller,
    child: Child,
}

/// As whom, and in which environment, programs run. By default as the tests themselves.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Where `kapell` is, when it is not the one that cargo has built.
    programs: Option<PathBuf>,
    /// Number of user and group.
    user: Option<u32>,
    environment: Vec<(String, String)>,
}

impl Caller {
    /// With one more environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.programs.as_ref().map_or_else(|| binary("kapell"), |p| p.join("kapell")));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        // The services that tests bring along listen on the loopback interface, without being Services.
        command.env("KAPELL_EGRESS_ALLOW", "127.0.0.0/8");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Kapell {
    /// Starts a server on an empty data directory and returns when it says `ready`.
    pub fn start() -> Self {
        Self::start_by(Caller::default())
    }

    pub fn start_by(caller: Caller) -> Self {
        let directory = TempDir::with_prefix("kapell-e2e-").expect("a temporary directory");
        let data = directory.path().join("data");
        let child = spawn(&caller, &data);
        Self { directory, data, caller, child }
    }

    /// As [`Kapell::start`], with its data where the test says.
    pub fn start_on(data: &Path) -> Self {
        let directory = TempDir::with_prefix("kapell-e2e-").expect("a temporary directory");
        let caller = Caller::default();
        let child = spawn(&caller, data);
        Self { directory, data: data.to_owned(), caller, child }
    }

    /// As [`Kapell::start`], by somebody without privileges: user 65534 with a home of its own and copies of the programs
    /// that it can reach if we are root, else whoever we are. Data is where such a user has it by default.
    pub fn start_by_ordinary_user() -> Self {
        let directory = TempDir::with_prefix("kapell-e2e-").expect("a temporary directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let mut caller = Caller::default().with("HOME", &path("")).with("XDG_DATA_HOME", &path("share"));
        if nix::unistd::geteuid().is_root() {
            let programs = directory.path().join("bin");
            std::fs::create_dir(&programs).expect("a directory for programs");
            for name in ["kapell", "shop", "kapell-e2e-pod"] {
                std::fs::copy(binary(name), programs.join(name)).expect("programs can be copied");
            }
            std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).expect("root gives things away");
            caller = Caller { programs: Some(programs), user: Some(NOBODY), ..caller };
        }
        let data = directory.path().join("share/kapell");
        let child = spawn(&caller, &data);
        Self { directory, data, caller, child }
    }

    /// `kapell` in this server's environment, without `--data`.
    pub fn command(&self) -> Command {
        self.caller.command()
    }

    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, without any chance to tidy up.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server can be reaped");
    }

    /// Waits until somebody else has killed the server.
    pub fn await_death(&mut self) {
        self.child.wait().expect("the server can be reaped");
    }

    pub fn restart(&mut self) {
        self.child = spawn(&self.caller, &self.data);
    }

    /// `kapell ARGUMENTS` against this server.
    pub fn cli(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command();
        command.args(arguments).arg("--data").arg(&self.data);
        run(command, None)
    }

    /// As `cli`, with text on standard input.
    pub fn cli_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command();
        command.args(arguments).arg("--data").arg(&self.data);
        run(command, Some(input))
    }

    /// The real kubectl, if there is one (see `kubectl_binary`).
    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        self.kubectl_with_input(arguments, None)
    }

    pub fn kubectl_with_input(&self, arguments: &[&str], input: Option<&str>) -> Ran {
        run(self.kubectl_command(arguments), input)
    }

    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(kubectl_binary().expect("tests ask for kubectl first"));
        command.args(arguments).env("KUBECONFIG", self.data().join("kubeconfig")).env("HOME", self.directory.path());
        command
    }

    pub async fn client(&self) -> kube::Client {
        kube::Client::try_from(self.config().await).expect("a client")
    }

    pub async fn config(&self) -> kube::Config {
        let kubeconfig =
            Kubeconfig::read_from(self.data().join("kubeconfig")).expect("the server has written its kubeconfig");
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a usable kubeconfig")
    }

    /// `kubectl get KIND/NAME -o json`, through our own command line.
    pub fn object(&self, namespace: &str, target: &str) -> Value {
        self.cli(&["get", target, "-n", namespace, "-o", "json"]).ok().json()
    }

    /// The pods of a namespace with a label, as objects.
    pub fn pods(&self, namespace: &str, selector: &str) -> Vec<Value> {
        let list = self.cli(&["get", "pods", "-n", namespace, "-l", selector, "-o", "json"]).ok().json();
        list["items"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Kapell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Pods outlive their server by design; a test must not leave them behind.
        let _ = self.command().arg("down").arg("--data").arg(&self.data).output();
    }
}

fn spawn(caller: &Caller, data: &Path) -> Child {
    let mut command = caller.command();
    command.args(["server", "--api-port", "0", "--data"]).arg(data);
    spawn_until_ready(command)
}

/// Starts a server command and returns once it has said `ready`; what it says later goes to the test's standard error.
pub fn spawn_until_ready(mut command: Command) -> Child {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("kapell starts");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    let mut said = String::new();
    loop {
        match lines.next() {
            Some(Ok(line)) if line == "ready" => break,
            Some(Ok(line)) => said.push_str(&(line + "\n")),
            _ => panic!("the server ended before it was ready:\n{said}"),
        }
    }
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("server: {line}")));
    child
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub command: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Insists on exit code 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "expected {text:?}\n{self}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON: {error}\n{self}"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} → {:?}\n--- stdout\n{}--- stderr\n{}", self.command, self.code, self.stdout, self.stderr)
    }
}

pub fn run(mut command: Command, input: Option<&str>) -> Ran {
    let described = format!("{command:?}");
    command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{described}: {error}"));
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A command that does not read its input to the end is no failure of the harness.
        let _ = stdin.write_all(input.as_bytes());
    }
    let ended = kill_after(3 * LIMIT, child.id());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("output can be collected");
    drop(ended);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { command: described, code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// A program that never ends would hold up all tests without saying which: it is killed, and its test fails. Unless
/// what is given here is dropped before.
fn kill_after(limit: Duration, process: u32) -> mpsc::SyncSender<()> {
    let (ended, waits) = mpsc::sync_channel::<()>(0);
    std::thread::spawn(move || {
        if waits.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-9", &process.to_string()]).status();
        }
    });
    ended
}

/// A program that the same cargo profile has built: `cargo xtask test` builds them before the tests.
pub fn binary(name: &str) -> PathBuf {
    let ourselves = std::env::current_exe().expect("a program has a path");
    // Tests live in target/PROFILE/deps, programs one level up.
    let candidates = ourselves.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    let path = candidates.into_iter().find(|path| path.exists()).unwrap_or_else(|| name.into());
    assert!(path.exists(), "{name} is not built: run the tests by `cargo xtask test`, which builds it");
    path
}

/// The real kubectl, see [`tool`].
pub fn kubectl_binary() -> Option<PathBuf> {
    tool("kubectl")
}

/// A program that is not ours: `$KAPELL_<NAME>`, else the one that `cargo xtask test` has installed, else (but for
/// Python, which needs a package) the one in PATH. `None` is a reason to skip.
pub fn tool(name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(format!("KAPELL_{}", name.to_uppercase())) {
        return Some(path.into());
    }
    let folder = if name == "python" { "python/bin" } else { "bin" };
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools").join(folder).join(name);
    if installed.exists() {
        return Some(installed);
    }
    let in_path = |directory: PathBuf| Some(directory.join(name)).filter(|path| name != "python" && path.exists());
    std::env::split_paths(&std::env::var_os("PATH")?).find_map(in_path)
}

/// Tries until `probe` returns something, within [`LIMIT`]. For conditions that no event announces to a black-box test.
#[track_caller]
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(begun.elapsed() < LIMIT, "still not after {LIMIT:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// As [`eventually`], for asynchronous probes.
pub async fn eventually_async<T, F: Future<Output = Option<T>>>(what: &str, mut probe: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(begun.elapsed() < LIMIT, "still not after {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Says why a test does not run here; `cargo xtask test` ends with these reasons.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::note_skipped(&format!($($reason)*));
        return;
    }};
}

/// Leaves a test that is about kubectl where there is none.
#[macro_export]
macro_rules! need_kubectl {
    () => {
        if $crate::kubectl_binary().is_none() {
            $crate::skip!("no kubectl: install it, or Go, from which `cargo xtask test` builds it");
        }
    };
}

/// See [`skip`].
pub fn note_skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("SKIPPED: {reason}");
    if let Some(path) = std::env::var_os("KAPELL_SKIPPED") {
        let file = std::fs::File::options().append(true).create(true).open(path);
        // One write, so that lines of tests that run side by side do not mix.
        file.and_then(|mut file| file.write_all(format!("{test}: {reason}\n").as_bytes()))
            .expect("the list of skipped tests");
    }
}
