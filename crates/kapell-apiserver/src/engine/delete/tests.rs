use kapell_api::kinds;

use super::*;
use crate::resources::Resources;

/// Plans for an object of `plural` and returns what is checked: `gone`, `wait`, or grace and finalizers.
fn check(plural: &str, object: Value, options: Value, expected: &str) {
    let resources = Resources::new(kinds::KINDS, &[]);
    let resource = resources.iter().find(|r| r.kind.plural == plural).unwrap();
    let options: DeleteOptions = serde_json::from_value(options).unwrap();
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let got = match plan(resource, &object, &options, now) {
        Plan::Remove => "gone".to_owned(),
        Plan::Wait => "wait".to_owned(),
        Plan::Mark(new) => {
            let metadata = &new["metadata"];
            let (at, grace) =
                (metadata["deletionTimestamp"].as_str().unwrap(), &metadata["deletionGracePeriodSeconds"]);
            format!("{at} {grace} {}", metadata::finalizers(&new).join(","))
        }
    };
    assert_eq!(got, expected, "{plural} {object} {}", json!(format!("{options:?}")));
}

#[test]
fn deletion_waits_for_what_holds_the_object() {
    let bound = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 7}});
    let with = |base: &Value, pointer: &str, value: Value| {
        let mut changed = base.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[field] = value;
        changed
    };
    let mut ended = bound.clone();
    ended["status"] = json!({"phase": "Succeeded"});
    let mut leaving = with(&bound, "/metadata/deletionTimestamp", json!("2026-01-01T00:00:07Z"));
    leaving["metadata"]["deletionGracePeriodSeconds"] = json!(7);
    let plain = json!({"metadata": {"name": "x"}});
    let held = json!({"metadata": {"name": "x", "finalizers": ["a/b"]}});

    for (plural, object, options, expected) in [
        ("configmaps", &plain, json!({}), "gone"),
        ("configmaps", &held, json!({}), "2026-01-01T00:00:00Z 0 a/b"),
        ("replicasets", &plain, json!({"propagationPolicy": "Background"}), "gone"),
        (
            "replicasets",
            &plain,
            json!({"propagationPolicy": "Foreground"}),
            "2026-01-01T00:00:00Z 0 foregroundDeletion",
        ),
        ("replicasets", &plain, json!({"orphanDependents": true}), "2026-01-01T00:00:00Z 0 orphan"),
        ("pods", &plain, json!({}), "gone"),
        ("pods", &bound, json!({}), "2026-01-01T00:00:07Z 7 "),
        ("pods", &bound, json!({"gracePeriodSeconds": 3}), "2026-01-01T00:00:03Z 3 "),
        ("pods", &bound, json!({"gracePeriodSeconds": 0}), "gone"),
        ("pods", &ended, json!({}), "gone"),
        ("pods", &leaving, json!({}), "wait"),
        ("pods", &leaving, json!({"gracePeriodSeconds": 60}), "wait"),
        ("pods", &leaving, json!({"gracePeriodSeconds": 2}), "2026-01-01T00:00:02Z 2 "),
        ("pods", &leaving, json!({"gracePeriodSeconds": 0}), "gone"),
        (
            "namespaces",
            &json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}}),
            json!({}),
            "2026-01-01T00:00:00Z 0 ",
        ),
        ("namespaces", &plain, json!({}), "gone"),
    ] {
        check(plural, object.clone(), options, expected);
    }
}
