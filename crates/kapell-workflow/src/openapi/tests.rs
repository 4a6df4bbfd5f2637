use serde_json::json;

use super::request::parts;
use super::*;
use crate::expression::Datum;

fn origin() -> Url {
    Url::parse("https://shop.example/docs/openapi.json").unwrap()
}

fn swagger() -> Value {
    json!({
        "swagger": "2.0", "host": "pets.example", "basePath": "/v2", "schemes": ["http", "https"],
        "consumes": ["application/json"], "produces": ["application/xml", "application/json"],
        "parameters": { "limit": { "name": "limit", "in": "query", "type": "integer" } },
        "paths": {
            "/pets/{id}": {
                "parameters": [{ "name": "id", "in": "path", "required": true, "type": "integer" }],
                "get": { "operationId": "get", "parameters": [{ "$ref": "#/parameters/limit" }, { "name": "X-Trace", "in": "header", "type": "string" }] },
                "put": { "operationId": "replace", "parameters": [{ "name": "pet", "in": "body", "required": true }] },
                "post": { "operationId": "form", "consumes": ["application/x-www-form-urlencoded"], "parameters": [{ "name": "name", "in": "formData", "type": "string" }] },
            },
            "/pets": { "get": { "operationId": "find", "parameters": [
                { "name": "csv", "in": "query", "type": "array" },
                { "name": "multi", "in": "query", "type": "array", "collectionFormat": "multi" },
                { "name": "pipes", "in": "query", "type": "array", "collectionFormat": "pipes" },
            ] } },
            "/xml": { "post": { "operationId": "xml", "consumes": ["application/xml"], "parameters": [{ "name": "pet", "in": "body" }] } },
            "/text": { "post": { "operationId": "text", "consumes": ["application/xml", "text/plain"], "parameters": [{ "name": "pet", "in": "body" }] } },
            "/any": { "post": { "operationId": "any", "consumes": ["*/*"], "parameters": [{ "name": "pet", "in": "body" }] } },
            "/upload": { "post": { "operationId": "upload", "parameters": [{ "name": "f", "in": "formData", "type": "file" }] } },
        },
    })
}

fn openapi(version: &str) -> Value {
    json!({
        "openapi": version, "servers": [{ "url": "/api/{version}/", "variables": { "version": { "default": "v3" } } }],
        "components": { "parameters": { "id": { "name": "id", "in": "path", "required": true, "schema": {} } } },
        "paths": {
            "/pets/{id}": { "patch": {
                "operationId": "change",
                "parameters": [
                    { "$ref": "#/components/parameters/id" },
                    { "name": "filter", "in": "query", "style": "deepObject", "explode": true },
                    { "name": "tags", "in": "query" },
                    { "name": "joined", "in": "query", "explode": false },
                    { "name": "json", "in": "query", "content": { "application/json": {} } },
                    { "name": "session", "in": "cookie" },
                ],
                "requestBody": { "required": true, "content": { "application/merge-patch+json": {}, "application/xml": {} } },
                "responses": { "200": { "content": { "application/json": {} } } },
            } },
            "/label/{id}": { "get": { "operationId": "label", "parameters": [{ "name": "id", "in": "path", "style": "label" }] } },
            "/matrix/{id}": { "get": { "operationId": "matrix", "parameters": [{ "name": "id", "in": "path", "style": "matrix", "explode": true }] } },
            "/other": { "servers": [{ "url": "http://other.example" }], "get": { "operationId": "other" } },
            "/xml": { "post": { "operationId": "xml", "requestBody": { "content": { "application/xml": {} } } } },
            "/far": { "get": { "operationId": "far", "parameters": [{ "$ref": "other.json#/x" }] } },
        },
    })
}

/// `METHOD URI headers body` of a call.
fn called(document: &Value, id: &str, parameters: Value) -> Result<String, String> {
    let operation = operation(document, &origin(), id).map_err(|error| error.to_string())?;
    // What is pinned is what was cut out.
    let pinned: Operation = serde_json::from_value(serde_json::to_value(&operation).unwrap()).unwrap();
    assert_eq!(pinned, operation);
    let parts = parts(&pinned, &Datum::from_json(&parameters).unwrap())?;
    let headers = parts.headers.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>();
    let body = parts.body.map(|body| format!(" {body}")).unwrap_or_default();
    Ok(format!("{} {}{headers}{body}", pinned.method, parts.uri))
}

#[test]
fn operations_become_requests() {
    let json = " accept=application/json";
    let table = [
        (
            swagger(),
            "get",
            json!({ "id": 7, "limit": 3, "X-Trace": "t" }),
            format!("GET https://pets.example/v2/pets/7?limit=3{json} x-trace=t"),
        ),
        (swagger(), "get", json!({ "id": "a/b ?" }), format!("GET https://pets.example/v2/pets/a%2Fb%20%3F{json}")),
        (swagger(), "get", json!({ "id": "..." }), format!("GET https://pets.example/v2/pets/...{json}")),
        (
            swagger(),
            "find",
            json!({ "csv": ["a", "b"], "multi": ["a", "b"], "pipes": ["a", "b"] }),
            format!("GET https://pets.example/v2/pets?csv=a%2Cb&multi=a&multi=b&pipes=a%7Cb{json}"),
        ),
        (
            swagger(),
            "form",
            json!({ "id": 1, "name": "a b" }),
            format!(
                "POST https://pets.example/v2/pets/1{json} content-type=application/x-www-form-urlencoded name=a+b"
            ),
        ),
        (
            swagger(),
            "replace",
            json!({ "id": 1, "body": { "a": 1 } }),
            format!("PUT https://pets.example/v2/pets/1{json} content-type=application/json {{\"a\":1}}"),
        ),
        (
            swagger(),
            "text",
            json!({ "body": "a" }),
            format!("POST https://pets.example/v2/text{json} content-type=text/plain a"),
        ),
        (
            swagger(),
            "any",
            json!({ "body": "a" }),
            format!("POST https://pets.example/v2/any{json} content-type=application/json \"a\""),
        ),
        (
            openapi("3.0.3"),
            "change",
            json!({ "id": 1, "filter": { "a": 1, "b": "x" }, "body": {} }),
            format!(
                "PATCH https://shop.example/api/v3/pets/1?filter%5Ba%5D=1&filter%5Bb%5D=x{json} content-type=application/merge-patch+json {{}}"
            ),
        ),
        (
            openapi("3.1.0"),
            "change",
            json!({ "id": 1, "tags": [1, 2], "joined": [1, 2], "json": { "a": [1] }, "session": "s", "body": [] }),
            format!(
                "PATCH https://shop.example/api/v3/pets/1?tags=1&tags=2&joined=1%2C2&json=%7B%22a%22%3A%5B1%5D%7D{json} cookie=session=s content-type=application/merge-patch+json []"
            ),
        ),
        (openapi("3.0.0"), "label", json!({ "id": [1, 2] }), "GET https://shop.example/api/v3/label/.1,2".to_owned()),
        (
            openapi("3.0.0"),
            "matrix",
            json!({ "id": [1, 2] }),
            "GET https://shop.example/api/v3/matrix/;id=1;id=2".to_owned(),
        ),
        (openapi("3.0.0"), "other", json!({}), "GET http://other.example/other".to_owned()),
    ];
    for (document, id, parameters, wanted) in table {
        assert_eq!(called(&document, id, parameters).as_deref(), Ok(wanted.as_str()), "{id}");
    }
}

#[test]
fn what_cannot_be_called_is_refused_by_name() {
    let table = [
        (json!({}), "get", json!({}), "is not an OpenAPI document"),
        (json!({ "openapi": "4.0.0" }), "get", json!({}), "is of OpenAPI version 4.0.0, which is not supported"),
        (swagger(), "gett", json!({}), "has no operation `gett`, did you mean `get`?"),
        (swagger(), "get", json!({}), "`id` is required"),
        (swagger(), "get", json!({ "id": 1, "limt": 2 }), "has no parameter `limt`, only limit, X-Trace, id"),
        (swagger(), "get", json!({ "id": { "a": [1] } }), "nested deeper"),
        (swagger(), "replace", json!({ "id": 1 }), "`body` is required"),
        (swagger(), "upload", json!({}), "a parameter of type file is not supported yet"),
        (swagger(), "get", json!({ "id": ".." }), "`id` would be taken for a step through the path"),
        (swagger(), "get", json!({ "id": "." }), "`id` would be taken for a step through the path"),
        (openapi("3.0.0"), "label", json!({ "id": "." }), "`id` would be taken for a step through the path"),
        (swagger(), "xml", json!({ "body": {} }), "a body of type application/xml is not supported yet"),
        (openapi("3.0.0"), "xml", json!({}), "a body of type application/xml is not supported yet"),
        (openapi("3.0.0"), "far", json!({}), "the reference other.json#/x to another document is not supported yet"),
    ];
    for (document, id, parameters, wanted) in table {
        let error = called(&document, id, parameters).unwrap_err();
        assert!(error.contains(wanted), "{id}: {error}");
    }
}
