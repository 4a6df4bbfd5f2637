use serde_json::{Value, json};

use super::plan::{Action, plan};
use super::*;

const NOW: &str = "2026-01-02T00:00:00Z";

fn planned(change: Value) -> (Action, Option<u64>) {
    let mut request = json!({
        "metadata": {"name": "jane", "creationTimestamp": "2026-01-01T12:00:00Z"},
        "spec": {"request": "eA==", "signerName": plan::API_CLIENT, "usages": ["client auth"]},
    });
    json_patch::merge(&mut request, &change);
    let (action, next) = plan(&serde_json::from_value(request).unwrap(), NOW.parse().unwrap());
    (action, next.map(|wait| wait.as_secs()))
}

fn decided(types: &[&str], at: &str) -> Value {
    let conditions = types.iter().map(|type_| json!({"type": type_, "status": "True", "lastUpdateTime": at}));
    json!({"conditions": conditions.collect::<Vec<_>>()})
}

#[test]
fn what_was_approved_is_signed_as_long_as_it_may_be() {
    for (spec, encipherment, until) in [
        (json!({}), false, "2027-01-02T00:00:00Z"),
        (json!({"expirationSeconds": 3600}), false, "2026-01-02T01:00:00Z"),
        (json!({"expirationSeconds": 2_000_000_000}), false, "2027-01-02T00:00:00Z"),
        (json!({"usages": ["client auth", "digital signature", "key encipherment"]}), true, "2027-01-02T00:00:00Z"),
    ] {
        let (action, _) = planned(json!({"spec": spec, "status": decided(&["Approved"], NOW)}));
        let (from, until) = ("2026-01-01T23:55:00Z".parse().unwrap(), until.parse().unwrap());
        assert_eq!(action, Action::Sign { encipherment, from, until });
    }
}

#[test]
fn what_may_not_be_signed_is_not() {
    for usages in [json!(["digital signature"]), json!(["client auth", "server auth"])] {
        let (action, _) = planned(json!({"spec": {"usages": usages}, "status": decided(&["Approved"], NOW)}));
        assert!(matches!(action, Action::Fail(_)), "{action:?}");
    }
    for conditions in [&[][..], &["Denied"], &["Approved", "Failed"]] {
        assert_eq!(planned(json!({"status": decided(conditions, NOW)})).0, Action::Nothing, "{conditions:?}");
    }
    let others = json!({"spec": {"signerName": "example.com/signer"}, "status": decided(&["Approved"], NOW)});
    assert_eq!(planned(others).0, Action::Nothing);
}

#[test]
fn requests_go_when_they_have_been_looked_at_long_enough() {
    assert_eq!(planned(json!({})), (Action::Nothing, Some(12 * 3600)));
    assert_eq!(planned(json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}})), (Action::Delete, None));
    let mut issued = decided(&["Approved"], "2026-01-01T23:30:00Z");
    issued["certificate"] = json!("eA==");
    assert_eq!(planned(json!({"status": issued})), (Action::Nothing, Some(1800)));
    assert_eq!(planned(json!({"status": decided(&["Denied"], "2026-01-01T23:00:00Z")})), (Action::Delete, None));
}
