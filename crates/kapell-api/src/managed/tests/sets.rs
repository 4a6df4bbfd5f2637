//! Sets as values, and the sets that values have.

use super::*;

fn set(fields: Value) -> Set {
    Set::from_fields_v1(&fields).unwrap()
}

#[test]
fn fields_are_written_in_canonical_order() {
    let scrambled = json!({
        "v:true": {}, "i:2": {}, "v:\"b\"": {}, "v:3": {}, "f:z": {"f:b": {}, ".": {}},
        "k:{\"protocol\":\"TCP\",\"port\":80}": {"f:port": {}, ".": {}}, "f:a": {}, "f:only-below": {"f:x": {}},
    });
    let text = set(scrambled).to_fields_v1().to_string();
    assert_eq!(
        text,
        r#"{"f:a":{},"f:only-below":{"f:x":{}},"f:z":{".":{},"f:b":{}},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}},"v:3":{},"v:\"b\"":{},"v:true":{},"i:2":{}}"#
    );
    assert_eq!(set(serde_json::from_str(&text).unwrap()).to_fields_v1().to_string(), text);
    for wrong in
        [json!([]), json!({"x:a": {}}), json!({"k:[1]": {}}), json!({"v:{": {}}), json!({"i:x": {}}), json!({"f": {}})]
    {
        assert!(Set::from_fields_v1(&wrong).is_err(), "{wrong}");
    }
    assert!(Set::from_fields_v1(&json!({"f:a": 1})).is_err());
}

#[test]
fn paths_read_as_upstream_prints_them() {
    let fields = json!({"f:spec": {
        "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:name": {}}},
        "f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}}},
        "f:finalizers": {"v:\"a/b\"": {}}, "f:list": {"i:0": {}},
    }});
    assert_eq!(
        set(fields).paths(),
        [
            r#".spec.containers[name="web"].image"#,
            r#".spec.containers[name="web"]"#,
            r#".spec.finalizers[="a/b"]"#,
            ".spec.list[0]",
            r#".spec.ports[port=80,protocol="TCP"].name"#,
        ]
    );
}

#[test]
fn set_operations() {
    let a = set(json!({"f:a": {".": {}, "f:x": {}}, "f:b": {"f:y": {}}}));
    let b = set(json!({"f:a": {"f:x": {}, "f:z": {}}, "f:c": {}}));
    let mut union = a.clone();
    union.union(&b);
    assert_eq!(union, set(json!({"f:a": {".": {}, "f:x": {}, "f:z": {}}, "f:b": {"f:y": {}}, "f:c": {}})));
    assert_eq!(a.intersection(&b), set(json!({"f:a": {"f:x": {}}})));
    assert_eq!(
        a.difference(&b),
        set(json!({"f:a": {}, "f:b": {"f:y": {}}})),
        "a member stays without what is below it"
    );
    assert_eq!(b.difference(&b), Set::default());
    assert!(a.is_subset(&union) && !union.is_subset(&a) && !set(json!({"f:a": {}})).is_subset(&b));
}

#[test]
fn sets_of_values() {
    let rows = [
        (
            "scalars, and what belongs to nobody",
            &*CONFIG_MAP,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "u", "generateName": "g"}, "data": {"k": "v"}}),
            json!({"f:metadata": {"f:generateName": {}}, "f:data": {"f:k": {}}}),
        ),
        (
            "empty maps and nulls",
            &*CONFIG_MAP,
            json!({"data": {}, "immutable": null}),
            json!({"f:data": {}, "f:immutable": {}}),
        ),
        (
            "a keyed list",
            &*POD,
            json!({"spec": {"containers": [{"name": "c", "image": "i", "args": ["x", "y"]}]}}),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}, "f:args": {}}}}}),
        ),
        (
            "a key with a default",
            &*SERVICE,
            json!({"spec": {"ports": [{"port": 80}, {"port": 80, "protocol": "UDP"}]}}),
            json!({"f:spec": {"f:ports": {
                "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}},
                "k:{\"port\":80,\"protocol\":\"UDP\"}": {".": {}, "f:port": {}, "f:protocol": {}},
            }}}),
        ),
        (
            "a set",
            &*POD,
            json!({"metadata": {"finalizers": ["a/b"]}}),
            json!({"f:metadata": {"f:finalizers": {"v:\"a/b\"": {}}}}),
        ),
        (
            "atomic types in a keyed list",
            &*POD,
            json!({"metadata": {"ownerReferences": [{"uid": "u", "name": "n"}]}}),
            json!({"f:metadata": {"f:ownerReferences": {"k:{\"uid\":\"u\"}": {}}}}),
        ),
        (
            "atomic maps and types",
            &*SERVICE,
            json!({"spec": {"selector": {"a": "b"}}}),
            json!({"f:spec": {"f:selector": {}}}),
        ),
        (
            "atomic types",
            &*DEPLOYMENT,
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
            json!({"f:spec": {"f:selector": {}}}),
        ),
        (
            "deduced: maps are granular, lists atomic",
            &*OPEN,
            json!({"spec": {"a": {"b": [1, {"c": 2}]}, "d": 1}}),
            json!({"f:spec": {".": {}, "f:a": {".": {}, "f:b": {}}, "f:d": {}}}),
        ),
    ];
    for (what, schema, value, expected) in rows {
        assert_eq!(set_of(schema, &value), set(expected), "{what}");
    }
}
