//! What a reader must know of the machine to judge the figures.

/// Cores, kernel, processor and the load at the start, in half a sentence.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    let kernel = read("/proc/sys/kernel/osrelease");
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    format!("{cores} cores ({}), Linux {}, load average {}", model.unwrap_or("unknown"), kernel.trim(), load())
}

/// Who reads the figures later wants to know whether others were at work.
pub(crate) fn note_load(part: &str) {
    eprintln!("{part}: load average {}", load());
}

fn load() -> String {
    read("/proc/loadavg").split_whitespace().next().unwrap_or("unknown").to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
