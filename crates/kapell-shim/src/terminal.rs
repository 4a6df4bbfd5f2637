//! The terminal of a container that asks for one: its three streams, and the way from what clients type to it.
//!
//! The shim holds both sides. What comes out of the terminal goes to the log as any output, but without waiting for the ends of
//! lines; what is written to `stdin.fifo` goes in. A client that sets the size does so at the link `tty` in the container's directory.
//! The terminal ends with the shim, and hangs up whom it controls.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};

use crate::protocol::{ContainerSpec, Stdin};
use crate::{layout, spawn};

/// What is taken for the end of input when it begins a line (`VEOF`, Ctrl-D).
const END_OF_INPUT: u8 = 4;

/// As much as a terminal holds of a line.
const PIECE: usize = 4096;

/// What a pipe holds by default.
const PIPE: usize = 64 << 10;

pub(crate) struct Terminal {
    master: File,
    /// As long as somebody holds it, reading the other side does not fail, and polling it does not spin.
    slave: OwnedFd,
    input: Option<File>,
    /// Typed, and not taken yet.
    pending: Vec<u8>,
    link: PathBuf,
}

impl Terminal {
    pub(crate) fn open(pod: &Path, spec: &ContainerSpec) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let link = layout::terminal(pod, &spec.name);
        let _ = fs::remove_file(&link);
        symlink(ptsname(&master, Vec::new())?.to_string_lossy().as_ref(), &link)?;
        let fifo = layout::fifo(pod, &spec.name, "stdin");
        // Nothing that was meant for an earlier start.
        let _ = fs::remove_file(&fifo);
        let input = (spec.stdin != Stdin::Nothing).then(|| spawn::open_fifo(&fifo)).transpose()?;
        let input = input.map(|(reader, _)| reader);
        Ok(Self { master: master.into(), slave, input, pending: Vec::new(), link })
    }

    /// Where its output is read.
    pub(crate) fn output(&self) -> io::Result<File> {
        self.master.try_clone()
    }

    /// The container's end.
    pub(crate) fn end(&self) -> io::Result<OwnedFd> {
        self.slave.try_clone()
    }

    /// To be polled, for [`Terminal::forward`].
    pub(crate) fn interest(&self) -> Option<(&File, PollFlags)> {
        if self.pending.is_empty() {
            Some((self.input.as_ref()?, PollFlags::IN))
        } else {
            Some((&self.master, PollFlags::OUT))
        }
    }

    /// Moves along what was typed, a bounded amount at a time.
    pub(crate) fn forward(&mut self) {
        if self.pending.is_empty() {
            self.take_input();
        }
        match self.master.write(&self.pending) {
            Ok(length) => drop(self.pending.drain(..length)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.pending.clear(),
        }
    }

    /// After what has been typed so far.
    pub(crate) fn end_input(&mut self) {
        let mut pieces = 0;
        while pieces < PIPE / PIECE && self.take_input() {
            pieces += 1;
        }
        self.pending.push(END_OF_INPUT);
    }

    /// False when there is nothing to take.
    fn take_input(&mut self) -> bool {
        let mut buffer = [0; PIECE];
        let length = self.input.as_mut().and_then(|input| input.read(&mut buffer).ok()).unwrap_or(0);
        self.pending.extend_from_slice(&buffer[..length]);
        length > 0
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Its number will be another terminal's.
        let _ = fs::remove_file(&self.link);
    }
}
