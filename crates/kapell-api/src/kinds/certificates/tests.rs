use serde_json::json;

use super::*;

fn request(spec: Value, status: Value) -> Value {
    let pem = "-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----\n";
    let mut request = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "jane"},
        "spec": {"request": STANDARD.encode(pem), "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]},
        "status": status,
    });
    json_patch::merge(&mut request["spec"], &spec);
    request
}

fn refused(spec: Value, status: Value) -> Vec<String> {
    validate(&request(spec, status)).into_iter().map(|problem| problem.field).collect()
}

#[test]
fn requests_are_whole_or_refused_by_field() {
    let fine = || json!({});
    assert!(refused(fine(), fine()).is_empty());
    for (spec, field) in [
        (json!({"request": null}), "spec.request"),
        (json!({"request": STANDARD.encode("-----BEGIN PRIVATE KEY-----")}), "spec.request"),
        (json!({"signerName": null}), "spec.signerName"),
        (json!({"signerName": "no-path"}), "spec.signerName"),
        (json!({"signerName": "local/x"}), "spec.signerName"),
        (json!({"signerName": "Upper.example/x"}), "spec.signerName"),
        (json!({"usages": []}), "spec.usages"),
        (json!({"usages": ["client auth", "client auth"]}), "spec.usages[1]"),
        (json!({"usages": ["world domination"]}), "spec.usages[0]"),
        (json!({"expirationSeconds": 599}), "spec.expirationSeconds"),
    ] {
        assert_eq!(refused(spec.clone(), fine()), [field], "{spec}");
    }
}

#[test]
fn a_decision_is_one_and_stays() {
    let conditions = |list: &[(&str, &str)]| json!({"conditions": list.iter().map(|(type_, status)| json!({"type": type_, "status": status})).collect::<Vec<_>>()});
    for (list, expected) in [
        (vec![("Approved", "True")], None),
        (vec![("Approved", "True"), ("Failed", "True"), ("example.com/Other", "False")], None),
        (vec![("Approved", "True"), ("Denied", "True")], Some("status.conditions[1].type")),
        (vec![("Denied", "False")], Some("status.conditions[0].status")),
        (vec![("Approved", "True"), ("Approved", "True")], Some("status.conditions[1]")),
    ] {
        assert_eq!(refused(json!({}), conditions(&list)).first().map(String::as_str), expected, "{list:?}");
    }
}

#[test]
fn the_condition_tells_how_far_it_is() {
    for (status, expected) in [
        (json!({}), "Pending"),
        (json!({"conditions": [{"type": "Approved"}]}), "Approved"),
        (json!({"conditions": [{"type": "Approved"}], "certificate": "eA=="}), "Approved,Issued"),
        (json!({"conditions": [{"type": "Approved"}, {"type": "Failed"}]}), "Approved,Failed"),
        (json!({"conditions": [{"type": "Denied"}]}), "Denied"),
    ] {
        assert_eq!(condition(&request(json!({}), status)), expected);
    }
}
