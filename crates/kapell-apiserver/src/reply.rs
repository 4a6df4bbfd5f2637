//! HTTP responses: JSON with the right headers, `Status` objects, warnings, entity tags, compression.

use std::io::Write as _;

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kapell_api::status::Status;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::negotiate;

/// Below this size compression costs more than it saves; upstream draws the line at the same place.
const COMPRESS_FROM: usize = 128 * 1024;

/// A JSON response with warnings attached.
pub(crate) fn json(code: StatusCode, body: impl Into<Bytes>, warnings: &[String]) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    for warning in warnings {
        if let Some(value) = warning_header(warning) {
            headers.append(header::WARNING, value);
        }
    }
    response
}

/// Adds one more warning.
pub(crate) fn warn(response: &mut Response<Body>, warning: &str) {
    if let Some(value) = warning_header(warning) {
        response.headers_mut().append(header::WARNING, value);
    }
}

pub(crate) fn value(code: StatusCode, body: &Value, warnings: &[String]) -> Response<Body> {
    json(code, body.to_string(), warnings)
}

pub(crate) fn status(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(status).unwrap_or_default();
    let mut response = json(code, body, &[]);
    let retry_after = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry_after > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    }
    response
}

pub(crate) fn text(code: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// RFC 7234 §5.5 with code 299 and no agent, as Kubernetes' clients expect it. Quotes are escaped; what cannot stand
/// in a header (control and non-ASCII characters) becomes `?`.
fn warning_header(warning: &str) -> Option<HeaderValue> {
    let mut quoted = String::from("299 - \"");
    for character in warning.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    HeaderValue::from_str(&quoted).ok()
}

/// A document that changes only with the program, and the tag that names its content.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) body: Bytes,
    /// Upper-case hex of the content's SHA-256; also the `hash` in OpenAPI's URLs.
    pub(crate) hash: String,
}

impl Document {
    pub(crate) fn new(content: &Value) -> Self {
        Self::from_bytes(content.to_string().into())
    }

    pub(crate) fn from_bytes(body: Bytes) -> Self {
        let hash = Sha256::digest(&body).iter().map(|byte| format!("{byte:02X}")).collect();
        Self { body, hash }
    }

    /// The document, or 304 when the client has it already. `Vary` because one URL has several forms.
    pub(crate) fn respond(&self, request: &HeaderMap, content_type: &'static str) -> Response<Body> {
        let tag = format!("\"{}\"", self.hash);
        let known = request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .any(|v| matches!(v.trim().trim_start_matches("W/"), t if t == tag || t == "*"));
        let mut response =
            if known { Response::new(Body::empty()) } else { Response::new(Body::from(self.body.clone())) };
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        response
    }
}

/// Compresses `body` for a client that wants it, when it is large enough to pay off.
pub(crate) fn compressed(request: &HeaderMap, response: Response<Body>, body: Vec<u8>) -> Response<Body> {
    let mut response = response;
    if body.len() < COMPRESS_FROM || !negotiate::accepts_gzip(request) {
        *response.body_mut() = Body::from(body);
        return response;
    }
    // The fastest level: lists of objects repeat themselves so much that it already gives most of the gain.
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    match encoder.write_all(&body).and_then(|()| encoder.finish()) {
        Ok(smaller) => {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            *response.body_mut() = Body::from(smaller);
        }
        // Writing to memory does not fail; if it ever does, the plain body is right too.
        Err(_) => *response.body_mut() = Body::from(body),
    }
    response
}
