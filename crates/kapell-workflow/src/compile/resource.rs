//! What stands outside of the document: where it is, and what has been pinned of it.

use kapell_api::problem::{Problem, Reason};
use serde_json::Value;
use url::Url;

use super::Compiler;
use crate::expression::template::enclosed;
use crate::node::{Node, wrong_type};
use crate::program::Authentication;
use crate::resources::{Kind, Need, key, raw};

/// An endpoint that is known before anything runs.
#[derive(Clone, Debug)]
pub(super) struct Fixed {
    pub(super) uri: String,
    pub(super) authentication: Option<Authentication>,
}

impl Compiler {
    /// `{endpoint, name}`: an external resource.
    pub(super) fn external(&mut self, node: &Node<'_>) -> Option<Fixed> {
        let members = node.members(&mut self.problems)?;
        members.known(&["endpoint", "name"], &[], &mut self.problems);
        members.get("name").and_then(|node| node.text(&mut self.problems));
        let endpoint = members.require("endpoint", &mut self.problems)?;
        self.fixed_endpoint(&endpoint)
    }

    /// An endpoint whose address does not depend on a run: resources are fetched before the first task begins.
    pub(super) fn fixed_endpoint(&mut self, node: &Node<'_>) -> Option<Fixed> {
        match node.value {
            Value::String(text) => self.fixed_uri(node, text).map(|uri| Fixed { uri, authentication: None }),
            Value::Object(_) => {
                let members = node.members(&mut self.problems)?;
                members.known(&["uri", "authentication"], &[], &mut self.problems);
                let uri = members.require("uri", &mut self.problems)?;
                let text = uri.text(&mut self.problems)?;
                let uri = self.fixed_uri(&uri, text);
                let authentication = members.get("authentication").map(|node| self.authentication(&node));
                match authentication {
                    Some(None) => None,
                    Some(authentication) => Some(Fixed { uri: uri?, authentication }),
                    None => Some(Fixed { uri: uri?, authentication: None }),
                }
            }
            other => {
                self.problems.push(wrong_type(&node.path, other, "a URI or an object with `uri`"));
                None
            }
        }
    }

    fn fixed_uri(&mut self, node: &Node<'_>, text: &str) -> Option<String> {
        let refuse = |detail: &str| Some(Problem::invalid(node.path.clone(), text, detail));
        let problem = match Url::parse(text) {
            _ if enclosed(text).is_some() || text.contains('{') => {
                refuse("must be known before the run begins, so it can be neither an expression nor a template")
            }
            Err(error) => refuse(&format!("must be an absolute URI: {error}")),
            Ok(url) if !matches!(url.scheme(), "http" | "https" | "file") => {
                refuse(&format!("must be http, https or file, not {}", url.scheme()))
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => refuse("must not contain credentials"),
            Ok(_) => None,
        };
        match problem {
            Some(problem) => {
                self.problems.push(problem);
                None
            }
            None => Some(text.to_owned()),
        }
    }

    /// What is pinned of a resource. `None` while it is still to be fetched, which [`Compiler::needs`] then says.
    pub(super) fn pinned(&mut self, fixed: Fixed, kind: Kind, path: &str) -> Option<Value> {
        let uri = raw(&fixed.uri);
        if let Some(pinned) = self.resources.get(&key(&uri, &kind)) {
            return Some(pinned.clone());
        }
        let secrets = self.secrets.clone();
        self.needs.push(Need { uri, kind, authentication: fixed.authentication, secrets, path: path.to_owned() });
        None
    }

    pub(super) fn broken_resource(&mut self, path: &str, reason: &str) {
        self.problems.push(Problem::new(path, Reason::Invalid, format!("Invalid value: {reason}")));
    }
}
