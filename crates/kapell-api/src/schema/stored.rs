//! The JSON Schemas of Kubernetes' types by name, as data: `schemars` would build them from code, three megabytes of it.
//!
//! `definitions.gz` is made by `cargo xtask schemas` and checked in: a line for each type, its name, a tab, its schema.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

pub(super) static DEFINITIONS: LazyLock<BTreeMap<&str, &str>> = LazyLock::new(|| {
    let mut text = String::new();
    let unpacked = GzDecoder::new(include_bytes!("definitions.gz").as_slice()).read_to_string(&mut text);
    unpacked.expect("the embedded definitions are gzip");
    text.leak().lines().filter_map(|line| line.split_once('\t')).collect()
});

/// The schema of a type of Kubernetes, e.g. `io.k8s.api.core.v1.Pod`, with those of all types that it uses in `$defs`.
///
/// # Panics
/// If there is none of that name.
pub fn schema_of(name: &str) -> Value {
    let mut root = definition(name);
    root["title"] = json!(name);
    with_definitions(root)
}

/// The schema of a type of ours, which may use types of Kubernetes.
pub(crate) fn own_schema<T: JsonSchema>() -> Value {
    with_definitions(SchemaGenerator::default().into_root_schema_for::<T>().to_value())
}

/// How a field of a type of ours refers to [`ObjectMeta`](k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta).
pub(crate) fn object_meta(_: &mut SchemaGenerator) -> schemars::Schema {
    json_schema!({ "$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" })
}

/// How a field of a type of ours refers to [`Time`](k8s_openapi::apimachinery::pkg::apis::meta::v1::Time).
pub(crate) fn time(_: &mut SchemaGenerator) -> schemars::Schema {
    json_schema!({ "$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.Time" })
}

/// Adds the types of Kubernetes that a schema uses.
fn with_definitions(mut root: Value) -> Value {
    let mut used = BTreeMap::new();
    collect(&root, &mut used);
    let definitions = used.into_iter().map(|(name, schema)| (name.to_owned(), schema));
    match root.get_mut("$defs") {
        Some(Value::Object(own)) => own.extend(definitions),
        _ => root["$defs"] = definitions.collect::<Map<_, _>>().into(),
    }
    root
}

fn definition(name: &str) -> Value {
    let text = DEFINITIONS.get(name).unwrap_or_else(|| panic!("`cargo xtask schemas` writes no schema of {name}"));
    serde_json::from_str(text).expect("the embedded definitions are JSON")
}

/// Kubernetes' types that a schema uses, itself or through others.
fn collect(schema: &Value, used: &mut BTreeMap<&'static str, Value>) {
    match schema {
        Value::Object(fields) => {
            let target = fields.get("$ref").and_then(Value::as_str).and_then(|target| target.rsplit('/').next());
            if let Some((&name, _)) = target.and_then(|name| DEFINITIONS.get_key_value(name))
                && !used.contains_key(name)
            {
                let definition = definition(name);
                // Before those that it uses: they may use it.
                used.insert(name, definition.clone());
                collect(&definition, used);
            }
            fields.values().for_each(|value| collect(value, used));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, used)),
        _ => {}
    }
}
