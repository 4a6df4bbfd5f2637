//! The real shim with real processes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kapell_shim::layout;
use kapell_shim::proc::ProcessId;
use kapell_shim::protocol::{
    Answer, Body, ContainerSpec, ContainerState, Ended, Executed, Identity, Limits, LogLimits, Op, PodState, Request,
    Stdin, Streams, VERSION,
};
use kapell_shim::socket::Address;

/// A shim that hangs fails the test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(20);

struct Pod {
    dir: PathBuf,
    shim: Child,
    connection: BufReader<UnixStream>,
    next_id: u64,
}

impl Pod {
    fn start(dir: &Path) -> Self {
        let mut shim = Command::new(env!("CARGO_BIN_EXE_kapell-shim"))
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shim.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), kapell_shim::READY_LINE);
        let stream = UnixStream::connect(Address::of(dir).unwrap().path()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { dir: dir.to_owned(), shim, connection: BufReader::new(stream), next_id: 1 }
    }

    fn send(&mut self, op: Op) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let mut line = serde_json::to_vec(&Request { v: VERSION, id, op }).unwrap();
        line.push(b'\n');
        self.connection.get_mut().write_all(&line).unwrap();
        id
    }

    fn receive(&mut self) -> Answer {
        let mut line = String::new();
        self.connection.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn ask(&mut self, op: Op) -> Body {
        let id = self.send(op);
        loop {
            let answer = self.receive();
            if answer.id == id {
                return answer.body;
            }
        }
    }

    fn state(&mut self) -> PodState {
        match self.ask(Op::State) {
            Body::State(state) => state,
            other => panic!("{other:?}"),
        }
    }

    /// Starts container `main` and subscribes to what becomes of it.
    fn run(&mut self, spec: ContainerSpec) {
        self.ask(Op::Subscribe);
        let answer = self.ask(Op::Start(Box::new(spec)));
        assert!(matches!(answer, Body::State(_)), "{answer:?}");
    }

    fn main(&mut self) -> ContainerState {
        self.state().containers["main"].clone()
    }

    fn main_pid(&mut self) -> ProcessId {
        self.main().running.expect("main runs").process
    }

    fn wait_for_exit(&mut self) -> kapell_shim::protocol::Exit {
        if let Some(exit) = self.main().exit {
            return exit;
        }
        loop {
            if let Body::Changed(state) = self.receive().body
                && let Some(exit) = &state.containers["main"].exit
            {
                return exit.clone();
            }
        }
    }

    fn exec(&mut self, script: &str, timeout: Duration) -> Executed {
        let command = vec!["sh".into(), "-c".into(), script.into()];
        match self.ask(Op::Exec { container: "main".into(), command, timeout_ms: timeout.as_millis() as u64 }) {
            Body::Executed(executed) => executed,
            other => panic!("{other:?}"),
        }
    }

    fn log(&self, attempt: u32) -> Vec<String> {
        let text = fs::read_to_string(layout::log_file(&self.dir, "main", attempt)).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    /// As `kill -9` and the next start of the agent do it.
    fn replace_shim(mut self) -> Self {
        self.shim.kill().unwrap();
        self.shim.wait().unwrap();
        Self::start(&self.dir.clone())
    }

    fn shutdown(mut self) {
        assert!(matches!(self.ask(Op::Shutdown), Body::Done));
        assert!(self.shim.wait().unwrap().success());
        assert!(!layout::socket(&self.dir).exists());
    }
}

fn pod_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("kapell-shim-test-").tempdir().unwrap()
}

fn script(script: &str) -> ContainerSpec {
    ContainerSpec {
        terminal: false,
        name: "main".into(),
        attempt: 0,
        command: vec!["sh".into(), "-c".into(), script.into()],
        env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into()), ("GREETING".into(), "hello".into())]),
        cwd: std::env::temp_dir(),
        stdin: Stdin::Nothing,
        limits: Limits::default(),
        log: LogLimits::default(),
        identity: Identity::default(),
    }
}

/// Waits for a line that the container writes into a FIFO of the test, so that nothing has to sleep.
struct Signal(PathBuf);

impl Signal {
    fn new(dir: &Path, name: &str) -> Self {
        let path = dir.join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        Self(path)
    }

    fn wait(&self) -> String {
        fs::read_to_string(&self.0).unwrap().trim().to_owned()
    }

    fn path(&self) -> std::path::Display<'_> {
        self.0.display()
    }
}

#[test]
fn output_and_exit_code_are_reported_together() {
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    pod.run(script("echo $GREETING; echo oops >&2; printf end; exit 7"));
    let exit = pod.wait_for_exit();
    assert_eq!((exit.code, exit.signal, exit.unknown), (7, None, false));
    let mut log = pod.log(0);
    log.sort();
    assert_eq!(log, ["stderr F oops", "stdout F hello", "stdout P end"]);
    pod.shutdown();
}

#[test]
fn a_command_that_cannot_run_says_why() {
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    for (attempt, (command, cwd, expected)) in [
        ("no-such-command", "/", "command \"no-such-command\" not found in PATH=/usr/bin:/bin"),
        ("/no/such/file", "/", "cannot execute /no/such/file: no such file or directory"),
        ("/etc/passwd", "/", "cannot execute /etc/passwd: permission denied"),
        ("true", "/no/such/dir", "working directory /no/such/dir: no such file or directory"),
    ]
    .into_iter()
    .enumerate()
    {
        let (command, cwd) = (vec![command.to_owned()], PathBuf::from(cwd));
        pod.run(ContainerSpec { command, cwd, attempt: attempt as u32, ..script("") });
        let exit = pod.wait_for_exit();
        assert_eq!((exit.code, exit.start_error.as_deref()), (128, Some(expected)));
    }
    pod.shutdown();
}

#[test]
fn stop_kills_what_ignores_it_wherever_it_went() {
    let dir = pod_dir();
    let up = Signal::new(dir.path(), "up");
    let mut pod = Pod::start(dir.path());
    // The grandchild leaves the session and the environment of its container, and its parent dies at once.
    let body = format!(
        "trap '' TERM; (setsid env -i sh -c 'trap \"\" TERM; echo $$ > {}; while :; do sleep 1000; done' &) ; \
         while :; do sleep 1000; done",
        up.path()
    );
    pod.run(script(&body));
    let grandchild = ProcessId::of(up.wait().parse().unwrap()).unwrap();
    let main = pod.main_pid();
    pod.ask(Op::Stop { container: "main".into(), grace_ms: 100 });
    let exit = pod.wait_for_exit();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    assert!(!main.is_alive());
    assert!(!grandchild.is_alive());
    pod.shutdown();
}

#[test]
fn the_rest_of_the_group_may_end_gracefully_too() {
    let dir = pod_dir();
    let up = Signal::new(dir.path(), "up");
    let mut pod = Pod::start(dir.path());
    let body = format!(
        "sh -c 'trap \"sleep 0.1; echo drained; exit 0\" TERM; echo up > {}; while :; do sleep 0.01; done'; true",
        up.path()
    );
    pod.run(script(&body));
    up.wait();
    pod.ask(Op::Stop { container: "main".into(), grace_ms: 10_000 });
    let exit = pod.wait_for_exit();
    assert_eq!(exit.signal, Some(15));
    assert!(pod.log(0).contains(&"stdout F drained".to_owned()), "{:?}", pod.log(0));
    pod.shutdown();
}

#[test]
fn a_killed_shim_takes_nothing_with_it() {
    let dir = pod_dir();
    let (up, go, done) =
        (Signal::new(dir.path(), "up"), Signal::new(dir.path(), "go"), Signal::new(dir.path(), "done"));
    let mut pod = Pod::start(dir.path());
    let body = format!(
        "echo before; echo up > {}; cat {} >/dev/null; for i in 1 2 3; do echo line $i; done; echo done > {}; sleep 1000",
        up.path(),
        go.path(),
        done.path()
    );
    pod.run(script(&body));
    up.wait();
    let process = pod.main_pid();
    pod.shim.kill().unwrap();
    pod.shim.wait().unwrap();
    // It writes while nobody reads.
    fs::write(&go.0, "go").unwrap();
    done.wait();
    assert!(process.is_alive());
    let mut pod = pod.replace_shim();
    assert_eq!(pod.main_pid(), process);
    pod.ask(Op::Subscribe);
    pod.ask(Op::Stop { container: "main".into(), grace_ms: 10_000 });
    let exit = pod.wait_for_exit();
    assert!(exit.unknown || exit.signal == Some(15), "{exit:?}");
    assert!(!process.is_alive());
    assert_eq!(pod.log(0), ["stdout F before", "stdout F line 1", "stdout F line 2", "stdout F line 3"]);
    pod.shutdown();
}

#[test]
fn what_ended_while_there_was_no_shim_is_unknown() {
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    pod.run(script("sleep 1000"));
    let process = pod.main_pid();
    pod.shim.kill().unwrap();
    pod.shim.wait().unwrap();
    assert!(Command::new("kill").args(["-9", &process.pid.to_string()]).status().unwrap().success());
    let mut pod = pod.replace_shim();
    pod.ask(Op::Subscribe);
    let exit = pod.wait_for_exit();
    assert_eq!(exit.code, 137);
    pod.shutdown();
}

#[test]
fn another_boot_means_that_everything_is_gone() {
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    pod.run(script("exec sleep 1000"));
    let process = pod.main_pid();
    pod.shim.kill().unwrap();
    pod.shim.wait().unwrap();
    let path = layout::state_file(dir.path());
    let mut state: PodState = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    state.boot_id = "another".into();
    fs::write(&path, serde_json::to_vec(&state).unwrap()).unwrap();
    let mut pod = pod.replace_shim();
    let main = pod.main();
    assert_eq!(main.running, None);
    assert!(main.exit.unwrap().unknown);
    // A process that merely has the recorded number is none of ours any more.
    assert!(process.is_alive());
    assert!(Command::new("kill").args(["-9", &process.pid.to_string()]).status().unwrap().success());
    pod.shutdown();
}

#[test]
fn probes_run_in_the_container_environment_and_end_in_time() {
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    pod.run(script("sleep 1000"));
    let executed = pod.exec("echo $GREETING; exit 3", PATIENCE);
    assert_eq!(executed, Executed { code: Some(3), output: "hello\n".into() });
    let executed = pod.exec("echo begun; sleep 1000 & sleep 1000", Duration::from_millis(50));
    assert_eq!(executed, Executed { code: None, output: "begun\n".into() });
    let executed = pod.exec("head -c 1000000 /dev/zero | tr '\\0' x", PATIENCE);
    assert_eq!((executed.code, executed.output.len()), (Some(0), 10 << 10));
    let missing = Op::Exec { container: "main".into(), command: vec!["no-such".into()], timeout_ms: 1000 };
    assert!(matches!(pod.ask(missing), Body::Executed(Executed { code: Some(127), .. })));
    pod.shutdown();
}

#[test]
fn logs_rotate_by_size_and_old_starts_are_forgotten() {
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    let log = LogLimits { max_bytes: 4096, max_files: 3 };
    for attempt in 0..3 {
        pod.run(ContainerSpec { attempt, log, ..script("for i in $(seq 400); do echo line $i; sleep 0; done") });
        assert_eq!(pod.wait_for_exit().attempt, attempt);
    }
    assert_eq!(pod.log(2).last().unwrap(), "stdout F line 400");
    let mut names: Vec<String> = fs::read_dir(layout::log_dir(dir.path(), "main"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| !name.starts_with("1.") && !name.starts_with("2."));
    assert_eq!(names, Vec::<String>::new());
    pod.shutdown();
}

#[test]
fn a_long_data_directory_works_and_a_second_shim_is_refused() {
    let dir = pod_dir();
    let long = dir.path().join("x".repeat(100)).join("y".repeat(100));
    fs::create_dir_all(&long).unwrap();
    let mut pod = Pod::start(&long);
    pod.run(script("true"));
    assert_eq!(pod.wait_for_exit().code, 0);
    let second = Command::new(env!("CARGO_BIN_EXE_kapell-shim")).arg(&long).output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another shim"));
    pod.shutdown();
}

#[test]
fn unknown_versions_are_refused_by_number() {
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    pod.connection.get_mut().write_all(b"{\"v\":99,\"id\":5,\"op\":\"state\"}\n").unwrap();
    let answer = pod.receive();
    assert!(matches!(answer.body, Body::Failed { ref message } if message.contains("version 99")), "{answer:?}");
    pod.shutdown();
}

/// The limits that this machine can enforce, or why a test cannot run here.
fn enforces(limit: &str) -> bool {
    let enforced = kapell_shim::cgroup::Hierarchies::detect().enforced();
    if !enforced.contains(&limit) {
        eprintln!("SKIPPED: no cgroup limits {limit} here; enforced: {enforced:?}");
    }
    enforced.contains(&limit)
}

#[test]
fn memory_beyond_the_limit_is_an_oom_kill_also_of_a_child() {
    if !enforces("memory") {
        return;
    }
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    let limits = Limits { memory_bytes: Some(32 << 20), ..Limits::default() };
    // `tail` keeps the last line, and this one does not end.
    for (attempt, body) in ["exec tail /dev/zero", "tail /dev/zero; exit $?"].into_iter().enumerate() {
        pod.run(ContainerSpec { attempt: attempt as u32, limits, ..script(body) });
        let exit = pod.wait_for_exit();
        assert_eq!((exit.code, exit.oom_killed), (137, true), "{body}: {exit:?}");
    }
    // The count of a group that has gone does not stick to its successor.
    pod.run(ContainerSpec { attempt: 2, limits, ..script("kill -9 $$") });
    let exit = pod.wait_for_exit();
    assert_eq!((exit.code, exit.oom_killed), (137, false));
    pod.shutdown();
}

#[test]
fn more_processes_than_the_limit_cannot_be_started() {
    if !enforces("pids") {
        return;
    }
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    let limits = Limits { pids: Some(5), ..Limits::default() };
    pod.run(ContainerSpec { limits, ..script("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo all") });
    let exit = pod.wait_for_exit();
    assert_ne!(exit.code, 0);
    assert!(!pod.log(0).contains(&"stdout F all".to_owned()), "{:?}", pod.log(0));
    pod.shutdown();
}

#[test]
fn a_processor_quota_throttles() {
    if !enforces("cpu") {
        return;
    }
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    let limits = Limits { cpu_milli: Some(100), ..Limits::default() };
    pod.run(ContainerSpec { limits, ..script("while :; do :; done") });
    let groups = pod.main().running.unwrap().cgroups;
    let throttled = || {
        groups.iter().any(|group| {
            let text = fs::read_to_string(group.join("cpu.stat")).unwrap_or_default();
            text.lines().any(|line| line.strip_prefix("nr_throttled ").is_some_and(|count| count.trim() != "0"))
        })
    };
    let begun = std::time::Instant::now();
    while !throttled() {
        assert!(begun.elapsed() < PATIENCE, "never throttled");
        std::thread::yield_now();
    }
    pod.shutdown();
}

/// A session on a connection of its own, as the agent opens one.
struct Session(BufReader<UnixStream>);

impl Session {
    fn open(pod: &Pod, script: &str, streams: Streams, descriptors: &[BorrowedFd<'_>]) -> Self {
        let command = vec!["sh".into(), "-c".into(), script.into()];
        let op = Op::Session { container: "main".into(), command, streams };
        let mut line = serde_json::to_vec(&Request { v: VERSION, id: 1, op }).unwrap();
        line.push(b'\n');
        let stream = UnixStream::connect(Address::of(&pod.dir).unwrap().path()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(descriptors)));
        }
        let sent = rustix::net::sendmsg(&stream, &[IoSlice::new(&line)], &mut control, rustix::net::SendFlags::empty());
        assert_eq!(sent.unwrap(), line.len());
        Self(BufReader::new(stream))
    }

    fn end(&mut self) -> Body {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str::<Answer>(&line).unwrap().body
    }
}

const ALL: Streams = Streams::Pipes { stdin: true, stdout: true, stderr: true };

#[test]
fn a_session_has_the_streams_of_its_client_and_the_surroundings_of_its_container() {
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    pod.run(script("sleep 100"));
    let (their_in, mut ours_in) = std::io::pipe().unwrap();
    let (mut ours_out, their_out) = std::io::pipe().unwrap();
    let (mut ours_err, their_err) = std::io::pipe().unwrap();
    let text = "read word; echo $GREETING $word; echo no >&2; grep -c $KAPELL_CONTAINER /proc/self/environ; exit 7";
    let streams = [their_in.as_fd(), their_out.as_fd(), their_err.as_fd()];
    let mut session = Session::open(&pod, text, ALL, &streams);
    drop((their_in, their_out, their_err));
    ours_in.write_all(b"world\n").unwrap();
    let body = session.end();
    assert!(matches!(&body, Body::Ended(Ended { code: 7, start_error: None })), "{body:?}");
    let (mut out, mut err) = (String::new(), String::new());
    ours_out.read_to_string(&mut out).unwrap();
    ours_err.read_to_string(&mut err).unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("hello world\n1\n", "no\n"));

    let missing = Session::open(&pod, "", ALL, &[]).end();
    assert!(matches!(&missing, Body::Failed { message } if message.contains("3 descriptors")), "{missing:?}");
    pod.shutdown();
}

#[test]
fn a_session_ends_with_its_connection() {
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    pod.run(script("sleep 100"));
    let (mut output, theirs) = std::io::pipe().unwrap();
    let streams = Streams::Pipes { stdin: false, stdout: true, stderr: false };
    let session = Session::open(
        &pod,
        "trap 'echo hung up; exit' HUP; echo ready; while :; do sleep 0.01; done",
        streams,
        &[theirs.as_fd()],
    );
    drop(theirs);
    let mut ready = [0; 6];
    output.read_exact(&mut ready).unwrap();
    drop(session);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "hung up\n");

    // What ignores it is killed: the pipe ends all the same.
    let (mut output, theirs) = std::io::pipe().unwrap();
    let session =
        Session::open(&pod, "trap '' HUP; echo ready; while :; do sleep 0.01; done", streams, &[theirs.as_fd()]);
    drop(theirs);
    output.read_exact(&mut ready).unwrap();
    drop(session);
    assert_eq!(output.read_to_string(&mut rest).unwrap(), 0);
    assert!(pod.main().running.is_some(), "the container is none of its business");
    pod.shutdown();
}

#[test]
fn a_container_has_a_terminal_if_it_asks_for_one() {
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    let body = "tty; echo $TERM; printf 'name? '; read name; echo hello $name; stty size; cat; echo end";
    pod.run(ContainerSpec { stdin: Stdin::Once, terminal: true, ..script(body) });
    // The prompt is there before its line has an end.
    let log = layout::log_file(dir.path(), "main", 0);
    let begun = std::time::Instant::now();
    while !fs::read_to_string(&log).unwrap_or_default().contains("name? ") {
        assert!(begun.elapsed() < PATIENCE, "no prompt");
        std::thread::yield_now();
    }
    let terminal = fs::OpenOptions::new().write(true).open(layout::terminal(dir.path(), "main")).unwrap();
    let size = rustix::termios::Winsize { ws_col: 77, ws_row: 33, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal, size).unwrap();
    let fifo = layout::fifo(dir.path(), "main", "stdin");
    fs::OpenOptions::new().write(true).open(&fifo).unwrap().write_all(b"you\n").unwrap();
    pod.ask(Op::CloseStdin { container: "main".into() });
    assert_eq!(pod.wait_for_exit().code, 0);
    let said: String = pod
        .log(0)
        .iter()
        .map(|line| line.splitn(3, ' ').nth(2).unwrap().trim_end_matches('\r'))
        .fold(String::new(), |said, line| said + line + "\n");
    assert!(said.starts_with("/dev/pts/"), "{said}");
    for expected in ["\nxterm\n", "\nhello you\n", "\n33 77\n", "end\n"] {
        assert!(said.contains(expected), "{expected:?} in {said}");
    }
    assert!(!layout::terminal(dir.path(), "main").exists(), "its number will be another one's");
    pod.shutdown();
}

#[test]
fn a_terminal_ends_with_its_shim() {
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    pod.run(ContainerSpec { terminal: true, ..script("trap '' HUP; exec sleep 1000") });
    let process = pod.main_pid();
    let mut pod = pod.replace_shim();
    assert!(pod.main().exit.is_some_and(|exit| exit.unknown));
    let begun = std::time::Instant::now();
    while process.is_alive() {
        assert!(begun.elapsed() < PATIENCE, "it goes on without its terminal");
        std::thread::yield_now();
    }
    pod.shutdown();
}

#[test]
fn standard_input_stays_open_until_it_is_closed() {
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    pod.run(ContainerSpec { stdin: Stdin::Once, ..script("cat; echo end") });
    let fifo = layout::fifo(dir.path(), "main", "stdin");
    for word in ["one\n", "two\n"] {
        // Each opens and closes it; the container sees one stream.
        fs::OpenOptions::new().write(true).open(&fifo).unwrap().write_all(word.as_bytes()).unwrap();
    }
    pod.ask(Op::CloseStdin { container: "main".into() });
    assert_eq!(pod.wait_for_exit().code, 0);
    assert_eq!(pod.log(0), ["stdout F one", "stdout F two", "stdout F end"]);
    pod.shutdown();
}

/// Becoming somebody else needs root; elsewhere the agent asks for no such thing.
#[test]
fn a_container_and_what_runs_beside_it_are_who_they_should_be() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = pod_dir();
    let mut pod = Pod::start(dir.path());
    let who = "id -u; id -g; id -G; grep -E '^(CapEff|CapPrm|CapBnd|CapAmb|NoNewPrivs)' /proc/self/status | tr -d '[:blank:]'";
    let someone = Identity {
        uid: Some(1001),
        gid: Some(2002),
        groups: Some(vec![3003]),
        capabilities: Some(1 << 10),
        no_new_privileges: true,
    };
    let (nothing, bound) = ("0000000000000000", "0000000000000400");
    let expected = format!(
        "1001\n2002\n2002 3003\nCapPrm:{nothing}\nCapEff:{nothing}\nCapBnd:{bound}\nCapAmb:{nothing}\nNoNewPrivs:1\n"
    );
    // Its own streams can be opened again, as programs do.
    let text = format!("{{ {who}; }} > /dev/stdout; sleep 100");
    pod.run(ContainerSpec { identity: someone.clone(), ..script(&text) });
    let exec = |pod: &mut Pod, text: &str| {
        let command = vec!["sh".into(), "-c".into(), text.to_owned()];
        match pod.ask(Op::Exec { container: "main".into(), command, timeout_ms: 10_000 }) {
            Body::Executed(Executed { code: Some(0), output }) => output,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(exec(&mut pod, who), expected);
    let (mut ours, theirs) = std::io::pipe().unwrap();
    let streams = Streams::Pipes { stdin: false, stdout: true, stderr: false };
    let mut session = Session::open(&pod, &format!("{{ {who}; }} > /dev/stdout"), streams, &[theirs.as_fd()]);
    drop(theirs);
    assert!(matches!(session.end(), Body::Ended(Ended { code: 0, .. })));
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    assert_eq!(said, expected);
    let begun = std::time::Instant::now();
    while !pod.log(0).last().is_some_and(|line| line.contains("NoNewPrivs")) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", pod.log(0));
        std::thread::yield_now();
    }
    pod.ask(Op::Stop { container: "main".into(), grace_ms: 0 });
    pod.wait_for_exit();
    let logged: String = pod.log(0).iter().map(|line| line.replace("stdout F ", "") + "\n").collect();
    assert_eq!(logged, expected);

    // Root without most of what it has, and a directory that is closed to who is to work there.
    let identity = Identity { capabilities: Some(1 << 10), ..Identity::default() };
    pod.run(ContainerSpec { identity, attempt: 1, ..script(who) });
    assert_eq!(pod.wait_for_exit().code, 0);
    let found = pod.log(1).join(" ");
    assert!(found.contains(&format!("CapEff:{bound}")) && found.contains(&format!("CapBnd:{bound}")), "{found}");
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    pod.run(ContainerSpec { identity: someone, attempt: 2, cwd: closed, ..script("echo ran") });
    let exit = pod.wait_for_exit();
    assert!(exit.start_error.as_ref().is_some_and(|error| error.contains("as user 1001")), "{exit:?}");
    pod.shutdown();
}
