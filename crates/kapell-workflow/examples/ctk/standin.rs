//! Plays the public services that the conformance kit calls, as far as it calls them: a pet shop with a description
//! of itself, and an echo that asks for credentials.

use std::time::Instant;

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use kapell_workflow::{CallFailure, ServiceCaller};
use serde_json::{Value, json};

pub(crate) struct StandIn;

#[async_trait]
impl ServiceCaller for StandIn {
    async fn call(
        &self,
        _namespace: &str,
        request: http::Request<Bytes>,
        _deadline: Option<Instant>,
    ) -> Result<http::Response<Bytes>, CallFailure> {
        let (status, body) = match request.uri().host() {
            Some("petstore.swagger.io") => pet_shop(&request),
            Some("httpbin.org") => credentials(&request),
            other => {
                let message = format!("there is no stand-in for {other:?}");
                return Err(CallFailure { maybe_processed: true, message });
            }
        };
        let response = http::Response::builder().status(status).header("content-type", "application/json");
        let response = response.body(body.to_string().into());
        response.map_err(|error| CallFailure { maybe_processed: true, message: error.to_string() })
    }
}

fn pet(id: u64) -> Value {
    json!({ "id": id, "name": format!("pet {id}"), "status": "available" })
}

fn pet_shop(request: &http::Request<Bytes>) -> (u16, Value) {
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
    let parameter = |name: &str, place: &str, kind: &str| json!({ "name": name, "in": place, "required": true, "type": kind });
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
fn credentials(request: &http::Request<Bytes>) -> (u16, Value) {
    let segments: Vec<&str> = request.uri().path().split('/').skip(1).collect();
    let ["basic-auth", user, password] = segments.as_slice() else { return (404, Value::Null) };
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    match given == Some(&format!("Basic {pair}")) {
        true => (200, json!({ "authenticated": true, "user": user })),
        false => (401, Value::Null),
    }
}
