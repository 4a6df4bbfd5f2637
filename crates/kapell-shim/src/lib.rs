//! Runs one pod's processes and outlives the agent that asked for it.
//!
//! `kapell shim DIR` is one small single-threaded process per pod. It starts the pod's containers in sessions of their
//! own, writes their output to log files, reaps what they leave behind, runs probe commands, and answers the agent on a
//! Unix socket ([`protocol`]). What must survive the shim itself is in `DIR/state.json` and in FIFOs that the containers
//! hold open for themselves: a new shim that is started on the same directory takes over where the dead one stopped.
//!
//! It decides nothing: when to start, restart or give up is the agent's business. It knows neither the API nor pods'
//! specs beyond [`protocol::ContainerSpec`], and it has no threads, so that it may fork.

pub mod cgroup;
pub mod clock;
pub mod layout;
pub mod proc;
pub mod protocol;
pub mod socket;

mod connection;
mod container;
mod exec;
mod identity;
mod log_file;
mod spawn;
mod state_file;
mod supervisor;
mod sys;
mod terminal;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

pub use state_file::{StateFileError, read as read_state};

/// The first line on the shim's standard output: its socket accepts connections from now on.
pub const READY_LINE: &str = "ready";

/// Serves the pod directory named by the only argument until the agent asks it to shut down.
///
/// Writes [`READY_LINE`] to standard output once, complaints to standard error (the agent points it at `shim.log`).
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(dir), None) = (args.next(), args.next()) else {
        return complain("usage: kapell shim DIR");
    };
    match supervisor::serve(PathBuf::from(dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error.to_string()),
    }
}

fn complain(message: &str) -> ExitCode {
    // Nobody is left to tell when standard error is gone too.
    let _ = writeln!(std::io::stderr(), "kapell shim: {message}");
    ExitCode::FAILURE
}
