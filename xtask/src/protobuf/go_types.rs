//! What Go's type declarations say beyond the protobuf files: exact JSON names, which structs are inlined, and which
//! fields are written even when zero. Reads gofmt's layout line by line; the tags of a field stand on its own line.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

/// The declarations of one package.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Types {
    /// By name of the struct and protobuf number.
    pub(super) fields: BTreeMap<(String, i32), Field>,
    /// Structs that embed `TypeMeta`.
    pub(super) kinds: BTreeSet<String>,
    /// Names for slices, which protobuf wraps in a message of their own.
    pub(super) lists: BTreeSet<String>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Field {
    /// `None` for a struct whose fields appear in its parent.
    pub(super) json: Option<String>,
    pub(super) pointer: bool,
    /// `omitempty` or `omitzero`.
    pub(super) omits_zero: bool,
}

pub(super) fn parse(files: &[String]) -> Result<Types> {
    let mut types = Types::default();
    let mut within: Option<String> = None;
    for line in files.iter().flat_map(|file| file.lines()) {
        if let Some(declared) = line.strip_prefix("type ") {
            within = declare(&mut types, declared);
        } else if line.starts_with('}') {
            within = None;
        }
        let (Some(name), Some((declaration, tags))) = (&within, tagged(line)) else { continue };
        if matches!(declaration, "metav1.TypeMeta" | "TypeMeta") {
            types.kinds.insert(name.clone());
        }
        let (Some(protobuf), Some(json)) = (tag(tags, "protobuf"), tag(tags, "json")) else { continue };
        let number = protobuf.split(',').nth(1).and_then(|number| number.parse().ok());
        let number = number.with_context(|| format!("{name}: no number in {line:?}"))?;
        let mut options = json.split(',');
        let json = options.next().unwrap_or_default();
        let embedded = !declaration.contains(char::is_whitespace);
        let field = Field {
            json: (!(embedded && json.is_empty())).then(|| json.to_owned()),
            pointer: declaration.split_whitespace().nth(1).is_some_and(|go_type| go_type.starts_with('*')),
            omits_zero: options.any(|option| matches!(option, "omitempty" | "omitzero")),
        };
        types.fields.insert((name.clone(), number), field);
    }
    Ok(types)
}

/// `const GroupName = "…"`.
pub(super) fn group_name(files: &[String]) -> Option<&str> {
    let mut lines = files.iter().flat_map(|file| file.lines());
    lines.find_map(|line| {
        line.trim_start().trim_start_matches("const ").strip_prefix("GroupName = \"")?.split('"').next()
    })
}

/// Notes a declaration; gives the name of a struct that begins here.
fn declare(types: &mut Types, declared: &str) -> Option<String> {
    let (name, declared) = declared.split_once(' ')?;
    if declared.starts_with("[]") {
        types.lists.insert(name.to_owned());
    }
    (declared == "struct {").then(|| name.to_owned())
}

/// A field's declaration and its tags.
fn tagged(line: &str) -> Option<(&str, &str)> {
    let (declaration, rest) = line.split_once('`')?;
    let (tags, _) = rest.split_once('`')?;
    let declaration = declaration.trim();
    (!declaration.is_empty() && !declaration.starts_with("//")).then_some((declaration, tags))
}

fn tag<'a>(tags: &'a str, key: &str) -> Option<&'a str> {
    let (before, rest) = tags.split_once(&format!("{key}:\""))?;
    (before.is_empty() || before.ends_with(' ')).then(|| rest.split('"').next()).flatten()
}

#[cfg(test)]
mod tests;
