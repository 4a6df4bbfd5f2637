//! Commands that run beside a container for a moment: probes and hooks.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use crate::container::exit_code;
use crate::protocol::{EXEC_OUTPUT_LIMIT, Executed};
use crate::spawn::{self, Launch, StartError};
use crate::sys;

/// What a shell says for a command that it cannot find.
const CODE_NOT_FOUND: i32 = 127;

pub(crate) struct Exec {
    /// Whom to answer.
    pub(crate) client: u64,
    pub(crate) request: u64,
    pub(crate) pid: i32,
    pub(crate) deadline: Instant,
    output: File,
    collected: Vec<u8>,
    /// False once the command has closed its output: the descriptor would be ready for ever.
    open: bool,
    timed_out: bool,
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
        let deadline = Instant::now() + timeout;
        Ok(Self { client, request, pid, deadline, output, collected: Vec::new(), open: true, timed_out: false })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn output(&self) -> &File {
        &self.output
    }

    /// Takes in what there is. What goes beyond the limit is read and dropped, so that the command never blocks.
    pub(crate) fn read_output(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.output.read(&mut buffer) {
                Ok(0) => {
                    self.open = false;
                    return;
                }
                Ok(length) => {
                    let room = EXEC_OUTPUT_LIMIT.saturating_sub(self.collected.len());
                    self.collected.extend_from_slice(&buffer[..length.min(room)]);
                }
                Err(_) => return,
            }
        }
    }

    pub(crate) fn time_out(&mut self) {
        self.timed_out = true;
        sys::signal_group(self.pid, Signal::KILL);
    }

    pub(crate) fn has_timed_out(&self) -> bool {
        self.timed_out
    }

    /// The command has ended; what it started goes with it.
    pub(crate) fn finish(mut self, wait_status: i32) -> Executed {
        sys::signal_group(self.pid, Signal::KILL);
        self.read_output();
        Executed {
            code: (!self.timed_out).then(|| exit_code(wait_status).0),
            output: String::from_utf8_lossy(&self.collected).into_owned(),
        }
    }
}
