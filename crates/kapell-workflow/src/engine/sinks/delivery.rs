//! Which events a sink gets, how they are written as HTTP requests, and what its answers mean. Pure.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use kapell_api::event_sink::{EventSinkMode, EventSinkSpec, OnRefusal};

use crate::cloud_event::{CloudEvent, LIFECYCLE, is_json};
use crate::core::exchange::Reply;
use crate::expression::Datum;
use crate::secrets::Disclosure;

/// Events in one request, and their bytes as they stand in the log: what most services take, and little enough to be sent
/// again. The longest event alone may be a quarter of that.
const MOST_TOGETHER: usize = 64;
const MOST_BYTES: usize = 1 << 20;

/// What of a refusal's body is repeated.
const LONGEST_EXCERPT: usize = 200;

/// Records that are dealt with together, up to the one before this position.
#[derive(Debug, Default)]
pub(super) struct Portion {
    /// Those that the sink gets.
    pub(super) events: Vec<CloudEvent>,
    pub(super) until: u64,
    bytes: usize,
}

/// A record of the log: its position, its length, and the event if the sink gets it.
pub(super) type Read = (u64, usize, Option<CloudEvent>);

/// What is sent together, in order. Records that the sink does not get go with those before them.
pub(super) fn portions(spec: &EventSinkSpec, records: Vec<Read>) -> Vec<Portion> {
    let most = if spec.mode == EventSinkMode::Batched { MOST_TOGETHER } else { 1 };
    let mut portions: Vec<Portion> = Vec::new();
    for (position, bytes, event) in records {
        let fits = |last: &Portion| match event {
            Some(_) => last.events.len() < most && last.bytes + bytes <= MOST_BYTES,
            None => true,
        };
        if !portions.last().is_some_and(fits) {
            portions.push(Portion::default());
        }
        if let Some(portion) = portions.last_mut() {
            portion.until = position + 1;
            portion.bytes += event.as_ref().map_or(0, |_| bytes);
            portion.events.extend(event);
        }
    }
    portions
}

/// What becomes of a portion after one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken,
    /// It is passed over.
    Refused {
        why: String,
    },
    /// Its events are sent one by one, as some of them may be taken.
    Apart,
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

/// What the answer to so many events means. `disclosure`: what the sink was sent and is not to be repeated.
pub(super) fn judge(spec: &EventSinkSpec, reply: &Reply, count: usize, disclosure: &Disclosure) -> Verdict {
    if (200..300).contains(&reply.status) {
        return Verdict::Taken;
    }
    let passing = matches!(reply.status, 408 | 425 | 429);
    let skipped = spec.on_refusal == OnRefusal::Skip && (400..500).contains(&reply.status) && !passing;
    if count > 1 && (skipped || reply.status == 413) {
        return Verdict::Apart;
    }
    let said = disclosure.blotted(&String::from_utf8_lossy(&reply.body));
    let said: String = said.trim().chars().take(LONGEST_EXCERPT).collect();
    let why = format!("the sink answered {}: {said}", reply.status);
    let why = why.trim_end_matches(": ").to_owned();
    if skipped {
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
    events: &[CloudEvent],
    headers: &[(String, String)],
) -> Result<http::Request<Bytes>, String> {
    let mut request = match (spec.mode, events) {
        (EventSinkMode::Structured, [event]) => structured(event),
        (EventSinkMode::Binary, [event]) => binary(event)?,
        (EventSinkMode::Batched, events) => batched(events),
        (EventSinkMode::Structured | EventSinkMode::Binary, _) => return Err("not one event".to_owned()),
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

/// CloudEvents JSON format 1.0, 4: an array of events.
fn batched(events: &[CloudEvent]) -> http::Request<Bytes> {
    let events: Vec<String> = events.iter().map(|event| event.envelope().to_json()).collect();
    let mut request = http::Request::new(Bytes::from(format!("[{}]", events.join(","))));
    let media_type = HeaderValue::from_static("application/cloudevents-batch+json; charset=utf-8");
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
