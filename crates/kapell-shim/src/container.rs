//! One running container: its processes, its output, and the way from "its first process has ended" to "it is gone".

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, test_kill_process_group};

use crate::cgroup::Group;
use crate::log_file::{LogFile, Stream};
use crate::proc::{self, ProcessId};
use crate::protocol::{CODE_UNKNOWN, ContainerSpec, Exit, Running};
use crate::terminal::Terminal;
use crate::{clock, layout, spawn, sys};

/// How often to look again while SIGKILL takes effect; nothing announces the end of processes that are not our children.
const KILL_RETRY: Duration = Duration::from_millis(5);

/// How often to look whether the rest of the process group has ended by itself; usually SIGCHLD comes first.
const GROUP_RETRY: Duration = Duration::from_millis(50);

/// A process in uninterruptible sleep does not die. After this time the container is reported as ended all the same, or
/// a broken disk would keep the pod for ever.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// The parent of an adopted process has this long to reap it; afterwards its exit code counts as unknown.
const FOREIGN_PATIENCE: Duration = Duration::from_millis(500);

/// What a shell exits with after SIGKILL has ended its command.
const CODE_KILLED: i32 = 128 + libc::SIGKILL;

/// Bytes of one read; as much as a pipe holds by default.
const READ_SIZE: usize = 64 << 10;

/// One container may fill at most so many reads before the others have their turn.
const READS_PER_TURN: usize = 8;

pub(crate) struct Container {
    pub(crate) process: ProcessId,
    pub(crate) attempt: u32,
    started_at: i64,
    marker: String,
    group: Group,
    /// The first process is in `group`, and so is everything that it starts.
    contained: bool,
    outputs: Vec<(Stream, File)>,
    log: LogFile,
    /// Keeps standard input from ending.
    stdin: Option<OwnedFd>,
    terminal: Option<Terminal>,
    /// Set for a process that another shim started; its end shows here instead of through SIGCHLD.
    foreign: Option<OwnedFd>,
    foreign_ended: Option<Instant>,
    stop_deadline: Option<Instant>,
    ended: Option<Ended>,
    killing_since: Option<Instant>,
}

struct Ended {
    wait_status: Option<i32>,
    finished_at: i64,
}

/// What [`Container::settle`] has found out.
pub(crate) enum Settled {
    Gone,
    /// Look again at this time, or when a child has ended.
    Later(Option<Instant>),
}

impl Container {
    /// A container that was just started.
    pub(crate) fn started(pid: i32, spec: &ContainerSpec, marker: String, group: Group, output: Output) -> Self {
        let process = ProcessId::of(pid).unwrap_or(ProcessId { pid, start_time: 0 });
        Self::new(process, spec.attempt, clock::unix_millis(), marker, group, output)
    }

    fn new(process: ProcessId, attempt: u32, started_at: i64, marker: String, group: Group, output: Output) -> Self {
        Self {
            process,
            attempt,
            started_at,
            marker,
            // Joining may have been denied, or it has ended already.
            contained: group.members().contains(&process.pid),
            group,
            outputs: output.readers,
            log: output.log,
            stdin: None,
            terminal: None,
            foreign: None,
            foreign_ended: None,
            stop_deadline: None,
            ended: None,
            killing_since: None,
        }
    }

    /// A container that a dead shim has left running.
    pub(crate) fn adopt(pod: &Path, spec: &ContainerSpec, running: &Running, marker: String) -> io::Result<Self> {
        if spec.terminal {
            // It ended with the shim that held it.
            return Err(io::ErrorKind::NotFound.into());
        }
        let pid = Pid::from_raw(running.process.pid).ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        // Only now is the number protected against reuse, so only now does the check mean anything.
        if !running.process.is_alive() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let output = Output::reopen(pod, spec)?;
        let group = Group::adopt(running.cgroups.clone());
        let mut container = Self::new(running.process, spec.attempt, running.started_at, marker, group, output);
        container.foreign = Some(pidfd);
        // A stop that was under way ends now: nobody remembers its deadline.
        container.stop_deadline = running.stopping.then(Instant::now);
        Ok(container)
    }

    pub(crate) fn running(&self) -> Running {
        Running {
            process: self.process,
            started_at: self.started_at,
            stopping: self.stop_deadline.is_some(),
            cgroups: self.group.directories().to_vec(),
        }
    }

    pub(crate) fn outputs(&self) -> &[(Stream, File)] {
        &self.outputs
    }

    /// To be polled for reading: readable when an adopted process has ended.
    pub(crate) fn foreign(&self) -> Option<&OwnedFd> {
        self.foreign.as_ref().filter(|_| self.foreign_ended.is_none() && self.ended.is_none())
    }

    pub(crate) fn foreign_is_readable(&mut self) {
        self.foreign_ended.get_or_insert_with(Instant::now);
    }

    pub(crate) fn group(&self) -> &Group {
        &self.group
    }

    /// Keeps standard input from ending until [`Container::close_stdin`].
    pub(crate) fn keep_stdin(&mut self, writer: Option<OwnedFd>) {
        self.stdin = writer;
    }

    pub(crate) fn keep_terminal(&mut self, terminal: Option<Terminal>) {
        self.terminal = terminal;
    }

    pub(crate) fn terminal(&self) -> Option<&Terminal> {
        self.terminal.as_ref()
    }

    pub(crate) fn terminal_is_ready(&mut self) {
        if let Some(terminal) = &mut self.terminal {
            terminal.forward();
        }
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
        if let Some(terminal) = &mut self.terminal {
            terminal.end_input();
        }
    }

    /// The first process has ended, as waitpid says.
    pub(crate) fn main_ended(&mut self, wait_status: Option<i32>) {
        self.ended = Some(Ended { wait_status, finished_at: clock::unix_millis() });
    }

    /// Asks the process group to end, and sets the time at which it must.
    pub(crate) fn stop(&mut self, now: Instant, grace: Duration) {
        let deadline = now + grace;
        match self.stop_deadline {
            Some(earlier) => self.stop_deadline = Some(earlier.min(deadline)),
            None => {
                self.stop_deadline = Some(deadline);
                if !grace.is_zero() {
                    sys::signal_group(self.process.pid, Signal::TERM);
                }
            }
        }
    }

    /// Copies what the container has written to its log, a bounded amount at a time.
    pub(crate) fn read_output(&mut self, index: usize) {
        let (stream, fifo) = &self.outputs[index];
        let mut buffer = [0; READ_SIZE];
        for _ in 0..READS_PER_TURN {
            match (&*fifo).read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => self.log.append(*stream, &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Brings the container closer to its end if it is ending at all. As in Kubernetes, the end of the first process is
    /// the end of the container. When that was a requested stop, the rest of its process group has until the deadline
    /// too: a shell that dies of SIGTERM must not take the server that it started out of its graceful shutdown.
    ///
    /// `only`: no other container of the pod runs, so that all orphans are this one's.
    pub(crate) fn settle(&mut self, now: Instant, only: bool) -> Settled {
        self.collect_foreign_status(now);
        if self.ended.is_none() {
            match self.stop_deadline {
                Some(deadline) if deadline <= now => {
                    self.kill_all(now, only);
                    return Settled::Later(Some(now + KILL_RETRY));
                }
                _ if self.foreign_ended.is_some() => return Settled::Later(Some(now + KILL_RETRY)),
                deadline => return Settled::Later(deadline),
            }
        }
        if self.stop_deadline.is_some_and(|deadline| now < deadline) && self.group_lives() {
            return Settled::Later(Some(now + GROUP_RETRY));
        }
        if self.members(only).is_empty() || self.killing_since.is_some_and(|since| now - since > KILL_PATIENCE) {
            return Settled::Gone;
        }
        self.kill_all(now, only);
        Settled::Later(Some(now + KILL_RETRY))
    }

    fn collect_foreign_status(&mut self, now: Instant) {
        let (Some(pidfd), Some(since), None) = (&self.foreign, self.foreign_ended, &self.ended) else { return };
        let status = sys::foreign_wait_status(pidfd.as_fd());
        if status.is_some() || now - since > FOREIGN_PATIENCE {
            self.main_ended(status);
        }
    }

    fn group_lives(&self) -> bool {
        Pid::from_raw(self.process.pid).is_some_and(|pgrp| test_kill_process_group(pgrp).is_ok())
    }

    fn kill_all(&mut self, now: Instant, only: bool) {
        self.killing_since.get_or_insert(now);
        self.group.kill();
        for pid in self.members(only) {
            sys::kill(pid);
        }
    }

    /// The group knows without looking at every process of the machine, which each of many pods that end would do.
    fn members(&self, only: bool) -> Vec<i32> {
        if self.contained {
            return self.group.members();
        }
        let own_pid = i32::try_from(std::process::id()).unwrap_or_default();
        let marked = |pid| proc::has_variable(pid, &self.marker);
        let mut members = proc::members(self.process, &proc::all(), own_pid, only, marked);
        members.extend(self.group.members());
        members
    }

    /// Drains the output and says how it ended; the group's directories are handed back for removal.
    pub(crate) fn finish(mut self) -> (Exit, Group) {
        for index in 0..self.outputs.len() {
            self.drain(index);
        }
        self.log.finish();
        let ended = self.ended.unwrap_or(Ended { wait_status: None, finished_at: clock::unix_millis() });
        let (code, signal) = ended.wait_status.map_or((CODE_UNKNOWN, None), exit_code);
        let exit = Exit {
            attempt: self.attempt,
            started_at: self.started_at,
            finished_at: ended.finished_at,
            code,
            signal,
            // The victim may also have been a child of the first process, which then tells of it like a shell does.
            oom_killed: code == CODE_KILLED && self.group.was_oom_killed(),
            unknown: ended.wait_status.is_none(),
            start_error: None,
        };
        (exit, self.group)
    }

    /// Everything is dead, so a pipe that has been read empty stays empty.
    fn drain(&mut self, index: usize) {
        let (stream, fifo) = &self.outputs[index];
        let mut buffer = [0; READ_SIZE];
        loop {
            match (&*fifo).read(&mut buffer) {
                Ok(length) if length > 0 => self.log.append(*stream, &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}

/// What a container reads and writes.
pub(crate) struct Streams {
    pub(crate) output: Output,
    /// The container's ends: standard input, output and error.
    pub(crate) stdio: [Option<OwnedFd>; 3],
    /// Keeps standard input from ending.
    pub(crate) keeper: Option<OwnedFd>,
    pub(crate) terminal: Option<Terminal>,
}

impl Streams {
    pub(crate) fn open(pod: &Path, spec: &ContainerSpec) -> io::Result<Self> {
        if spec.terminal {
            let terminal = Terminal::open(pod, spec)?;
            let output = Output::of_terminal(pod, spec, &terminal)?;
            let stdio = [Some(terminal.end()?), Some(terminal.end()?), Some(terminal.end()?)];
            return Ok(Self { output, stdio, keeper: None, terminal: Some(terminal) });
        }
        let (output, stdout, stderr) = Output::create(pod, spec)?;
        let (stdin, keeper) = spawn::open_stdin(&layout::fifo(pod, &spec.name, "stdin"), spec.stdin)?;
        Ok(Self { output, stdio: [stdin, Some(stdout), Some(stderr)], keeper, terminal: None })
    }
}

/// The shim's side of a container's output.
pub(crate) struct Output {
    readers: Vec<(Stream, File)>,
    log: LogFile,
}

impl Output {
    /// FIFOs and log of a new start; also the container's ends, standard output first.
    fn create(pod: &Path, spec: &ContainerSpec) -> io::Result<(Self, OwnedFd, OwnedFd)> {
        let log = LogFile::open(layout::log_file(pod, &spec.name, spec.attempt), spec.log)?;
        let (stdout, stdout_end) = spawn::open_fifo(&layout::fifo(pod, &spec.name, Stream::Stdout.name()))?;
        let (stderr, stderr_end) = spawn::open_fifo(&layout::fifo(pod, &spec.name, Stream::Stderr.name()))?;
        let readers = vec![(Stream::Stdout, stdout), (Stream::Stderr, stderr)];
        Ok((Self { readers, log }, stdout_end, stderr_end))
    }

    /// Output of a container that writes to a terminal.
    fn of_terminal(pod: &Path, spec: &ContainerSpec, terminal: &Terminal) -> io::Result<Self> {
        let log = LogFile::open(layout::log_file(pod, &spec.name, spec.attempt), spec.log)?.of_terminal();
        Ok(Self { readers: vec![(Stream::Stdout, terminal.output()?)], log })
    }

    fn reopen(pod: &Path, spec: &ContainerSpec) -> io::Result<Self> {
        let log = LogFile::open(layout::log_file(pod, &spec.name, spec.attempt), spec.log)?;
        let open =
            |stream: Stream| Ok((stream, spawn::open_fifo_reader(&layout::fifo(pod, &spec.name, stream.name()))?));
        Ok(Self { readers: Stream::BOTH.into_iter().map(open).collect::<io::Result<_>>()?, log })
    }
}

/// Exit code as a shell reports it, and the signal if there was one.
pub(crate) fn exit_code(wait_status: i32) -> (i32, Option<i32>) {
    if libc::WIFSIGNALED(wait_status) {
        let signal = libc::WTERMSIG(wait_status);
        (128 + signal, Some(signal))
    } else {
        (libc::WEXITSTATUS(wait_status), None)
    }
}
