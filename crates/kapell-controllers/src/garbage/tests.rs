use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::graph::{FOREGROUND, ORPHAN};
use super::*;

fn node(namespace: &str, name: &str, changes: Value) -> Node {
    let mut meta = json!({"name": name, "namespace": namespace, "uid": name});
    json_patch::merge(&mut meta, &changes);
    Node::of(0, &serde_json::from_value(meta).unwrap())
}

fn owned_by(owner: &str, blocks: bool) -> Value {
    json!({"ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": owner, "blockOwnerDeletion": blocks}]})
}

fn deleting(finalizer: &str) -> Value {
    json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer]})
}

fn planned(object: &Node, owners: &[(&str, Owner)], dependents: &[(&str, bool)]) -> Action {
    let owners: Vec<_> = owners.iter().map(|(uid, state)| ((*uid).to_owned(), *state)).collect();
    let of = |name: &str| node("ns", name, json!({}));
    let dependents: BTreeMap<_, _> =
        dependents.iter().map(|(uid, blocks)| ((*uid).to_owned(), (of(uid), *blocks))).collect();
    plan::plan(object, &owners, &dependents)
}

#[test]
fn an_object_goes_when_its_last_owner_has_gone() {
    let object = node("ns", "o", owned_by("a", true));
    let cases = [
        (vec![("a", Owner::Solid)], Action::Nothing),
        (vec![("a", Owner::Absent)], Action::Delete(Propagation::Background)),
        (vec![("a", Owner::Absent), ("b", Owner::Absent)], Action::Delete(Propagation::Background)),
        (vec![("a", Owner::Absent), ("b", Owner::Solid)], Action::ReleaseFrom(vec!["a".to_owned()])),
        (vec![("a", Owner::Waiting), ("b", Owner::Solid)], Action::ReleaseFrom(vec!["a".to_owned()])),
        (vec![("a", Owner::Waiting)], Action::Delete(Propagation::Background)),
        (vec![], Action::Nothing),
    ];
    for (owners, action) in cases {
        assert_eq!(planned(&object, &owners, &[]), action, "{owners:?}");
    }
    let has_own = planned(&object, &[("a", Owner::Waiting)], &[("d", true)]);
    assert_eq!(has_own, Action::Delete(Propagation::Foreground), "its own dependents go before it");
    let going = node("ns", "o", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
    assert_eq!(planned(&going, &[("a", Owner::Absent)], &[]), Action::Nothing);
}

#[test]
fn a_circle_in_which_everybody_waits_is_broken() {
    let object = node("ns", "o", owned_by("a", true));
    let waiting = (node("ns", "d", deleting(FOREGROUND)), true);
    let dependents = BTreeMap::from([("d".to_owned(), waiting)]);
    let owners = [("a".to_owned(), Owner::Waiting)];
    assert_eq!(plan::plan(&object, &owners, &dependents), Action::DeleteUnawaited);
    let owners = [("a".to_owned(), Owner::Absent)];
    assert_eq!(plan::plan(&object, &owners, &dependents), Action::Delete(Propagation::Background));
}

#[test]
fn foreground_deletion_waits_for_blocking_dependents_only() {
    let owner = node("ns", "o", deleting(FOREGROUND));
    assert_eq!(planned(&owner, &[], &[("a", true), ("b", false)]), Action::Await(vec!["a".to_owned()]));
    assert_eq!(planned(&owner, &[], &[("b", false)]), Action::Finalize(FOREGROUND));
}

#[test]
fn orphaning_releases_dependents_before_the_owner_goes() {
    let owner = node("ns", "o", deleting(ORPHAN));
    assert_eq!(planned(&owner, &[], &[("a", true)]), Action::OrphanDependents(vec!["a".to_owned()]));
}

#[test]
fn the_graph_tells_whom_a_change_concerns() {
    let mut graph = Graph::default();
    assert!(graph.insert("owner", node("ns", "owner", json!({}))).is_empty());
    assert_eq!(graph.insert("child", node("ns", "child", owned_by("owner", true))), ["child"]);
    assert_eq!(graph.insert("owner", node("ns", "owner", deleting(FOREGROUND))), ["owner", "child"]);
    assert!(graph.dependents("owner")["child"].1, "blocks");
    // The child goes: its waiting owner is looked at, which can go now; then nobody is left to look at.
    assert_eq!(graph.remove("child"), ["owner"]);
    assert!(graph.dependents("owner").is_empty());
    assert!(graph.remove("owner").is_empty());

    graph.insert("late", node("ns", "late", owned_by("gone", false)));
    graph.insert("gone", node("ns", "gone", json!({})));
    assert_eq!(graph.remove("gone"), ["late"]);
}

#[test]
fn an_owner_that_waits_is_looked_at_when_a_reference_to_it_is_dropped() {
    let mut graph = Graph::default();
    graph.insert("owner", node("ns", "owner", deleting(FOREGROUND)));
    graph.insert("child", node("ns", "child", owned_by("owner", true)));
    assert_eq!(graph.insert("child", node("ns", "child", json!({}))), ["owner"]);
}

#[test]
fn owners_in_another_namespace_are_none() {
    let mut graph = Graph::default();
    graph.insert("owner", node("there", "owner", json!({})));
    graph.insert("wide", node("", "wide", json!({})));
    let child = node("here", "child", owned_by("owner", true));
    graph.insert("child", child.clone());
    let reference = |uid: &str| OwnerReference { uid: uid.to_owned(), ..OwnerReference::default() };
    assert!(graph.owner(&reference("owner"), &child).is_none());
    assert!(graph.owner(&reference("wide"), &child).is_some());
    assert!(graph.dependents("owner").is_empty());
}
