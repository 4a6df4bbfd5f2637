//! The shim's loop: one `poll` over children, output, commands and connections.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::process::{WaitOptions, getpid, set_child_subreaper, setsid, wait};

use crate::cgroup::{Backend, Group, Hierarchies};
use crate::connection::Connection;
use crate::container::{Container, Settled, Streams};
use crate::exec::Exec;
use crate::proc::{self, ProcessId};
use crate::protocol::{
    Body, CODE_START_ERROR, ContainerSpec, ContainerState, Exit, Limits, Op, PodState, Request, VERSION,
};
use crate::socket::Address;
use crate::spawn::{self, Launch};
use crate::state_file::{self, StateFileError};
use crate::terminal::Terminal;
use crate::{READY_LINE, clock, layout, sys};

/// How often to try again to remove cgroups whose last process is not quite gone.
const GARBAGE_RETRY: Duration = Duration::from_millis(50);

/// How often a shim that nobody speaks with and that holds nothing looks whether its directory is still there.
const DESERTED_CHECK: Duration = Duration::from_secs(10);

/// What terminals are called that nobody has named.
const TERM: &str = "xterm";

mod commands;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("another shim serves {}", .0.display())]
    Busy(PathBuf),
    #[error("{what} in {}: {source}", .dir.display())]
    Setup { what: &'static str, dir: PathBuf, source: io::Error },
    #[error(transparent)]
    State(#[from] StateFileError),
    #[error("cannot wait for events: {0}")]
    Poll(#[source] io::Error),
}

/// Takes over the directory, serves it, and returns after a shutdown.
pub(crate) fn serve(dir: PathBuf) -> Result<(), ServeError> {
    let failed = |what| {
        let dir = dir.clone();
        move |source| ServeError::Setup { what, dir, source }
    };
    // Nobody else's to hold: containers of other users pass the directory.
    let lock = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(layout::lock_file(&dir));
    let lock = lock.map_err(failed("cannot create the lock file"))?;
    lock.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed("cannot close the lock file to others"))?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| ServeError::Busy(dir.clone()))?;
    // It fails when we lead a process group already, in which case a terminal cannot reach us through another one's.
    let _ = setsid();
    set_child_subreaper(Some(getpid())).map_err(|errno| failed("cannot become a subreaper")(errno.into()))?;
    let child_exited = sys::install_signal_handlers().map_err(failed("cannot handle signals"))?;
    let previous = match state_file::read(&dir) {
        Err(StateFileError::Damaged(_)) => None, // what the machine lost in a crash: its processes are gone, too
        other => other?,
    };
    let listener = listen(&dir).map_err(failed("cannot listen"))?;
    let mut supervisor = Supervisor::new(dir.clone(), listener, child_exited);
    supervisor.take_over(previous);
    supervisor.changed();
    announce().map_err(failed("cannot announce readiness"))?;
    supervisor.run()?;
    let _ = fs::remove_file(layout::socket(&dir));
    drop(lock);
    Ok(())
}

fn listen(dir: &Path) -> io::Result<UnixListener> {
    let address = Address::of(dir)?;
    let _ = fs::remove_file(address.path());
    let listener = UnixListener::bind(address.path())?;
    fs::set_permissions(address.path(), fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Tells the agent, and lets go of the pipe to it.
fn announce() -> io::Result<()> {
    let mut stdout = io::stdout();
    // An agent that has died meanwhile will find the socket.
    let _ = writeln!(stdout, "{READY_LINE}").and_then(|()| stdout.flush());
    let null = fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(())
}

struct Supervisor {
    dir: PathBuf,
    uid: String,
    listener: UnixListener,
    child_exited: OwnedFd,
    hierarchies: Hierarchies,
    state: PodState,
    containers: BTreeMap<String, Container>,
    execs: Vec<Exec>,
    connections: Vec<Connection>,
    next_connection: u64,
    /// Groups that could not be removed yet.
    garbage: Vec<Group>,
    /// Connection and request that asked us to go.
    shutdown: Option<(u64, u64)>,
}

/// What a polled descriptor stands for.
enum Source {
    ChildExited,
    Listener,
    Connection(u64),
    Output(String, usize),
    Terminal(String),
    Foreign(String),
    Exec(u64, u64),
}

impl Supervisor {
    fn new(dir: PathBuf, listener: UnixListener, child_exited: OwnedFd) -> Self {
        let hierarchies = Hierarchies::detect();
        let state = PodState {
            version: VERSION,
            boot_id: proc::boot_id(),
            shim: ProcessId::own().unwrap_or(ProcessId { pid: 0, start_time: 0 }),
            cgroup: hierarchies.backend(),
            identities: true,
            containers: BTreeMap::new(),
        };
        Self {
            uid: dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            dir,
            listener,
            child_exited,
            hierarchies,
            state,
            containers: BTreeMap::new(),
            execs: Vec::new(),
            connections: Vec::new(),
            next_connection: 1,
            garbage: Vec::new(),
            shutdown: None,
        }
    }

    /// By which a container's processes are recognised wherever they go. Ends with the container's name, so that no
    /// container's marker is the beginning of another's.
    fn marker(&self, container: &str) -> String {
        format!("KAPELL_CONTAINER={}/{container}", self.uid)
    }

    /// Goes on where a dead shim stopped: adopts what lives, and reports what ended unseen.
    fn take_over(&mut self, previous: Option<PodState>) {
        let Some(previous) = previous else { return };
        let same_boot = previous.boot_id == self.state.boot_id;
        for (name, mut state) in previous.containers {
            if let Some(running) = state.running.take() {
                let spec = same_boot.then(|| self.spec(&name)).flatten();
                let marker = self.marker(&name);
                match spec.map(|spec| Container::adopt(&self.dir, &spec, &running, marker)) {
                    Some(Ok(container)) => {
                        state.running = Some(container.running());
                        self.containers.insert(name.clone(), container);
                    }
                    _ => {
                        state.exit = Some(Exit {
                            attempt: state.attempt,
                            started_at: running.started_at,
                            finished_at: clock::unix_millis(),
                            code: crate::protocol::CODE_UNKNOWN,
                            unknown: true,
                            ..Exit::default()
                        });
                        self.garbage.push(Group::adopt(running.cgroups));
                    }
                }
            }
            self.state.containers.insert(name, state);
        }
        if same_boot {
            self.kill_strays();
        }
    }

    /// Kills processes of containers that count as ended, for instance of one whose start was not recorded any more.
    fn kill_strays(&self) {
        let markers: Vec<String> = fs::read_dir(self.dir.join("containers"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !self.containers.contains_key(name))
            .map(|name| self.marker(&name))
            .collect();
        for stat in proc::all() {
            if markers.iter().any(|marker| proc::has_variable(stat.pid, marker)) {
                sys::kill(stat.pid);
            }
        }
    }

    fn spec(&self, container: &str) -> Option<ContainerSpec> {
        serde_json::from_slice(&fs::read(layout::container_spec(&self.dir, container)).ok()?).ok()
    }

    fn run(&mut self) -> Result<(), ServeError> {
        loop {
            self.connections.retain(|connection| !connection.closed);
            self.hang_up_the_deserted();
            let mut wake_at = self.settle(Instant::now());
            if self.shutdown.is_some() && self.containers.is_empty() {
                self.say_goodbye();
                return Ok(());
            }
            if self.containers.is_empty() && self.connections.is_empty() {
                // Whoever removed the directory cannot call us any more: it holds our socket.
                if !self.dir.exists() {
                    return Ok(());
                }
                wake_at = wake_at.into_iter().chain([Instant::now() + DESERTED_CHECK]).min();
            }
            let ready = self.wait(wake_at).map_err(ServeError::Poll)?;
            for source in ready {
                self.handle(source);
            }
        }
    }

    /// Moves everything along that depends on time. Returns when to look again at the latest.
    fn settle(&mut self, now: Instant) -> Option<Instant> {
        let mut wake_at: Option<Instant> = None;
        let mut wake = |at: Option<Instant>| wake_at = wake_at.into_iter().chain(at).min();
        let mut gone = Vec::new();
        let only = self.containers.len() == 1;
        for (name, container) in &mut self.containers {
            match container.settle(now, only) {
                Settled::Gone => gone.push(name.clone()),
                Settled::Later(at) => wake(at),
            }
        }
        for exec in &mut self.execs {
            if exec.deadline.is_some_and(|deadline| deadline <= now) && !exec.has_timed_out() {
                exec.time_out();
            }
            wake(exec.deadline.filter(|_| !exec.has_timed_out()));
        }
        for name in &gone {
            if let Some(container) = self.containers.remove(name) {
                let (exit, group) = container.finish();
                self.garbage.push(group);
                let state = self.state.containers.entry(name.clone()).or_default();
                state.running = None;
                state.exit = Some(exit);
            }
        }
        self.garbage.retain_mut(|group| !group.remove());
        wake(Some(now + GARBAGE_RETRY).filter(|_| !self.garbage.is_empty()));
        if !gone.is_empty() {
            self.changed();
        }
        wake_at
    }

    fn wait(&self, wake_at: Option<Instant>) -> io::Result<Vec<Source>> {
        let mut sources = vec![Source::ChildExited, Source::Listener];
        let mut fds = vec![PollFd::new(&self.child_exited, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        for connection in &self.connections {
            let flags = if connection.wants_to_write() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            sources.push(Source::Connection(connection.id));
            fds.push(PollFd::new(&connection.stream, flags));
        }
        for (name, container) in &self.containers {
            for (index, (_, fifo)) in container.outputs().iter().enumerate() {
                sources.push(Source::Output(name.clone(), index));
                fds.push(PollFd::new(fifo, PollFlags::IN));
            }
            if let Some((fd, flags)) = container.terminal().and_then(Terminal::interest) {
                sources.push(Source::Terminal(name.clone()));
                fds.push(PollFd::new(fd, flags));
            }
            if let Some(pidfd) = container.foreign() {
                sources.push(Source::Foreign(name.clone()));
                fds.push(PollFd::new(pidfd, PollFlags::IN));
            }
        }
        for (exec, output) in self.execs.iter().filter_map(|exec| Some((exec, exec.output()?))) {
            sources.push(Source::Exec(exec.client, exec.request));
            fds.push(PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN));
        }
        let timeout = wake_at.map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            // Never less than the time that is left, or the loop would spin through its last millisecond.
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(sources.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(source, _)| source).collect())
    }

    fn handle(&mut self, source: Source) {
        match source {
            Source::ChildExited => self.reap(),
            Source::Listener => self.accept(),
            Source::Connection(id) => self.serve_connection(id),
            Source::Output(name, index) => {
                if let Some(container) = self.containers.get_mut(&name) {
                    container.read_output(index);
                }
            }
            Source::Terminal(name) => {
                if let Some(container) = self.containers.get_mut(&name) {
                    container.terminal_is_ready();
                }
            }
            Source::Foreign(name) => {
                if let Some(container) = self.containers.get_mut(&name) {
                    container.foreign_is_readable();
                }
            }
            Source::Exec(client, request) => {
                let exec = self.execs.iter_mut().find(|exec| exec.client == client && exec.request == request);
                if let Some(exec) = exec {
                    exec.read_output();
                }
            }
        }
    }

    fn reap(&mut self) {
        let mut bytes = [0; 64];
        while rustix::io::read(&self.child_exited, &mut bytes).is_ok_and(|length| length > 0) {}
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let (pid, status) = (pid.as_raw_nonzero().get(), status.as_raw());
            let main = self.containers.values_mut().find(|container| container.process.pid == pid);
            if let Some(container) = main {
                container.main_ended(Some(status));
            } else if let Some(index) = self.execs.iter().position(|exec| exec.pid == pid) {
                let exec = self.execs.swap_remove(index);
                let (client, request) = (exec.client, exec.request);
                self.answer(client, request, exec.finish(status));
            }
            // Anything else is an orphan that somebody's process left to us; reaping it was all it needed.
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if let Ok(connection) = Connection::new(self.next_connection, stream) {
                self.next_connection += 1;
                self.connections.push(connection);
            }
        }
    }

    fn serve_connection(&mut self, id: u64) {
        let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == id) else { return };
        connection.flush();
        for request in connection.receive() {
            self.perform(id, request);
        }
    }

    fn perform(&mut self, client: u64, Request { id, op, .. }: Request) {
        match op {
            Op::State => self.answer(client, id, Body::State(self.state.clone())),
            Op::Subscribe => {
                if let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == client) {
                    connection.subscribed = true;
                }
                self.answer(client, id, Body::State(self.state.clone()));
            }
            Op::Start(spec) => {
                let body = match self.start(&spec) {
                    Ok(()) => Body::State(self.state.clone()),
                    Err(message) => Body::Failed { message },
                };
                self.answer(client, id, body);
            }
            Op::Stop { container, grace_ms } => {
                self.stop(&container, Duration::from_millis(grace_ms));
                self.answer(client, id, Body::Done);
            }
            Op::Exec { container, command, timeout_ms } => {
                let timeout = Duration::from_millis(timeout_ms);
                if let Err(body) = self.exec(client, id, &container, &command, timeout) {
                    self.answer(client, id, body);
                }
            }
            Op::Session { container, command, streams } => {
                if let Err(body) = self.open_session(client, id, &container, &command, streams) {
                    self.answer(client, id, body);
                }
            }
            Op::CloseStdin { container } => {
                if let Some(container) = self.containers.get_mut(&container) {
                    container.close_stdin();
                }
                self.answer(client, id, Body::Done);
            }
            Op::Shutdown => {
                let running: Vec<String> = self.containers.keys().cloned().collect();
                for name in running {
                    self.stop(&name, Duration::ZERO);
                }
                self.shutdown = Some((client, id));
            }
        }
    }

    /// An error is something that the agent should not have asked for.
    fn start(&mut self, spec: &ContainerSpec) -> Result<(), String> {
        if spec.name.is_empty() || spec.name.contains(['/', '\0']) || spec.name.starts_with('.') {
            return Err(format!("\"{}\" cannot be a container's name", spec.name));
        }
        if self.shutdown.is_some() {
            return Err("the pod is shutting down".to_owned());
        }
        if self.containers.contains_key(&spec.name) {
            return Err(format!("container \"{}\" is running", spec.name));
        }
        let started = self.launch(spec);
        let state = self.state.containers.entry(spec.name.clone()).or_default();
        let previous = state.exit.take().or(state.previous.take());
        *state = ContainerState { attempt: spec.attempt, running: None, exit: None, previous };
        match started {
            Ok(container) => {
                state.running = Some(container.running());
                self.containers.insert(spec.name.clone(), container);
            }
            Err(message) => {
                let now = clock::unix_millis();
                state.exit = Some(Exit {
                    attempt: spec.attempt,
                    started_at: now,
                    finished_at: now,
                    code: CODE_START_ERROR,
                    start_error: Some(message),
                    ..Exit::default()
                });
            }
        }
        self.changed();
        Ok(())
    }

    fn launch(&mut self, spec: &ContainerSpec) -> Result<Container, String> {
        let preparing = |error: io::Error| format!("cannot prepare the container's directory: {error}");
        fs::create_dir_all(layout::log_dir(&self.dir, &spec.name)).map_err(preparing)?;
        self.remove_old_logs(spec);
        let bytes = serde_json::to_vec(spec).map_err(|error| preparing(error.into()))?;
        state_file::write_private(&layout::container_spec(&self.dir, &spec.name), &bytes).map_err(preparing)?;
        let Streams { output, stdio: [stdin, stdout, stderr], keeper, terminal } =
            Streams::open(&self.dir, spec).map_err(preparing)?;
        let marker = self.marker(&spec.name);
        let mut group = self.hierarchies.create(&format!("{}_{}", self.uid, spec.name), &spec.limits);
        let mut env = Cow::Borrowed(&spec.env);
        if spec.terminal && !env.contains_key("TERM") {
            env.to_mut().insert("TERM".to_owned(), TERM.to_owned());
        }
        let launch = Launch {
            command: &spec.command,
            env: &env,
            cwd: &spec.cwd,
            marker: marker.as_str().into(),
            stdin,
            stdout,
            stderr,
            terminal: spec.terminal,
            procs: group.open_procs(),
            data_limit: data_limit(self.state.cgroup, &spec.limits),
            identity: &spec.identity,
        };
        match spawn::spawn(launch) {
            Ok(pid) => {
                let mut container = Container::started(pid, spec, marker, group, output);
                container.keep_stdin(keeper);
                container.keep_terminal(terminal);
                Ok(container)
            }
            Err(error) => {
                group.remove();
                Err(error.to_string())
            }
        }
    }

    /// The logs of this start and of the one before stay, for `logs` and `logs --previous`.
    fn remove_old_logs(&self, spec: &ContainerSpec) {
        for entry in fs::read_dir(layout::log_dir(&self.dir, &spec.name)).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let attempt = name.to_str().and_then(|name| name.split('.').next()?.parse::<u32>().ok());
            if attempt.is_some_and(|attempt| attempt.saturating_add(1) < spec.attempt) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn stop(&mut self, name: &str, grace: Duration) {
        let Some(container) = self.containers.get_mut(name) else { return };
        container.stop(Instant::now(), grace);
        let running = container.running();
        if let Some(state) = self.state.containers.get_mut(name) {
            state.running = Some(running);
        }
        self.changed();
    }

    fn answer(&mut self, client: u64, id: u64, body: Body) {
        // A client that has gone does not want its answer any more.
        if let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == client) {
            connection.send(id, body);
        }
    }

    /// Saves the state, then tells whoever wants to know.
    fn changed(&mut self) {
        if let Err(error) = state_file::write(&self.dir, &self.state) {
            // The processes matter more than the file; the agent reads the state over the socket.
            let _ = writeln!(io::stderr(), "kapell shim: cannot save the state: {error}");
        }
        for connection in self.connections.iter_mut().filter(|connection| connection.subscribed) {
            connection.send(0, Body::Changed(self.state.clone()));
        }
    }

    fn say_goodbye(&mut self) {
        for exec in &mut self.execs {
            exec.time_out();
        }
        if let Some((client, id)) = self.shutdown {
            self.answer(client, id, Body::Done);
        }
    }
}

/// Without a memory cgroup: a ceiling that catches runaways only. RLIMIT_DATA counts what is reserved, thread stacks
/// included, and per process, so the plain limit would fail programs that stay well below it.
fn data_limit(backend: Backend, limits: &Limits) -> Option<u64> {
    let bytes = limits.memory_bytes.filter(|_| backend == Backend::None)?;
    Some(bytes.saturating_mul(2).saturating_add(256 << 20))
}
