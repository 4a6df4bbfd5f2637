use serde_json::json;

use super::*;

#[test]
fn what_is_remembered_is_what_kubectl_writes() {
    let object = json!({
        "kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": "a"},
        "data": {"z": "a<b>&\u{2028}", "b": "1"},
    });
    let expected = concat!(
        r#"{"apiVersion":"v1","data":{"b":"1","z":"a\u003cb\u003e\u0026\u2028"},"kind":"ConfigMap","#,
        r#""metadata":{"annotations":{},"name":"a","namespace":"shop"}}"#,
        "\n"
    );
    let once = annotated(&object, Some("shop"));
    assert_eq!(once["metadata"]["annotations"][LAST_APPLIED], expected);
    assert_eq!(annotated(&once, Some("shop")), once, "its own memory is not remembered");
    let cluster_wide = annotated(&json!({"metadata": {"name": "n", "annotations": {"x": "y"}}}), None);
    assert_eq!(
        cluster_wide["metadata"]["annotations"][LAST_APPLIED],
        "{\"metadata\":{\"annotations\":{\"x\":\"y\"},\"name\":\"n\"}}\n"
    );
}

#[test]
fn a_patch_sets_what_differs_and_removes_what_the_file_has_dropped() {
    let cases = [
        ("nothing to do", json!({"a": 1}), json!({"a": 1}), json!({"a": 1, "of": "another"}), json!({})),
        ("changed", json!({"a": 1}), json!({"a": 2}), json!({"a": 1}), json!({"a": 2})),
        ("drifted", json!({"a": 1}), json!({"a": 1}), json!({"a": 3}), json!({"a": 1})),
        ("dropped", json!({"a": 1, "b": 1}), json!({"a": 1}), json!({"a": 1, "b": 1, "c": 1}), json!({"b": null})),
        ("dropped and gone", json!({"b": 1}), json!({}), json!({}), json!({})),
        (
            "deep",
            json!({"m": {"x": 1}}),
            json!({"m": {"y": 1}}),
            json!({"m": {"x": 1, "z": 1}}),
            json!({"m": {"x": null, "y": 1}}),
        ),
        ("lists are whole", json!({"l": [1]}), json!({"l": [1, 2]}), json!({"l": [1, 3]}), json!({"l": [1, 2]})),
        ("first time", Value::Null, json!({"a": {"b": 1}}), json!({"a": {"c": 1}}), json!({"a": {"b": 1}})),
    ];
    for (name, last, wanted, live, expected) in cases {
        assert_eq!(three_way(&last, &wanted, &live), expected, "{name}");
    }
}
