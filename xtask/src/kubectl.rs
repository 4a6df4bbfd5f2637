//! A kubectl for the tests: the one in PATH if it is new enough, else one that Go builds from its sources.
//!
//! The module proxy is the only download; the version is pinned and Go verifies it against its checksum database.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use serde::Deserialize;

use crate::shell::{output, root, run, say, succeeds};

/// Of `k8s.io/kubectl`: kubectl 1.33, the API version that kapell serves.
const VERSION: &str = "v0.33.13";

/// The oldest kubectl that the tests' expectations about its output hold for.
const OLDEST: (u32, u32) = (1, 31);

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

/// `None` when there is neither a kubectl nor a way to build one.
pub(crate) fn find_or_build() -> Result<Option<PathBuf>> {
    if let Some(path) = std::env::var_os("KAPELL_KUBECTL") {
        return Ok(Some(path.into()));
    }
    if let Some(path) = in_path().filter(new_enough) {
        return Ok(Some(path));
    }
    let built = root().join(".tools/bin/kubectl");
    if built.exists() && new_enough(&built) {
        return Ok(Some(built));
    }
    if !succeeds(Command::new("go").arg("version")) {
        return Ok(None);
    }
    say(&format!("building kubectl {VERSION} with Go, once"));
    match build(&built) {
        Ok(()) => Ok(Some(built)),
        // Without a network the other tests are still worth running.
        Err(error) => {
            say(&format!("kubectl could not be built: {error:#}"));
            Ok(None)
        }
    }
}

fn in_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("kubectl")).find(|file| file.is_file())
}

#[allow(clippy::ptr_arg, reason = "a predicate for Option<PathBuf>::filter")]
fn new_enough(path: &PathBuf) -> bool {
    let text = output(Command::new(path).args(["version", "--client", "-o", "json"]));
    text.ok().and_then(|text| client_version(&text)).is_some_and(|version| version >= OLDEST)
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

fn build(binary: &PathBuf) -> Result<()> {
    let sources = root().join(".tools/kubectl");
    fs::create_dir_all(&sources)?;
    fs::write(sources.join("main.go"), MAIN)?;
    fs::write(sources.join("go.mod"), format!("module kubectl\n\ngo 1.24.0\n\nrequire k8s.io/kubectl {VERSION}\n"))?;
    let go = |arguments: &[&str]| {
        let mut go = Command::new("go");
        go.arg("-C").arg(&sources).args(arguments).env("CGO_ENABLED", "0");
        go
    };
    run(&mut go(&["mod", "tidy"]))?;
    let (minor, of) = (VERSION.split('.').nth(1).unwrap_or_default(), "k8s.io/component-base/version");
    let released = VERSION.replacen("v0", "v1", 1);
    let named = format!("-s -w -X {of}.gitVersion={released} -X {of}.gitMajor=1 -X {of}.gitMinor={minor}");
    run(go(&["build", "-trimpath", "-ldflags", &named, "-o"]).arg(binary))
}

#[cfg(test)]
mod tests;
