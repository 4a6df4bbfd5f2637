//! Authentication policies: inline, by name, or from a Secret.

use kapell_api::problem::Problem;
use serde_json::Value;

use super::data::undefined;
use super::{Compiler, Position};
use crate::authentication::{Scheme, oauth2};
use crate::expression::template::enclosed;
use crate::expression::{Expression, Template};
use crate::node::{Members, Node};
use crate::program::Authentication;

const GRANTS: [&str; 5] =
    ["authorization_code", "client_credentials", "password", "refresh_token", oauth2::TOKEN_EXCHANGE];
const CLIENTS: [&str; 5] =
    ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"];
const ENCODINGS: [&str; 2] = ["application/x-www-form-urlencoded", "application/json"];

impl Compiler {
    /// An authentication policy: inline, or `use` with a name from `use.authentications`.
    pub(super) fn authentication(&mut self, node: &Node<'_>) -> Option<Authentication> {
        let members = node.members(&mut self.problems)?;
        let known: Vec<&str> = ["use"].into_iter().chain(Scheme::ALL.map(|(name, _)| name)).collect();
        members.known(&known, &[], &mut self.problems);
        if let Some(name) = members.get("use") {
            let text = name.text(&mut self.problems)?;
            let found = self.authentications.get(text).cloned();
            if found.is_none() {
                let known = self.authentications.keys();
                self.problems.push(undefined(&name.path, text, "use.authentications", known));
            }
            self.sealed |= found.is_some();
            return found;
        }
        let given: Vec<_> = Scheme::ALL.into_iter().filter(|(name, _)| members.has(name)).collect();
        let [(name, scheme)] = given.as_slice() else {
            let detail = "exactly one of basic, bearer, digest, oauth2 and oidc, or `use`";
            self.problems.push(Problem::required(node.path.clone(), detail));
            return None;
        };
        let policy = members.get(name)?;
        let settings = self.credentials(&policy, *scheme)?;
        self.sealed = true;
        Some(Authentication { scheme: *scheme, settings })
    }

    fn credentials(&mut self, node: &Node<'_>, scheme: Scheme) -> Option<Template> {
        let members = node.members(&mut self.problems)?;
        if let Some(name) = members.get("use") {
            members.known(&["use"], &[], &mut self.problems);
            return self.secret_settings(&name);
        }
        match scheme {
            Scheme::Basic | Scheme::Digest => self.texts(&members, &["username", "password"], &[]),
            Scheme::Bearer => self.texts(&members, &["token"], &[]),
            Scheme::OAuth2 | Scheme::Oidc => self.oauth2(&members, scheme),
        }
        Some(self.template(node, Position::TaskDefinition))
    }

    /// The keys of a Secret are the members of the policy.
    fn secret_settings(&mut self, node: &Node<'_>) -> Option<Template> {
        let name = node.text(&mut self.problems)?;
        if !self.secrets.iter().any(|known| known == name) {
            self.problems.push(undefined(&node.path, name, "use.secrets", self.secrets.iter()));
            return None;
        }
        let code = format!("$secrets[{}]", Value::String(name.to_owned()));
        Expression::compile(&code, &["secrets".into()]).ok().map(Template::Expression)
    }

    /// Members that are texts, required or not; nothing else may be there.
    fn texts(&mut self, members: &Members<'_>, required: &[&str], optional: &[&str]) {
        let known: Vec<&str> = required.iter().chain(optional).copied().collect();
        members.known(&known, &[], &mut self.problems);
        for key in required {
            if let Some(node) = members.require(key, &mut self.problems) {
                node.text(&mut self.problems);
            }
        }
        for node in optional.iter().filter_map(|key| members.get(key)) {
            node.text(&mut self.problems);
        }
    }

    fn oauth2(&mut self, members: &Members<'_>, scheme: Scheme) {
        let own = ["authority", "grant", "client", "request", "issuers", "scopes", "audiences", "username", "password"];
        let mut known: Vec<&str> = own.into_iter().chain(["subject", "actor"]).collect();
        if scheme == Scheme::OAuth2 {
            known.push("endpoints");
        }
        members.known(&known, &[], &mut self.problems);
        members.require("authority", &mut self.problems).and_then(|node| node.text(&mut self.problems));
        for node in ["username", "password"].iter().filter_map(|key| members.get(key)) {
            node.text(&mut self.problems);
        }
        for node in ["issuers", "scopes", "audiences"].iter().filter_map(|key| members.get(key)) {
            for item in node.items(&mut self.problems) {
                item.text(&mut self.problems);
            }
        }
        let mut inner = |key: &str, known: &[&str], required: &[&str]| {
            let Some(node) = members.get(key) else { return };
            let Some(inner) = node.members(&mut self.problems) else { return };
            let optional: Vec<&str> = known.iter().filter(|key| !required.contains(key)).copied().collect();
            self.texts(&inner, required, &optional);
        };
        inner("endpoints", &["token", "introspection", "revocation"], &[]);
        inner("client", &["id", "secret", "assertion", "authentication"], &["id"]);
        inner("request", &["encoding"], &[]);
        inner("subject", &["token", "type"], &["token", "type"]);
        inner("actor", &["token", "type"], &["token", "type"]);
        if !members.has("client") {
            self.problems.push(Problem::required(members.path_of("client"), "who asks for the token"));
        }
        let within = |outer: &str, key: &str| {
            let node = members.get(outer)?;
            let value = node.value.get(key)?;
            Some(Node::new(value, format!("{}.{key}", node.path)))
        };
        self.one_of(members.get("grant"), &GRANTS);
        self.one_of(within("client", "authentication"), &CLIENTS);
        self.one_of(within("request", "encoding"), &ENCODINGS);
        let needed: &[&str] = match members.get("grant").and_then(|node| node.value.as_str()) {
            Some("password") => &["username", "password"],
            Some("refresh_token" | "authorization_code" | oauth2::TOKEN_EXCHANGE) => &["subject"],
            _ => &[],
        };
        for key in needed.iter().filter(|key| !members.has(key)) {
            self.problems.push(Problem::required(members.path_of(key), "the grant asks for it"));
        }
    }

    /// A text that is an expression or one of these.
    fn one_of(&mut self, node: Option<Node<'_>>, known: &[&str]) {
        let Some(node) = node else { return };
        let Some(text) = node.value.as_str() else { return };
        if enclosed(text).is_none() && !known.contains(&text) {
            let detail = format!("must be one of {}", known.join(", "));
            self.problems.push(Problem::invalid(node.path, text, &detail));
        }
    }
}
