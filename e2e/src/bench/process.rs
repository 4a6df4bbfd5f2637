//! What a process and its children have used, as the kernel tells.

use anyhow::Context as _;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// Processor time of a process without its children, in nanoseconds. By its clock, which counts exactly and includes
/// threads that have ended: the ticks of `/proc/PID/stat` are too coarse for a process at rest.
pub(crate) fn cpu_nanos(pid: u32) -> anyhow::Result<f64> {
    let pid = Pid::from_raw(i32::try_from(pid)?);
    let used = clock_getcpuclockid(pid).and_then(|clock| clock.now()).context("no such process")?;
    Ok(used.tv_sec() as f64 * 1e9 + used.tv_nsec() as f64)
}

/// As [`cpu_nanos`], of a process and its direct children: nginx's and HAProxy's workers are these.
pub(crate) fn family_cpu_nanos(pid: u32) -> anyhow::Result<f64> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    children.chain([pid]).map(cpu_nanos).sum()
}

/// Memory in MB: what is resident, and of that what is the process's own and not pages of its file.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: f64,
    pub(crate) anonymous: f64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> anyhow::Result<f64> {
            let line = status.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
            let kib: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
            Ok(kib * 1024.0 / 1e6)
        };
        Ok(Self { resident: field("VmRSS:")?, anonymous: field("RssAnon:")? })
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} MB ({:.1} MB of it not file pages)", self.resident, self.anonymous)
    }
}

pub(crate) fn threads(pid: u32) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/task"))?.count())
}
