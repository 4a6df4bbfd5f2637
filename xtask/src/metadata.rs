//! The part of `cargo metadata` that the checks look at.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::shell::{cargo, output, root};

#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: String,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// `None` for a package of this repository.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: String,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for a normal one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Where it lies, if in this repository.
    pub(crate) path: Option<String>,
}

impl Metadata {
    pub(crate) fn load() -> Result<Self> {
        let text = output(cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
        serde_json::from_str(&text).context("cargo metadata printed something unexpected")
    }

    /// The crates below `crates/`, each with those of them that it uses outside its tests.
    pub(crate) fn layers(&self) -> BTreeMap<String, BTreeSet<String>> {
        let crates = root().join("crates");
        let ours = |path: &str| std::path::Path::new(path).starts_with(&crates);
        let used = |package: &Package| {
            let normal = package.dependencies.iter().filter(|dependency| dependency.kind.is_none());
            normal.filter(|d| d.path.as_deref().is_some_and(ours)).map(|d| d.name.clone()).collect()
        };
        let packages = self.packages.iter().filter(|package| ours(&package.manifest_path));
        packages.map(|package| (package.name.clone(), used(package))).collect()
    }
}
