//! The two kubectls of the tests: the oldest and the newest that we promise. The oldest is the one in PATH if that is it; else both are
//! built by Go from their sources.
//!
//! The module proxy is the only download; the versions are pinned and Go verifies them against its checksum database.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde::Deserialize;

use crate::shell::{output, root, run, say, succeeds};

/// Of `k8s.io/kubectl`: kubectl 1.32, in whose words the tests expect its output.
const OLDEST: &str = "v0.32.3";

/// kubectl 1.37, which streams its lists unless told otherwise.
const NEWEST: &str = "v0.37.2";

const MAIN: &str = r#"// Written by cargo xtask test.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() {
	os.Exit(cli.Run(cmd.NewDefaultKubectlCommand()))
}
"#;

/// `None` when there is neither a kubectl 1.32 nor a way to build one.
pub(crate) fn oldest() -> Option<PathBuf> {
    find_or_build("kubectl", "KAPELL_KUBECTL", OLDEST, in_path())
}

pub(crate) fn newest() -> Option<PathBuf> {
    find_or_build("kubectl_newest", "KAPELL_KUBECTL_NEWEST", NEWEST, None)
}

fn find_or_build(name: &str, variable: &str, version: &str, in_path: Option<PathBuf>) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(path.into());
    }
    let built = root().join(".tools/bin").join(name);
    let found = [in_path, Some(built.clone())].into_iter().flatten();
    if let Some(path) = found.into_iter().find(|path| path.exists() && is(path, version)) {
        return Some(path);
    }
    if !succeeds(Command::new("go").arg("version")) {
        return None;
    }
    say(&format!("building kubectl {version} with Go, once"));
    match build(&built, version) {
        Ok(()) => Some(built),
        // Without a network the other tests are still worth running.
        Err(error) => {
            say(&format!("kubectl {version} could not be built: {error:#}"));
            None
        }
    }
}

fn in_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("kubectl")).find(|file| file.is_file())
}

/// Whether a program is kubectl of this release, of which the patch does not matter.
fn is(path: &Path, version: &str) -> bool {
    let text = output(Command::new(path).args(["version", "--client", "-o", "json"]));
    text.ok().and_then(|text| client_version(&text)) == Some((1, minor(version)))
}

/// `v0.32.3` is of kubectl 1.32.
fn minor(version: &str) -> u32 {
    version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or_default()
}

/// Major and minor of `kubectl version --client -o json`; distributions write the minor as `32+`.
fn client_version(json: &str) -> Option<(u32, u32)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        client_version: Version,
    }
    #[derive(Deserialize)]
    struct Version {
        major: String,
        minor: String,
    }
    let Version { major, minor } = serde_json::from_str::<Answer>(json).ok()?.client_version;
    Some((major.parse().ok()?, minor.trim_end_matches('+').parse().ok()?))
}

fn build(binary: &Path, version: &str) -> Result<()> {
    let sources = root().join(".tools/kubectl").join(version);
    fs::create_dir_all(&sources)?;
    fs::write(sources.join("main.go"), MAIN)?;
    // The toolchain that the module asks for decides; this is only the language of the six lines above.
    fs::write(sources.join("go.mod"), format!("module kubectl\n\ngo 1.24.0\n\nrequire k8s.io/kubectl {version}\n"))?;
    let go = |arguments: &[&str]| {
        let mut go = Command::new("go");
        go.arg("-C").arg(&sources).args(arguments).env("CGO_ENABLED", "0");
        go
    };
    run(&mut go(&["mod", "tidy"]))?;
    let (minor, of) = (minor(version), "k8s.io/component-base/version");
    let released = version.replacen("v0", "v1", 1);
    let named = format!("-s -w -X {of}.gitVersion={released} -X {of}.gitMajor=1 -X {of}.gitMinor={minor}");
    run(go(&["build", "-trimpath", "-ldflags", &named, "-o"]).arg(binary))
}

#[cfg(test)]
mod tests;
