use http::Method;
use serde_json::{Value, json};

use super::attributes::OnResource;
use super::*;
use crate::path::{Query, ResourcePath};

const VERSION: &str = "rbac.authorization.k8s.io/v1";

fn index(extra: &[Value]) -> Index {
    let defaults = defaults::cluster_roles().into_iter().chain(defaults::cluster_role_bindings());
    let objects: Vec<Parsed> = defaults
        .chain(extra.iter().cloned())
        .map(|object| Parsed::read(object.to_string().as_bytes()).expect("a role or a binding"))
        .collect();
    Index::compile(objects.iter())
}

fn binding(namespace: &str, role: (&str, &str), subject: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    json!({
        "apiVersion": VERSION, "kind": kind, "metadata": {"name": "b", "namespace": namespace},
        "roleRef": {"kind": role.0, "name": role.1}, "subjects": [subject],
    })
}

fn ann() -> Identity {
    Identity { user: "ann".to_owned(), groups: vec!["system:authenticated".to_owned()], ..Identity::default() }
}

fn may(index: &Index, identity: &Identity, verb: &str, resource: &str, namespace: &str) -> bool {
    let (group, resource) = resource.split_once(':').unwrap_or(("", resource));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let on = OnResource { verb, group, resource, subresource, namespace, ..OnResource::default() };
    index.decide(identity, &Action::Resource(on)).is_allowed()
}

#[test]
fn default_roles_give_what_their_names_say() {
    let user = json!({"kind": "User", "name": "ann"});
    for (role, verb, resource, expected) in [
        ("view", "get", "pods", true),
        ("view", "get", "pods/log", true),
        ("view", "list", "kapell.dev:workflowruns", true),
        ("view", "get", "secrets", false),
        ("view", "create", "pods", false),
        ("view", "create", "pods/exec", false),
        ("edit", "get", "secrets", true),
        ("edit", "create", "apps:deployments", true),
        ("edit", "create", "serviceaccounts/token", true),
        ("edit", "create", "rbac.authorization.k8s.io:roles", false),
        ("admin", "create", "rbac.authorization.k8s.io:roles", true),
        ("admin", "get", "pods", true),
        ("admin", "update", "resourcequotas", false),
        ("admin", "update", "namespaces", false),
        ("cluster-admin", "update", "namespaces", true),
    ] {
        let index = index(&[binding("shop", ("ClusterRole", role), user.clone())]);
        assert_eq!(may(&index, &ann(), verb, resource, "shop"), expected, "{role} {verb} {resource}");
        assert!(!may(&index, &ann(), verb, resource, "other"), "{role} holds in its namespace only");
        assert!(!may(&index, &ann(), verb, resource, ""), "{role} holds in its namespace only");
    }
}

#[test]
fn bindings_reach_users_groups_and_accounts() {
    let robot = Identity::account("shop", "robot", "1");
    for (subject, identity, expected) in [
        (json!({"kind": "User", "name": "ann"}), ann(), true),
        (json!({"kind": "User", "name": "bob"}), ann(), false),
        (json!({"kind": "Group", "name": "system:authenticated"}), ann(), true),
        (json!({"kind": "Group", "name": "ann"}), ann(), false),
        (json!({"kind": "ServiceAccount", "name": "robot", "namespace": "shop"}), robot.clone(), true),
        (json!({"kind": "ServiceAccount", "name": "robot", "namespace": "other"}), robot.clone(), false),
        (json!({"kind": "Group", "name": "system:serviceaccounts:shop"}), robot, true),
    ] {
        let index = index(&[binding("", ("ClusterRole", "view"), subject.clone())]);
        assert_eq!(may(&index, &identity, "get", "pods", "any"), expected, "{subject} {}", identity.user);
    }
}

#[test]
fn a_role_that_is_missing_is_named() {
    let index = index(&[binding("shop", ("Role", "absent"), json!({"kind": "User", "name": "ann"}))]);
    let on = OnResource { verb: "get", resource: "pods", namespace: "shop", name: "web", ..OnResource::default() };
    let action = Action::Resource(on);
    let Decision::NoOpinion(why) = index.decide(&ann(), &action) else { panic!("nothing allows it") };
    assert_eq!(why, "RBAC: role.rbac.authorization.k8s.io \"absent\" not found");
    assert_eq!(
        action.forbidden("ann", &why).message,
        "pods \"web\" is forbidden: User \"ann\" cannot get resource \"pods\" in API group \"\" in the namespace \"shop\": \
         RBAC: role.rbac.authorization.k8s.io \"absent\" not found"
    );
}

#[test]
fn aggregating_roles_take_the_rules_of_what_they_select() {
    assert_eq!(index(&[]).stale, [], "the defaults begin complete");
    let more = json!({
        "apiVersion": VERSION, "kind": "ClusterRole",
        "metadata": {"name": "more", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["acme.com"], "resources": ["things"], "verbs": ["get"]}],
    });
    let index = index(&[more, binding("shop", ("ClusterRole", "admin"), json!({"kind": "User", "name": "ann"}))]);
    let names: Vec<&str> = index.stale.iter().map(|role| role.name.as_str()).collect();
    assert_eq!(names, ["admin", "edit", "view"]);
    assert!(may(&index, &ann(), "get", "acme.com:things", "shop"), "decisions do not wait for the objects");
}

#[test]
fn roles_that_aggregate_each_other_end() {
    let ring = |name: &str, other: &str| {
        json!({
            "apiVersion": VERSION, "kind": "ClusterRole", "metadata": {"name": name, "labels": {"ring": name}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"ring": other}}]},
            "rules": [{"apiGroups": [""], "resources": [name], "verbs": ["get"]}],
        })
    };
    let index = index(&[ring("a", "b"), ring("b", "a")]);
    assert_eq!(index.stale, [], "each keeps what it said itself");
}

#[test]
fn defaults_are_completed_and_otherwise_left_alone() {
    let wanted = defaults::cluster_roles().into_iter().find(|role| role["metadata"]["name"] == "system:basic-user");
    let wanted = wanted.unwrap();
    assert_eq!(defaults::completed(&wanted, &wanted), None);
    let mut present = wanted.clone();
    present["rules"] = json!([{"apiGroups": ["acme.com"], "resources": ["things"], "verbs": ["get"]}]);
    let after = defaults::completed(&present, &wanted).unwrap();
    assert_eq!(after["rules"][0], present["rules"][0], "what was added stays");
    assert!(after["rules"].as_array().unwrap().len() > 1, "what was removed is back");
    present["metadata"]["annotations"][defaults::AUTOUPDATE] = json!("false");
    assert_eq!(defaults::completed(&present, &wanted), None);
}

#[test]
fn methods_that_no_role_has_a_word_for_are_no_reading() {
    let path = ResourcePath { plural: "services".into(), name: Some("web".into()), ..ResourcePath::default() };
    for (method, verb) in [
        ("GET", "get"),
        ("HEAD", "get"),
        ("POST", "create"),
        ("PUT", "update"),
        ("PATCH", "patch"),
        ("DELETE", "delete"),
        ("OPTIONS", ""),
        ("PROPFIND", ""),
        ("PURGE", ""),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(OnResource::of_request(&method, &path, &Query::default()).verb, verb, "{method}");
    }
}
