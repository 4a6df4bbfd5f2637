//! What pods and this node use of processors and memory, read when somebody asks.
//!
//! A rate needs two readings. The one of the last question serves as the first for the next; who asks after a long silence
//! waits for half a second. Nothing is read while nobody asks.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kapell_shim::proc::{self, ProcessId};
use kapell_shim::read_state;
use parking_lot::Mutex;

/// Over a shorter time a rate says more about the clock than about the process.
const LEAST_WINDOW: Duration = Duration::from_millis(500);

/// Older readings would hide what happens now.
const LONGEST_WINDOW: Duration = Duration::from_secs(60);

/// `/proc` counts processor time in hundredths of a second, on every architecture that Linux runs on.
const NANOS_PER_TICK: u64 = 10_000_000;

/// Pages are counted in; larger ones exist on other architectures, where cgroups tell memory all the same.
const PAGE_BYTES: u64 = 4096;

/// The key of the node itself among the readings.
const NODE: &str = "";

/// Processor time and memory over a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumption {
    /// Billionths of a processor.
    pub cpu_nano: u64,
    /// Working set: what could not be reclaimed at once.
    pub memory_bytes: u64,
    /// The time over which `cpu_nano` is the average.
    pub window: Duration,
    pub timestamp: Timestamp,
}

/// The usage of this node's pods. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Usage {
    pods: PathBuf,
    readings: Arc<Mutex<HashMap<Key, Reading>>>,
}

/// UID and container of a pod, and its process: a restarted container begins anew.
type Key = (String, String, Option<ProcessId>);

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    cpu_nanos: u64,
    /// What was told last, for those who ask again at once.
    rate: Option<(u64, Duration)>,
}

/// Processor time since the start in nanoseconds, and memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    cpu_nanos: u64,
    memory_bytes: u64,
}

impl Usage {
    /// `data_dir` as in [`crate::AgentConfig`].
    pub fn new(data_dir: &Path) -> Self {
        Self { pods: data_dir.join("pods"), readings: Arc::default() }
    }

    /// The running containers of each pod, in the order of the pods; none for pods that do not run.
    pub async fn pods(&self, uids: &[String]) -> Vec<Vec<(String, Consumption)>> {
        let (pods, wanted) = (self.pods.clone(), uids.to_vec());
        let found = blocking(move || wanted.iter().flat_map(|uid| containers(&pods, uid)).collect()).await;
        let mut of_pod: HashMap<String, Vec<(String, Consumption)>> = HashMap::new();
        for ((uid, name, _), consumption) in self.consumption(found).await {
            of_pod.entry(uid).or_default().push((name, consumption));
        }
        for containers in of_pod.values_mut() {
            containers.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        uids.iter().map(|uid| of_pod.remove(uid).unwrap_or_default()).collect()
    }

    pub async fn node(&self) -> Option<Consumption> {
        let node = Subject { key: (NODE.to_owned(), String::new(), None), cgroups: Vec::new() };
        self.consumption(vec![node]).await.pop().map(|(_, consumption)| consumption)
    }

    async fn consumption(&self, subjects: Vec<Subject>) -> Vec<(Key, Consumption)> {
        let (mut found, fresh) = self.read(subjects).await;
        if !fresh.is_empty() {
            tokio::time::sleep(LEAST_WINDOW).await;
            found.extend(self.read(fresh).await.0);
        }
        found
    }

    /// What is known of those that were read before, and the others.
    async fn read(&self, subjects: Vec<Subject>) -> (Vec<(Key, Consumption)>, Vec<Subject>) {
        let read = blocking(move || {
            let processes = std::cell::OnceCell::new();
            let counted = subjects.into_iter().filter_map(|subject| {
                let counters = match subject.key.2 {
                    None => node_counters()?,
                    Some(process) if !process.is_alive() => return None,
                    Some(process) => counters(&subject.cgroups, process, || processes.get_or_init(proc::all)),
                };
                Some((subject, counters, Instant::now()))
            });
            counted.collect::<Vec<_>>()
        });
        let read = read.await;
        let mut readings = self.readings.lock();
        readings.retain(|_, reading| reading.at.elapsed() <= LONGEST_WINDOW);
        let (mut found, mut fresh) = (Vec::new(), Vec::new());
        for (subject, counters, at) in read {
            let new = advance(readings.get(&subject.key).copied(), at, counters.cpu_nanos);
            readings.insert(subject.key.clone(), new);
            match new.rate {
                None => fresh.push(subject),
                Some((cpu_nano, window)) => {
                    let memory_bytes = counters.memory_bytes;
                    let consumption = Consumption { cpu_nano, memory_bytes, window, timestamp: Timestamp::now() };
                    found.push((subject.key, consumption));
                }
            }
        }
        (found, fresh)
    }
}

/// What can be measured.
struct Subject {
    key: Key,
    cgroups: Vec<PathBuf>,
}

fn containers(pods: &Path, uid: &str) -> Vec<Subject> {
    let state = read_state(&pods.join(uid)).ok().flatten();
    let running = state.into_iter().flat_map(|state| state.containers);
    let running = running.filter_map(|(name, state)| Some((name, state.running?)));
    running
        .map(|(name, run)| Subject { key: (uid.to_owned(), name, Some(run.process)), cgroups: run.cgroups })
        .collect()
}

/// Hundreds of small files are read: not on the threads that answer requests.
async fn blocking<T: Default + Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    // Fails when the runtime is about to stop, and nobody waits for the answer any more.
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

/// The reading after `before`, with the rate between them unless they are too close.
fn advance(before: Option<Reading>, at: Instant, cpu_nanos: u64) -> Reading {
    let Some(before) = before else { return Reading { at, cpu_nanos, rate: None } };
    let window = at.saturating_duration_since(before.at);
    if window < LEAST_WINDOW {
        return before;
    }
    let used = u128::from(cpu_nanos.saturating_sub(before.cpu_nanos));
    let rate = used * 1_000_000_000 / window.as_nanos();
    Reading { at, cpu_nanos, rate: Some((u64::try_from(rate).unwrap_or(u64::MAX), window)) }
}

/// From the container's cgroups; what they do not tell, from its processes.
fn counters<'a>(cgroups: &[PathBuf], process: ProcessId, all: impl Fn() -> &'a Vec<proc::Stat>) -> Counters {
    let cpu = cgroups.iter().find_map(|group| cgroup_cpu(group));
    let memory = cgroups.iter().find_map(|group| cgroup_memory(group));
    if let (Some(cpu_nanos), Some(memory_bytes)) = (cpu, memory) {
        return Counters { cpu_nanos, memory_bytes };
    }
    let of_processes = family(process, all()).into_iter().filter_map(process_counters);
    let sum = of_processes.fold(Counters::default(), |sum, one| Counters {
        cpu_nanos: sum.cpu_nanos + one.cpu_nanos,
        memory_bytes: sum.memory_bytes + one.memory_bytes,
    });
    Counters { cpu_nanos: cpu.unwrap_or(sum.cpu_nanos), memory_bytes: memory.unwrap_or(sum.memory_bytes) }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value of `name` in a file of names and values.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// `cpu.stat` of v2, also where the controller is not enabled; `cpuacct.usage` of v1.
fn cgroup_cpu(group: &Path) -> Option<u64> {
    let stat = fs::read_to_string(group.join("cpu.stat")).ok();
    let micros = stat.and_then(|text| field(&text, "usage_usec"));
    micros.map(|micros| micros * 1000).or_else(|| number(&group.join("cpuacct.usage")))
}

/// What is used less the page cache that is not in active use, as the kubelet counts.
fn cgroup_memory(group: &Path) -> Option<u64> {
    let used = number(&group.join("memory.current")).or_else(|| number(&group.join("memory.usage_in_bytes")))?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let inactive = field(&stat, "total_inactive_file").or_else(|| field(&stat, "inactive_file"));
    Some(used.saturating_sub(inactive.unwrap_or(0)))
}

/// The process, those of its session, and their descendants.
fn family(main: ProcessId, all: &[proc::Stat]) -> Vec<i32> {
    let mut members: Vec<i32> =
        all.iter().filter(|stat| stat.pid == main.pid || stat.session == main.pid).map(|stat| stat.pid).collect();
    loop {
        let more = all.iter().filter(|stat| members.contains(&stat.ppid) && !members.contains(&stat.pid));
        let more: Vec<i32> = more.map(|stat| stat.pid).collect();
        if more.is_empty() {
            return members;
        }
        members.extend(more);
    }
}

/// Processor time with that of children that have ended, and resident memory.
fn process_counters(pid: i32) -> Option<Counters> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    // Fields 14 to 17 of proc(5); the first after the name is the third.
    let ticks: u64 =
        (0..4).map(|n| fields.nth(if n == 0 { 11 } else { 0 })?.parse::<u64>().ok()).sum::<Option<u64>>()?;
    let pages: u64 = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(Counters { cpu_nanos: ticks * NANOS_PER_TICK, memory_bytes: pages * PAGE_BYTES })
}

/// All processors but for idling and waiting for disks; all memory but for what is available.
fn node_counters() -> Option<Counters> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> =
        stat.lines().next()?.split_ascii_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    // Time of guests is in that of users already.
    let busy: u64 = ticks.iter().take(8).enumerate().filter(|(n, _)| !matches!(n, 3 | 4)).map(|(_, ticks)| ticks).sum();
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name: &str| {
        memory.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
    };
    let used = kib("MemTotal:")?.saturating_sub(kib("MemAvailable:")?);
    Some(Counters { cpu_nanos: busy * NANOS_PER_TICK, memory_bytes: used * 1024 })
}

#[cfg(test)]
mod tests;
