//! Files into objects: Kubernetes YAML and JSON, and Serverless Workflow documents, with the place of every field kept
//! for error messages. Everything is read and checked before anything is sent.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use kapell_api::decode::{self, Decoded, Positions};
use kapell_api::kind::Kind;
use kapell_api::kinds;
use kapell_api::schema::Schema;
use serde_json::{Value, json};

use crate::error::{Failure, Outcome};

/// An object as a file has it.
pub(crate) struct Manifest {
    pub(crate) kind: &'static Kind,
    pub(crate) value: Value,
    source: Source,
}

/// Where an object comes from.
struct Source {
    file: String,
    positions: Positions,
    /// What the object's field paths have in front of the document's own: `spec.` for a workflow document.
    prefix: &'static str,
}

impl Source {
    /// `shop.yaml:12:7: ` for the field, or the nearest one around it.
    fn place(&self, path: &str) -> String {
        let path = path.strip_prefix(self.prefix).unwrap_or(path);
        match self.positions.nearest(path) {
            Some(position) => format!("{}:{}:{}: ", self.file, position.line, position.column),
            None => format!("{}: ", self.file),
        }
    }
}

impl Manifest {
    pub(crate) fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.value["metadata"]["namespace"].as_str()
    }

    /// The file, and the line and column of the field or the nearest one around it.
    pub(crate) fn position(&self, field: &str) -> (String, Option<(usize, usize)>) {
        let field = field.strip_prefix(self.source.prefix).unwrap_or(field);
        let position = self.source.positions.nearest(field).map(|at| (at.line, at.column));
        (self.source.file.clone(), position)
    }

    /// `deployment/web`.
    pub(crate) fn label(&self) -> String {
        let name =
            self.value["metadata"]["generateName"].as_str().filter(|_| self.name().is_empty()).unwrap_or(self.name());
        match self.kind.group {
            "" => format!("{}/{name}", self.kind.singular),
            group => format!("{}.{group}/{name}", self.kind.singular),
        }
    }

    /// Puts the file's line and column before each complaint of the server.
    pub(crate) fn locate(&self, failure: Failure) -> Failure {
        if failure.fields.is_empty() {
            let message = format!("{}{}: {}", self.source.place("metadata.name"), self.label(), failure.message);
            let no_namespace = failure.message.starts_with("namespaces ") && failure.message.ends_with("not found");
            let hint = no_namespace.then(|| "apply a Namespace object as well, e.g. in the same file".to_owned());
            return Failure { message, hint: failure.hint.or(hint), ..failure };
        }
        let lines: Vec<String> = failure
            .fields
            .iter()
            .map(|(field, message)| format!("{}{field}: {message}", self.source.place(field)))
            .collect();
        Failure { message: lines.join("\n       "), ..failure }
    }
}

/// Reads files, directories (their `*.yaml`, `*.yml` and `*.json`, in name order) and `-`; namespaces come first, then
/// what others refer to, then what runs.
pub(crate) fn read(paths: &[PathBuf]) -> Outcome<Vec<Manifest>> {
    let mut manifests = Vec::new();
    let mut complaints = Vec::new();
    for path in paths {
        for (file, bytes) in files(path)? {
            read_file(&file, &bytes, &mut manifests, &mut complaints);
        }
    }
    if !complaints.is_empty() {
        return Err(Failure::new(complaints.join("\n       "))
            .hint("nothing was applied; correct the file and run the command again"));
    }
    if manifests.is_empty() {
        let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(Failure::new(format!("{} holds no objects", names.join(", "))));
    }
    manifests.sort_by_key(|manifest| rank(manifest.kind));
    Ok(manifests)
}

fn rank(kind: &Kind) -> u8 {
    match kind.kind {
        "Namespace" => 0,
        "ServiceAccount" | "ConfigMap" | "Secret" => 1,
        "Service" | "Workflow" => 2,
        "WorkflowRun" => 4,
        _ => 3,
    }
}

fn files(path: &Path) -> Outcome<Vec<(String, Vec<u8>)>> {
    let unreadable = |path: &Path, error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(vec![("<stdin>".to_owned(), bytes)]);
    }
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, error))?;
        let is_manifest = |path: &PathBuf| {
            path.is_file()
                && path
                    .extension()
                    .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
        };
        found = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_manifest).collect();
        found.sort();
        if found.is_empty() {
            return Err(Failure::usage(format!("{} holds no .yaml, .yml or .json file", path.display())));
        }
    }
    found
        .into_iter()
        .map(|file| {
            let bytes = std::fs::read(&file).map_err(|error| unreadable(&file, error))?;
            Ok((file.display().to_string(), bytes))
        })
        .collect()
}

fn read_file(file: &str, bytes: &[u8], manifests: &mut Vec<Manifest>, complaints: &mut Vec<String>) {
    match decode::documents(bytes) {
        Err(error) => {
            let Some(position) = error.position() else { return complaints.push(format!("{file}: {error}")) };
            // The place stands in front, where editors and people look for it.
            let words = error.to_string();
            let words = words.split(" at line ").next().unwrap_or(&words);
            complaints.push(format!("{file}:{}:{}: {words}", position.line, position.column));
        }
        Ok(documents) => {
            for document in documents {
                read_document(file, document, manifests, complaints);
            }
        }
    }
}

fn read_document(file: &str, document: Decoded, manifests: &mut Vec<Manifest>, complaints: &mut Vec<String>) {
    let Decoded { value, duplicates, positions } = document;
    let is_workflow = value.pointer("/document/dsl").is_some() && value.get("kind").is_none();
    let source = Source { file: file.to_owned(), positions, prefix: if is_workflow { "spec." } else { "" } };
    for duplicate in &duplicates {
        let place = duplicate
            .position
            .map_or_else(|| source.place(&duplicate.path), |at| format!("{file}:{}:{}: ", at.line, at.column));
        complaints.push(format!("{place}{}: the key stands twice", duplicate.path));
    }
    let value = if is_workflow { wrap_workflow(value) } else { value };
    if let Some(items) = value.get("items").and_then(Value::as_array).filter(|_| value["kind"] == "List") {
        for (index, item) in items.iter().enumerate() {
            let positions = source.positions.below(&format!("items[{index}]"));
            let source = Source { file: file.to_owned(), positions, prefix: "" };
            accept(item.clone(), source, manifests, complaints);
        }
        return;
    }
    accept(value, source, manifests, complaints);
}

/// A workflow document is the `spec` of a Workflow object.
fn wrap_workflow(document: Value) -> Value {
    json!({
        "apiVersion": "kapell.dev/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": document["document"]["name"],
            "namespace": document["document"]["namespace"],
        },
        "spec": document,
    })
}

fn accept(value: Value, source: Source, manifests: &mut Vec<Manifest>, complaints: &mut Vec<String>) {
    let word = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind_name) = (word("apiVersion"), word("kind"));
    if api_version.is_empty() || kind_name.is_empty() {
        let missing = if kind_name.is_empty() { "kind" } else { "apiVersion" };
        complaints.push(format!(
            "{}not an object: {missing} is missing (and it is no workflow document, which has document.dsl)",
            source.place("")
        ));
        return;
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let Some(kind) = kinds::by_kind(group, version, &kind_name) else {
        let near: Vec<_> = kinds::KINDS
            .iter()
            .filter(|kind| kind.kind.eq_ignore_ascii_case(&kind_name))
            .map(|kind| format!("{} {}", kind.api_version(), kind.kind))
            .collect();
        let hint = if near.is_empty() {
            let known: Vec<_> = kinds::KINDS.iter().map(|kind| kind.kind).collect();
            format!("supported kinds are {}", known.join(", "))
        } else {
            format!("supported is {}", near.join(", "))
        };
        complaints.push(format!("{}{api_version} {kind_name} is not supported yet; {hint}", source.place("kind")));
        return;
    };

    let findings = Schema::compile(&(kind.schema)()).check(&value);
    for unknown in &findings.unknown {
        let suggestion = unknown.suggestion.as_ref().map_or(String::new(), |name| format!(", did you mean {name:?}?"));
        complaints.push(format!("{}{}: unknown field{suggestion}", source.place(&unknown.path), unknown.path));
    }
    for problem in &findings.problems {
        complaints.push(format!("{}{problem}", source.place(&problem.field)));
    }
    manifests.push(Manifest { kind, value, source });
}

#[cfg(test)]
mod tests;
