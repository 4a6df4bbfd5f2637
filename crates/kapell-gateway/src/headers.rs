//! What a proxy changes in the heads of messages (RFC 9110 §7.6) and what it may repeat (§9.2.2).

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Uri, Version};

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes what concerns only the connection that a message came on. `te: trailers` stays, as gRPC insists on it.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .filter(|name| *name != header::TE)
            .collect();
        headers.remove(header::CONNECTION);
        for name in named {
            headers.remove(name);
        }
    }
    headers.remove(&KEEP_ALIVE);
    headers.remove(&PROXY_CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
    if headers.get(header::TE).is_some_and(|te| te != "trailers") {
        headers.remove(header::TE);
    }
}

/// Whether the client asks for another protocol on this connection, and for which.
pub(crate) fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asked = asked.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    let upgrade = headers.get(header::UPGRADE).filter(|_| asked)?;
    // h2c by upgrade is obsolete (RFC 9113 §3.1): such a request is served as the HTTP/1.1 request that it also is.
    (!upgrade.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| upgrade.clone())
}

/// Makes a client's request the gateway's own: origin form for HTTP/1.1, `Host` kept, the client told of in
/// `X-Forwarded-*`. A service that calls another passes these on, so an earlier proto and host stand.
pub(crate) fn prepare_request<B>(request: &mut Request<B>, client: Option<&HeaderValue>) {
    let authority = request.uri().authority().cloned();
    let headers = request.headers_mut();
    strip_hop_by_hop(headers);
    // hyper answers an expectation itself as soon as the body is read.
    headers.remove(header::EXPECT);
    if let Some(authority) = authority {
        // The target's own authority wins over a Host header that disagrees (RFC 9112 §3.2.2).
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            headers.insert(header::HOST, host);
        }
    } else if !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, HeaderValue::from_static(""));
    }
    if let Some(client) = client {
        let earlier = headers.get(&FORWARDED_FOR).and_then(|earlier| earlier.to_str().ok());
        let chain = earlier.and_then(|earlier| {
            let chain = format!("{earlier}, {}", client.to_str().ok()?);
            HeaderValue::from_str(&chain).ok()
        });
        headers.insert(FORWARDED_FOR.clone(), chain.unwrap_or_else(|| client.clone()));
        if !headers.contains_key(&FORWARDED_PROTO) {
            headers.insert(FORWARDED_PROTO.clone(), HeaderValue::from_static("http"));
        }
        if !headers.contains_key(&FORWARDED_HOST)
            && let Some(host) = headers.get(header::HOST).cloned()
        {
            headers.insert(FORWARDED_HOST.clone(), host);
        }
    }
}

/// The request's target as HTTP/1.1 wants it.
pub(crate) fn origin_form<B>(request: &mut Request<B>) {
    if request.uri().scheme().is_some() || request.uri().authority().is_some() {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
    }
    if request.version() == Version::HTTP_2 {
        join_cookies(request.headers_mut());
    }
    *request.version_mut() = Version::HTTP_11;
}

/// HTTP/2 clients may send each cookie on its own; HTTP/1.1 knows one header (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// The request's target as HTTP/2 wants it: scheme and authority in the URI, no `Host`.
pub(crate) fn absolute_form<B>(request: &mut Request<B>) -> Result<(), http::Error> {
    let host = request.headers_mut().remove(header::HOST);
    let authority = host.and_then(|host| host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()));
    let authority = authority.unwrap_or_else(|| Authority::from_static("localhost"));
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::builder().scheme("http").authority(authority).path_and_query(path).build()?;
    *request.version_mut() = Version::HTTP_2;
    Ok(())
}

/// Whether doing the request twice has the effect of doing it once.
pub(crate) fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS)
        || headers.contains_key(&IDEMPOTENCY_KEY)
}

/// A client's address as `X-Forwarded-For` has it; made once per connection.
pub(crate) fn client_value(client: IpAddr) -> Option<HeaderValue> {
    HeaderValue::from_str(&client.to_string()).ok()
}

#[cfg(test)]
mod tests;
