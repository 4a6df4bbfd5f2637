//! The fuzz targets, built with the stable compiler: its coverage instrumentation is all that libFuzzer needs, so neither a nightly
//! toolchain nor cargo-fuzz has to be installed. (Address sanitizer would need both; there is no unsafe code to find.)

use std::fs;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::metadata::Metadata;
use crate::shell::{cargo, root, run as run_command, say};

/// What cargo-fuzz passes, less the sanitizer.
const COVERAGE: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                        -Cllvm-args=-sanitizer-coverage-trace-compares";

/// A target that needs more has found something.
const MEMORY_MIB: u32 = 1024;
/// Longest input. Ten times as much finds nothing more and takes ten times as long.
const LONGEST: u32 = 65_536;
const AT_A_TIME: usize = 2;

/// Runs these targets (none: all) for so many seconds each; fails when one of them finds something.
pub(crate) fn run(wanted: &[String], seconds: u32) -> Result<()> {
    let targets = targets(wanted)?;
    let host = host()?;
    let folder = format!("{}/fuzz", Metadata::load()?.target_directory);
    let mut build = cargo();
    build
        .args(["build", "--release", "--bins", "--target", &host, "--manifest-path"])
        .arg(root().join("fuzz/Cargo.toml"));
    // With a target named, build scripts and macros are spared the instrumentation.
    run_command(build.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", &folder))?;

    let mut found = Vec::new();
    for pair in targets.chunks(AT_A_TIME) {
        let running = pair.iter().map(|target| {
            let program = format!("{folder}/{host}/release/{target}");
            Ok((target, start(target, &program, seconds)?))
        });
        for (target, mut child) in running.collect::<Result<Vec<_>>>()? {
            if !child.wait()?.success() {
                found.push(format!("{target}: see {folder}/{host}/release/{target}.log and fuzz/artifacts/{target}"));
            }
        }
    }
    if !found.is_empty() {
        bail!("found:\n  {}", found.join("\n  "));
    }
    say(&format!("nothing found in {} targets", targets.len()));
    Ok(())
}

/// What is new goes into a corpus beside the one that is kept in the repository.
fn start(target: &str, program: &str, seconds: u32) -> Result<Child> {
    let fuzz = root().join("fuzz");
    let (found, artifacts) = (fuzz.join("found").join(target), fuzz.join("artifacts").join(target));
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&artifacts)?;
    let log = fs::File::create(std::path::Path::new(program).with_extension("log"))?;
    say(&format!("{target}, for {seconds} s"));
    let mut command = Command::new(program);
    command.arg(found).arg(fuzz.join("corpus").join(target));
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-rss_limit_mb={MEMORY_MIB}"));
    command.arg(format!("-dict={}", fuzz.join("words.dict").display()));
    command.arg(format!("-max_len={LONGEST}")).arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().with_context(|| format!("cannot start {program}"))
}

fn targets(wanted: &[String]) -> Result<Vec<String>> {
    let mut known: Vec<String> = fs::read_dir(root().join("fuzz/fuzz_targets"))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    known.sort();
    if let Some(unknown) = wanted.iter().find(|target| !known.contains(target)) {
        bail!("there is no fuzz target {unknown:?}, but {}", known.join(", "));
    }
    Ok(if wanted.is_empty() { known } else { wanted.to_vec() })
}

/// The compiler's own target.
fn host() -> Result<String> {
    let told = crate::shell::output(Command::new("rustc").arg("-vV"))?;
    told.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc does not tell its host")
}
