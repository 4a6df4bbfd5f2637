//! The system calls that need `unsafe`: signal handlers, the child's side of a start, and the exit code of a process that
//! is not our child.
#![allow(unsafe_code, reason = "signal handlers, pre_exec and an ioctl have no safe interface")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::identity::Prepared;

/// Where the handler of SIGCHLD leaves its mark; the shim is one per process.
static CHILD_EXITED: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_child_exit(_signal: libc::c_int) {
    let fd = CHILD_EXITED.load(Ordering::Relaxed);
    // SAFETY: write(2) is async-signal-safe, the buffer is static, and the descriptor is never closed. A full pipe
    // refuses the byte, which is fine: it is readable already. errno is put back for the code that was interrupted.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(fd, b"c".as_ptr().cast(), 1);
        *libc::__errno_location() = errno;
    }
}

extern "C" fn ignore(_signal: libc::c_int) {}

/// Makes the returned pipe readable whenever a child has ended, and the shim deaf to what ends other daemons: it goes
/// when the agent says so. Handlers rather than `SIG_IGN`, because children would inherit the latter.
pub(crate) fn install_signal_handlers() -> io::Result<OwnedFd> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    CHILD_EXITED.store(write.as_raw_fd(), Ordering::Relaxed);
    std::mem::forget(write); // lives as long as the process, see on_child_exit
    handle(libc::SIGCHLD, on_child_exit)?;
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
        handle(signal, ignore)?;
    }
    Ok(read)
}

fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid value (empty mask, no flags), and the handler is a function that only
    // does what is allowed in a signal handler.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &action, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Where a child finds itself before it executes its program.
pub(crate) struct Surroundings {
    /// Opened `cgroup.procs` of the groups to join.
    pub(crate) procs: Vec<File>,
    /// RLIMIT_DATA in bytes.
    pub(crate) data_limit: Option<u64>,
    /// Standard input is a terminal, to be the controlling one.
    pub(crate) terminal: bool,
    pub(crate) identity: Prepared,
    /// Entered as whom the child then is: a directory that is closed to it stays closed.
    pub(crate) cwd: CString,
}

/// Puts the child into a session of its own and into its surroundings, before it executes.
pub(crate) fn enter_container(command: &mut Command, surroundings: Surroundings) {
    let Surroundings { procs, data_limit, terminal, identity, cwd } = surroundings;
    let enter = move || {
        // SAFETY: runs in the forked child; setsid, ioctl, write and setrlimit are async-signal-safe and touch nothing
        // that the parent shares. Joining a group may be denied, which only makes the limits weaker.
        unsafe {
            libc::setsid();
            if terminal {
                libc::ioctl(0, libc::TIOCSCTTY, 0);
            }
            for file in &procs {
                libc::write(file.as_raw_fd(), b"0".as_ptr().cast(), 1);
            }
            if let Some(bytes) = data_limit {
                let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
                libc::setrlimit(libc::RLIMIT_DATA, &limit);
            }
        }
        // System calls only, too, on what was prepared before the fork.
        identity.assume()?;
        Ok(rustix::process::chdir(cwd.as_c_str())?)
    };
    // SAFETY: the closure only makes async-signal-safe calls, as the comment above says; it does not allocate.
    unsafe { command.pre_exec(enter) };
}

/// `struct pidfd_info` of `linux/pidfd.h`, its first version.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xFF, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: u64 = (3 << 30) | ((size_of::<PidfdInfo>() as u64) << 16) | (0xFF << 8) | 11;

/// The wait status of an ended process that is not our child: after its parent has reaped it, and on Linux ≥ 6.15.
pub(crate) fn foreign_wait_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..Default::default() };
    let fd: RawFd = pidfd.as_raw_fd();
    // SAFETY: the request's size field says how much the kernel may write, which is the size of `info`.
    let result = unsafe { libc::ioctl(fd, PIDFD_GET_INFO as _, &raw mut info) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// SIGKILL to one process. That it is gone already is no error.
pub(crate) fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// A signal to a process group. That it is gone already is no error.
pub(crate) fn signal_group(pgrp: i32, signal: Signal) {
    if let Some(pgrp) = Pid::from_raw(pgrp) {
        let _ = kill_process_group(pgrp, signal);
    }
}
