//! Real clients for the tests besides kubectl, each of a pinned version and installed once into `.tools`.
//!
//! What cannot be installed, for want of Go, Python or a network, is told and skipped: the other tests are still
//! worth running.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::shell::{root, run, say, succeeds};

const HELM: &str = "helm.sh/helm/v4/cmd/helm@v4.3.0";
const PYTHON_CLIENT: &str = "kubernetes==37.0.2";

/// Helm, built by Go from its module.
pub(crate) fn helm() -> Option<PathBuf> {
    installed("KAPELL_HELM", ".tools/bin/helm", Command::new("go").arg("version"), |binary| {
        let directory = binary.parent().unwrap_or(Path::new("."));
        let mut go = Command::new("go");
        go.args(["install", "-trimpath", "-ldflags=-s -w", HELM]).env("GOBIN", directory).env("CGO_ENABLED", "0");
        run(&mut go)
    })
}

/// A Python of its own environment that has the client.
pub(crate) fn python() -> Option<PathBuf> {
    let venv = root().join(".tools/python");
    installed(
        "KAPELL_PYTHON",
        ".tools/python/bin/python",
        Command::new("python3").args(["-m", "venv", "--help"]),
        |python| {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
            run(Command::new(python).args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                PYTHON_CLIENT,
            ]))
        },
    )
}

fn installed(
    variable: &str,
    path: &str,
    needs: &mut Command,
    install: impl FnOnce(&Path) -> Result<()>,
) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(path.into());
    }
    let path = root().join(path);
    // The marker is written last, so that an installation that was interrupted is done again.
    let done = path.with_extension("installed");
    if done.exists() {
        return Some(path);
    }
    if !succeeds(needs) {
        return None;
    }
    say(&format!("installing {} once, see xtask/src/clients.rs", path.display()));
    match install(&path).and_then(|()| Ok(std::fs::write(&done, "")?)) {
        Ok(()) => Some(path),
        Err(error) => {
            say(&format!("{} could not be installed: {error:#}", path.display()));
            None
        }
    }
}
