//! What the server costs while nothing happens.

use std::time::Duration;

use kapell_e2e::{Kapell, binary, shop};

use crate::process::{Memory, cpu_nanos, threads};
use crate::row;

/// Until everything that a start sets going has come to rest.
const SETTLE: Duration = Duration::from_secs(5);
/// Long enough for several heartbeats.
const WATCH: Duration = Duration::from_secs(30);

pub(crate) fn size() -> anyhow::Result<()> {
    let bytes = std::fs::metadata(binary("kapell"))?.len();
    row("binary", &format!("{:.1} MB", bytes as f64 / 1e6), "< 40 MB");
    Ok(())
}

pub(crate) fn measure() -> anyhow::Result<()> {
    let kapell = Kapell::start();
    at_rest("at rest, nothing running", &kapell, "< 40 MB, < 0.5 %")?;
    shop::up(&kapell);
    at_rest("at rest, the shop running (8 pods probed every second)", &kapell, "")
}

/// Processor time and memory at rest are those of a span of time, so that here the sleep is what is measured.
#[allow(clippy::disallowed_methods)]
fn at_rest(what: &str, kapell: &Kapell, aim: &str) -> anyhow::Result<()> {
    std::thread::sleep(SETTLE);
    let before = cpu_nanos(kapell.pid())?;
    std::thread::sleep(WATCH);
    let share = (cpu_nanos(kapell.pid())? - before) / WATCH.as_nanos() as f64 * 100.0;
    let (memory, threads) = (Memory::of(kapell.pid())?, threads(kapell.pid())?);
    row(what, &format!("{memory}, {share:.2} % of a core, {threads} threads"), aim);
    Ok(())
}
