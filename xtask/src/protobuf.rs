//! The descriptors by which the server reads Kubernetes' protobuf bodies, made from the sources of Kubernetes' own modules.
//!
//! Origin: the `generated.proto` files and the Go types of three pinned modules, which the `go` client downloads and
//! verifies. Result, below `crates/kapell-api/src/protobuf`: `descriptors.bin`, a compressed `FileDescriptorSet` of
//! the messages that a request body can contain and nothing but their names, numbers and types; and `facts.txt`, what
//! the protobuf files do not say but Go's JSON depends on. Both are checked in; a build needs neither Go nor a network.

mod go_types;
mod select;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use protox::file::{File, FileResolver};
use protox::prost::Message as _;
use protox::prost_reflect::prost_types::FileDescriptorSet;
use serde::Deserialize;

use crate::protobuf::go_types::Types;
use crate::shell::{output, root, run, say};

/// Of all three modules. The newest, so that what a new client sends is known by name, and refused by name if need be.
const VERSION: &str = "v0.37.2";

const MODULES: [&str; 3] = ["k8s.io/api", "k8s.io/apimachinery", "k8s.io/metrics"];

/// The packages whose kinds can be the body of a request.
const PACKAGES: [&str; 19] = [
    "k8s.io/api/apps/v1",
    "k8s.io/api/authentication/v1",
    "k8s.io/api/authorization/v1",
    "k8s.io/api/autoscaling/v1",
    "k8s.io/api/autoscaling/v2",
    "k8s.io/api/batch/v1",
    "k8s.io/api/certificates/v1",
    "k8s.io/api/coordination/v1",
    "k8s.io/api/core/v1",
    "k8s.io/api/discovery/v1",
    "k8s.io/api/events/v1",
    "k8s.io/api/flowcontrol/v1",
    "k8s.io/api/networking/v1",
    "k8s.io/api/node/v1",
    "k8s.io/api/policy/v1",
    "k8s.io/api/rbac/v1",
    "k8s.io/api/scheduling/v1",
    "k8s.io/api/storage/v1",
    "k8s.io/apimachinery/pkg/apis/meta/v1",
];

/// The frame around every body; it has no kind of its own.
const ENVELOPE: &str = "k8s.io.apimachinery.pkg.runtime.Unknown";

/// Messages whose JSON form is not that of their fields; `kapell_api::protobuf` knows each of them.
const OPAQUE: [&str; 7] = [
    ENVELOPE,
    "k8s.io.apimachinery.pkg.api.resource.Quantity",
    "k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1",
    "k8s.io.apimachinery.pkg.apis.meta.v1.MicroTime",
    "k8s.io.apimachinery.pkg.apis.meta.v1.Time",
    "k8s.io.apimachinery.pkg.runtime.RawExtension",
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString",
];

/// Writes both files anew.
pub(crate) fn write_descriptors() -> Result<()> {
    let sources = Sources::download()?;
    let mut compiler = protox::Compiler::with_file_resolver(sources.clone());
    compiler.include_imports(true);
    for package in PACKAGES {
        compiler.open_file(format!("{package}/generated.proto"))?;
    }
    compiler.open_file("k8s.io/apimachinery/pkg/runtime/generated.proto")?;
    let set = compiler.file_descriptor_set();

    let mut types = BTreeMap::new();
    for file in &set.file {
        let package = file.name().trim_end_matches("/generated.proto");
        types.insert(file.package().to_owned(), go_types::parse(&sources.go_files(package)?)?);
    }
    let kinds = kinds(&sources, &set, &types)?;
    let roots: BTreeSet<String> = kinds.iter().map(|kind| kind.message.clone()).chain([ENVELOPE.to_owned()]).collect();
    let selected = select::reachable(set, &roots);
    let (named, facts) = facts(selected, &types)?;

    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&named.encode_to_vec())?;
    let packed = packed.finish()?;
    let directory = root().join("crates/kapell-api/src/protobuf");
    fs::write(directory.join("descriptors.bin"), &packed)?;
    let kinds: String = kinds.iter().map(Kind::line).collect();
    let head =
        format!("# Written by `cargo xtask protobuf-descriptors` from {} {VERSION}. See README.md.\n", MODULES[0]);
    fs::write(directory.join("facts.txt"), format!("{head}{kinds}{facts}"))?;
    let messages: usize = named.file.iter().map(|file| file.message_type.len()).sum();
    say(&format!("{messages} messages: {} bytes, {} compressed", named.encoded_len(), packed.len()));
    Ok(())
}

/// Runs the Go program that encodes objects as Kubernetes' own clients do, both ways, for the tests of the decoder.
pub(crate) fn write_fixtures() -> Result<()> {
    let program = root().join("xtask/protobuf-fixtures");
    let written = root().join("crates/kapell-api/src/protobuf/fixtures.jsonl.gz");
    run(Command::new("go").arg("-C").arg(program).args(["run", "."]).arg(written))
}

/// A kind that has a message, by the name under which the envelope announces it.
struct Kind {
    api_version: String,
    kind: String,
    message: String,
}

impl Kind {
    fn line(&self) -> String {
        format!("kind {} {} {}\n", self.api_version, self.kind, self.message)
    }
}

/// Kinds are the messages whose Go type embeds `TypeMeta`. Nobody sends lists, and options travel in the query, but
/// for those of a deletion.
fn kinds(sources: &Sources, set: &FileDescriptorSet, types: &BTreeMap<String, Types>) -> Result<Vec<Kind>> {
    let mut kinds = Vec::new();
    for package in PACKAGES {
        let file = set.file.iter().find(|file| file.name().strip_suffix("/generated.proto") == Some(package));
        let file = file.with_context(|| format!("{package} was not compiled"))?;
        let texts = sources.go_files(package)?;
        let group =
            go_types::group_name(&texts).with_context(|| format!("{package} does not say the name of its group"))?;
        let version = package.rsplit('/').next().unwrap_or_default();
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        for message in &file.message_type {
            let name = message.name();
            let sent = name == "DeleteOptions" || !(name.ends_with("List") || name.ends_with("Options"));
            if sent && types[file.package()].kinds.contains(name) {
                let message = format!("{}.{name}", file.package());
                kinds.push(Kind { api_version: api_version.clone(), kind: name.to_owned(), message });
            }
        }
    }
    Ok(kinds)
}

/// The set with JSON names that are exact, and one line for each other thing that the Go types say.
fn facts(mut set: FileDescriptorSet, types: &BTreeMap<String, Types>) -> Result<(FileDescriptorSet, String)> {
    let mut lines = String::new();
    for file in &mut set.file {
        let package = file.package().to_owned();
        let types = &types[&package];
        for message in &mut file.message_type {
            let full = format!("{package}.{}", message.name());
            if OPAQUE.contains(&full.as_str()) {
                continue;
            }
            if types.lists.contains(message.name()) {
                lines.push_str(&format!("list {full}\n"));
                continue;
            }
            let (mut inline, mut zero) = (Vec::new(), Vec::new());
            let name = message.name().to_owned();
            for field in &mut message.field {
                let Some(go) = types.fields.get(&(name.clone(), field.number())) else {
                    bail!("{full}.{}: no Go field has the number {}", field.name(), field.number());
                };
                match &go.json {
                    None => inline.push(field.name().to_owned()),
                    Some(json) => field.json_name = (json != field.name()).then(|| json.clone()),
                }
                if select::is_scalar(field) && (go.pointer || !go.omits_zero) {
                    zero.push(field.name().to_owned());
                }
            }
            for (word, fields) in [("inline", inline), ("zero", zero)] {
                if !fields.is_empty() {
                    lines.push_str(&format!("{word} {full} {}\n", fields.join(" ")));
                }
            }
        }
    }
    Ok((set, lines))
}

/// Where Go keeps the modules.
#[derive(Clone)]
struct Sources(Vec<(&'static str, PathBuf)>);

impl Sources {
    fn download() -> Result<Self> {
        #[derive(Deserialize)]
        struct Downloaded {
            #[serde(rename = "Dir")]
            directory: PathBuf,
        }
        let mut modules = Vec::new();
        for module in MODULES {
            let mut go = Command::new("go");
            let answer = output(go.args(["mod", "download", "-json"]).arg(format!("{module}@{VERSION}")))?;
            let downloaded: Downloaded = serde_json::from_str(&answer)?;
            modules.push((module, downloaded.directory));
        }
        Ok(Self(modules))
    }

    /// The place of a file or package that is named by its import path.
    fn locate(&self, path: &str) -> Option<PathBuf> {
        self.0
            .iter()
            .find_map(|(module, directory)| Some(directory.join(path.strip_prefix(module)?.strip_prefix('/')?)))
    }

    /// The texts of a package that are written by people.
    fn go_files(&self, package: &str) -> Result<Vec<String>> {
        let directory = self.locate(package).with_context(|| format!("{package} is in none of the modules"))?;
        let by_hand = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.ends_with(".go") && !name.ends_with("_test.go") && !name.contains("generated")
        };
        let paths: Vec<PathBuf> = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        paths.iter().filter(|path| by_hand(path)).map(|path| Ok(fs::read_to_string(path)?)).collect()
    }
}

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let path = self.locate(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        File::open(name, &path)
    }
}
