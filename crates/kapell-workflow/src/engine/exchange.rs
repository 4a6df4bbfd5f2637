//! One call to the outside: egress rules, secrets and credentials, attempts to connect, and the answer without what it
//! must not carry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::authentication::{self, Proof};
use super::{CallFailure, Shared};
use crate::core::exchange::{Reply, Unanswered, percent_encoded};
use crate::core::record::{Encoding, Request};
use crate::egress::{Chosen, Refused};
use crate::secrets::{Disclosure, Undisclosed, escaped_json};

/// Delays between attempts to connect.
const FIRST_CONNECT_RETRY: Duration = Duration::from_millis(20);
const LONGEST_CONNECT_RETRY: Duration = Duration::from_secs(1);

/// Makes the call and waits for its answer.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    namespace: &str,
    request: &Request,
    key: &str,
) -> Result<Reply, Unanswered> {
    let deadline = Instant::now() + shared.config.call_limit;
    if request.sealed.is_none() && request.authentication.is_none() {
        return send(shared, namespace, &to_http(request, key)?, deadline).await;
    }
    let mut disclosure = disclosure(shared, namespace, request).await?;
    let reply = proven(shared, namespace, request, key, &mut disclosure, deadline).await;
    match reply {
        Ok(reply) => blotted(reply, &disclosure),
        // Also what those said who were asked for a token.
        Err(failure) => Err(failure.blotted(&disclosure)),
    }
}

/// Makes the call with all that it needs to be believed. What it says is not blotted.
async fn proven(
    shared: &Arc<Shared>,
    namespace: &str,
    request: &Request,
    key: &str,
    disclosure: &mut Disclosure,
    deadline: Instant,
) -> Result<Reply, Unanswered> {
    let mut proof = authentication::proof(shared, namespace, request, disclosure, deadline).await?;
    let open = disclosed(request, disclosure)?;
    let mut http = to_http(&open, key)?;
    proof.apply(&mut http)?;
    let reply = send(shared, namespace, &http, deadline).await?;
    if reply.status == 401 && proof.again(shared, namespace, request, &reply, disclosure, deadline).await? {
        proof.apply(&mut http)?;
        return send(shared, namespace, &http, deadline).await;
    }
    Ok(reply)
}

/// Reads the Secrets that the request names.
async fn disclosure(shared: &Shared, namespace: &str, request: &Request) -> Result<Disclosure, Unanswered> {
    let mut disclosure = Disclosure::new(request.sealed.as_deref().unwrap_or_default());
    for name in disclosure.names(&request.texts()) {
        let data = shared.secrets.read(namespace, &name).await;
        let data =
            data.map_err(|error| Unanswered::Misconfigured(format!("Secret `{name}` cannot be read: {error}")))?;
        disclosure.learn(&name, data.unwrap_or_default())?;
    }
    Ok(disclosure)
}

impl From<Undisclosed> for Unanswered {
    fn from(error: Undisclosed) -> Self {
        Unanswered::Misconfigured(error.to_string())
    }
}

/// The request with its tokens replaced.
pub(crate) fn disclosed(request: &Request, disclosure: &Disclosure) -> Result<Request, Undisclosed> {
    let headers =
        request.headers.iter().map(|(name, value)| Ok((name.clone(), disclosure.disclosed(value, str::to_owned)?)));
    let media_type = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let media_type = media_type.map_or("", |(_, value)| value.as_str());
    let body = request.body.as_ref().map(|body| match request.encoding {
        Encoding::Base64 => disclosed_bytes(body, disclosure),
        Encoding::Text if media_type.contains("json") => disclosure.disclosed(body, escaped_json),
        Encoding::Text if media_type.contains("urlencoded") => disclosure.disclosed(body, percent_encoded),
        Encoding::Text => disclosure.disclosed(body, str::to_owned),
    });
    Ok(Request {
        method: request.method.clone(),
        uri: disclosure.disclosed(&request.uri, percent_encoded)?,
        headers: headers.collect::<Result<_, _>>()?,
        body: body.transpose()?,
        encoding: request.encoding,
        authentication: None,
        sealed: None,
    })
}

/// Lengths inside of a message would not fit any more.
fn disclosed_bytes(body: &str, disclosure: &Disclosure) -> Result<String, Undisclosed> {
    let bytes = STANDARD.decode(body).unwrap_or_default();
    match disclosure.names(&[&String::from_utf8_lossy(&bytes)]).pop() {
        Some(name) => Err(Undisclosed::NotText { name, key: "(in a gRPC message)".to_owned() }),
        None => Ok(body.to_owned()),
    }
}

/// What comes back must not bring a secret into the journal.
fn blotted(reply: Reply, disclosure: &Disclosure) -> Result<Reply, Unanswered> {
    let headers = reply.headers.into_iter().map(|(name, value)| (name, disclosure.blotted(&value))).collect();
    let body = match std::str::from_utf8(&reply.body) {
        Ok(text) => Bytes::from(disclosure.blotted(text)),
        Err(_) if disclosure.betrayed_by(&reply.body) => {
            return Err(Unanswered::Broken("the answer holds the value of a secret".to_owned()));
        }
        Err(_) => reply.body,
    };
    Ok(Reply { status: reply.status, headers, body })
}

impl Unanswered {
    pub(super) fn blotted(self, disclosure: &Disclosure) -> Self {
        match self {
            Unanswered::NotConnected(what) => Unanswered::NotConnected(disclosure.blotted(&what)),
            Unanswered::Broken(what) => Unanswered::Broken(disclosure.blotted(&what)),
            Unanswered::Forbidden(what) => Unanswered::Forbidden(disclosure.blotted(&what)),
            Unanswered::Unauthenticated(what) => Unanswered::Unauthenticated(disclosure.blotted(&what)),
            Unanswered::Misconfigured(what) => Unanswered::Misconfigured(disclosure.blotted(&what)),
            Unanswered::TooSlow(seconds) => Unanswered::TooSlow(seconds),
        }
    }
}

/// Sends until there is a connection, or patience ends.
pub(super) async fn send(
    shared: &Shared,
    namespace: &str,
    request: &http::Request<Bytes>,
    deadline: Instant,
) -> Result<Reply, Unanswered> {
    let begun = Instant::now();
    let request = routed(shared, request)?;
    let mut delay = FIRST_CONNECT_RETRY;
    loop {
        let call = shared.caller.call(namespace, request.clone(), Some(deadline));
        match tokio::time::timeout_at(deadline.into(), call).await {
            Err(_elapsed) => return Err(Unanswered::TooSlow(shared.config.call_limit.as_secs())),
            Ok(Ok(response)) => return from_http(response),
            Ok(Err(CallFailure { maybe_processed: true, message })) => return Err(Unanswered::Broken(message)),
            Ok(Err(CallFailure { maybe_processed: false, message })) => {
                if begun.elapsed() + delay > shared.config.connect_patience {
                    return Err(Unanswered::NotConnected(message));
                }
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(LONGEST_CONNECT_RETRY);
            }
        }
    }
}

/// One attempt, with the rules of every call.
pub(super) async fn attempt(
    shared: &Shared,
    namespace: &str,
    request: &http::Request<Bytes>,
    limit: Duration,
) -> Result<Reply, Unanswered> {
    let request = routed(shared, request)?;
    let deadline = Instant::now() + limit;
    let call = shared.caller.call(namespace, request, Some(deadline));
    match tokio::time::timeout_at(deadline.into(), call).await {
        Err(_elapsed) => Err(Unanswered::TooSlow(limit.as_secs())),
        Ok(Ok(response)) => from_http(response),
        Ok(Err(CallFailure { maybe_processed: true, message })) => Err(Unanswered::Broken(message)),
        Ok(Err(CallFailure { maybe_processed: false, message })) => Err(Unanswered::NotConnected(message)),
    }
}

/// Where the operator wants the call to go.
fn routed(shared: &Shared, request: &http::Request<Bytes>) -> Result<http::Request<Bytes>, Unanswered> {
    let mut request = request.clone();
    if let Some(uri) = shared.config.egress.rewritten(request.uri()) {
        // Who stands in for a host learns for whom.
        let host = request.uri().authority().and_then(|authority| http::HeaderValue::from_str(authority.as_str()).ok());
        if let Some(host) = host.filter(|_| !request.headers().contains_key(http::header::HOST)) {
            request.headers_mut().insert(http::header::HOST, host);
        }
        *request.uri_mut() = uri;
        request.extensions_mut().insert(Chosen);
    }
    Ok(request)
}

pub(super) fn to_http(request: &Request, key: &str) -> Result<http::Request<Bytes>, Unanswered> {
    let mut builder = http::Request::builder().method(request.method.as_str()).uri(&request.uri);
    let named = request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"));
    if !named {
        builder = builder.header("idempotency-key", key);
    }
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let body = match (&request.body, request.encoding) {
        (None, _) => Bytes::new(),
        (Some(body), Encoding::Text) => Bytes::copy_from_slice(body.as_bytes()),
        (Some(body), Encoding::Base64) => {
            STANDARD.decode(body).map_err(|error| Unanswered::NotConnected(error.to_string()))?.into()
        }
    };
    builder.body(body).map_err(|error| Unanswered::Misconfigured(error.to_string()))
}

fn from_http(response: http::Response<Bytes>) -> Result<Reply, Unanswered> {
    let (parts, body) = response.into_parts();
    if let Some(refused) = parts.extensions.get::<Refused>() {
        return Err(Unanswered::Forbidden(refused.to_string()));
    }
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Ok(Reply { status: parts.status.as_u16(), headers: headers.collect(), body })
}

impl Proof {
    fn apply(&self, request: &mut http::Request<Bytes>) -> Result<(), Unanswered> {
        let Some(header) = self.header() else { return Ok(()) };
        let mut value = http::HeaderValue::from_str(header)
            .map_err(|_| Unanswered::Unauthenticated("the credentials do not fit into a header".to_owned()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(http::header::AUTHORIZATION, value);
        Ok(())
    }
}
