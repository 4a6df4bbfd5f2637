use proptest::prelude::*;
use serde_json::json;

use super::*;

fn at(line: usize, column: usize) -> Option<Position> {
    Some(Position { line, column })
}

#[test]
fn json_values_survive_exactly() {
    let text = r#"{"b": [1, -2, 18446744073709551615, 1.5, "ä\n"], "a": null, "c": true}"#;
    let decoded = from_json(text.as_bytes()).unwrap();
    assert_eq!(decoded.value, serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(decoded.value.as_object().unwrap().keys().collect::<Vec<_>>(), ["b", "a", "c"]);
    assert!(decoded.duplicates.is_empty());
}

#[test]
fn json_duplicates_are_named() {
    let text = br#"{"spec": {"l": [{"n": 1, "x.y": 1, "x.y": 2, "n": 2}], "l2": 0}, "spec": {"k": 1}}"#;
    let decoded = from_json(text).unwrap();
    let paths: Vec<_> = decoded.duplicates.iter().map(|d| d.path.as_str()).collect();
    assert_eq!(paths, ["spec.l[0][x.y]", "spec.l[0].n", "spec"]);
    assert_eq!(decoded.value, json!({"spec": {"k": 1}}));
    assert_eq!(decoded.duplicates[2].to_string(), "duplicate field \"spec\"");
    let many = format!("{{{}}}", vec![r#""a":1"#; 1000].join(","));
    assert_eq!(from_json(many.as_bytes()).unwrap().duplicates.len(), MOST_DUPLICATES);
}

#[test]
fn broken_json_is_located() {
    for (text, line, column) in [("{\n  \"a\": ,\n}", 2, 8), ("{} x", 1, 4), ("{\"a\": 1", 1, 7), ("[1, 2", 1, 5)] {
        let error = from_json(text.as_bytes()).unwrap_err();
        assert!(matches!(error, DecodeError::Syntax { .. }), "{error:?}");
        assert_eq!(error.position(), at(line, column), "{text:?}: {error}");
        assert_eq!(error.to_string().matches(" at line ").count(), 1, "{error}");
    }
    let deep = "[".repeat(5000);
    assert!(matches!(from_json(deep.as_bytes()), Err(DecodeError::TooDeep { .. })));
    let large = vec![b' '; MAX_BODY_BYTES + 1];
    assert_eq!(from_json(&large), Err(DecodeError::TooLarge { limit: MAX_BODY_BYTES }));
    assert!(from_json(b"\"\xff\"").is_err() && from_json(b"").is_err());
}

#[test]
fn plain_scalars_follow_the_core_schema() {
    for (text, value) in [
        ("on", json!("on")),
        ("yes", json!("yes")),
        ("true", json!(true)),
        ("'true'", json!("true")),
        ("FALSE", json!(false)),
        ("~", json!(null)),
        ("nUll", json!("nUll")),
        ("12", json!(12)),
        ("+12", json!(12)),
        ("-0", json!(0)),
        ("0x1F", json!(31)),
        ("0o17", json!(15)),
        ("0644", json!(420)),
        ("0899", json!(899)),
        ("9223372036854775807", json!(9223372036854775807i64)),
        ("-9223372036854775808", json!(-9223372036854775808i64)),
        ("18446744073709551615", json!(18446744073709551615u64)),
        ("1.5", json!(1.5)),
        ("1e3", json!(1000.0)),
        (".5", json!(0.5)),
        ("5.", json!(5.0)),
        (".", json!(".")),
        ("1.2.3", json!("1.2.3")),
        ("1e", json!("1e")),
        ("--1", json!("--1")),
        ("1_000", json!("1_000")),
        ("12:30", json!("12:30")),
        ("2026-01-02", json!("2026-01-02")),
        ("100m", json!("100m")),
        ("!!str 1", json!("1")),
        ("! 1", json!("1")),
        ("!!int 1", json!(1)),
        ("!!float 1", json!(1)),
        ("|\n  a\n  b", json!("a\nb\n")),
    ] {
        let decoded = from_yaml(format!("v: {text}\n")).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(decoded.value["v"], value, "{text}");
    }
}

#[test]
fn yaml_fields_have_places() {
    let text = "# a pod\nkind: Pod\nmetadata:\n  labels: {app: web, \"x.y/z\": 1}\nspec:\n  containers:\n  - name: a\n    image: b\n  - name: c\n";
    let decoded = from_yaml(text).unwrap();
    assert_eq!(
        decoded.value,
        json!({
            "kind": "Pod", "metadata": {"labels": {"app": "web", "x.y/z": 1}},
            "spec": {"containers": [{"name": "a", "image": "b"}, {"name": "c"}]},
        })
    );
    let places = decoded.positions;
    assert_eq!(places.get("kind"), at(2, 1));
    assert_eq!(places.get("metadata.labels.app"), at(4, 12));
    assert_eq!(places.get("metadata.labels[x.y/z]"), at(4, 22));
    assert_eq!(places.get("spec.containers[0].image"), at(8, 5));
    assert_eq!(places.get("spec.containers[1]"), at(9, 5));
    assert_eq!(places.get("spec.containers[1].image"), None);
    assert_eq!(places.nearest("spec.containers[1].image"), at(9, 5));
    assert_eq!(places.nearest("spec.containers[7].ports[0].name"), at(6, 3));
    assert_eq!(places.nearest("metadata.labels[app]"), at(4, 12));
    assert_eq!(places.nearest("status.x"), places.get(""));
}

#[test]
fn yaml_duplicates_have_places() {
    let decoded = from_yaml("a:\n  b: 1\n  c: 2\n  b: 3\n").unwrap();
    assert_eq!(decoded.duplicates, [Duplicate { path: "a.b".to_owned(), position: at(4, 3) }]);
    assert_eq!(decoded.value, json!({"a": {"b": 3, "c": 2}}));
}

#[test]
fn streams_of_documents() {
    let all = documents("---\n# nothing\n---\na: 1\n---\n---\nb: 2\n...\n").unwrap();
    let values: Vec<_> = all.iter().map(|d| d.value.clone()).collect();
    assert_eq!(values, [json!({"a": 1}), json!({"b": 2})]);
    assert_eq!(all[1].positions.get("b"), at(7, 1));
    assert!(documents("# only a comment\n").unwrap().is_empty());
    assert_eq!(from_yaml(""), Err(DecodeError::Empty));
    assert_eq!(from_yaml("a: 1\n---\nb: 2\n"), Err(DecodeError::NotOne { count: 2 }));
    assert_eq!(from_yaml("\u{feff}a: 1").unwrap().value, json!({"a": 1}));
    assert_eq!(from_yaml(r#"{"a": [1, "x"]}"#).unwrap().value, json!({"a": [1, "x"]}));
}

#[test]
fn anchors_and_merge_keys() {
    let text = "base: &b {x: 1, y: [2]}\nother: &o {x: 9, z: 3}\none: {<<: *b, x: 5}\ntwo:\n  <<: [*b, *o]\nthree: *b\n'<<': 4\n";
    let value = from_yaml(text).unwrap().value;
    assert_eq!(value["one"], json!({"x": 5, "y": [2]}));
    assert_eq!(value["two"], json!({"x": 1, "y": [2], "z": 3}));
    assert_eq!(value["three"], json!({"x": 1, "y": [2]}));
    assert_eq!(value["<<"], json!(4));
}

#[test]
fn what_is_not_supported_is_refused_where_it_stands() {
    for (text, line, column) in [
        ("a: 1\n8080: x\n", 2, 1),
        ("a:\n  true: x\n", 2, 3),
        ("? [a]\n: b\n", 1, 3),
        ("a: .inf\n", 1, 4),
        ("a: !!binary aGk=\n", 1, 13),
        ("a: !mine x\n", 1, 10),
        ("a: !!int x\n", 1, 10),
        ("a: {<<: 1}\n", 1, 9),
        ("a: &x [*x]\n", 1, 8),
    ] {
        let error = from_yaml(text).unwrap_err();
        let position = error.position().unwrap();
        assert_eq!(position.line, line, "{text:?}: {error}");
        assert!(position.column <= column, "{text:?}: {error}");
        assert!(error.to_string().ends_with(&position.to_string()));
    }
    for text in ["a: [1\n", "a: b: c\n", "a:\n\tb: 1\n", "a: *nope\n", "a: 'x\n", "- a\nb: 1\n"] {
        assert!(matches!(from_yaml(text), Err(DecodeError::Syntax { position: Some(_), .. })), "{text:?}");
    }
    assert_eq!(from_yaml(b"a: 1\nb: \xff"), Err(DecodeError::NotUtf8 { position: at(2, 4) }));
}

#[test]
fn long_keys_do_not_multiply() {
    let text = format!("? {}\n: [{}]", "k".repeat(100_000), "a,".repeat(100_000));
    let decoded = from_yaml(&text).unwrap();
    assert!(decoded.positions.0.keys().map(String::len).sum::<usize>() <= 33 << 20);
    let text = format!("{{\"{}\": {{\"a\": 1, \"a\": 2}}}}", "k".repeat(100_000));
    assert!(from_json(text.as_bytes()).unwrap().duplicates[0].path.len() < 500);
}

#[test]
fn bombs_are_defused() {
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for i in 1..12 {
        let below = vec![format!("*a{}", i - 1); 9].join(", ");
        laughs.push_str(&format!("a{i}: &a{i} [{below}]\n"));
    }
    assert!(matches!(from_yaml(&laughs), Err(DecodeError::AliasBomb { .. })));
    let mut chain = "a0: &a0 x\n".to_owned();
    for i in 1..1000 {
        chain.push_str(&format!("a{i}: &a{i} {{k: *a{}}}\n", i - 1));
    }
    assert!(matches!(from_yaml(&chain), Err(DecodeError::TooDeep { .. })));
    for deep in ["[".repeat(3000), "a: ".repeat(3000), "- ".repeat(3000), "{a: ".repeat(3000)] {
        assert!(from_yaml(&deep).is_err());
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-d./]{0,3}", inner, 1..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_json_prints_is_read_back(value in value()) {
        let decoded = from_json(value.to_string().as_bytes()).unwrap();
        prop_assert!(decoded.duplicates.is_empty());
        prop_assert_eq!(decoded.value, value);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = from_json(&bytes);
        let _ = documents(&bytes);
    }

    #[test]
    fn no_text_panics(text in "[-a:&*!<>{}\\[\\],|?'\"#% \n\t0é.~]{0,40}") {
        let _ = from_json(text.as_bytes());
        let _ = documents(&text);
    }
}

#[test]
fn numbers_of_many_digits_come_back_as_they_were() {
    let read = |text: &str| from_json(text.as_bytes()).unwrap().value;
    let number = read("444444444444444444444444444434444444434444444");
    assert_eq!(read(&number.to_string()), number);
}
