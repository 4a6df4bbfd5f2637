//! Kubernetes' protobuf bodies as the JSON that the same client would have sent instead.
//!
//! Go's typed clients write protobuf and read JSON, so this decodes and never encodes. Nothing here knows a kind: the
//! messages are described by `descriptors.bin`, which is generated from Kubernetes' own files, and what those do not
//! say (exact JSON names, inlined structs, which zeros count) by `facts.txt` beside it. Both are read when the first
//! such body arrives.
//!
//! The result has the fields that Go's JSON would have, except that what Go writes as `null` is left out. Fields
//! that the descriptors do not know are reported like unknown fields of JSON, by number. Size and depth are bounded as for
//! JSON; hostile bytes end in an error, never in a panic.

mod budget;
mod catalogue;
mod value;

use prost_reflect::prost::DecodeError;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde_json::Value;

use self::catalogue::Catalogue;
use crate::decode::{MAX_BODY_BYTES, MAX_DEPTH};

/// The media type of such a body.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body begins with.
const PREFIX: &[u8] = b"k8s\0";

/// An object out of a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// With `apiVersion` and `kind`, as the body itself names them.
    pub value: Value,
    /// Sentences about unknown and duplicate fields, as strict decoding reports them.
    pub complaints: Vec<String>,
}

/// Why bytes are not an object.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtobufError {
    #[error("more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("more than {limit} fields")]
    TooManyFields { limit: usize },
    #[error("it does not begin with the prefix of Kubernetes' protobuf, \"k8s\\0\"")]
    NoPrefix,
    #[error("its envelope (runtime.Unknown) is malformed: {source}")]
    Envelope { source: DecodeError },
    #[error("its envelope (runtime.Unknown) does not say apiVersion and kind")]
    NoKind,
    #[error("its envelope (runtime.Unknown) announces {field} {value:?}, which is not supported")]
    Encoding { field: &'static str, value: String },
    #[error("no kind {kind:?} of version {api_version:?} is known in protobuf form")]
    UnknownKind { api_version: String, kind: String },
    #[error("it is no {kind}: {source}")]
    Malformed { kind: String, source: DecodeError },
    /// The message is well formed, but a value in it has no JSON form.
    #[error("{path}: {why}")]
    Field { path: String, why: String },
}

/// One object in its envelope, of at most [`MAX_BODY_BYTES`].
pub fn decode(body: &[u8]) -> Result<Decoded, ProtobufError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(ProtobufError::TooLarge { limit: MAX_BODY_BYTES });
    }
    let catalogue = Catalogue::get();
    let Envelope { api_version, kind, raw } = open(catalogue, body)?;
    let Some(descriptor) = find(catalogue, &api_version, &kind) else {
        return Err(ProtobufError::UnknownKind { api_version, kind });
    };
    if !budget::is_within(&descriptor, &raw) {
        return Err(ProtobufError::TooManyFields { limit: budget::MAX_FIELDS });
    }
    let message = match DynamicMessage::decode(descriptor, raw.as_slice()) {
        Ok(message) => message,
        Err(source) => return Err(ProtobufError::Malformed { kind, source }),
    };
    let decoded = value::object(catalogue, message, &api_version, &kind)?;
    if deeper_than(&decoded.value, MAX_DEPTH) { Err(ProtobufError::TooDeep) } else { Ok(decoded) }
}

/// `DeleteOptions` are announced under the version of the object that they delete.
fn find(catalogue: &Catalogue, api_version: &str, kind: &str) -> Option<MessageDescriptor> {
    let home = if kind == "DeleteOptions" { "meta.k8s.io/v1" } else { api_version };
    catalogue.kind(home, kind)
}

struct Envelope {
    api_version: String,
    kind: String,
    raw: Vec<u8>,
}

fn open(catalogue: &Catalogue, body: &[u8]) -> Result<Envelope, ProtobufError> {
    let framed = body.strip_prefix(PREFIX).ok_or(ProtobufError::NoPrefix)?;
    if !budget::is_within(&catalogue.envelope(), framed) {
        return Err(ProtobufError::TooManyFields { limit: budget::MAX_FIELDS });
    }
    let envelope =
        DynamicMessage::decode(catalogue.envelope(), framed).map_err(|source| ProtobufError::Envelope { source })?;
    let text = |message: &DynamicMessage, field: &str| {
        let value = message.get_field_by_name(field);
        value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    // Upstream's own encoder leaves both empty.
    let encoding = text(&envelope, "contentEncoding");
    if !encoding.is_empty() {
        return Err(ProtobufError::Encoding { field: "contentEncoding", value: encoding });
    }
    let content_type = text(&envelope, "contentType");
    if !content_type.is_empty() && content_type != MEDIA_TYPE {
        return Err(ProtobufError::Encoding { field: "contentType", value: content_type });
    }
    let type_meta = envelope.get_field_by_name("typeMeta");
    let type_meta = type_meta.as_deref().and_then(|value| value.as_message()).ok_or(ProtobufError::NoKind)?;
    let (api_version, kind) = (text(type_meta, "apiVersion"), text(type_meta, "kind"));
    if api_version.is_empty() || kind.is_empty() {
        return Err(ProtobufError::NoKind);
    }
    let raw = envelope.get_field_by_name("raw").and_then(|raw| raw.as_bytes().map(|bytes| bytes.to_vec()));
    Ok(Envelope { api_version, kind, raw: raw.unwrap_or_default() })
}

/// Whether values nest in more than this many levels. Messages and the JSON inside them are each bounded when they
/// are read, so this recursion is too.
fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|field| deeper_than(field, levels - 1)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
