//! Unary gRPC calls, by the descriptors of a `.proto` file: JSON data to messages and back.
//!
//! A `.proto` file is compiled in process and pinned as descriptors ([`pin`]). It may import what comes with protobuf
//! (`google/protobuf/*.proto`) and nothing else. Methods that stream are refused by name.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, SerializeOptions};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use serde_json::Value;

use crate::core::exchange::Reply;
use crate::expression::Datum;

#[cfg(test)]
mod tests;

/// A frame's header: a flag for compression and the length of the message.
const HEADER: usize = 5;

/// gRPC's status codes as HTTP has them, in the order of their numbers (google/rpc/code.proto).
const STATUSES: [(&str, u16); 17] = [
    ("OK", 200),
    ("CANCELLED", 499),
    ("UNKNOWN", 500),
    ("INVALID_ARGUMENT", 400),
    ("DEADLINE_EXCEEDED", 504),
    ("NOT_FOUND", 404),
    ("ALREADY_EXISTS", 409),
    ("PERMISSION_DENIED", 403),
    ("RESOURCE_EXHAUSTED", 429),
    ("FAILED_PRECONDITION", 400),
    ("ABORTED", 409),
    ("OUT_OF_RANGE", 400),
    ("UNIMPLEMENTED", 501),
    ("INTERNAL", 500),
    ("UNAVAILABLE", 503),
    ("DATA_LOSS", 500),
    ("UNAUTHENTICATED", 401),
];

/// One method of one service, at an address.
pub(crate) struct GrpcMethod {
    pub(crate) uri: String,
    /// `None` only in a program that is checked and not run.
    descriptor: Option<MethodDescriptor>,
}

impl fmt::Debug for GrpcMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcMethod").field("uri", &self.uri).finish_non_exhaustive()
    }
}

/// Compiles a `.proto` file to what is pinned of it.
///
/// # Errors
/// What is wrong with the file, as the end of a sentence.
pub(crate) fn pin(uri: &str, source: &[u8]) -> Result<Value, String> {
    let source = std::str::from_utf8(source).map_err(|_| "is not UTF-8".to_owned())?;
    let name = uri.rsplit('/').next().filter(|name| name.ends_with(".proto")).unwrap_or("service.proto");
    let mut resolver = ChainFileResolver::new();
    resolver.add(Only { name: name.to_owned(), source: source.to_owned() });
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_file(name).map_err(|error| format!("does not compile: {error}"))?;
    Ok(Value::String(STANDARD.encode(compiler.encode_file_descriptor_set())))
}

/// The one file that was fetched.
struct Only {
    name: String,
    source: String,
}

impl FileResolver for Only {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == self.name { File::from_source(name, &self.source) } else { Err(protox::Error::file_not_found(name)) }
    }
}

impl GrpcMethod {
    /// A method about which nothing is known, for a document that is only checked.
    pub(crate) fn unknown() -> Self {
        Self { uri: String::new(), descriptor: None }
    }

    /// Finds the method in pinned descriptors; `authority` is a URL without a path.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub(crate) fn find(pinned: &Value, authority: &str, service: &str, method: &str) -> Result<Self, String> {
        let bytes = pinned.as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        let pool = DescriptorPool::decode(bytes.as_slice()).map_err(|error| error.to_string())?;
        let found = pool.get_service_by_name(service).ok_or_else(|| {
            let known: Vec<String> = pool.services().map(|service| service.full_name().to_owned()).collect();
            format!("there is no service `{service}` in the file, only {}", known.join(", "))
        })?;
        let descriptor = found.methods().find(|known| known.name() == method).ok_or_else(|| {
            let known: Vec<String> = found.methods().map(|method| method.name().to_owned()).collect();
            format!("service `{service}` has no method `{method}`, only {}", known.join(", "))
        })?;
        if descriptor.is_client_streaming() || descriptor.is_server_streaming() {
            return Err(format!("method `{method}` streams, which is not supported yet"));
        }
        Ok(Self { uri: format!("{authority}/{service}/{method}"), descriptor: Some(descriptor) })
    }

    fn descriptor(&self) -> Result<&MethodDescriptor, String> {
        self.descriptor.as_ref().ok_or_else(|| "the method is not known".to_owned())
    }

    /// The framed message that the arguments make.
    ///
    /// # Errors
    /// When they do not fit the message.
    pub(crate) fn request(&self, arguments: &Datum) -> Result<Vec<u8>, String> {
        let descriptor = self.descriptor()?.input();
        let name = descriptor.full_name().to_owned();
        let message = DynamicMessage::deserialize(descriptor, arguments.to_value())
            .map_err(|error| format!("arguments: they are not a {name}: {error}"))?
            .encode_to_vec();
        let length = u32::try_from(message.len()).map_err(|_| "arguments: they are too large".to_owned())?;
        let mut framed = Vec::with_capacity(HEADER + message.len());
        framed.push(0);
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&message);
        Ok(framed)
    }

    /// The answer as data, or a status as HTTP has them with what went wrong.
    pub(crate) fn output(&self, reply: &Reply) -> Result<Datum, (u16, String)> {
        let broken = |what: String| (502, what);
        let header = |wanted: &str| {
            reply.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str())
        };
        if reply.status != 200 {
            return Err((reply.status, format!("answered {} instead of a gRPC status", reply.status)));
        }
        match header("grpc-status").and_then(|status| status.parse::<usize>().ok()) {
            Some(0) => {}
            Some(code) => {
                let (name, status) = STATUSES.get(code).copied().unwrap_or(("UNKNOWN", 500));
                let said = header("grpc-message").map(decoded).unwrap_or_default();
                let said: String = said.chars().take(500).collect();
                return Err((status, if said.is_empty() { name.to_owned() } else { format!("{name}: {said}") }));
            }
            None => return Err(broken("answered without a gRPC status".to_owned())),
        }
        let body = &reply.body;
        let length = body.get(1..HEADER).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        let message = match (body.first(), length) {
            (Some(0), Some(length)) if body.len() - HEADER == length as usize => &body[HEADER..],
            (Some(1), _) => return Err(broken("answered compressed, which was not asked for".to_owned())),
            _ => return Err(broken("answered with more or less than one message".to_owned())),
        };
        let descriptor = self.descriptor().map_err(broken)?.output();
        let message = DynamicMessage::decode(descriptor, message).map_err(|error| broken(error.to_string()))?;
        let options = SerializeOptions::new().stringify_64_bit_integers(false).skip_default_fields(false);
        let value = message.serialize_with_options(serde_json::value::Serializer, &options);
        let value = value.map_err(|error| broken(error.to_string()))?;
        let datum = Datum::from_json(&value).map_err(|error| broken(error.to_string()))?;
        crate::core::admissible(&datum).map_err(broken)?;
        Ok(datum)
    }
}

/// `grpc-message` is percent-encoded.
fn decoded(text: &str) -> String {
    let form = text.replace('+', "%2B");
    url::form_urlencoded::parse(form.as_bytes()).map(|(name, _)| name.into_owned()).next().unwrap_or_default()
}
