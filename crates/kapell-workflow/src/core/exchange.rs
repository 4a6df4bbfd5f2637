//! HTTP requests from tasks, and outputs from responses.

use base64::Engine as _;
use bytes::Bytes;

use super::arguments::Surroundings;
use super::record::{Encoding, Request};
use crate::authentication::Credentials;
use crate::compile::check_http_url;
use crate::expression::{Datum, EvaluationError, Template};
use crate::fault::Standard;
use crate::openapi;
use crate::program::{Endpoint, GrpcCall, HttpCall, HttpOutput, OperationCall};
use crate::secrets::{is_sealed, shown};

/// A response, read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("cannot connect: {0}")]
    NotConnected(String),
    #[error("no answer: {0}")]
    Broken(String),
    #[error("no answer within {0} s")]
    TooSlow(u64),
    /// The server's egress rules do not allow the call.
    #[error("{0}")]
    Forbidden(String),
    /// What the call should prove itself with cannot be had.
    #[error("{0}")]
    Unauthenticated(String),
    #[error("{0}")]
    Misconfigured(String),
}

impl Unanswered {
    /// The status of the error: those of a gateway in front of the service.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Unanswered::NotConnected(_) => 503,
            Unanswered::Broken(_) => 502,
            Unanswered::TooSlow(_) => 504,
            Unanswered::Forbidden(_) => 403,
            Unanswered::Unauthenticated(_) => 401,
            Unanswered::Misconfigured(_) => 400,
        }
    }

    /// The kind of the error.
    pub(crate) fn standard(&self) -> Standard {
        match self {
            Unanswered::NotConnected(_) | Unanswered::Broken(_) | Unanswered::TooSlow(_) => Standard::Communication,
            Unanswered::Forbidden(_) => Standard::Authorization,
            Unanswered::Unauthenticated(_) => Standard::Authentication,
            Unanswered::Misconfigured(_) => Standard::Configuration,
        }
    }
}

impl Request {
    /// Every text in which a token may stand.
    pub(crate) fn texts(&self) -> Vec<&str> {
        let mut texts = vec![self.uri.as_str()];
        texts.extend(self.headers.iter().map(|(_, value)| value.as_str()));
        texts.extend(self.body.as_deref());
        if let Some(credentials) = &self.authentication {
            collect_texts(&credentials.settings, &mut texts);
        }
        texts
    }
}

fn collect_texts<'d>(datum: &'d Datum, texts: &mut Vec<&'d str>) {
    match datum {
        Datum::Text(_) => texts.extend(datum.as_str()),
        Datum::Array(array) => array.items().iter().for_each(|item| collect_texts(item, texts)),
        Datum::Object(object) => object.members().values().for_each(|member| collect_texts(member, texts)),
        _ => {}
    }
}

/// Why a request could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("{place}: {source}")]
    Expression { place: &'static str, source: EvaluationError },
    #[error("{0}")]
    Invalid(String),
}

/// What of a failed response's body goes into the error.
const LONGEST_EXCERPT: usize = 500;

pub(super) fn request(call: &HttpCall, around: &Surroundings<'_>) -> Result<Request, RequestError> {
    let mut request = match &call.endpoint {
        Endpoint::Operation(operation) => operation_request(operation, around)?,
        Endpoint::Grpc(grpc) => grpc_request(grpc, around)?,
        Endpoint::UriTemplate(_) | Endpoint::Computed(_) => http_request(call, around)?,
    };
    request.method = call.method.to_string();
    for (name, value) in &request.headers {
        let valid = http::HeaderName::from_bytes(name.as_bytes()).is_ok() && http::HeaderValue::from_str(value).is_ok();
        if !valid {
            return Err(RequestError::Invalid(format!("headers: `{name}` is not a valid header")));
        }
    }
    if let Some(authentication) = &call.authentication {
        request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
        let settings = evaluated("authentication", &authentication.settings, around)?;
        request.authentication = Some(Box::new(Credentials { scheme: authentication.scheme, settings }));
    }
    if let Some(sealed) = &around.run.identity.secrets {
        let tokens = request.texts().iter().any(|text| is_sealed(text.as_bytes()));
        request.sealed = tokens.then(|| sealed.nonce.clone());
    }
    Ok(request)
}

fn evaluated(place: &'static str, template: &Template, around: &Surroundings<'_>) -> Result<Datum, RequestError> {
    template.evaluate(&around.input, around).map_err(|source| RequestError::Expression { place, source })
}

fn http_request(call: &HttpCall, around: &Surroundings<'_>) -> Result<Request, RequestError> {
    let evaluate = |place, template: &Option<Template>| {
        template.as_ref().map(|template| evaluated(place, template, around)).transpose()
    };
    let uri = match &call.endpoint {
        Endpoint::UriTemplate(template) => expand(template, &around.input)?,
        Endpoint::Computed(template) => {
            let endpoint = evaluated("endpoint", template, around)?;
            let uri = endpoint.get("uri").unwrap_or(&endpoint);
            let text = uri.as_str().map(str::to_owned);
            text.ok_or_else(|| RequestError::Invalid(format!("endpoint: {uri} is not a URI")))?
        }
        Endpoint::Operation(_) | Endpoint::Grpc(_) => String::new(),
    };
    let mut url =
        check_http_url(&uri).map_err(|reason| RequestError::Invalid(format!("endpoint: `{uri}` {reason}")))?;
    if let Some(query) = evaluate("query", &call.query)? {
        for (name, value) in pairs("query", &query)? {
            url.query_pairs_mut().append_pair(&name, &value);
        }
    }
    let mut headers = match evaluate("headers", &call.headers)? {
        Some(headers) => pairs("headers", &headers)?,
        None => Vec::new(),
    };
    let body = evaluate("body", &call.body)?.filter(|body| *body != Datum::Null);
    let content_type = match &body {
        None => None,
        Some(Datum::Text(_)) => Some("text/plain; charset=utf-8"),
        Some(_) => Some("application/json"),
    };
    let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if let Some(content_type) = content_type.filter(|_| !has_type) {
        headers.push(("content-type".to_owned(), content_type.to_owned()));
    }
    let body = body.map(|body| body.as_str().map_or_else(|| body.to_json(), str::to_owned));
    Ok(Request { uri: url.into(), headers, body, ..Request::default() })
}

fn operation_request(call: &OperationCall, around: &Surroundings<'_>) -> Result<Request, RequestError> {
    let parameters = evaluated("parameters", &call.parameters, around)?;
    let parts = openapi::request::parts(&call.operation, &parameters).map_err(RequestError::Invalid)?;
    let url = check_http_url(&parts.uri);
    let url =
        url.map_err(|reason| RequestError::Invalid(format!("the operation's server: `{}` {reason}", parts.uri)))?;
    Ok(Request { uri: url.into(), headers: parts.headers, body: parts.body, ..Request::default() })
}

fn grpc_request(call: &GrpcCall, around: &Surroundings<'_>) -> Result<Request, RequestError> {
    let arguments = evaluated("arguments", &call.arguments, around)?;
    let message = call.method.request(&arguments).map_err(RequestError::Invalid)?;
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Ok(Request {
        uri: call.method.uri.clone(),
        headers: vec![header("content-type", "application/grpc"), header("te", "trailers")],
        body: Some(base64::engine::general_purpose::STANDARD.encode(message)),
        encoding: Encoding::Base64,
        ..Request::default()
    })
}

/// RFC 6570 level 1 over the top-level members of the task's input.
fn expand(template: &str, input: &Datum) -> Result<String, RequestError> {
    let mut uri = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        uri.push_str(before);
        match input.get(name) {
            Some(value @ (Datum::Text(_) | Datum::Int(_) | Datum::Float(_) | Datum::Bool(_))) => {
                let text = value.as_str().map_or_else(|| value.to_json(), str::to_owned);
                uri.push_str(&percent_encoded(&text));
            }
            // An undefined variable expands to nothing, says the RFC; here it would call the wrong resource.
            _ => {
                return Err(RequestError::Invalid(format!(
                    "endpoint: the task's input has no text or number `{name}`"
                )));
            }
        }
        rest = after;
    }
    uri.push_str(rest);
    let path = |uri: &'_ str| uri.find(['?', '#']).unwrap_or(uri.len());
    if let Some(segment) = stepping(&template[..path(template)], &uri[..path(&uri)]) {
        let name = segment.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or(segment, |(name, _)| name);
        return Err(RequestError::Invalid(format!("endpoint: `{name}` would be taken for a step through the path")));
    }
    Ok(uri)
}

/// A segment of the template that has become `.` or `..`: however it is written, whoever reads the URL takes it for a step
/// through the path, and another resource would be called. What fills the template in has no slashes.
pub(crate) fn stepping<'t>(template: &'t str, filled: &str) -> Option<&'t str> {
    let is_step = |segment: &str| matches!(segment.replace("%2E", ".").replace("%2e", ".").as_str(), "." | "..");
    let mut segments = template.split('/').zip(filled.split('/'));
    segments.find(|(template, filled)| template.contains('{') && is_step(filled)).map(|(template, _)| template)
}

pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// A map of scalars as names and texts; `null` leaves a name out, an array repeats it.
fn pairs(place: &str, map: &Datum) -> Result<Vec<(String, String)>, RequestError> {
    let invalid = |what: String| RequestError::Invalid(format!("{place}: {what}"));
    let object = map.as_object().ok_or_else(|| invalid(format!("{map} is not an object")))?;
    let mut pairs = Vec::new();
    for (name, value) in object.members() {
        for value in value.as_array().unwrap_or(std::slice::from_ref(value)) {
            match value {
                Datum::Null => {}
                Datum::Text(_) => pairs.push((name.to_string(), value.as_str().unwrap_or_default().to_owned())),
                Datum::Array(_) | Datum::Object(_) => {
                    return Err(invalid(format!(
                        "`{name}` must be a text, number or boolean, not {}",
                        value.type_name()
                    )));
                }
                scalar => pairs.push((name.to_string(), scalar.to_json())),
            }
        }
    }
    Ok(pairs)
}

/// The raw output of a call, or the status and detail of its communication error.
pub(super) fn output(call: &HttpCall, request: &Request, reply: &Reply) -> Result<Datum, (u16, String)> {
    if let Endpoint::Grpc(grpc) = &call.endpoint {
        let failed = |(status, what): (u16, String)| (status, format!("gRPC {}: {what}", request.uri));
        return grpc.method.output(reply).map_err(failed);
    }
    let accepted = if call.redirect { 200..400 } else { 200..300 };
    if !accepted.contains(&reply.status) {
        return Err((reply.status, failure(request, reply)));
    }
    let unreadable = |error: String| {
        (502, format!("{} {} answered {} with {error}", request.method, shown(&request.uri), reply.status))
    };
    match call.output {
        HttpOutput::Raw => Ok(Datum::string(base64::engine::general_purpose::STANDARD.encode(&reply.body))),
        HttpOutput::Content => content(reply).map_err(unreadable),
        HttpOutput::Response => {
            let content = content(reply).map_err(unreadable)?;
            response(request, reply, content).map_err(|error| unreadable(error.to_string()))
        }
    }
}

fn header<'r>(reply: &'r Reply, wanted: &str) -> Option<&'r str> {
    reply.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str())
}

fn is_json(reply: &Reply) -> bool {
    let media_type = header(reply, "content-type").unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// JSON where the response says so, else text, else base64.
fn content(reply: &Reply) -> Result<Datum, String> {
    if reply.body.is_empty() {
        return Ok(Datum::Null);
    }
    if is_json(reply) {
        let content: Datum =
            serde_json::from_slice(&reply.body).map_err(|error| format!("a body that is not JSON: {error}"))?;
        super::decide::admissible(&content)?;
        return Ok(content);
    }
    Ok(match std::str::from_utf8(&reply.body) {
        Ok(_) => Datum::Text(reply.body.clone()),
        Err(_) => Datum::string(base64::engine::general_purpose::STANDARD.encode(&reply.body)),
    })
}

fn response(request: &Request, reply: &Reply, content: Datum) -> Result<Datum, crate::expression::meter::Exhausted> {
    let text = |text: &str| Datum::string(text);
    let headers = |headers: &[(String, String)]| {
        // What a call proves itself with is not data to pass on.
        let shown = headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
        Datum::object(shown.map(|(name, value)| (name.to_ascii_lowercase(), text(value))))
    };
    let asked = Datum::object([
        ("method", text(&request.method)),
        ("uri", text(&request.uri)),
        ("headers", headers(&request.headers)?),
    ])?;
    Datum::object([
        ("request", asked),
        ("statusCode", Datum::Int(i64::from(reply.status))),
        ("headers", headers(&reply.headers)?),
        ("content", content),
    ])
}

/// "POST http://payment/charge answered 402 Payment Required: balance too low".
fn failure(request: &Request, reply: &Reply) -> String {
    let reason = http::StatusCode::from_u16(reply.status).ok().and_then(|status| status.canonical_reason());
    let mut text = format!("{} {} answered {}", request.method, shown(&request.uri), reply.status);
    if let Some(reason) = reason {
        text.push(' ');
        text.push_str(reason);
    }
    let said = match content(reply) {
        Ok(body) => {
            let known = ["detail", "message", "error", "title"].iter().find_map(|key| body.get(key)?.as_str());
            known.or(body.as_str()).map_or_else(|| body.to_json(), str::to_owned)
        }
        Err(_) => String::from_utf8_lossy(&reply.body).into_owned(),
    };
    let said = said.trim();
    if !said.is_empty() && said != "null" {
        text.push_str(": ");
        text.extend(said.chars().take(LONGEST_EXCERPT));
    }
    text
}
