use serde_json::json;

use super::*;

#[test]
fn bytes_and_value_give_the_same() {
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "spec": {"containers": [{"name": "c", "metadata": {"name": "decoy"}}]},
        "metadata": {
            "name": "web-1", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 3,
            "labels": {"app": "web"}, "annotations": null, "finalizers": ["a/b"], "managedFields": [{"x": 1}],
            "creationTimestamp": null, "deletionTimestamp": "2026-01-02T03:04:05Z",
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "2", "controller": true},
            ],
        },
    });
    let m = Metadata::of(&object).unwrap();
    assert_eq!(m, Metadata::from_json(object.to_string().as_bytes()).unwrap());
    assert_eq!((m.name.as_str(), m.namespace.as_str(), m.generation), ("web-1", "shop", 3));
    assert_eq!(m.controller().unwrap().name, "web");
    assert!(m.is_terminating() && m.creation_timestamp.is_none() && m.annotations.is_empty());
    assert_eq!(m.labels["app"], "web");
}

#[test]
fn absence_is_empty_and_wrong_types_are_errors() {
    assert_eq!(Metadata::from_json(b"{}").unwrap(), Metadata::default());
    assert_eq!(Metadata::of(&json!({"metadata": null})).unwrap(), Metadata::default());
    assert!(Metadata::of(&json!({"metadata": {"labels": {"a": 1}}})).is_err());
    assert!(Metadata::from_json(b"{").is_err());
}
