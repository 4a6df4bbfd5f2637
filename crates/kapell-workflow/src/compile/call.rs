//! `call`: HTTP, operations of OpenAPI documents, gRPC methods, and functions; the rest is refused by name.

use kapell_api::problem::Problem;
use serde_json::Value;
use url::Url;

use super::{Compiler, Position};
use crate::expression::Template;
use crate::expression::template::enclosed;
use crate::grpc::GrpcMethod;
use crate::node::{Members, Node, not_supported, wrong_type};
use crate::openapi::Operation;
use crate::program::{Authentication, Endpoint, GrpcCall, HttpCall, HttpOutput, OperationCall, TaskKind};
use crate::resources::Kind;

const DEFINITION: Position = Position::TaskDefinition;

impl Compiler {
    pub(super) fn call(&mut self, node: &Node<'_>, task: &Members<'_>) -> Option<TaskKind> {
        let kind = node.text(&mut self.problems)?;
        match kind {
            "http" | "openapi" | "grpc" => {
                let with = task.require("with", &mut self.problems)?;
                let call = match kind {
                    "http" => self.http(&with),
                    "openapi" => self.openapi(&with),
                    _ => self.grpc(&with),
                };
                call.map(|call| TaskKind::Call(Box::new(call)))
            }
            "asyncapi" | "a2a" | "mcp" => {
                self.problems.push(not_supported(&node.path, &format!("call: {kind}")));
                None
            }
            function => self.function_call(function, node, task).map(|call| TaskKind::Function(Box::new(call))),
        }
    }

    fn openapi(&mut self, node: &Node<'_>) -> Option<HttpCall> {
        let members = node.members(&mut self.problems)?;
        let known = ["document", "operationId", "parameters", "authentication", "output", "redirect"];
        members.known(&known, &[], &mut self.problems);
        let document = members.require("document", &mut self.problems).and_then(|node| self.external(&node));
        let id = members.require("operationId", &mut self.problems).and_then(|node| node.text(&mut self.problems));
        let parameters = match members.get("parameters") {
            Some(node) => self.expect_object_or_text(&node).then(|| self.template(&node, DEFINITION)),
            None => Some(Template::empty()),
        };
        let authentication = members.get("authentication").and_then(|node| self.authentication(&node));
        let output = members.get("output").map_or(Some(HttpOutput::Content), |node| self.http_output(&node));
        let redirect = members.get("redirect").map_or(Some(false), |node| node.boolean(&mut self.problems));
        let path = members.path_of("document");
        let pinned = self.pinned(document?, Kind::Operation(id?.to_owned()), &path);
        let operation = match pinned.map(serde_json::from_value::<Operation>) {
            None => Operation::default(),
            Some(Ok(operation)) => operation,
            Some(Err(error)) => {
                self.broken_resource(&path, &error.to_string());
                return None;
            }
        };
        let method = http::Method::from_bytes(operation.method.as_bytes()).unwrap_or_default();
        let operation = OperationCall { operation, parameters: parameters? };
        Some(HttpCall {
            method,
            endpoint: Endpoint::Operation(Box::new(operation)),
            headers: None,
            query: None,
            body: None,
            authentication,
            output: output?,
            redirect: redirect?,
        })
    }

    fn grpc(&mut self, node: &Node<'_>) -> Option<HttpCall> {
        let members = node.members(&mut self.problems)?;
        members.known(&["proto", "service", "method", "arguments"], &[], &mut self.problems);
        let proto = members.require("proto", &mut self.problems).and_then(|node| self.external(&node));
        let method = members.require("method", &mut self.problems).and_then(|node| node.text(&mut self.problems));
        let arguments = match members.get("arguments") {
            Some(node) => self.expect_object_or_text(&node).then(|| self.template(&node, DEFINITION)),
            None => Some(Template::empty()),
        };
        let service = members.require("service", &mut self.problems)?;
        let service = service.members(&mut self.problems)?;
        service.known(&["name", "host", "port", "authentication"], &[], &mut self.problems);
        let name = service.require("name", &mut self.problems).and_then(|node| node.text(&mut self.problems));
        let host = service.require("host", &mut self.problems).and_then(|node| self.host(&node));
        let port = service.get("port").map_or(Some(None), |node| self.port(&node).map(Some));
        let authentication = service.get("authentication").and_then(|node| self.authentication(&node));
        let (name, host, port, method) = (name?, host?, port?, method?);
        let authority = match port {
            Some(443) => format!("https://{host}"),
            Some(port) => format!("http://{host}:{port}"),
            None => format!("http://{host}"),
        };
        let path = members.path_of("proto");
        let descriptor = match self.pinned(proto?, Kind::Proto, &path) {
            None => GrpcMethod::unknown(),
            Some(pinned) => match GrpcMethod::find(&pinned, &authority, name, method) {
                Ok(found) => found,
                Err(reason) => {
                    self.broken_resource(&members.path_of("method"), &reason);
                    return None;
                }
            },
        };
        let call = GrpcCall { method: descriptor, arguments: arguments? };
        Some(HttpCall {
            method: http::Method::POST,
            endpoint: Endpoint::Grpc(Box::new(call)),
            headers: None,
            query: None,
            body: None,
            authentication,
            output: HttpOutput::Content,
            redirect: false,
        })
    }

    fn host<'a>(&mut self, node: &Node<'a>) -> Option<&'a str> {
        let text = node.text(&mut self.problems)?;
        if url::Host::parse(text).is_ok() {
            return Some(text);
        }
        self.problems.push(Problem::invalid(node.path.clone(), text, "must be the name or the address of a host"));
        None
    }

    fn port(&mut self, node: &Node<'_>) -> Option<u16> {
        let port = node.count(&mut self.problems)?;
        let valid = u16::try_from(port).ok().filter(|port| *port > 0);
        if valid.is_none() {
            self.problems.push(Problem::invalid(node.path.clone(), port, "must be a port from 1 to 65535"));
        }
        valid
    }

    fn http(&mut self, node: &Node<'_>) -> Option<HttpCall> {
        let members = node.members(&mut self.problems)?;
        let known = ["method", "endpoint", "headers", "body", "query", "output", "redirect"];
        members.known(&known, &[], &mut self.problems);
        let method = members.require("method", &mut self.problems).and_then(|node| self.method(&node));
        let mut authentication = None;
        let endpoint =
            members.require("endpoint", &mut self.problems).and_then(|node| self.endpoint(&node, &mut authentication));
        let mut map = |key| {
            let node = members.get(key)?;
            self.expect_object_or_text(&node).then(|| self.template(&node, DEFINITION))
        };
        let (headers, query) = (map("headers"), map("query"));
        let body = members.get("body").map(|node| self.template(&node, DEFINITION));
        let output = members.get("output").map_or(Some(HttpOutput::Content), |node| self.http_output(&node));
        let redirect = members.get("redirect").map_or(Some(false), |node| node.boolean(&mut self.problems));
        Some(HttpCall {
            method: method?,
            endpoint: endpoint?,
            headers,
            query,
            body,
            authentication,
            output: output?,
            redirect: redirect?,
        })
    }

    fn method(&mut self, node: &Node<'_>) -> Option<http::Method> {
        let text = node.text(&mut self.problems)?;
        match http::Method::from_bytes(text.to_ascii_uppercase().as_bytes()) {
            Ok(method) if method != http::Method::CONNECT => Some(method),
            _ => {
                self.problems.push(Problem::invalid(node.path.clone(), text, "must be an HTTP method"));
                None
            }
        }
    }

    fn http_output(&mut self, node: &Node<'_>) -> Option<HttpOutput> {
        Some(match node.text(&mut self.problems)? {
            "content" => HttpOutput::Content,
            "raw" => HttpOutput::Raw,
            "response" => HttpOutput::Response,
            other => {
                let detail = "must be content, raw or response";
                self.problems.push(Problem::invalid(node.path.clone(), other, detail));
                return None;
            }
        })
    }

    fn endpoint(&mut self, node: &Node<'_>, authentication: &mut Option<Authentication>) -> Option<Endpoint> {
        match node.value {
            Value::String(text) if enclosed(text).is_some() => {
                Some(Endpoint::Computed(self.template(node, DEFINITION)))
            }
            Value::String(text) => match check_uri_template(text) {
                Ok(()) => Some(Endpoint::UriTemplate(text.clone())),
                Err(reason) => {
                    self.problems.push(Problem::invalid(node.path.clone(), text, &reason));
                    None
                }
            },
            Value::Object(_) => {
                let members = node.members(&mut self.problems)?;
                members.known(&["uri", "authentication"], &[], &mut self.problems);
                *authentication = members.get("authentication").and_then(|node| self.authentication(&node));
                let uri = members.require("uri", &mut self.problems)?;
                uri.text(&mut self.problems)?;
                self.endpoint(&uri, authentication)
            }
            other => {
                self.problems.push(wrong_type(&node.path, other, "a URI or an object with `uri`"));
                None
            }
        }
    }
}

/// RFC 6570 level 1: `{name}`, each a member of the task's input.
fn check_uri_template(text: &str) -> Result<(), String> {
    let mut sample = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let close = rest[open..].find('}').ok_or("has an unclosed `{`")? + open;
        let name = &rest[open + 1..close];
        let valid = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_.-".contains(c));
        if !valid {
            return Err(format!("has `{{{name}}}`, which is not a name (only level 1 of RFC 6570 is supported)"));
        }
        sample.push_str(&rest[..open]);
        sample.push('1');
        rest = &rest[close + 1..];
    }
    sample.push_str(rest);
    check_http_url(&sample).map(|_| ())
}

/// Parses an absolute HTTP URL.
pub(crate) fn check_http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("must be an absolute URI: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("must be http or https, not {}", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain credentials".to_owned());
    }
    Ok(url)
}
