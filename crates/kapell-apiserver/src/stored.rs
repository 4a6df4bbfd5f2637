//! The bytes of an object in the store, and how they become an answer.
//!
//! Stored is compact JSON that begins with `apiVersion`, `kind` and `metadata`, without
//! `metadata.resourceVersion`: that is the entry's revision, known only once the write is committed. Reading inserts
//! it right after the opening brace of `metadata`, so lists and watches copy bytes and parse nothing.

use bytes::Bytes;
use kapell_store::{Entry, Revision};
use serde_json::{Map, Value};

const METADATA: &[u8] = b"\"metadata\":{";

/// The bytes to store. `resourceVersion` is left out and the fixed order of the first fields is made.
pub(crate) fn encode(object: &Value) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    let nothing = Map::new();
    let fields = object.as_object().unwrap_or(&nothing);
    let metadata = fields.get("metadata").and_then(Value::as_object).unwrap_or(&nothing);
    out.push(b'{');
    for first in ["apiVersion", "kind"] {
        if let Some(value) = fields.get(first) {
            write_field(&mut out, first, value);
        }
    }
    write_name(&mut out, "metadata");
    out.push(b'{');
    for (name, value) in metadata.iter().filter(|(name, _)| *name != "resourceVersion") {
        write_field(&mut out, name, value);
    }
    out.push(b'}');
    for (name, value) in fields {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            write_field(&mut out, name, value);
        }
    }
    out.push(b'}');
    // It stays in memory for as long as the object does.
    out.shrink_to_fit();
    Bytes::from(out)
}

/// Begins a field, with a comma unless it is the first of its object.
fn write_name(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    write_value(out, name);
    out.push(b':');
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &Value) {
    write_name(out, name);
    write_value(out, value);
}

fn write_value(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("strings and JSON values can always be written to memory");
}

/// Appends the stored object with its `resourceVersion`.
pub(crate) fn write_with_revision(out: &mut Vec<u8>, stored: &[u8], revision: Revision) {
    match metadata_start(stored) {
        Some(at) => {
            out.extend_from_slice(&stored[..at]);
            out.extend_from_slice(b"\"resourceVersion\":\"");
            out.extend_from_slice(revision.to_string().as_bytes());
            // Metadata is never empty: every object has a name.
            out.extend_from_slice(b"\",");
            out.extend_from_slice(&stored[at..]);
        }
        // Not written by `encode`; shown as it is rather than hidden.
        None => out.extend_from_slice(stored),
    }
}

/// The position after `"metadata":{`. What stands before it are two short strings without quotes inside, so the first
/// occurrence is the object's own.
fn metadata_start(stored: &[u8]) -> Option<usize> {
    stored.windows(METADATA.len()).position(|window| window == METADATA).map(|at| at + METADATA.len())
}

/// The metadata's bytes, after its opening brace and with the closing one. `None` for what [`encode`] has not written.
pub(crate) fn metadata(stored: &[u8]) -> Option<&[u8]> {
    let inside = &stored[metadata_start(stored)?..];
    let (mut depth, mut in_text, mut escaped) = (1, false, false);
    for (at, byte) in inside.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            b'{' if !in_text => depth += 1,
            b'}' if !in_text => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&inside[..=at]);
        }
    }
    None
}

/// The object as clients see it, at a revision (of the entry, or of its deletion).
pub(crate) fn decode_at(entry: &Entry, revision: Revision) -> Result<Value, serde_json::Error> {
    let mut object: Value = serde_json::from_slice(&entry.value)?;
    set_revision(&mut object, revision);
    Ok(object)
}

pub(crate) fn decode(entry: &Entry) -> Result<Value, serde_json::Error> {
    decode_at(entry, entry.modified)
}

pub(crate) fn set_revision(object: &mut Value, revision: Revision) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
    }
}

#[cfg(test)]
mod tests;
