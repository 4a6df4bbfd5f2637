//! CloudEvents over HTTP: from a request's headers and body to events, in the structured, binary and batch modes of the
//! HTTP binding. Pure.

use base64::Engine as _;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::{LONGEST_EVENT, MOST_EVENTS};
use crate::cloud_event::{CloudEvent, EventError, is_json};
use crate::expression::Datum;

/// Why a request holds no events.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error(
        "a body of type {0:?} is no event: send application/cloudevents+json, application/cloudevents-batch+json, \
         or any body with the headers ce-specversion, ce-id, ce-source and ce-type"
    )]
    MediaType(String),
    #[error("the header {0} is not UTF-8 with percent-encoding")]
    Header(String),
    #[error("the body is not JSON: {0}")]
    Json(serde_json::Error),
    #[error("a batch is an array of events")]
    NoBatch,
    #[error("{MOST_EVENTS} events are taken at a time, not {0}")]
    TooMany(usize),
    #[error("event {number}: {source}")]
    Event {
        /// Counted from 1.
        number: usize,
        source: Refused,
    },
}

/// What is wrong with one event.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Invalid(String),
    #[error("it has {0} bytes as JSON, and {LONGEST_EVENT} are allowed")]
    TooLong(usize),
}

impl From<EventError> for Refused {
    fn from(error: EventError) -> Self {
        Refused::Invalid(error.to_string())
    }
}

impl IngestError {
    /// The HTTP status that it deserves.
    pub fn status(&self) -> u16 {
        match self {
            IngestError::MediaType(_) => 415,
            IngestError::TooMany(_) | IngestError::Event { source: Refused::TooLong(_), .. } => 413,
            _ => 400,
        }
    }
}

const HEADER_PREFIX: &str = "ce-";

pub(in crate::engine) fn events(headers: &HeaderMap, body: &[u8]) -> Result<Vec<CloudEvent>, IngestError> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let envelopes = match essence.as_str() {
        "application/cloudevents+json" => vec![serde_json::from_slice(body).map_err(IngestError::Json)?],
        "application/cloudevents-batch+json" => match serde_json::from_slice(body).map_err(IngestError::Json)? {
            Datum::Array(events) => events.items().to_vec(),
            _ => return Err(IngestError::NoBatch),
        },
        _ if headers.contains_key("ce-specversion") => vec![binary(headers, media_type, body)?],
        _ => return Err(IngestError::MediaType(media_type.unwrap_or_default().to_owned())),
    };
    if envelopes.len() > MOST_EVENTS {
        return Err(IngestError::TooMany(envelopes.len()));
    }
    let numbered = envelopes.into_iter().zip(1..);
    numbered.map(|(envelope, number)| check(envelope).map_err(|source| IngestError::Event { number, source })).collect()
}

fn check(envelope: Datum) -> Result<CloudEvent, Refused> {
    crate::core::admissible(&envelope).map_err(Refused::Invalid)?;
    let event = CloudEvent::new(envelope)?;
    let length = event.envelope().to_json().len();
    if length > LONGEST_EVENT {
        return Err(Refused::TooLong(length));
    }
    Ok(event)
}

/// Attributes are headers, and the body is the data.
fn binary(headers: &HeaderMap, media_type: Option<&str>, body: &[u8]) -> Result<Datum, IngestError> {
    let mut members: Vec<(String, Datum)> = Vec::new();
    for (name, value) in headers {
        if let Some(attribute) = name.as_str().strip_prefix(HEADER_PREFIX) {
            let text = percent_decoded(value.as_bytes()).ok_or_else(|| IngestError::Header(name.to_string()))?;
            members.push((attribute.to_owned(), Datum::string(text)));
        }
    }
    if let Some(media_type) = media_type {
        members.push(("datacontenttype".to_owned(), Datum::string(media_type)));
    }
    if !body.is_empty() {
        let is_text =
            media_type.is_some_and(|media_type| media_type.trim_start().to_ascii_lowercase().starts_with("text/"));
        members.push(match std::str::from_utf8(body) {
            _ if media_type.is_some() && is_json(media_type) => {
                ("data".to_owned(), serde_json::from_slice(body).map_err(IngestError::Json)?)
            }
            Ok(text) if is_text => ("data".to_owned(), Datum::string(text)),
            _ => ("data_base64".to_owned(), Datum::string(base64::engine::general_purpose::STANDARD.encode(body))),
        });
    }
    let too_large = |error: crate::expression::meter::Exhausted| IngestError::Event {
        number: 1,
        source: Refused::Invalid(error.to_string()),
    };
    Datum::object::<std::sync::Arc<str>>(members.into_iter().map(|(name, value)| (name.into(), value)))
        .map_err(too_large)
}

fn percent_decoded(value: &[u8]) -> Option<String> {
    let mut bytes = value.iter();
    let mut decoded = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        if *byte == b'%' {
            let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(*byte);
        }
    }
    String::from_utf8(decoded).ok()
}
