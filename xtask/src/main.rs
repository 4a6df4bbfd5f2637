//! The chores of this repository: `cargo xtask help` lists them.
//!
//! Each command sets up what it needs, so that a fresh clone with a Rust toolchain and a C compiler can run any of
//! them first. What a chore decides is in pure functions (`layers`, `dependencies`); running programs happens in `shell`.

mod clients;
mod dependencies;
mod fuzz;
mod guide;
mod kubectl;
mod layers;
mod metadata;
mod protobuf;
mod schemas;
mod shell;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use crate::metadata::Metadata;
use crate::shell::{cargo, root, run, say};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of this repository")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Sets up what the tests need and runs all of them; further arguments go to `cargo test`
    Test {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Builds and brings up the example shop; further arguments go to `kapell up`
    Up {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Measures the release binary from outside and prints the table of docs/benchmarks.md
    Bench {
        /// size, start, rest, api, watch, pods, workflow or gateway (default: all of these); engines or etcd
        parts: Vec<String>,
    },
    /// Holds the workflow engine against a checkout of the Serverless Workflow specification
    Ctk {
        /// Where the specification lies
        path: PathBuf,
        /// Validate its examples instead of running its conformance kit
        #[arg(long)]
        examples: bool,
    },
    /// Everything that CI does
    Ci,
    /// Formatting, lints, layers and dependencies: what CI does besides the tests
    Check,
    /// Compares the crates and their dependencies with the table in ARCHITECTURE.md
    CheckLayers,
    /// Writes the tables of the guide that tests prove (docs/guide/conformance.md, kubernetes.md)
    Guide,
    /// Runs the fuzz targets, two at a time, without a nightly toolchain
    Fuzz {
        /// Which (default: all)
        targets: Vec<String>,
        /// How long each of them runs
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Checks licences, banned crates and sources of all dependencies
    CheckDependencies,
    /// Writes the descriptors of Kubernetes' protobuf messages anew from the sources of its modules (needs Go)
    ProtobufDescriptors,
    /// Writes the bodies that the protobuf decoder is tested with anew, by Kubernetes' own encoders (needs Go)
    ProtobufFixtures,
    /// Writes the JSON Schemas of Kubernetes' types anew, from `k8s-openapi`
    Schemas,
}

fn main() -> ExitCode {
    match chore(Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn chore(chore: Chore) -> Result<()> {
    match chore {
        Chore::Test { rest } => test(&rest),
        Chore::Up { rest } => up(&rest),
        Chore::Bench { parts } => bench(&parts),
        Chore::Ctk { path, examples } => ctk(&path, examples),
        Chore::Ci => ci(),
        Chore::Check => check(),
        Chore::Guide => guide::write(),
        Chore::Fuzz { targets, seconds } => fuzz::run(&targets, seconds),
        Chore::CheckLayers => check_layers(&Metadata::load()?),
        Chore::CheckDependencies => check_dependencies(&Metadata::load()?),
        Chore::ProtobufDescriptors => protobuf::write_descriptors(),
        Chore::ProtobufFixtures => protobuf::write_fixtures(),
        Chore::Schemas => schemas::write(),
    }
}

/// The tests run whatever the checks say, and after them, so that their own lines end the output.
fn ci() -> Result<()> {
    let checks = check();
    if let Err(error) = &checks {
        say(&format!("{error:#}"));
    }
    test(&[])?;
    checks
}

fn test(rest: &[String]) -> Result<()> {
    // In one build with the tests, so that features are resolved once and nothing is compiled twice; the black-box
    // tests find the binaries beside themselves.
    run(cargo().args(["build", "--workspace", "--locked", "--bins", "--tests"]))?;
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--locked"]).args(rest);
    let skipped = Path::new(&Metadata::load()?.target_directory).join("skipped");
    let _ = std::fs::remove_file(&skipped);
    tests.env("KAPELL_SKIPPED", &skipped);
    for (name, variable, path) in [
        ("kubectl", "KAPELL_KUBECTL", kubectl::oldest()),
        ("the newest kubectl", "KAPELL_KUBECTL_NEWEST", kubectl::newest()),
        ("helm", "KAPELL_HELM", clients::helm()),
        ("python with the package kubernetes", "KAPELL_PYTHON", clients::python()),
    ] {
        if let Some(path) = path {
            say(&format!("{name}: {}", path.display()));
            tests.env(variable, path);
        }
    }
    let ran = run(&mut tests);
    // cargo shows nothing of tests that pass, and to skip is to pass.
    let skipped = std::fs::read_to_string(&skipped).unwrap_or_default();
    skipped.lines().for_each(|line| say(&format!("skipped: {line}")));
    ran
}

fn up(rest: &[String]) -> Result<()> {
    let mut up = release("kapell", &["kapell", "shop"])?;
    // In place of this process, so that Ctrl-C and the exit code are kapell's own.
    let error = up.arg("up").arg("examples/shop").args(rest).current_dir(root()).exec();
    bail!("cannot run {}: {error}", up.get_program().display())
}

fn bench(parts: &[String]) -> Result<()> {
    run(release("kapell-bench", &["kapell", "shop", "kapell-e2e"])?.args(parts))
}

fn ctk(path: &Path, examples: bool) -> Result<()> {
    let path = path.canonicalize().with_context(|| format!("there is no {}", path.display()))?;
    let mut ctk = cargo();
    ctk.args(["run", "--quiet", "--locked", "--package", "kapell-workflow", "--example", "ctk", "--"]).arg(path);
    if examples {
        ctk.arg("--examples");
    }
    run(&mut ctk)
}

/// Builds these packages as they are released, and gives one of their programs.
fn release(program: &str, packages: &[&str]) -> Result<Command> {
    let packages = packages.iter().flat_map(|package| ["--package", package]);
    run(cargo().args(["build", "--release", "--locked"]).args(packages))?;
    let target = Metadata::load()?.target_directory;
    Ok(Command::new(Path::new(&target).join("release").join(program)))
}

fn check() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    let metadata = Metadata::load()?;
    check_layers(&metadata)?;
    check_dependencies(&metadata)?;
    guide::check()?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

fn check_layers(metadata: &Metadata) -> Result<()> {
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let complaints = layers::compare(&layers::table(&architecture), &metadata.layers());
    report("layers", "ARCHITECTURE.md and the workspace agree", complaints)
}

fn check_dependencies(metadata: &Metadata) -> Result<()> {
    let complaints = dependencies::complaints(&metadata.packages);
    report("dependencies", &format!("{} packages pass", metadata.packages.len()), complaints)?;
    if shell::succeeds(cargo().args(["deny", "--version"])) {
        run(cargo().args(["deny", "check", "licenses", "bans", "sources"]))?;
    }
    Ok(())
}

fn report(subject: &str, good: &str, complaints: Vec<String>) -> Result<()> {
    if complaints.is_empty() {
        say(&format!("{subject}: {good}"));
        return Ok(());
    }
    bail!("{subject}:\n  {}", complaints.join("\n  "))
}
