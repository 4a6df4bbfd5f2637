//! One request as it is remembered: what it was, who sent it, what came of it, for the audit log and the metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use http::{HeaderValue, Method, Response, Uri, header};
use jiff::Timestamp;
use uuid::Uuid;

use crate::ApiServer;
use crate::audit::{Event, ObjectName};
use crate::auth::Identity;
use crate::authorize::attributes::OnResource;
use crate::engine::{random_uuid, subresource_name};
use crate::metrics::Series;
use crate::path::{Query, ResourcePath, Target};

/// Filled in as the request goes its way.
pub(crate) struct Record {
    id: Uuid,
    method: Method,
    uri: Uri,
    user_agent: Option<HeaderValue>,
    source: Option<SocketAddr>,
    target: Target,
    query: Query,
    /// Who sent it.
    pub(crate) caller: Option<Identity>,
    /// As whom it is taken, if that is somebody else.
    pub(crate) impersonated: Option<Identity>,
    /// Why it is allowed.
    pub(crate) decision: Option<Arc<str>>,
    pub(crate) streams: bool,
    received: Timestamp,
    start: Instant,
}

impl Record {
    pub(crate) fn begin(head: &http::request::Parts, target: Target, source: Option<SocketAddr>) -> Self {
        Self {
            id: random_uuid(),
            method: head.method.clone(),
            uri: head.uri.clone(),
            user_agent: head.headers.get(header::USER_AGENT).cloned(),
            source,
            target,
            query: Query::parse(head.uri.query().unwrap_or_default()),
            caller: None,
            impersonated: None,
            decision: None,
            streams: false,
            received: Timestamp::now(),
            start: Instant::now(),
        }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn query(&self) -> &Query {
        &self.query
    }

    pub(crate) fn is_mutating(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
    }

    /// Remembers the answer, and says under which number.
    pub(crate) fn end(&self, server: &ApiServer, response: &mut Response<Body>) {
        let code = response.status().as_u16();
        let duration = (!self.streams).then(|| self.start.elapsed());
        server.metrics().answered(self.series(server), code, duration);
        let Some(log) = server.audit().filter(|_| self.is_audited(server)) else { return };
        if let Ok(id) = HeaderValue::try_from(self.id.to_string()) {
            response.headers_mut().insert("audit-id", id);
        }
        let name = response.extensions_mut().remove::<ObjectName>();
        let mut object = match &self.target {
            Target::Resource(path) => Some(OnResource::of_request(&self.method, path, &self.query)),
            _ => None,
        };
        if let (Some(on), Some(name)) = (&mut object, &name)
            && on.name.is_empty()
        {
            on.name = &name.0;
        }
        let method = self.method.as_str().to_ascii_lowercase();
        log.record(&Event {
            id: self.id,
            uri: self.uri.path_and_query().map_or("/", |uri| uri.as_str()),
            verb: object.map_or(method.as_str(), |on| on.verb),
            caller: self.caller.as_ref(),
            impersonated: self.impersonated.as_ref(),
            source: self.source,
            user_agent: self.user_agent.as_ref().and_then(|agent| agent.to_str().ok()),
            object,
            decision: self.decision.as_deref(),
            code,
            streams: self.streams,
            received: self.received,
            answered: Timestamp::now(),
        });
    }

    /// Mutations, and sessions inside pods. Reviews change nothing.
    fn is_audited(&self, server: &ApiServer) -> bool {
        match &self.target {
            Target::Resource(path) => {
                let (_, _, resources) = server.documents();
                let found = resources.find(&path.group, &path.version, &path.plural);
                let is_review = found.is_some_and(|resource| !resource.kind.is_stored());
                (self.is_mutating() && !is_review) || is_session(path)
            }
            _ => self.is_mutating(),
        }
    }

    fn series(&self, server: &ApiServer) -> Series {
        let Target::Resource(path) = &self.target else {
            return Series { verb: verb(&self.method, false), ..Series::default() };
        };
        let (_, _, resources) = server.documents();
        let Some(resource) = resources.find(&path.group, &path.version, &path.plural) else {
            return Series { verb: verb(&self.method, false), ..Series::default() };
        };
        let kind = resource.kind;
        let asked = path.subresource.as_deref();
        let known = kind.subresources.iter().map(subresource_name).find(|name| Some(*name) == asked);
        let verb = match verb(&self.method, path.name.is_some()) {
            "GET" | "LIST" if asked.is_none() && self.query.flag("watch") => "WATCH",
            _ if is_session(path) => "CONNECT",
            verb => verb,
        };
        Series {
            verb,
            group: kind.group,
            version: kind.version,
            resource: kind.plural,
            subresource: known.unwrap_or_default(),
            scope: match (&path.name, &path.namespace) {
                (Some(_), _) => "resource",
                (None, Some(_)) => "namespace",
                (None, None) => "cluster",
            },
        }
    }
}

fn is_session(path: &ResourcePath) -> bool {
    let subresource = path.subresource.as_deref();
    subresource == Some("proxy")
        || path.plural == "pods" && matches!(subresource, Some("attach" | "exec" | "portforward"))
}

/// In upstream's capital letters; methods that nobody knows are one.
fn verb(method: &Method, named: bool) -> &'static str {
    match *method {
        Method::GET | Method::HEAD if named => "GET",
        Method::GET | Method::HEAD => "LIST",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE if named => "DELETE",
        Method::DELETE => "DELETECOLLECTION",
        _ => "OTHER",
    }
}
