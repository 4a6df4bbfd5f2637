//! Commands that run beside a container: probes and hooks, whose output is collected for a moment, and sessions, whose
//! streams belong to somebody else.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use crate::container::exit_code;
use crate::protocol::{Body, EXEC_OUTPUT_LIMIT, Ended, Executed};
use crate::spawn::{self, Launch, StartError};
use crate::sys;

/// What a shell says for a command that it cannot find.
const CODE_NOT_FOUND: i32 = 127;

/// Whoever is hung up on may tidy up for this long.
const HANG_UP_GRACE: Duration = Duration::from_secs(2);

pub(crate) struct Exec {
    /// Whom to answer.
    pub(crate) client: u64,
    pub(crate) request: u64,
    pub(crate) pid: i32,
    /// When it is killed. A session has no such time until it is hung up.
    pub(crate) deadline: Option<Instant>,
    /// `None` for a session.
    collected: Option<Collected>,
    timed_out: bool,
}

/// The output of a probe or hook.
struct Collected {
    pipe: File,
    bytes: Vec<u8>,
    /// False once the command has closed its output: the descriptor would be ready for ever.
    open: bool,
}

/// Both streams of the command end up in one pipe; the launch takes its writing end twice.
pub(crate) fn output_pipe() -> std::io::Result<(File, OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    let second = write.try_clone()?;
    Ok((read.into(), write, second))
}

impl Exec {
    /// An error is the probe's result, not the request's.
    pub(crate) fn start(
        client: u64,
        request: u64,
        timeout: Duration,
        output: File,
        launch: Launch<'_>,
    ) -> Result<Self, Executed> {
        let not_found = |error: StartError| Executed { code: Some(CODE_NOT_FOUND), output: error.to_string() };
        let pid = spawn::spawn(launch).map_err(not_found)?;
        let deadline = Some(Instant::now() + timeout);
        let collected = Some(Collected { pipe: output, bytes: Vec::new(), open: true });
        Ok(Self { client, request, pid, deadline, collected, timed_out: false })
    }

    /// An error is the session's result, not the request's.
    pub(crate) fn start_session(client: u64, request: u64, launch: Launch<'_>) -> Result<Self, Ended> {
        let not_found = |error: StartError| Ended { code: CODE_NOT_FOUND, start_error: Some(error.to_string()) };
        let pid = spawn::spawn(launch).map_err(not_found)?;
        Ok(Self { client, request, pid, deadline: None, collected: None, timed_out: false })
    }

    pub(crate) fn is_session(&self) -> bool {
        self.collected.is_none()
    }

    /// The output to be waited for.
    pub(crate) fn output(&self) -> Option<&File> {
        self.collected.as_ref().filter(|collected| collected.open).map(|collected| &collected.pipe)
    }

    /// Takes in what there is. What goes beyond the limit is read and dropped, so that the command never blocks.
    pub(crate) fn read_output(&mut self) {
        let Some(collected) = &mut self.collected else { return };
        let mut buffer = [0; 4096];
        loop {
            match collected.pipe.read(&mut buffer) {
                Ok(0) => {
                    collected.open = false;
                    return;
                }
                Ok(length) => {
                    let room = EXEC_OUTPUT_LIMIT.saturating_sub(collected.bytes.len());
                    collected.bytes.extend_from_slice(&buffer[..length.min(room)]);
                }
                Err(_) => return,
            }
        }
    }

    /// Nobody listens any more.
    pub(crate) fn hang_up(&mut self) {
        if self.deadline.is_none() {
            sys::signal_group(self.pid, Signal::HUP);
            // A job that was stopped hears nothing before it goes on.
            sys::signal_group(self.pid, Signal::CONT);
            self.deadline = Some(Instant::now() + HANG_UP_GRACE);
        }
    }

    pub(crate) fn time_out(&mut self) {
        self.timed_out = true;
        sys::signal_group(self.pid, Signal::KILL);
    }

    pub(crate) fn has_timed_out(&self) -> bool {
        self.timed_out
    }

    /// The command has ended. What a probe started goes with it; what a session leaves in the background belongs to the
    /// container.
    pub(crate) fn finish(mut self, wait_status: i32) -> Body {
        let code = exit_code(wait_status).0;
        if self.is_session() {
            return Body::Ended(Ended { code, start_error: None });
        }
        sys::signal_group(self.pid, Signal::KILL);
        self.read_output();
        let output = self.collected.map(|collected| collected.bytes).unwrap_or_default();
        Body::Executed(Executed {
            code: (!self.timed_out).then_some(code),
            output: String::from_utf8_lossy(&output).into_owned(),
        })
    }
}
