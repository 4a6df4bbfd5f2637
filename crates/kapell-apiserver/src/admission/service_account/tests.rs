use serde_json::{Value, json};

use super::*;

fn volumes(pod: Value, account: Value) -> Value {
    let mut pod = json!({"spec": pod});
    mount_token(&mut pod, Some(&account), || "kube-api-access-x".to_owned());
    pod["spec"].take()
}

#[test]
fn the_pod_decides_before_its_account() {
    let said = |value: Option<bool>| value.map_or(json!({}), |on| json!({"automountServiceAccountToken": on}));
    for (pod, account, mounted) in [
        (None, None, true),
        (None, Some(true), true),
        (None, Some(false), false),
        (Some(true), Some(false), true),
        (Some(false), Some(true), false),
        (Some(false), None, false),
    ] {
        let mut spec = said(pod);
        spec["containers"] = json!([{"name": "a"}]);
        let spec = volumes(spec, said(account));
        assert_eq!(spec["volumes"].is_array(), mounted, "{pod:?} {account:?}");
        assert_eq!(spec["containers"][0].get("volumeMounts").is_some(), mounted, "{pod:?} {account:?}");
    }
}

#[test]
fn who_has_something_at_its_place_keeps_it() {
    let own = json!([{"name": "own", "mountPath": MOUNT_PATH}]);
    let spec = volumes(
        json!({
            "initContainers": [{"name": "a"}],
            "containers": [{"name": "b", "volumeMounts": own}, {"name": "c", "volumeMounts": [{"name": "d", "mountPath": "d"}]}],
            "volumes": [{"name": "own"}, {"name": "d"}],
        }),
        json!({}),
    );
    let names = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&spec["volumes"]), ["own", "d", "kube-api-access-x"]);
    assert_eq!(names(&spec["initContainers"][0]["volumeMounts"]), ["kube-api-access-x"]);
    assert_eq!(names(&spec["containers"][0]["volumeMounts"]), ["own"]);
    assert_eq!(names(&spec["containers"][1]["volumeMounts"]), ["d", "kube-api-access-x"]);
    let all =
        volumes(json!({"containers": [{"name": "b", "volumeMounts": own}], "volumes": [{"name": "own"}]}), json!({}));
    assert_eq!(names(&all["volumes"]), ["own"], "nobody needs it");
}
