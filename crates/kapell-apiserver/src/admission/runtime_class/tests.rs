use serde_json::{Value, json};

use super::*;

fn pod(class: &str, overhead: Value) -> Value {
    json!({"spec": {"runtimeClassName": class, "overhead": overhead}})
}

#[test]
fn pods_get_what_their_class_states_and_contradict_it_in_vain() {
    let heavy = json!({"overhead": {"podFixed": {"cpu": "10m"}}});
    let (none, same, other) = (Value::Null, json!({"cpu": "10m"}), json!({"cpu": "20m"}));
    for (class, overhead, found, expected) in [
        ("process", &none, None, Ok(&none)),
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
