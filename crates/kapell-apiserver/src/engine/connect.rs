//! Subresources that another service answers: logs of a pod, whatever a pod itself serves, the timeline of a workflow run.

use axum::body::{Body, BodyDataStream};
use futures::StreamExt as _;
use http::{Method, Response, StatusCode};
use kapell_api::status::Status;

use super::{Call, Engine, Target, decode};
use crate::ConnectRequest;

/// What roles have a word for, and the one that browsers ask first with.
const PASSED_ON: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

impl Engine {
    pub(super) async fn connect(&self, call: &Call, target: Target<'_>, name: &str) -> Result<Response<Body>, Status> {
        let plural = target.resource.kind.plural;
        let connector = self.connectors.read().get(&(plural.to_owned(), name.to_owned())).cloned();
        let Some(connector) = connector else {
            return Err(Status::service_unavailable(format!(
                "nothing in this server answers {plural}/{name}: the service behind it is not running"
            )));
        };
        let methods: &[Method] = match name {
            "proxy" => &PASSED_ON,
            _ => &[Method::GET, Method::HEAD, Method::POST],
        };
        if !methods.contains(&call.method) {
            return Err(super::not_allowed(target.resource, &call.method));
        }
        let mut passed_on = call.passed_on.lock().take();
        let target = match &mut passed_on {
            None => target,
            Some(passed_on) => {
                let (https, name, port) = split_name(target.name).ok_or_else(|| {
                    let text = format!("invalid {} request {:?}", target.resource.kind.singular, target.name);
                    Status::bad_request(format!("{text}: the name is NAME, NAME:PORT or SCHEME:NAME:PORT"))
                })?;
                (passed_on.https, passed_on.port) = (https, port.to_owned());
                Target { name, ..target }
            }
        };
        let entry = self.fetch(target).await?;
        let request = ConnectRequest {
            method: call.method.clone(),
            namespace: target.namespace.map(str::to_owned),
            name: target.name.to_owned(),
            object: decode(target.resource.kind, &entry)?,
            subresource: name.to_owned(),
            query: call.query.clone(),
            upgrade: call.upgrade.clone(),
            passed_on,
            shutdown: call.shutdown.clone(),
        };
        let response = connector.connect(request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        // A followed log has no end of its own: without this it would hold up the server's.
        let shutdown = call.shutdown.clone();
        let end = async move { shutdown.cancelled().await };
        Ok(response.map(|body| {
            let stream: BodyDataStream = body.into_data_stream();
            Body::from_stream(stream.take_until(Box::pin(end)))
        }))
    }
}

/// `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`, of which scheme and port may be empty: whether it is https, the name, the port.
fn split_name(text: &str) -> Option<(bool, &str, &str)> {
    let parts: Vec<&str> = text.split(':').collect();
    let (scheme, name, port) = match parts[..] {
        [name] => ("", name, ""),
        [name, port] => ("", name, port),
        [scheme, name, port] => (scheme, name, port),
        _ => return None,
    };
    (matches!(scheme, "" | "http" | "https") && !name.is_empty()).then_some((scheme == "https", name, port))
}

#[cfg(test)]
mod tests;
