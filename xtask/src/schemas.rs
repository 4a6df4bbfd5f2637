//! The JSON Schemas of Kubernetes' types, which `kapell-api` has as data: see `schemas/`, whose output they are.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder};

use crate::metadata::Metadata;
use crate::shell::{cargo, root, say};

const FILE: &str = "crates/kapell-api/src/schema/definitions.gz";

pub(crate) fn write() -> Result<()> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--manifest-path"]).arg(root().join("schemas/Cargo.toml"));
    command.env("CARGO_TARGET_DIR", format!("{}/schemas", Metadata::load()?.target_directory)).stderr(Stdio::inherit());
    let printed = command.output().context("cannot run cargo")?;
    ensure!(printed.status.success(), "the schemas cannot be printed");
    // Without a time: the same schemas are the same file.
    let mut file = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    file.write_all(&printed.stdout)?;
    fs::write(root().join(FILE), file.finish()?).with_context(|| format!("cannot write {FILE}"))?;
    say(&format!("{FILE} is written"));
    Ok(())
}
