use serde_json::json;

use crate::kinds::tests::{check_problems, check_updates, defaulted, problems, sample, with};

#[test]
fn plain_strings_become_data_and_win() {
    let secret = json!({ "stringData": { "a": "new" }, "data": { "a": "b2xk", "b": "Yg==" } });
    let secret = defaulted("Secret", secret);
    assert_eq!(secret, json!({ "data": { "a": "bmV3", "b": "Yg==" }, "type": "Opaque" }));
}

#[test]
fn keys_and_contents_are_checked() {
    let map = sample("ConfigMap");
    check_problems(
        "ConfigMap",
        &map,
        &[
            (
                json!({ "binaryData": { "key": "AA==" } }),
                &["data[key]: Invalid value: \"value\": duplicate of key present in binaryData"],
            ),
            (json!({ "data": { "..": "x" } }), &["data[..]: Invalid value: \"..\": must not start with '..'"]),
        ],
    );
    let large = with(&map, json!({ "data": { "key": "x".repeat((1 << 20) + 1) } }));
    assert_eq!(problems("ConfigMap", large), [": Too long: may not be more than 1048576 bytes"]);
    let found = problems("Secret", with(&sample("Secret"), json!({ "data": { "key2": "s3cr3t!" } })));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("data[key2]: Invalid value: must be base64"), "{found:?}");
    assert!(!found[0].contains("s3cr3t"), "a secret must not be shown: {found:?}");
}

#[test]
fn secrets_hold_what_their_type_promises() {
    check_problems(
        "Secret",
        &sample("Secret"),
        &[
            (
                json!({ "type": "kubernetes.io/tls" }),
                &["data[tls.crt]: Required value", "data[tls.key]: Required value"],
            ),
            (json!({ "type": "kubernetes.io/tls", "stringData": { "tls.crt": "c", "tls.key": "k" } }), &[]),
            (json!({ "type": "example.com/own" }), &[]),
        ],
    );
}

#[test]
fn what_is_immutable_stays() {
    check_updates(
        "Secret",
        &sample("Secret"),
        &[
            (json!({ "data": { "key": "bmV3" } }), &[]),
            (json!({ "type": "other" }), &["type: Invalid value: \"other\": field is immutable"]),
        ],
    );
    let frozen = with(&sample("ConfigMap"), json!({ "immutable": true }));
    let detail = "field is immutable when `immutable` is set";
    check_updates(
        "ConfigMap",
        &frozen,
        &[
            (json!({ "metadata": { "labels": { "a": "b" } } }), &[]),
            (json!({ "immutable": false }), &[&format!("immutable: Forbidden: {detail}")]),
            (json!({ "data": { "key": "new" } }), &[&format!("data: Forbidden: {detail}")]),
        ],
    );
}
