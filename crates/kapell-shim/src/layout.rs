//! Where things are below a pod's directory. Agent and shim agree on this page and nowhere else.

use std::path::{Path, PathBuf};

/// What the shim knows about its processes; replaced atomically with each change.
pub fn state_file(pod: &Path) -> PathBuf {
    pod.join("state.json")
}

/// Held locked by the one shim that serves the directory.
pub fn lock_file(pod: &Path) -> PathBuf {
    pod.join("shim.lock")
}

/// What the shim itself complains about.
pub fn shim_log(pod: &Path) -> PathBuf {
    pod.join("shim.log")
}

pub fn socket(pod: &Path) -> PathBuf {
    pod.join("shim.sock")
}

/// The container's own directory: FIFOs, logs, its last spec and its default working directory.
pub fn container_dir(pod: &Path, container: &str) -> PathBuf {
    pod.join("containers").join(container)
}

/// The specification of the last start. Mode 0600: its environment may hold secrets.
pub fn container_spec(pod: &Path, container: &str) -> PathBuf {
    container_dir(pod, container).join("spec.json")
}

/// The default working directory.
pub fn work_dir(pod: &Path, container: &str) -> PathBuf {
    container_dir(pod, container).join("work")
}

/// The log of one start (0 is the first). Rotated pieces have `.1` (youngest), `.2` … appended.
pub fn log_file(pod: &Path, container: &str, attempt: u32) -> PathBuf {
    log_dir(pod, container).join(format!("{attempt}.log"))
}

pub fn log_dir(pod: &Path, container: &str) -> PathBuf {
    container_dir(pod, container).join("logs")
}

/// Where the container leaves a word about its end: one file for each start, so that none is taken for another's.
pub fn termination_file(pod: &Path, container: &str, attempt: u32) -> PathBuf {
    container_dir(pod, container).join("termination").join(attempt.to_string())
}

/// Leads to the terminal of a container that has one.
pub fn terminal(pod: &Path, container: &str) -> PathBuf {
    container_dir(pod, container).join("tty")
}

/// `stream` is `stdin`, `stdout` or `stderr`.
pub fn fifo(pod: &Path, container: &str, stream: &str) -> PathBuf {
    container_dir(pod, container).join(format!("{stream}.fifo"))
}
