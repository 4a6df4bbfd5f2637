//! Nobody gives away what he does not have: who writes a role must hold every rule of it, who binds one every rule of
//! the bound role, unless the verbs `escalate` and `bind` on the role say otherwise.

use kapell_api::status::{About, Status};
use serde_json::Value;

use super::Authorizer;
use super::attributes::{Action, OnResource};
use super::index::RoleRef;
use super::rule::{Rule, not_covered};
use crate::auth::Identity;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Checks the write of a role or binding as it would be stored; `old` is what it replaces. Other kinds pass.
pub(crate) fn check(
    authorizer: &Authorizer,
    identity: &Identity,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let kind = new["kind"].as_str().unwrap_or_default();
    if identity.is_master() || !new["apiVersion"].as_str().is_some_and(|version| version.starts_with(GROUP)) {
        return Ok(());
    }
    let same = |field: &str| old.is_some_and(|old| old[field] == new[field]);
    match kind {
        "Role" | "ClusterRole" if same("rules") && same("aggregationRule") => Ok(()),
        "Role" | "ClusterRole" => check_role(authorizer, identity, new, kind),
        "RoleBinding" | "ClusterRoleBinding" if same("roleRef") && same("subjects") => Ok(()),
        "RoleBinding" | "ClusterRoleBinding" => check_binding(authorizer, identity, new, kind),
        _ => Ok(()),
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn plural(kind: &str) -> &'static str {
    match kind {
        "Role" => "roles",
        "ClusterRole" => "clusterroles",
        "RoleBinding" => "rolebindings",
        _ => "clusterrolebindings",
    }
}

fn may(authorizer: &Authorizer, identity: &Identity, verb: &str, kind: &str, namespace: &str, name: &str) -> bool {
    let on = OnResource { verb, group: GROUP, version: "v1", resource: plural(kind), namespace, name, subresource: "" };
    authorizer.decide(identity, &Action::Resource(on)).is_allowed()
}

fn check_role(authorizer: &Authorizer, identity: &Identity, role: &Value, kind: &str) -> Result<(), Status> {
    let (namespace, name) = (text(role, "namespace"), text(role, "name"));
    if may(authorizer, identity, "escalate", kind, namespace, name) {
        return Ok(());
    }
    let rules: Vec<Rule> = match role.get("rules") {
        None | Some(Value::Null) => Vec::new(),
        Some(rules) => serde_json::from_value(rules.clone()).map_err(|e| Status::bad_request(e.to_string()))?,
    };
    let held = authorizer.rules(identity, Some(namespace).filter(|namespace| !namespace.is_empty()));
    // What an aggregating role will hold is known to nobody yet.
    let aggregates = !role["aggregationRule"].is_null();
    if aggregates && !not_covered(&held, &Rule::everything()).is_empty() {
        let why = "must have cluster-admin privileges to use the aggregationRule";
        return Err(Status::forbidden(about(kind), name, why));
    }
    refuse(&held, &rules, identity, kind, name)
}

fn check_binding(authorizer: &Authorizer, identity: &Identity, binding: &Value, kind: &str) -> Result<(), Status> {
    let (namespace, name) = (text(binding, "namespace"), text(binding, "name"));
    let reference: RoleRef = serde_json::from_value(binding["roleRef"].clone()).unwrap_or_default();
    let home = if reference.kind == "ClusterRole" { "" } else { namespace };
    if may(authorizer, identity, "bind", &reference.kind, home, &reference.name)
        // A right to bind that was given in the namespace holds for bindings in it.
        || may(authorizer, identity, "bind", &reference.kind, namespace, &reference.name)
    {
        return Ok(());
    }
    let Some(rules) = authorizer.index().role(namespace, &reference) else {
        let about = About { group: GROUP, plural: plural(&reference.kind), kind: "" };
        return Err(Status::not_found(about, &reference.name));
    };
    let held = authorizer.rules(identity, Some(namespace).filter(|namespace| !namespace.is_empty()));
    refuse(&held, &rules, identity, kind, name)
}

fn about(kind: &str) -> About<'static> {
    About { group: GROUP, plural: plural(kind), kind: "" }
}

/// 403 naming the rules that are not held.
fn refuse(held: &[Rule], wanted: &[Rule], identity: &Identity, kind: &str, name: &str) -> Result<(), Status> {
    let missing = not_covered(held, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<String> = missing.iter().map(Rule::to_string).collect();
    let why = format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        identity.user,
        identity.groups,
        missing.join("\n")
    );
    Err(Status::forbidden(about(kind), name, &why))
}
