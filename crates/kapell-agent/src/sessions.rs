//! Streams of running containers: commands that are run beside them for somebody, and their own standard input.
//!
//! The pod's shim starts the command; the agent makes its streams and hands the far ends over with the request. What is
//! read and written then goes through pipes or a terminal between this process and the command, never through the shim.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use kapell_shim::layout;
use kapell_shim::protocol::{Answer, Body, Op, Request, Streams, VERSION};
use kapell_shim::socket::Address;
use rustix::fs::{Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::shim_client::ShimClient;

/// What a terminal takes for the end of input when it begins a line (`VEOF`, Ctrl-D).
const END_OF_INPUT: u8 = 4;

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("container \"{container}\" is not running")]
    NotRunning { container: String },
    #[error("standard input of container \"{container}\" is not open; set stdin: true in its specification")]
    NoStdin { container: String },
    #[error("cannot make the streams: {0}")]
    Streams(#[source] io::Error),
    #[error("cannot talk to the pod's shim: {0}")]
    Shim(#[source] io::Error),
    #[error("the pod's shim refuses: {0}")]
    Refused(String),
}

/// What to run, and which streams somebody wants.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    pub command: Vec<String>,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// All three are one terminal.
    pub terminal: bool,
}

/// A running command. Dropped, it is hung up.
pub struct Session {
    pub stdin: Option<Input>,
    pub stdout: Option<pipe::Receiver>,
    pub stderr: Option<pipe::Receiver>,
    pub terminal: Option<Terminal>,
    pub end: SessionEnd,
}

/// Where a command reads from.
pub struct Input {
    writer: pipe::Sender,
    is_terminal: bool,
}

/// The size of a session's terminal can be set.
pub struct Terminal(OwnedFd);

/// Tells how a command ended.
pub struct SessionEnd(BufReader<UnixStream>);

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// As a shell reports it.
    pub code: i32,
    /// It never ran; why not.
    pub start_error: Option<String>,
}

impl Input {
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        tokio::io::AsyncWriteExt::write_all(&mut self.writer, bytes).await
    }

    /// There is no more. A pipe ends by being dropped, a terminal has to be told.
    pub async fn finish(mut self) {
        if self.is_terminal {
            // Who has closed the terminal needs no end of input.
            let _ = self.write_all(&[END_OF_INPUT]).await;
        }
    }
}

impl Terminal {
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        if let Err(error) = tcsetwinsize(&self.0, size) {
            tracing::debug!(%error, "terminal not resized");
        }
    }
}

impl SessionEnd {
    /// # Errors
    /// When the shim refuses or dies, which ends the command, too.
    pub async fn wait(&mut self) -> Result<Ended, SessionError> {
        let mut line = String::new();
        self.0.read_line(&mut line).await.map_err(SessionError::Shim)?;
        let answer: Answer =
            serde_json::from_str(&line).map_err(|_| SessionError::Shim(io::ErrorKind::UnexpectedEof.into()))?;
        match answer.body {
            Body::Ended(ended) => Ok(Ended { code: ended.code, start_error: ended.start_error }),
            // Said by shims that were started before an upgrade.
            Body::Failed { message } if message.starts_with("not a request") => Err(SessionError::Refused(
                "it is older than this server and cannot run commands with streams; restart the pod".to_owned(),
            )),
            Body::Failed { message } => Err(SessionError::Refused(message)),
            other => Err(SessionError::Refused(format!("unexpected answer {other:?}"))),
        }
    }
}

/// The sessions of this node's pods. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    pods: PathBuf,
}

impl Sessions {
    /// `data_dir` as in [`crate::AgentConfig`].
    pub fn new(data_dir: &Path) -> Self {
        Self { pods: data_dir.join("pods") }
    }

    /// Starts a command in the environment, working directory and cgroup of a running container.
    pub async fn exec(&self, pod_uid: &str, container: &str, options: &ExecOptions) -> Result<Session, SessionError> {
        let pod = self.pods.join(pod_uid);
        require_running(&pod, container)?;
        let (streams, ours, theirs) = make_streams(options).map_err(SessionError::Streams)?;
        let op = Op::Session { container: container.to_owned(), command: options.command.clone(), streams };
        let descriptors: Vec<BorrowedFd<'_>> = theirs.iter().map(OwnedFd::as_fd).collect();
        let connection = ask(&pod, op, &descriptors).await.map_err(SessionError::Shim)?;
        let Ours { stdin, stdout, stderr, terminal } = ours;
        Ok(Session { stdin, stdout, stderr, terminal, end: SessionEnd(BufReader::new(connection)) })
    }

    /// The standard input of a running container that keeps it open.
    pub fn stdin(&self, pod_uid: &str, container: &str) -> Result<Input, SessionError> {
        let pod = self.pods.join(pod_uid);
        require_running(&pod, container)?;
        let path = layout::fifo(&pod, container, "stdin");
        let no_stdin = |_| SessionError::NoStdin { container: container.to_owned() };
        let writer = pipe::OpenOptions::new().open_sender(path).map_err(no_stdin)?;
        Ok(Input { writer, is_terminal: false })
    }

    /// The terminal of a running container that has one.
    pub fn terminal(&self, pod_uid: &str, container: &str) -> Option<Terminal> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let link = layout::terminal(&self.pods.join(pod_uid), container);
        rustix::fs::open(link, flags, Mode::empty()).ok().map(Terminal)
    }

    /// The first attached client's end of input is the container's, where it says `stdinOnce`.
    pub async fn close_stdin(&self, pod_uid: &str, container: &str) -> Result<(), SessionError> {
        let shim = ShimClient::connect(&self.pods.join(pod_uid)).await;
        let shim = shim.map_err(|error| SessionError::Refused(error.to_string()))?;
        shim.close_stdin(container).await.map_err(|error| SessionError::Refused(error.to_string()))
    }
}

fn require_running(pod: &Path, container: &str) -> Result<(), SessionError> {
    let state = kapell_shim::read_state(pod).ok().flatten();
    let running = state.is_some_and(|state| state.containers.get(container).is_some_and(|c| c.running.is_some()));
    if running { Ok(()) } else { Err(SessionError::NotRunning { container: container.to_owned() }) }
}

#[derive(Default)]
struct Ours {
    stdin: Option<Input>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    terminal: Option<Terminal>,
}

/// Our ends and those of the command.
fn make_streams(options: &ExecOptions) -> io::Result<(Streams, Ours, Vec<OwnedFd>)> {
    if options.terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        // Not a pipe, but read, written and polled like one.
        let writer = pipe::Sender::from_owned_fd_unchecked(master.try_clone()?)?;
        let ours = Ours {
            stdin: options.stdin.then_some(Input { writer, is_terminal: true }),
            stdout: Some(pipe::Receiver::from_owned_fd_unchecked(master.try_clone()?)?),
            stderr: None,
            terminal: Some(Terminal(master)),
        };
        return Ok((Streams::Terminal, ours, vec![slave]));
    }
    let (mut ours, mut theirs) = (Ours::default(), Vec::new());
    if options.stdin {
        let (writer, reader) = pipe::pipe()?;
        ours.stdin = Some(Input { writer, is_terminal: false });
        theirs.push(reader.into_blocking_fd()?);
    }
    for (wanted, place) in [(options.stdout, &mut ours.stdout), (options.stderr, &mut ours.stderr)] {
        if wanted {
            let (writer, reader) = pipe::pipe()?;
            *place = Some(reader);
            theirs.push(writer.into_blocking_fd()?);
        }
    }
    let streams = Streams::Pipes { stdin: options.stdin, stdout: options.stdout, stderr: options.stderr };
    Ok((streams, ours, theirs))
}

/// Sends one request with descriptors on a connection of its own, whose end is the session's. A shim that is stopped takes
/// no more connections than its queue holds; then this fails.
async fn ask(pod: &Path, op: Op, descriptors: &[BorrowedFd<'_>]) -> io::Result<UnixStream> {
    let mut line = serde_json::to_vec(&Request { v: VERSION, id: 1, op })?;
    line.push(b'\n');
    let address = Address::of(pod)?;
    let mut stream = UnixStream::connect(address.path()).await?;
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(sendmsg(&stream, &[IoSlice::new(&line)], &mut control, SendFlags::NOSIGNAL)?)
    };
    let sent = stream.async_io(Interest::WRITABLE, send).await?;
    stream.write_all(&line[sent..]).await?;
    Ok(stream)
}

#[cfg(test)]
mod tests;
