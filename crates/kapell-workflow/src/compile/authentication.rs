//! Who a call says it is: `basic` and `bearer`, inline or by name; the other kinds are refused by name.

use serde_json::Value;

use super::data::undefined;
use super::{Compiler, Position};
use crate::expression::Template;
use crate::node::{Members, Node, not_supported};
use crate::program::Authentication;

/// Kinds that the DSL has and this engine not yet.
const UNSUPPORTED: [&str; 3] = ["digest", "oauth2", "oidc"];

impl Compiler {
    /// An authentication policy: inline, or `use` with a name from `use.authentications`.
    pub(super) fn authentication(&mut self, node: &Node<'_>) -> Option<Authentication> {
        let members = node.members(&mut self.problems)?;
        members.known(&["use", "basic", "bearer"], &UNSUPPORTED, &mut self.problems);
        if let Some(name) = members.get("use") {
            let text = name.text(&mut self.problems)?;
            let found = self.authentications.get(text).cloned();
            if found.is_none() {
                let known = self.authentications.keys();
                self.problems.push(undefined(&name.path, text, "use.authentications", known));
            }
            return found;
        }
        if UNSUPPORTED.iter().any(|kind| members.has(kind)) {
            return None;
        }
        if let Some(bearer) = members.get("bearer") {
            let members = self.credentials(&bearer, &["token"])?;
            return Some(Authentication::Bearer { token: self.credential(&members, "token")? });
        }
        let basic = members.require("basic", &mut self.problems)?;
        let members = self.credentials(&basic, &["username", "password"])?;
        let username = self.credential(&members, "username");
        let password = self.credential(&members, "password");
        Some(Authentication::Basic { username: username?, password: password? })
    }

    fn credentials<'a>(&mut self, node: &Node<'a>, known: &[&str]) -> Option<Members<'a>> {
        let members = node.members(&mut self.problems)?;
        if members.has("use") {
            self.problems.push(not_supported(members.path_of("use"), "a secret"));
            return None;
        }
        members.known(known, &[], &mut self.problems);
        Some(members)
    }

    fn credential(&mut self, members: &Members<'_>, key: &str) -> Option<Template> {
        let node = members.require(key, &mut self.problems)?;
        if !matches!(node.value, Value::String(_)) {
            node.text(&mut self.problems)?;
        }
        Some(self.template(&node, Position::TaskDefinition))
    }
}
