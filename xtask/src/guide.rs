//! The parts of the guide that tests prove: which conformance cases pass, and what each client can do.
//!
//! Tests say in their documentation what they prove (`Conformance:`, `Row:`, `Refused:`, `Column:`). These lines are read from
//! the sources and become tables between marks in two pages; a check tells when a page is out of date. That the tests pass is what
//! CI is for.

mod claims;
mod conformance;
mod matrix;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::claims::Claim;
use crate::shell::{root, say};

const PAGES: [&str; 2] = ["docs/guide/conformance.md", "docs/guide/kubernetes.md"];

/// Writes the pages anew.
pub(crate) fn write() -> Result<()> {
    for (path, text) in pages()? {
        fs::write(root().join(&path), text).with_context(|| format!("cannot write {path}"))?;
        say(&format!("{path} is written"));
    }
    Ok(())
}

/// Complains about pages that are not what [`write`] would write.
pub(crate) fn check() -> Result<()> {
    let mut outdated = Vec::new();
    for (path, text) in pages()? {
        if fs::read_to_string(root().join(&path))? != text {
            outdated.push(path);
        }
    }
    if outdated.is_empty() {
        say("guide: what the tests prove is what the guide says");
        return Ok(());
    }
    bail!("guide: out of date, run `cargo xtask guide`: {}", outdated.join(", "));
}

fn pages() -> Result<Vec<(String, String)>> {
    let claims = claims()?;
    let lists = |name: &str| -> Result<String> { Ok(fs::read_to_string(root().join("e2e/conformance").join(name))?) };
    let conformance = conformance::tables(&lists("titles.txt")?, &lists("reasons.txt")?, &claims)
        .map_err(|complaints| anyhow::anyhow!("conformance:\n  {}", complaints.join("\n  ")))?;
    let matrix = matrix::tables(&claims);
    let mut pages = Vec::new();
    for (path, tables) in PAGES.into_iter().zip([conformance, matrix]) {
        let mut text = fs::read_to_string(root().join(path)).with_context(|| format!("there is no {path}"))?;
        for (name, table) in tables {
            text = filled(&text, &name, &table).with_context(|| format!("{path} has no place for {name:?}"))?;
        }
        pages.push((path.to_owned(), text));
    }
    Ok(pages)
}

/// A page with another table between the marks of this name.
fn filled(page: &str, name: &str, table: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}: made by cargo xtask guide -->\n"), "<!-- end -->\n");
    let from = page.find(&begin)? + begin.len();
    let to = from + page[from..].find(end)?;
    Some(format!("{}\n{table}\n{}", &page[..from], &page[to..]))
}

/// What all tests of the repository claim, in the order of their files.
fn claims() -> Result<Vec<Claim>> {
    let mut files = Vec::new();
    collect(&root().join("e2e/tests"), &mut files)?;
    for member in fs::read_dir(root().join("crates"))? {
        let tests = member?.path().join("tests");
        if tests.is_dir() {
            collect(&tests, &mut files)?;
        }
    }
    files.sort();
    let mut claims = Vec::new();
    for file in files {
        let path = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        claims.extend(claims::read(&path, &fs::read_to_string(&file)?));
    }
    Ok(claims)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
