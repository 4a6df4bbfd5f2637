use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::schema_of;

static POD: LazyLock<Schema> = LazyLock::new(|| of("core", "Pod"));

fn of(group: &str, kind: &str) -> Schema {
    Schema::compile(&schema_of(&format!("io.k8s.api.{group}.v1.{kind}")))
}

/// Each row: what it shows, the current `spec` of a Pod, the patch of `spec`, the resulting `spec`.
fn check_pod_spec(rows: Vec<(&str, Value, Value, Value)>) {
    let schema = &*POD;
    for (what, current, patch, expected) in rows {
        let result = strategic_merge(schema, &json!({"spec": current}), &json!({"spec": patch}));
        assert_eq!(result, Ok(json!({"spec": expected})), "{what}");
    }
}

#[test]
fn objects_merge_and_null_deletes() {
    check_pod_spec(vec![
        (
            "a scalar is set",
            json!({"a": 1, "nodeName": "x"}),
            json!({"nodeName": "y"}),
            json!({"a": 1, "nodeName": "y"}),
        ),
        (
            "null deletes",
            json!({"nodeName": "x", "hostname": "h"}),
            json!({"nodeName": null}),
            json!({"hostname": "h"}),
        ),
        ("null for nothing", json!({}), json!({"nodeName": null}), json!({})),
        (
            "maps merge",
            json!({"nodeSelector": {"a": "1", "b": "2"}}),
            json!({"nodeSelector": {"a": null, "c": "3"}}),
            json!({"nodeSelector": {"b": "2", "c": "3"}}),
        ),
        (
            "new objects lose nulls",
            json!({}),
            json!({"nodeSelector": {"a": null, "c": "3"}}),
            json!({"nodeSelector": {"c": "3"}}),
        ),
        (
            "$patch replace",
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$patch": "replace", "b": "2"}}),
            json!({"nodeSelector": {"b": "2"}}),
        ),
        (
            "$patch delete",
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$patch": "delete"}}),
            json!({"nodeSelector": {}}),
        ),
        (
            "$patch merge",
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$patch": "merge", "b": "2"}}),
            json!({"nodeSelector": {"a": "1", "b": "2"}}),
        ),
        (
            "another type replaces",
            json!({"nodeSelector": "x"}),
            json!({"nodeSelector": {"b": "2"}}),
            json!({"nodeSelector": {"b": "2"}}),
        ),
    ]);
}

#[test]
fn lists_of_objects_merge_by_key() {
    let two = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]});
    check_pod_spec(vec![
        (
            "an element changes",
            two.clone(),
            json!({"containers": [{"name": "b", "image": "3"}]}),
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "3"}]}),
        ),
        (
            "an element is deleted",
            two.clone(),
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [{"name": "b", "image": "2"}]}),
        ),
        (
            "deleting what is absent",
            two.clone(),
            json!({"containers": [{"name": "z", "$patch": "delete"}]}),
            two.clone(),
        ),
        (
            "a new element comes first",
            two.clone(),
            json!({"containers": [{"name": "c"}]}),
            json!({"containers": [{"name": "c"}, {"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}),
        ),
        (
            "an ordered new element",
            two.clone(),
            json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}], "containers": [{"name": "c"}]}),
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c"}]}),
        ),
        (
            "order alone",
            two.clone(),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "b", "image": "2"}, {"name": "a", "image": "1"}]}),
        ),
        (
            "order leaves the server's elements in place",
            json!({"containers": [{"name": "s1"}, {"name": "a"}, {"name": "s2"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "s1"}, {"name": "s2"}, {"name": "b"}, {"name": "a"}]}),
        ),
        (
            "the list is replaced",
            two.clone(),
            json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
            json!({"containers": [{"name": "c"}]}),
        ),
        ("the list is emptied", two.clone(), json!({"containers": [{"$patch": "replace"}]}), json!({"containers": []})),
        (
            "a list that is new",
            json!({}),
            json!({"containers": [{"name": "a", "image": null}, {"name": "b", "$patch": "delete"}]}),
            json!({"containers": [{"name": "a"}]}),
        ),
        (
            "an element is replaced whole",
            two.clone(),
            json!({"containers": [{"name": "a", "env": [{"$patch": "replace"}, {"name": "X", "value": "1"}]}]}),
            json!({"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "2"}]}),
        ),
        (
            "numbers are keys too",
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "x"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "y"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "y"}]}]}),
        ),
        (
            "atomic lists are replaced",
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            json!({"tolerations": [{"key": "b"}]}),
        ),
        ("lists of unknown fields are replaced", json!({"odd": [1]}), json!({"odd": [2]}), json!({"odd": [2]})),
    ]);
}

#[test]
fn lists_of_scalars_merge_as_sets() {
    let schema = &*POD;
    for (what, current, patch, expected) in [
        ("union", json!(["a", "b"]), json!({"finalizers": ["b", "c"]}), json!(["a", "b", "c"])),
        ("deletion", json!(["a", "b", "a"]), json!({"$deleteFromPrimitiveList/finalizers": ["a"]}), json!(["b"])),
        (
            "both, ordered",
            json!(["a", "b"]),
            json!({
                "$deleteFromPrimitiveList/finalizers": ["a"],
                "$setElementOrder/finalizers": ["c", "b"],
                "finalizers": ["c"],
            }),
            json!(["c", "b"]),
        ),
    ] {
        let result =
            strategic_merge(schema, &json!({"metadata": {"finalizers": current}}), &json!({"metadata": patch}));
        assert_eq!(result.unwrap()["metadata"], json!({"finalizers": expected}), "{what}");
    }
}

#[test]
fn retain_keys_clears_the_other_members_of_a_union() {
    let schema = of("apps", "Deployment");
    let current = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let result = strategic_merge(&schema, &current, &patch).unwrap();
    assert_eq!(result, json!({"spec": {"strategy": {"type": "Recreate"}}}));
    check_pod_spec(vec![(
        "a volume changes its source",
        json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}, {"name": "w", "emptyDir": {}}]}),
    )]);
}

#[test]
fn confused_strategic_patches_are_refused() {
    let schema = &*POD;
    let current = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
    for patch in [
        json!([]),
        json!({"$patch": "remove"}),
        json!({"$patch": 1}),
        json!({"spec": {"containers": [{"image": "x"}]}}),
        json!({"spec": {"containers": ["x"]}}),
        json!({"spec": {"containers": [{"$patch": "delete"}]}}),
        json!({"spec": {"nodeSelector": {"$retainKeys": ["a"], "b": "1"}}}),
        json!({"spec": {"nodeSelector": {"$retainKeys": "a"}}}),
        json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}}),
        json!({"spec": {"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "b"}, {"name": "a"}]}}),
        json!({"spec": {"$setElementOrder/containers": {}}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [{}]}}),
        json!({"metadata": {"finalizers": [{}]}}),
    ] {
        let result = strategic_merge(schema, &current, &patch);
        assert!(matches!(result, Err(PatchError::Malformed(_))), "{patch}: {result:?}");
    }
}

#[test]
fn json_patches_apply_wholly_or_not() {
    let current = json!({"a": {"b": [1, 2]}, "c": "x"});
    for (patch, expected) in [
        (json!([]), json!({"a": {"b": [1, 2]}, "c": "x"})),
        (json!([{"op": "add", "path": "/a/b/-", "value": 3}]), json!({"a": {"b": [1, 2, 3]}, "c": "x"})),
        (json!([{"op": "remove", "path": "/a/b/0"}]), json!({"a": {"b": [2]}, "c": "x"})),
        (
            json!([{"op": "test", "path": "/c", "value": "x"}, {"op": "replace", "path": "/c", "value": 1}]),
            json!({"a": {"b": [1, 2]}, "c": 1}),
        ),
        (json!([{"op": "move", "from": "/c", "path": "/d"}]), json!({"a": {"b": [1, 2]}, "d": "x"})),
        (json!([{"op": "copy", "from": "/c", "path": "/d~1e"}]), json!({"a": {"b": [1, 2]}, "c": "x", "d/e": "x"})),
    ] {
        assert_eq!(json_patch(&current, &patch), Ok(expected), "{patch}");
    }
    for patch in [
        json!([{"op": "add", "path": "/z", "value": 1}, {"op": "test", "path": "/c", "value": "y"}]),
        json!([{"op": "remove", "path": "/z"}]),
        json!([{"op": "replace", "path": "/z", "value": 1}]),
        json!([{"op": "move", "from": "/z", "path": "/y"}]),
        json!([{"op": "move", "from": "/a", "path": "/a/b/0"}]),
        json!([{"op": "add", "path": "/a/b/7", "value": 1}]),
    ] {
        assert!(matches!(json_patch(&current, &patch), Err(PatchError::Inapplicable(_))), "{patch}");
    }
    for patch in [json!({}), json!([{"op": "frob", "path": "/a"}]), json!([{"op": "add", "path": "a", "value": 1}])] {
        assert!(matches!(json_patch(&current, &patch), Err(PatchError::Malformed(_))), "{patch}");
    }
}

#[test]
fn json_patches_are_bounded() {
    let add = json!({"op": "add", "path": "/a", "value": 1});
    let many = Value::Array(vec![add; MAX_OPERATIONS + 1]);
    assert!(matches!(json_patch(&json!({}), &many), Err(PatchError::TooLarge(_))));
    let doubling = Value::Array((0..60).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/-"})).collect());
    let big = json!({"a": ["x".repeat(1000)]});
    assert!(matches!(json_patch(&big, &doubling), Err(PatchError::TooLarge(_))));
}

#[test]
fn merge_patches_follow_the_rfc() {
    for (current, patch, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b", "c": 1}), json!({"a": null}), json!({"c": 1})),
        (json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]})),
        (json!({"a": {"b": 1}}), json!({"a": {"b": null, "c": 2}}), json!({"a": {"c": 2}})),
        (json!({"a": 1}), json!(["x"]), json!(["x"])),
        (json!({}), json!({"a": {"b": {"c": null}}}), json!({"a": {"b": {}}})),
        (json!([1]), json!({"a": 1}), json!({"a": 1})),
    ] {
        assert_eq!(merge_patch(&current, &patch), expected, "{current} + {patch}");
    }
}

/// The merge patch that leads from one value without nulls to another.
fn difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let mut patch = serde_json::Map::new();
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in to {
        match from.get(key) {
            Some(old) if old == value => {}
            Some(old) => drop(patch.insert(key.clone(), difference(old, value))),
            None => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(patch)
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![any::<i64>().prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-d]", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Lists that are merged by a key, and everything else that pods differ in.
const KEYED: [(&str, &str); 3] = [("containers", "name"), ("env", "name"), ("ports", "containerPort")];

/// The strategic patch that leads from one object to another, as kubectl computes it: items by their keys, those that go named
/// as deleted, and the order of all.
fn strategic_difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (from, to) else { return to.clone() };
    let mut patch = serde_json::Map::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, new) in after {
        let old = before.get(name).unwrap_or(&Value::Null);
        match (KEYED.iter().find(|(list, _)| list == name), new) {
            _ if old == new => {}
            (Some((_, key)), Value::Array(items)) => {
                let none = Vec::new();
                let (items, order) = keyed_difference(key, old.as_array().unwrap_or(&none), items);
                patch.insert(name.clone(), items);
                patch.insert(format!("$setElementOrder/{name}"), order);
            }
            (None, Value::Object(_)) if old.is_object() => {
                patch.insert(name.clone(), strategic_difference(old, new));
            }
            _ => drop(patch.insert(name.clone(), new.clone())),
        }
    }
    Value::Object(patch)
}

fn keyed_difference(key: &str, old: &[Value], new: &[Value]) -> (Value, Value) {
    let mut items: Vec<Value> = old
        .iter()
        .filter(|item| !new.iter().any(|other| other[key] == item[key]))
        .map(|item| json!({key: item[key], "$patch": "delete"}))
        .collect();
    for item in new {
        let before = old.iter().find(|other| other[key] == item[key]).cloned().unwrap_or_else(|| json!({}));
        let mut change = strategic_difference(&before, item);
        change[key] = item[key].clone();
        items.push(change);
    }
    let order: Vec<Value> = new.iter().map(|item| json!({key: item[key]})).collect();
    (json!(items), json!(order))
}

/// Pods of a few containers in any order, with keyed, atomic and plain fields.
fn pod() -> impl Strategy<Value = Value> {
    let ports = proptest::collection::btree_map(1u16..5, "[ab]", 0..3).prop_map(|ports| {
        let ports = ports.into_iter().map(|(n, name)| json!({"containerPort": n, "name": name}));
        ports.collect::<Vec<_>>()
    });
    let env = proptest::collection::btree_map("[A-C]", "[01]", 0..3)
        .prop_map(|env| env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>());
    let command = proptest::collection::vec("[xyz]", 0..3);
    let container =
        (ports, env.prop_shuffle(), command, proptest::option::of("[ij]")).prop_map(|(ports, env, command, image)| {
            let mut container = json!({"ports": ports, "env": env, "command": command});
            if let Some(image) = image {
                container["image"] = json!(image);
            }
            container
        });
    let containers = proptest::collection::btree_map("[a-d]", container, 0..4).prop_map(|containers| {
        let named = containers.into_iter().map(|(name, mut container)| {
            container["name"] = json!(name);
            container
        });
        named.collect::<Vec<_>>()
    });
    let selector = proptest::option::of(proptest::collection::btree_map("[pq]", "[01]", 0..2));
    (containers.prop_shuffle(), selector).prop_map(|(containers, selector)| {
        let mut spec = json!({"containers": containers});
        if let Some(selector) = selector {
            spec["nodeSelector"] = json!(selector);
        }
        json!({"spec": spec})
    })
}

proptest! {
    #[test]
    fn the_difference_leads_there(from in value(), to in value()) {
        prop_assert_eq!(merge_patch(&from, &difference(&from, &to)), to);
    }

    #[test]
    fn a_strategic_patch_without_lists_is_a_merge_patch(from in value(), to in value()) {
        let schema = Schema::compile(&Value::Bool(true));
        let (from, to) = (serde_json::json!({"x": from}), serde_json::json!({"x": to}));
        let patch = difference(&from, &to);
        prop_assert_eq!(strategic_merge(&schema, &from, &patch).unwrap(), to);
    }

    #[test]
    fn merging_a_pod_into_itself_changes_nothing(names in proptest::collection::btree_set("[a-d]", 0..4)) {
        let containers: Vec<Value> = names.iter().map(|n| json!({"name": n, "image": "x"})).collect();
        let pod = json!({"spec": {"containers": containers}});
        prop_assert_eq!(strategic_merge(&POD, &pod, &pod).unwrap(), pod);
    }

    #[test]
    fn the_strategic_difference_of_pods_leads_there(from in pod(), to in pod()) {
        let patch = strategic_difference(&from, &to);
        let there = strategic_merge(&POD, &from, &patch).unwrap();
        prop_assert_eq!(&there, &to, "{}", patch);
        prop_assert_eq!(strategic_merge(&POD, &there, &patch).unwrap(), to, "a second time: {}", patch);
    }
}
