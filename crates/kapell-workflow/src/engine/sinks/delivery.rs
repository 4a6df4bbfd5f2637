//! Which events a sink gets, how they are written as HTTP requests, and what its answers mean. Pure.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use kapell_api::event_sink::{EventSinkMode, EventSinkSpec, OnRefusal};

use crate::cloud_event::{CloudEvent, LIFECYCLE, is_json};
use crate::core::exchange::Reply;
use crate::expression::Datum;
use crate::secrets::Disclosure;

/// What of a refusal's body is repeated.
const LONGEST_EXCERPT: usize = 200;

/// What becomes of an event after one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken,
    /// It is passed over.
    Refused {
        why: String,
    },
    Again {
        why: String,
        /// The sink asks not to come back earlier.
        after: Option<Duration>,
    },
}

/// Lifecycle events are for those who name them, as with `listen`.
pub(super) fn is_wanted(spec: &EventSinkSpec, event: &CloudEvent) -> bool {
    let type_ = event.type_();
    if spec.types.is_empty() {
        return !type_.starts_with(LIFECYCLE);
    }
    let fits = |pattern: &String| match pattern.strip_suffix('*') {
        Some(beginning) => type_.starts_with(beginning),
        None => type_ == pattern,
    };
    spec.types.iter().any(fits)
}

/// `disclosure`: what the sink was sent and is not to be repeated.
pub(super) fn judge(spec: &EventSinkSpec, reply: &Reply, disclosure: &Disclosure) -> Verdict {
    if (200..300).contains(&reply.status) {
        return Verdict::Taken;
    }
    let said = disclosure.blotted(&String::from_utf8_lossy(&reply.body));
    let said: String = said.trim().chars().take(LONGEST_EXCERPT).collect();
    let why = format!("the sink answered {}: {said}", reply.status);
    let why = why.trim_end_matches(": ").to_owned();
    let passing = matches!(reply.status, 408 | 425 | 429);
    if spec.on_refusal == OnRefusal::Skip && (400..500).contains(&reply.status) && !passing {
        return Verdict::Refused { why };
    }
    let header = reply.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    let after = header.and_then(|(_, value)| value.trim().parse().ok()).map(Duration::from_secs);
    Verdict::Again { why, after }
}

/// # Errors
/// What does not fit into a request, in a few words.
pub(super) fn request(
    spec: &EventSinkSpec,
    event: &CloudEvent,
    headers: &[(String, String)],
) -> Result<http::Request<Bytes>, String> {
    let mut request = match spec.mode {
        EventSinkMode::Structured => structured(event),
        EventSinkMode::Binary => binary(event)?,
    };
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = spec.uri.parse().map_err(|error| format!("uri: {error}"))?;
    for (name, value) in headers {
        let parsed: Result<HeaderName, _> = name.parse();
        let name = parsed.map_err(|_| format!("`{name}` is not a name of a header"))?;
        let mut value =
            HeaderValue::from_str(value).map_err(|_| format!("the value does not fit into header `{name}`"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

const CONTENT_TYPE: HeaderName = http::header::CONTENT_TYPE;

fn structured(event: &CloudEvent) -> http::Request<Bytes> {
    let mut request = http::Request::new(Bytes::from(event.envelope().to_json()));
    let media_type = HeaderValue::from_static("application/cloudevents+json; charset=utf-8");
    request.headers_mut().insert(CONTENT_TYPE, media_type);
    request
}

/// Attributes are headers, and the body is the data.
fn binary(event: &CloudEvent) -> Result<http::Request<Bytes>, String> {
    use base64::Engine as _;
    let media_type = event.attribute("datacontenttype").and_then(Datum::as_str);
    let body = match (event.attribute("data_base64").and_then(Datum::as_str), event.attribute("data")) {
        (Some(encoded), _) => base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default(),
        (None, Some(Datum::Text(text))) if !is_json(media_type) => text.to_vec(),
        (None, Some(data)) => data.to_json().into_bytes(),
        (None, None) => Vec::new(),
    };
    let mut request = http::Request::new(Bytes::from(body));
    let attributes = event.envelope().as_object().into_iter().flat_map(|envelope| envelope.members());
    for (name, value) in attributes {
        let text = value.as_str().map_or_else(|| value.to_json(), str::to_owned);
        let header = match &**name {
            "data" | "data_base64" => continue,
            "datacontenttype" => CONTENT_TYPE,
            name => {
                format!("ce-{name}").parse().map_err(|_| format!("attribute `{name}` does not fit into a header"))?
            }
        };
        let value = if header == CONTENT_TYPE { text } else { encoded(&text) };
        let value =
            HeaderValue::from_str(&value).map_err(|_| format!("attribute `{name}` does not fit into a header"))?;
        request.headers_mut().insert(header, value);
    }
    if !request.headers().contains_key(CONTENT_TYPE) && event.attribute("data").is_some() {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(request)
}

/// As the HTTP binding writes values (CloudEvents HTTP 1.0, 3.1.3.2): what is not printable ASCII, and `"` and `%`, percent-encoded.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' | b' ' | 0..=0x1f | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
