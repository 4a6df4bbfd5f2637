//! Starting a process: finding its program, saying plainly why it cannot be started, and FIFOs for its output.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::identity::Prepared;
use crate::protocol::{Identity, Stdin};
use crate::sys::{self, Surroundings};

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the command is empty")]
    Empty,
    #[error("command \"{command}\" not found in PATH={path}")]
    NotFound { command: String, path: String },
    #[error("working directory {}: {}", .dir.display(), reason(.source))]
    WorkDir { dir: PathBuf, source: io::Error },
    #[error("cannot execute {}{}: {}", .program.display(), as_whom(.uid), reason(.source))]
    Execute { program: PathBuf, uid: Option<u32>, source: io::Error },
}

/// What the system says, without the number in parentheses.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn as_whom(uid: &Option<u32>) -> String {
    uid.map(|uid| format!(" as user {uid}")).unwrap_or_default()
}

pub(crate) struct Launch<'a> {
    pub(crate) command: &'a [String],
    pub(crate) env: &'a BTreeMap<String, String>,
    pub(crate) cwd: &'a Path,
    /// `NAME=value`, by which processes of the container are recognised.
    pub(crate) marker: Cow<'a, str>,
    /// `None` is `/dev/null`, for each of the three.
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    /// `stdin` is a terminal that the process is to control.
    pub(crate) terminal: bool,
    /// Opened `cgroup.procs` of the groups to join.
    pub(crate) procs: Vec<File>,
    /// RLIMIT_DATA in bytes.
    pub(crate) data_limit: Option<u64>,
    pub(crate) identity: &'a Identity,
}

/// Returns the number of the new process, which leads a session and process group of its own.
pub(crate) fn spawn(launch: Launch<'_>) -> Result<i32, StartError> {
    let (name, arguments) = launch.command.split_first().ok_or(StartError::Empty)?;
    fs::metadata(launch.cwd)
        .and_then(|dir| if dir.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) })
        .map_err(|source| StartError::WorkDir { dir: launch.cwd.to_owned(), source })?;
    let program = find_program(name, launch.env.get("PATH").map_or("", String::as_str), launch.cwd)?;
    let (marker_name, marker_value) = launch.marker.split_once('=').unwrap_or((&launch.marker, ""));
    let mut command = Command::new(&program);
    std::os::unix::process::CommandExt::arg0(&mut command, name);
    command
        .args(arguments)
        .env_clear()
        .envs(launch.env)
        .env(marker_name, marker_value)
        .stdin(stdio(launch.stdin, launch.identity))
        .stdout(stdio(launch.stdout, launch.identity))
        .stderr(stdio(launch.stderr, launch.identity));
    let no_path = |_| StartError::WorkDir { dir: launch.cwd.to_owned(), source: io::ErrorKind::InvalidInput.into() };
    let surroundings = Surroundings {
        procs: launch.procs,
        data_limit: launch.data_limit,
        terminal: launch.terminal,
        identity: Prepared::new(launch.identity),
        cwd: CString::new(launch.cwd.as_os_str().as_bytes()).map_err(no_path)?,
    };
    sys::enter_container(&mut command, surroundings);
    let uid = launch.identity.uid;
    let child = command.spawn().map_err(|source| StartError::Execute { program, uid, source })?;
    // The child is reaped with all others, by number; dropping the handle leaves it alone.
    Ok(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

/// Whoever the process is may open its own streams again, as programs do through `/dev/stdout`.
fn stdio(descriptor: Option<OwnedFd>, identity: &Identity) -> Stdio {
    if let (Some(descriptor), Some(uid)) = (&descriptor, identity.uid) {
        // Where this is denied, the open descriptor works all the same.
        let _ = rustix::fs::fchown(descriptor, Some(rustix::fs::Uid::from_raw(uid)), None);
    }
    descriptor.map_or_else(Stdio::null, Stdio::from)
}

/// As execvp does it, but with an answer that names what was tried.
fn find_program(name: &str, path: &str, cwd: &Path) -> Result<PathBuf, StartError> {
    if name.is_empty() {
        return Err(StartError::Empty);
    }
    if name.contains('/') {
        return Ok(cwd.join(name));
    }
    let executable =
        |file: &PathBuf| fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let mut candidates = path.split(':').filter(|dir| !dir.is_empty()).map(|dir| cwd.join(dir).join(name));
    candidates.find(executable).ok_or_else(|| StartError::NotFound { command: name.to_owned(), path: path.to_owned() })
}

/// Creates the FIFO unless it exists and opens both ends of it twice: for the shim to read, and for the container.
///
/// The container's descriptor is opened for reading and writing. It is never read, but it makes the container itself a
/// reader, so that writing after the shim's death fills the pipe and waits for the next shim instead of ending in SIGPIPE.
pub(crate) fn open_fifo(path: &Path) -> io::Result<(File, OwnedFd)> {
    make_fifo(path)?;
    let writer = OpenOptions::new().read(true).write(true).open(path)?;
    Ok((open_fifo_reader(path)?, writer.into()))
}

/// Creates the FIFO unless it exists and opens the container's standard input. The second descriptor, if there is one,
/// keeps the input from ending; a container whose input never ends keeps it open itself.
pub(crate) fn open_stdin(path: &Path, stdin: Stdin) -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    if stdin == Stdin::Nothing {
        return Ok((None, None));
    }
    // Nothing that was meant for an earlier start.
    let _ = fs::remove_file(path);
    make_fifo(path)?;
    let both = OpenOptions::new().read(true).write(true).open(path)?;
    Ok(match stdin {
        Stdin::Once => (Some(File::open(path)?.into()), Some(both.into())),
        _ => (Some(both.into()), None),
    })
}

fn make_fifo(path: &Path) -> io::Result<()> {
    match rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::from(0o600), 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The shim's end alone.
pub(crate) fn open_fifo_reader(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
}
