use serde_json::json;

use crate::kinds::tests::{check_problems, sample};

#[test]
fn a_sink_says_what_is_wrong_with_it() {
    let secret = json!({ "secretKeyRef": { "name": "s", "key": "k" } });
    let header = |name: &str| json!({ "spec": { "headers": [{ "name": name, "value": "1" }] } });
    check_problems(
        "EventSink",
        &sample("EventSink"),
        &[
            (json!({}), &[]),
            (json!({ "spec": { "types": ["com.example.*", "x"] } }), &[]),
            (header("x-key"), &[]),
            (json!({ "spec": { "headers": [{ "name": "x", "valueFrom": secret }] } }), &[]),
            (
                json!({ "spec": { "uri": "billing/events" } }),
                &["spec.uri: Invalid value: \"billing/events\": must be an absolute http or https URI"],
            ),
            (
                json!({ "spec": { "uri": "ftp://x/" } }),
                &["spec.uri: Invalid value: \"ftp://x/\": must be an absolute http or https URI"],
            ),
            (
                json!({ "spec": { "types": ["a*b"] } }),
                &["spec.types[0]: Invalid value: \"a*b\": must be a type, or the beginning of one followed by *"],
            ),
            (header("Content-Type"), &["spec.headers[0].name: Invalid value: \"Content-Type\": is set for each event"]),
            (
                json!({ "spec": { "mode": "Batch" } }),
                &["spec.mode: Unsupported value: \"Batch\": supported values: \"Structured\", \"Binary\", \"Batched\""],
            ),
            (
                json!({ "spec": { "headers": [{ "name": "x", "value": "1", "valueFrom": secret }] } }),
                &["spec.headers[0]: Required value: either `value` or `valueFrom`"],
            ),
        ],
    );
}
