//! ConfigMaps and Secrets.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use super::cells::{AGE, NAME};
use super::field::{Field, at, fill_text, part_or_new, same, text, truth};
use super::meta::{self, Names};
use super::{PLAIN, schema_of};
use crate::kind::{Column, Kind, SelectableField};
use crate::names;
use crate::problem::{Problem, Reason};

/// What a ConfigMap or Secret may hold in all; etcd's limit upstream, and a guard for memory and watches here.
const MAX_BYTES: usize = 1 << 20;

pub(super) const CONFIG_MAP: Kind = Kind {
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    columns: &[
        NAME,
        Column::new("Data", "string", "Number of entries.", |map, _| {
            (entry_count(map, "/data") + entry_count(map, "/binaryData")).into()
        }),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.core.v1.ConfigMap"),
    validate: validate_config_map,
    validate_update: |new, old| frozen(new, old, &["data", "binaryData"]),
    ..PLAIN
};

pub(super) const SECRET: Kind = Kind {
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    columns: &[
        NAME,
        Column::new("Type", "string", "What the secret is for.", |secret, _| text(secret, "/type").into()),
        Column::new("Data", "string", "Number of entries.", |secret, _| entry_count(secret, "/data").into()),
        AGE,
    ],
    selectable_fields: &[SelectableField { path: "type", value: |secret| text(secret, "/type").to_owned() }],
    schema: || schema_of("io.k8s.api.core.v1.Secret"),
    default: default_secret,
    validate: validate_secret,
    validate_update: |new, old| {
        let mut problems = frozen(new, old, &["data"]);
        if text(new, "/type") != text(old, "/type") {
            problems.push(Field::root(new).field("type").immutable());
        }
        problems
    },
    ..PLAIN
};

fn entry_count(object: &Value, pointer: &str) -> usize {
    at(object, pointer).as_object().map_or(0, Map::len)
}

/// `stringData` is a convenience for writers: it wins over `data` and is never stored.
fn default_secret(secret: &mut Value) {
    fill_text(secret, "type", "Opaque");
    let plain = secret.as_object_mut().and_then(|secret| secret.shift_remove("stringData"));
    let Some(Value::Object(plain)) = plain else { return };
    let Some(Value::Object(data)) = part_or_new(secret, "data") else { return };
    for (key, value) in plain {
        let value = value.as_str().unwrap_or_default();
        data.insert(key, BASE64_STANDARD.encode(value).into());
    }
}

fn validate_config_map(map: &Value) -> Vec<Problem> {
    let root = Field::root(map);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let (data, binary) = (root.field("data"), root.field("binaryData"));
    let mut bytes = 0;
    for (key, entry) in data.entries() {
        check_key(&entry, key, &mut problems);
        if binary.value.get(key).is_some() {
            problems.push(entry.invalid(&format!("duplicate of key present in {}", binary.path())));
        }
        bytes += entry.text().len();
    }
    for (key, entry) in binary.entries() {
        check_key(&entry, key, &mut problems);
        bytes += decoded_len(&entry, &mut problems);
    }
    if bytes > MAX_BYTES {
        problems.push(root.field("").too_long(MAX_BYTES));
    }
    problems
}

fn validate_secret(secret: &Value) -> Vec<Problem> {
    let root = Field::root(secret);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let data = root.field("data");
    let mut bytes = 0;
    for (key, entry) in data.entries() {
        check_key(&entry, key, &mut problems);
        bytes += decoded_len(&entry, &mut problems);
    }
    if bytes > MAX_BYTES {
        problems.push(data.too_long(MAX_BYTES));
    }
    let required: &[&str] = match text(secret, "/type") {
        "kubernetes.io/basic-auth" if !["username", "password"].iter().any(|key| data.field(key).is_set()) => {
            &["username", "password"]
        }
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        _ => &[],
    };
    for key in required.iter().filter(|key| !data.field(key).is_set()) {
        problems.push(Problem::required(format!("data[{key}]"), ""));
    }
    if text(secret, "/type") == "kubernetes.io/service-account-token"
        && text(secret, "/metadata/annotations/kubernetes.io~1service-account.name").is_empty()
    {
        problems.push(Problem::required("metadata.annotations[kubernetes.io/service-account.name]", ""));
    }
    problems
}

fn check_key(entry: &Field<'_, '_>, key: &str, problems: &mut Vec<Problem>) {
    problems.extend(names::config_key(key).iter().map(|fault| Problem::invalid(entry.path(), key, fault)));
}

fn decoded_len(entry: &Field<'_, '_>, problems: &mut Vec<Problem>) -> usize {
    // The decoded bytes are secret: the message must not show the value.
    BASE64_STANDARD.decode(entry.text()).map(|bytes| bytes.len()).unwrap_or_else(|error| {
        let message = format!("Invalid value: must be base64: {error}");
        problems.push(Problem::new(entry.path(), Reason::Invalid, message));
        0
    })
}

/// What `immutable: true` means: it stays, and so do the entries.
fn frozen(new: &Value, old: &Value, keys: &[&str]) -> Vec<Problem> {
    if !truth(old, "/immutable") {
        return Vec::new();
    }
    let root = Field::root(new);
    let detail = "field is immutable when `immutable` is set";
    let mut problems = Vec::new();
    if !truth(new, "/immutable") {
        problems.push(root.field("immutable").forbidden(detail));
    }
    let null = Value::Null;
    for key in keys {
        if !same(new.get(key).unwrap_or(&null), old.get(key).unwrap_or(&null)) {
            problems.push(root.field(key).forbidden(detail));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
