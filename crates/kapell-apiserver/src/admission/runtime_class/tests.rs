use serde_json::{Value, json};

use super::*;

fn pod(class: &str, overhead: Value) -> Value {
    json!({"spec": {"runtimeClassName": class, "overhead": overhead}})
}

#[test]
fn pods_get_what_their_class_states_and_contradict_it_in_vain() {
    let heavy = json!({"overhead": {"podFixed": {"cpu": "10m"}}});
    let (none, empty, same, other) = (Value::Null, json!({}), json!({"cpu": "10m"}), json!({"cpu": "20m"}));
    for (class, overhead, found, expected) in [
        ("process", &none, None, Ok(&none)),
        ("process", &same, None, Err("Pod Overhead set without corresponding RuntimeClass defined Overhead")),
        ("", &same, None, Err("without corresponding")),
        ("light", &same, Some(&json!({})), Err("without corresponding")),
        ("light", &empty, Some(&json!({})), Ok(&empty)),
        ("", &empty, None, Ok(&empty)),
        ("heavy", &empty, Some(&heavy), Ok(&same)),
        ("heavy", &json!({"cpu": "0.01"}), Some(&heavy), Ok(&same)),
        ("", &none, None, Ok(&none)),
        ("heavy", &none, Some(&heavy), Ok(&same)),
        ("heavy", &same, Some(&heavy), Ok(&same)),
        ("heavy", &other, Some(&heavy), Err("doesn't match")),
        ("light", &none, Some(&json!({})), Ok(&none)),
        ("gone", &none, None, Err("RuntimeClass \"gone\" not found")),
    ] {
        let mut pod = pod(class, overhead.clone());
        match (admit(&mut pod, found), expected) {
            (Ok(()), Ok(overhead)) => assert_eq!(&pod["spec"]["overhead"], overhead, "{class}"),
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (result, _) => panic!("{class}: {result:?}"),
        }
    }
}

#[test]
fn pods_go_where_their_class_says_too() {
    let class = json!({"scheduling": {
        "nodeSelector": {"runtime": "heavy"}, "tolerations": [{"key": "heavy", "operator": "Exists"}],
    }});
    let admitted = |spec: Value| {
        let mut pod = json!({"spec": spec});
        pod["spec"]["runtimeClassName"] = json!("heavy");
        admit(&mut pod, Some(&class)).map(|()| pod["spec"].take())
    };
    let spec = admitted(json!({})).unwrap();
    assert_eq!(spec["nodeSelector"], json!({"runtime": "heavy"}));
    assert_eq!(spec["tolerations"], class["scheduling"]["tolerations"]);
    let other = json!({"key": "heavy", "value": "x", "effect": "NoSchedule"});
    let spec = admitted(json!({"nodeSelector": {"zone": "a"}, "tolerations": [other, {"key": "b"}]})).unwrap();
    assert_eq!(spec["nodeSelector"], json!({"zone": "a", "runtime": "heavy"}));
    // The class covers what the pod says of the same key.
    assert_eq!(spec["tolerations"], json!([{"key": "b"}, {"key": "heavy", "operator": "Exists"}]));
    let refused = admitted(json!({"nodeSelector": {"runtime": "light"}})).unwrap_err();
    assert_eq!(
        refused,
        "conflict: runtimeClass.scheduling.nodeSelector[runtime] = heavy; pod.spec.nodeSelector[runtime] = light"
    );
}

#[test]
fn a_toleration_covers_another() {
    let seconds = |seconds: i64| json!({"key": "a", "effect": "NoExecute", "tolerationSeconds": seconds});
    let anything = json!({"operator": "Exists"});
    let (a, a_x) = (json!({"key": "a", "operator": "Exists"}), json!({"key": "a", "operator": "Equal", "value": "x"}));
    let for_ever = json!({"key": "a", "effect": "NoExecute"});
    for (wide, one, expected) in [
        (&anything, &a_x, true),
        (&a, &a_x, true),
        (&a_x, &a, false),
        (&a_x, &json!({"key": "a", "value": "x", "effect": "NoSchedule"}), true),
        (&seconds(5), &seconds(5), true),
        (&seconds(5), &seconds(6), false),
        (&seconds(5), &for_ever, false),
        (&for_ever, &seconds(5), true),
    ] {
        assert_eq!(covers(wide, one), expected, "{wide} {one}");
    }
}
