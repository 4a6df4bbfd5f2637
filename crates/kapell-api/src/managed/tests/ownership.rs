//! Appliers and updaters of one object.

use super::*;

fn port(number: u16, name: &str) -> Value {
    json!({"port": number, "name": name})
}

#[test]
fn what_is_applied_is_owned_and_leaves_when_nobody_says_it() {
    Story::new(&CONFIG_MAP)
        .apply("a", json!({"data": {"x": "1", "y": "2"}}))
        .owns("a", json!({"f:data": {"f:x": {}, "f:y": {}}}))
        .apply("b", json!({"data": {"y": "2", "z": "3"}}))
        .apply("a", json!({"data": {"x": "1"}}))
        .is(json!({"data": {"x": "1", "y": "2", "z": "3"}}))
        .apply("b", json!({"data": {"z": "3"}}))
        .is(json!({"data": {"x": "1", "z": "3"}}))
        .apply("a", json!({}))
        .owns("a", Value::Null)
        .apply("b", json!({}))
        .is(json!({}));
}

#[test]
fn conflicts_name_owner_and_path_and_force_takes() {
    let story = Story::new(&DEPLOYMENT)
        .apply("a", json!({"spec": {"replicas": 1, "paused": true}}))
        .conflicts("b", json!({"spec": {"replicas": 2, "paused": true}}), &["a .spec.replicas"])
        .force("b", json!({"spec": {"replicas": 2, "paused": true}}))
        .is(json!({"spec": {"replicas": 2, "paused": true}}))
        .owns("a", json!({"f:spec": {"f:paused": {}}}))
        .owns("b", json!({"f:spec": {"f:paused": {}, "f:replicas": {}}}))
        .conflicts("a", json!({"spec": {"replicas": 1, "paused": false}}), &["b .spec.paused", "b .spec.replicas"]);
    // What was lost to another is not removed when it is no longer said.
    story.apply("a", json!({"spec": {"paused": true}})).is(json!({"spec": {"replicas": 2, "paused": true}}));
}

#[test]
fn messages_are_upstreams() {
    let conflict = |owner: Owner, path: &str| Conflict { owner, path: path.to_owned() };
    let client = Owner::updater("kubectl-client-side-apply", "apps/v1", "");
    let one = ApplyError::Conflicts(vec![conflict(client.clone(), ".spec.replicas")]);
    assert_eq!(
        one.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas"
    );
    let more = ApplyError::Conflicts(vec![
        conflict(Owner::applier("a", ""), ".spec.x"),
        conflict(Owner::applier("a", ""), ".spec.y"),
        conflict(Owner::updater("c", "v1", "status"), ".status.z"),
    ]);
    assert_eq!(
        more.to_string(),
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .spec.x\n- .spec.y\nconflicts with \"c\" with subresource \"status\" using v1:\n- .status.z"
    );
}

#[test]
fn keyed_lists_merge_by_their_keys() {
    Story::new(&SERVICE)
        .apply("a", json!({"spec": {"ports": [port(1, "one"), port(2, "two")]}}))
        .apply("b", json!({"spec": {"ports": [port(3, "three"), {"port": 2, "protocol": "TCP", "nodePort": 7}]}}))
        .is(json!({"spec": {"ports": [
            port(1, "one"), port(3, "three"), {"port": 2, "name": "two", "protocol": "TCP", "nodePort": 7},
        ]}}))
        .conflicts("b", json!({"spec": {"ports": [port(1, "uno")]}}), &[r#"a .spec.ports[port=1,protocol="TCP"].name"#])
        // The item stays for the other, without what only this one said.
        .apply("a", json!({"spec": {"ports": [port(1, "one")]}}))
        .is(json!({"spec": {"ports": [
            port(1, "one"), port(3, "three"), {"port": 2, "protocol": "TCP", "nodePort": 7},
        ]}}))
        .apply("b", json!({"spec": {"ports": [port(3, "three")]}}))
        .is(json!({"spec": {"ports": [port(1, "one"), port(3, "three")]}}))
        // The order is the applier's.
        .force("b", json!({"spec": {"ports": [port(3, "three"), port(1, "one")]}}))
        .is(json!({"spec": {"ports": [port(3, "three"), port(1, "one")]}}));
}

#[test]
fn sets_and_wholes() {
    Story::new(&POD)
        .apply("a", json!({"metadata": {"finalizers": ["a/1", "b/2"]}}))
        .apply("b", json!({"metadata": {"finalizers": ["b/2", "c/3"]}}))
        .is(json!({"metadata": {"finalizers": ["a/1", "b/2", "c/3"]}}))
        .apply("a", json!({}))
        .is(json!({"metadata": {"finalizers": ["b/2", "c/3"]}}));
    Story::new(&SERVICE)
        .apply("a", json!({"spec": {"selector": {"app": "x"}, "externalIPs": ["1.1.1.1"]}}))
        .conflicts("b", json!({"spec": {"selector": {"tier": "y"}}}), &["a .spec.selector"])
        .conflicts("b", json!({"spec": {"externalIPs": ["1.1.1.1", "2.2.2.2"]}}), &["a .spec.externalIPs"])
        .force("b", json!({"spec": {"selector": {"tier": "y"}}}))
        .is(json!({"spec": {"selector": {"tier": "y"}, "externalIPs": ["1.1.1.1"]}}));
    Story::new(&OPEN)
        .apply("a", json!({"spec": {"m": {"x": 1}, "l": [1]}}))
        .apply("b", json!({"spec": {"m": {"y": 2}}}))
        .conflicts("b", json!({"spec": {"l": [1, 2]}}), &["a .spec.l"])
        .apply("a", json!({"spec": {"l": [1]}}))
        .is(json!({"spec": {"m": {"y": 2}, "l": [1]}}));
}

#[test]
fn nested_parents_go_with_the_last_field_and_stay_for_others() {
    let both = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}],
        "securityContext": {"runAsUser": 1},
    }}}});
    let less = json!({"spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}});
    Story::new(&DEPLOYMENT).apply("a", both.clone()).apply("a", less.clone()).is(less.clone());
    Story::new(&DEPLOYMENT)
        .apply("a", both)
        .apply("b", json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "1Gi"}}}]}}}}))
        .apply("a", less)
        .is(json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "1Gi"}}}]}}}}));
}

#[test]
fn what_nobody_owns_is_neither_a_conflict_nor_removed() {
    let mut story = Story::new(&DEPLOYMENT).apply("a", json!({"spec": {"paused": true}}));
    // A default.
    story.live["spec"]["replicas"] = json!(1);
    story
        .apply("a", json!({"spec": {"minReadySeconds": 3}}))
        .is(json!({"spec": {"minReadySeconds": 3, "replicas": 1}}))
        .apply("b", json!({"spec": {"replicas": 5}}))
        .is(json!({"spec": {"minReadySeconds": 3, "replicas": 5}}));
}

#[test]
fn a_null_is_owned_and_clears() {
    Story::new(&DEPLOYMENT)
        .update("u", json!({"spec": {"replicas": 3, "paused": true}}))
        .conflicts("a", json!({"spec": {"replicas": null}}), &["u .spec.replicas"])
        .force("a", json!({"spec": {"replicas": null}}))
        .is(json!({"spec": {"paused": true}}))
        .owns("a", json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn updates_own_what_they_change() {
    Story::new(&CONFIG_MAP)
        .apply("a", json!({"data": {"x": "1", "y": "2"}}))
        .update("u", json!({"data": {"x": "9", "y": "2", "n": "0"}}))
        .owns("a", json!({"f:data": {"f:y": {}}}))
        .owns("u", json!({"f:data": {"f:n": {}, "f:x": {}}}))
        .conflicts("a", json!({"data": {"x": "1", "y": "2"}}), &["u .data.x"])
        .update("u", json!({"data": {"n": "0"}}))
        .owns("u", json!({"f:data": {"f:n": {}}}))
        .owns("a", Value::Null)
        .apply("a", json!({"data": {"x": "1"}}))
        .is(json!({"data": {"n": "0", "x": "1"}}))
        .update("other", json!({}))
        .owns("u", Value::Null);
}

/// As upstream notes a Deployment that was posted.
#[test]
fn a_created_object_is_its_creators_with_its_defaults() {
    let story = Story::new(&DEPLOYMENT).update("kubectl-create", json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}, "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
                "restartPolicy": "Always", "securityContext": {},
            }},
        },
        "status": {},
    }));
    story.owns("kubectl-create", json!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:replicas": {}, "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:containers": {"k:{\"name\":\"c\"}": {
                        ".": {}, "f:image": {}, "f:name": {},
                        "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}},
                    }},
                    "f:restartPolicy": {}, "f:securityContext": {},
                },
            },
        },
    }));
}

#[test]
fn owners_are_told_apart_by_operation_version_and_subresource() {
    let owners = Owners::from_managed_fields(&json!([
        {"manager": "m", "operation": "Update", "apiVersion": "apps/v1", "time": "2026-01-01T00:00:02Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:b": {}}},
        {"manager": "m", "operation": "Update", "apiVersion": "apps/v1", "time": "2026-01-01T00:00:01Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:c": {}}, "subresource": "status"},
        {"manager": "m", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-01-01T00:00:09Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:a": {}}},
        {"manager": "m", "operation": "Apply", "apiVersion": "apps/v2", "fieldsType": "FieldsV1", "fieldsV1": {"f:x": {}}},
        {"manager": "nothing", "operation": "Update", "apiVersion": "v1"},
    ]))
    .unwrap();
    let written = owners.to_managed_fields();
    let summary: Vec<_> = written
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            format!(
                "{} {}{}",
                e["operation"].as_str().unwrap(),
                e["fieldsV1"],
                e["subresource"].as_str().unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(summary, ["Apply {\"f:a\":{},\"f:x\":{}}", "Update {\"f:c\":{}}status", "Update {\"f:b\":{}}"]);
    assert_eq!(Owners::from_managed_fields(&written), Ok(owners));
    assert!(Owners::from_managed_fields(&json!([{}])).is_err() && Owners::from_managed_fields(&json!("x")).is_err());
}

#[test]
fn times_change_with_the_object_or_the_set_only() {
    let story = Story::new(&CONFIG_MAP).apply("a", json!({"data": {"x": "1"}}));
    let first = story.owners.clone();
    let story = story.apply("a", json!({"data": {"x": "1"}}));
    assert_eq!(story.owners, first);
    let story = story.apply("b", json!({"data": {"x": "1"}}));
    assert_ne!(story.owners, first, "a second owner is a change");
}

#[test]
fn the_first_apply_of_an_object_without_notes_begins_with_all_of_it() {
    let mut story = Story::new(&CONFIG_MAP);
    story.live = json!({"metadata": {"name": "a", "uid": "u"}, "data": {"x": "1", "y": "2"}});
    story
        .conflicts("a", json!({"data": {"x": "0"}}), &["before-first-apply .data.x"])
        .apply("a", json!({"data": {"x": "1"}}))
        .owns("before-first-apply", json!({"f:data": {".": {}, "f:x": {}, "f:y": {}}}));
}

#[test]
fn many_updaters_are_united_from_the_oldest_on() {
    let mut story = Story::new(&CONFIG_MAP).apply("applier", json!({"data": {"a": "1"}}));
    for n in 0..14 {
        let mut new = story.live.clone();
        new["data"][format!("k{n:02}")] = json!("v");
        story = story.update(&format!("u{n:02}"), new);
    }
    let updaters: Vec<_> = story.owners.iter().filter(|(o, _)| o.operation == Operation::Update).collect();
    assert_eq!(updaters.len(), MOST_UPDATERS);
    story
        .owns("applier", json!({"f:data": {"f:a": {}}}))
        .owns(ANCIENT, json!({"f:data": {"f:k00": {}, "f:k01": {}, "f:k02": {}, "f:k03": {}, "f:k04": {}}}))
        .owns("u05", json!({"f:data": {"f:k05": {}}}));
}

#[test]
fn kubectl_takes_over_from_its_client_side_apply() {
    let config = |replicas: i32| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": replicas, "paused": true}});
    let mut object = config(1);
    object["metadata"]["annotations"] = json!({LAST_APPLIED: config(1).to_string()});
    let story = || Story::new(&DEPLOYMENT).update("kubectl-client-side-apply", object.clone());
    story().conflicts("other", config(3), &["kubectl-client-side-apply .spec.replicas"]);
    let after = story().apply("kubectl", config(3));
    assert_eq!(after.live["spec"]["replicas"], 3);
    let noted = after.live["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(noted).unwrap(), config(3));
    // Somebody has changed it since: that is a conflict.
    let mut scaled = object.clone();
    scaled["spec"]["replicas"] = json!(9);
    story().update("scaler", scaled).conflicts("kubectl", config(3), &["scaler .spec.replicas"]);
}

#[test]
fn configurations_that_cannot_be_applied() {
    let mut story = Story::new(&SERVICE);
    for (config, why) in [
        (json!({"metadata": {"managedFields": []}}), "metadata.managedFields must be nil"),
        (
            json!({"spec": {"ports": [port(1, "a"), {"port": 1, "protocol": "TCP"}]}}),
            r#"duplicate entries for key .spec.ports[port=1,protocol="TCP"]"#,
        ),
        (
            json!({"spec": {"ports": [{"name": "x"}]}}),
            ".spec.ports: an item of a list that is merged by keys has none of them",
        ),
    ] {
        assert_eq!(story.apply_with("a", true, &config), Err(ApplyError::Malformed(why.to_owned())));
    }
}

#[test]
fn subresources_own_separately() {
    let mut owners = Owners::default();
    let live = json!({"metadata": {"uid": "u"}, "spec": {"replicas": 1}, "status": {}});
    update(&DEPLOYMENT, &empty(&DEPLOYMENT), &live, &mut owners, Owner::updater("m", "v1", ""), "t", &["status"]);
    let mut new = live.clone();
    new["status"]["replicas"] = json!(1);
    assert!(!update(&DEPLOYMENT, &live, &new, &mut owners, Owner::updater("m", "v1", ""), "t", &["status"]));
    assert!(update(&DEPLOYMENT, &live, &new, &mut owners, Owner::updater("m", "v1", "status"), "t", &[]));
    let of = |subresource: &str| owners.get(&Owner::updater("m", "v1", subresource)).unwrap().set.to_fields_v1();
    assert_eq!(
        (of(""), of("status")),
        (json!({"f:spec": {"f:replicas": {}}}), json!({"f:status": {"f:replicas": {}}}))
    );
}
