//! Plays the public services that the conformance kit calls, as far as it calls them: a pet shop with a description
//! of itself, and an echo that asks for credentials. One HTTP server on the loopback interface plays them all; it
//! learns from `Host` which one is meant.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Instant;

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kapell_workflow::{CallFailure, ServiceCaller};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The hosts that are played.
pub(crate) const HOSTS: [&str; 2] = ["petstore.swagger.io", "httpbin.org"];

/// Serves until the process ends.
pub(crate) async fn serve() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(async move { drop(connection.serve_connection(TokioIo::new(stream), service).await) });
        }
    });
    Ok(address)
}

fn answer(request: &http::Request<Incoming>) -> http::Response<Full<Bytes>> {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let (status, body) = match host {
        "petstore.swagger.io" => pet_shop(request),
        "httpbin.org" => credentials(request),
        other => (421, json!({ "message": format!("there is no stand-in for {other}") })),
    };
    let mut response = http::Response::new(Full::from(body.to_string()));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

/// Calls over plain HTTP.
pub(crate) struct Caller(Client<HttpConnector, Full<Bytes>>);

impl Caller {
    pub(crate) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

#[async_trait]
impl ServiceCaller for Caller {
    async fn call(
        &self,
        _namespace: &str,
        request: http::Request<Bytes>,
        _deadline: Option<Instant>,
    ) -> Result<http::Response<Bytes>, CallFailure> {
        if request.extensions().get::<kapell_workflow::egress::Chosen>().is_none() {
            let message = format!("there is no stand-in for {}", request.uri());
            return Err(CallFailure { maybe_processed: true, message });
        }
        let failed = |error: &dyn std::error::Error| CallFailure { maybe_processed: true, message: error.to_string() };
        let response = self.0.request(request.map(Full::new)).await.map_err(|error| failed(&error))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| failed(&error))?;
        Ok(http::Response::from_parts(parts, body.to_bytes()))
    }
}

fn pet(id: u64) -> Value {
    json!({ "id": id, "name": format!("pet {id}"), "status": "available" })
}

fn pet_shop(request: &http::Request<Incoming>) -> (u16, Value) {
    let segments: Vec<&str> = request.uri().path().split('/').skip(1).collect();
    let missing = (404, json!({ "code": 404, "message": "not found" }));
    match (request.method().as_str(), segments.as_slice()) {
        ("GET", ["v2", "swagger.json"]) => (200, description()),
        ("GET", ["v2", "pet", "findByStatus"]) => match request.uri().query() {
            Some("status=available") => (200, json!([pet(1), pet(2)])),
            _ => (400, json!({ "message": "no such status" })),
        },
        ("GET", ["v2", "pet", id]) => id.parse().map_or(missing, |id| (200, pet(id))),
        _ => missing,
    }
}

/// What the shop says of itself, in OpenAPI 2.0, as the original does.
fn description() -> Value {
    let parameter =
        |name: &str, place: &str, kind: &str| json!({ "name": name, "in": place, "required": true, "type": kind });
    json!({
        "swagger": "2.0",
        "info": { "title": "pets", "version": "1" },
        "host": "petstore.swagger.io",
        "basePath": "/v2",
        "schemes": ["https"],
        "paths": {
            "/pet/findByStatus": { "get": {
                "operationId": "findPetsByStatus", "parameters": [parameter("status", "query", "array")],
            } },
            "/pet/{petId}": { "get": {
                "operationId": "getPetById", "parameters": [parameter("petId", "path", "integer")],
            } },
        },
    })
}

/// `/basic-auth/USER/PASSWORD` wants to be called by USER with PASSWORD.
fn credentials(request: &http::Request<Incoming>) -> (u16, Value) {
    let segments: Vec<&str> = request.uri().path().split('/').skip(1).collect();
    let ["basic-auth", user, password] = segments.as_slice() else { return (404, Value::Null) };
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    match given == Some(&format!("Basic {pair}")) {
        true => (200, json!({ "authenticated": true, "user": user })),
        false => (401, Value::Null),
    }
}
