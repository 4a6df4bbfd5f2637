//! `call`: HTTP; every other kind of call is refused by its name.

use kapell_api::problem::Problem;
use serde_json::Value;
use url::Url;

use super::{Compiler, Position};
use crate::expression::template::enclosed;
use crate::node::{Members, Node, not_supported, wrong_type};
use crate::program::{Authentication, Endpoint, HttpCall, HttpOutput};

const DEFINITION: Position = Position::TaskDefinition;

impl Compiler {
    pub(super) fn call(&mut self, node: &Node<'_>, task: &Members<'_>) -> Option<HttpCall> {
        match node.text(&mut self.problems)? {
            "http" => {
                let with = task.require("with", &mut self.problems)?;
                self.http(&with)
            }
            kind @ ("grpc" | "openapi" | "asyncapi" | "a2a" | "mcp") => {
                self.problems.push(not_supported(&node.path, &format!("call: {kind}")));
                None
            }
            function => {
                self.problems.push(not_supported(&node.path, &format!("call: {function} (a custom function)")));
                None
            }
        }
    }

    fn http(&mut self, node: &Node<'_>) -> Option<HttpCall> {
        let members = node.members(&mut self.problems)?;
        let known = ["method", "endpoint", "headers", "body", "query", "output", "redirect"];
        members.known(&known, &[], &mut self.problems);
        let method = members.require("method", &mut self.problems).and_then(|node| self.method(&node));
        let mut authentication = None;
        let endpoint = members
            .require("endpoint", &mut self.problems)
            .and_then(|node| self.endpoint(&node, &mut authentication));
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
