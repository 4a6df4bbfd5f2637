use serde_json::json;

use super::*;

#[test]
fn what_is_stored_comes_back_with_its_revision() {
    let object = json!({
        "spec": {"metadata": {"resourceVersion": "not mine"}},
        "metadata": {"name": "a", "resourceVersion": "4"},
        "kind": "K", "apiVersion": "v1",
    });
    let stored = encode(&object);
    assert!(stored.starts_with(br#"{"apiVersion":"v1","kind":"K","metadata":{"name":"a"}"#), "{stored:?}");

    let mut out = Vec::new();
    write_with_revision(&mut out, &stored, 17);
    let mut expected = object;
    expected["metadata"]["resourceVersion"] = json!("17");
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
}

#[test]
fn metadata_is_found_by_its_braces() {
    let labels = json!({"a": "}", "b": "\\\"}", "c": {"d": "{"}});
    let object =
        json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "a", "labels": labels}, "data": {"x": "}"}});
    let stored = encode(&object);
    let mut found = b"{".to_vec();
    found.extend_from_slice(metadata(&stored).unwrap());
    assert_eq!(serde_json::from_slice::<Value>(&found).unwrap(), object["metadata"]);
    assert_eq!(metadata(b"{}"), None);
}

#[test]
fn values_that_end_in_a_brace_do_not_confuse_the_commas() {
    let object = json!({
        "apiVersion": "v1", "kind": "K", "metadata": {"name": "a", "labels": {}}, "data": {"{": "{"}, "x": {}, "y": 1,
    });
    assert_eq!(serde_json::from_slice::<Value>(&encode(&object)).unwrap(), object);
}
