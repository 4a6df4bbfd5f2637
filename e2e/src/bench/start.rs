//! How long until it is there: the server, a first pod, the shop.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use kapell_e2e::{binary, shop, spawn_until_ready};

use crate::{median, row};

const STARTS: usize = 15;
const UPS: usize = 7;

pub(crate) fn measure() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let at = |name: String| directory.path().join(name);

    let fresh = rounds(STARTS, |round| server(&at(format!("fresh-{round}"))))?;
    row("`kapell server` to ready, empty data directory", &format!("{fresh:.0} ms"), "< 100 ms");
    let again = rounds(STARTS, |_| server(&at("fresh-0".to_owned())))?;
    row("`kapell server` to ready, after `kill -9`", &format!("{again:.0} ms"), "< 100 ms");

    let pod = directory.path().join("pod.yaml");
    std::fs::write(&pod, include_str!("pod.yaml"))?;
    let first = rounds(UPS, |round| up(&at(format!("pod-{round}")), &pod))?;
    row("`kapell up -d` of one process pod to Ready, server start included", &format!("{first:.0} ms"), "< 300 ms");
    let shop = rounds(UPS, |round| up(&at(format!("shop-{round}")), &shop::manifests()))?;
    row("`kapell up -d examples/shop` until all 8 pods are ready", &format!("{shop:.0} ms"), "< 2000 ms");
    Ok(())
}

/// The median time in milliseconds.
fn rounds(count: usize, mut round: impl FnMut(usize) -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    Ok(median((0..count).map(&mut round).collect::<Result<Vec<_>, _>>()?))
}

fn server(data: &Path) -> anyhow::Result<f64> {
    let mut command = Command::new(binary("kapell"));
    command.args(["server", "--api-port", "0", "--data"]).arg(data);
    let begun = Instant::now();
    let mut child = spawn_until_ready(command);
    let took = begun.elapsed();
    let killed = child.kill();
    child.wait()?;
    killed?;
    Ok(took.as_secs_f64() * 1e3)
}

fn up(data: &Path, files: &Path) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut command = Command::new(binary("kapell"));
    command.args(["up", "--detach", "--api-port", "0", "--data"]).arg(data).arg(files);
    let ran = kapell_e2e::run(command, None);
    let took = begun.elapsed();
    let down = Command::new(binary("kapell")).arg("down").arg("--data").arg(data).stderr(Stdio::null()).status();
    anyhow::ensure!(ran.code == Some(0), "{ran}");
    anyhow::ensure!(down.context("kapell down")?.success(), "kapell down failed");
    Ok(took.as_secs_f64() * 1e3)
}
