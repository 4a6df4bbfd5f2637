//! Bodies that Kubernetes' own encoder wrote (`cargo xtask protobuf-fixtures`), and bodies that nobody should write.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kinds::KINDS;

struct Fixture {
    /// `apiVersion`, `kind`, and the number of the variant.
    name: String,
    body: Vec<u8>,
    json: Value,
}

fn fixtures() -> Vec<Fixture> {
    let lines = BufReader::new(GzDecoder::new(include_bytes!("fixtures.jsonl.gz").as_slice())).lines();
    let fixture = |line: std::io::Result<String>| {
        let mut line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        Fixture {
            name: line["name"].as_str().unwrap().to_owned(),
            body: STANDARD.decode(line["protobuf"].as_str().unwrap()).unwrap(),
            json: line["json"].take(),
        }
    };
    lines.map(fixture).collect()
}

/// Go's JSON without what Go leaves empty: protobuf cannot tell a null from an absence.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        scalar => scalar,
    }
}

/// Where two values differ, for a message that can be read.
fn differences(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let of =
                |map: &serde_json::Map<String, Value>, key: &String| map.get(key).cloned().unwrap_or(json!("(absent)"));
            keys.into_iter().for_each(|key| differences(&format!("{path}.{key}"), &of(a, key), &of(b, key), found));
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            (0..a.len()).for_each(|i| differences(&format!("{path}[{i}]"), &a[i], &b[i], found));
        }
        (a, b) if a != b => found.push(format!("{path}: {a} instead of {b}")),
        _ => {}
    }
}

#[test]
fn bodies_become_the_json_that_go_would_have_sent() {
    let mut wrong = Vec::new();
    for Fixture { name, body, json } in fixtures() {
        let decoded = decode(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(decoded.complaints, Vec::<String>::new(), "{name}");
        differences(&name, &decoded.value, &without_nulls(json), &mut wrong);
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_kind_that_kubernetes_has_is_among_the_fixtures() {
    let names: BTreeSet<String> = fixtures().into_iter().map(|fixture| fixture.name).collect();
    let theirs = KINDS.iter().filter(|kind| kind.group != "kapell.dev");
    let others =
        [("policy/v1", "Eviction"), ("autoscaling/v1", "Scale"), ("v1", "Binding"), ("apps/v1", "DeleteOptions")];
    let all = theirs.map(|kind| (kind.api_version(), kind.kind)).chain(others.map(|(v, k)| (v.to_owned(), k)));
    for (api_version, kind) in all {
        assert!(names.contains(&format!("{api_version} {kind} 3")), "{api_version} {kind}");
    }
}

/// A field of wire type 2.
fn delimited(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 128).expect("tests are short");
    [&[number << 3 | 2, length], content].concat()
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [delimited(1, api_version.as_bytes()), delimited(2, kind.as_bytes())].concat();
    [PREFIX, &delimited(1, &type_meta), &delimited(2, raw)].concat()
}

#[test]
fn what_is_wrong_is_named() {
    let config_map = |raw: &[u8]| body("v1", "ConfigMap", raw);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "does not begin with the prefix"),
        (b"{\"kind\": \"ConfigMap\"}".to_vec(), "does not begin with the prefix"),
        (PREFIX.to_vec(), "does not say apiVersion and kind"),
        ([PREFIX, &[0xff; 20]].concat(), "envelope (runtime.Unknown) is malformed"),
        (body("v1", "", b""), "does not say apiVersion and kind"),
        (body("v1", "Nothing", b""), "no kind \"Nothing\" of version \"v1\""),
        (body("v1", "Container", b""), "no kind \"Container\" of version \"v1\""),
        (body("kapell.dev/v1alpha1", "Workflow", b""), "no kind \"Workflow\""),
        (config_map(&[0x0a, 0x7f, 1]), "it is no ConfigMap: "),
        (config_map(&delimited(2, &delimited(1, b"\xff\xfe"))), "it is no ConfigMap: "),
        ([config_map(b""), delimited(3, b"gzip")].concat(), "contentEncoding \"gzip\""),
        ([config_map(b""), delimited(4, b"application/json")].concat(), "contentType \"application/json\""),
        (
            body("apps/v1", "ControllerRevision", &delimited(2, &delimited(1, b"{\"a\":"))),
            "data: not JSON: EOF while parsing",
        ),
        (
            body("apps/v1", "ControllerRevision", &delimited(2, &delimited(1, PREFIX))),
            "data: protobuf inside an object",
        ),
        // metadata.creationTimestamp.seconds = 2^62
        (
            config_map(&delimited(1, &delimited(8, &[8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40]))),
            "metadata.creationTimestamp: a time outside",
        ),
        (vec![0; MAX_BODY_BYTES + 1], "more than 3145728 bytes"),
    ];
    for (body, expected) in cases {
        let error = decode(&body).map(|decoded| decoded.value).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
}

#[test]
fn unknown_fields_are_complaints_unless_they_are_zero() {
    let unknown = [delimited(14, b""), vec![15 << 3, 0], vec![13 << 3, 1]].concat();
    let decoded = decode(&body("v1", "ConfigMap", &unknown)).unwrap();
    assert_eq!(decoded.complaints, ["unknown field \"[#13]\""]);
    let raw = delimited(2, &delimited(1, br#"{"a":1,"a":2}"#));
    let decoded = decode(&body("apps/v1", "ControllerRevision", &raw)).unwrap();
    assert_eq!(decoded.complaints, ["duplicate field \"data.a\""]);
    assert_eq!(decoded.value["data"], json!({"a": 2}));
}

#[test]
fn the_number_of_fields_is_bounded() {
    // A pod with a million empty containers: two bytes each.
    let containers = [2 << 3 | 2, 0].repeat(1_000_000);
    let length = |content: &[u8]| {
        let n = content.len();
        let digits = [n & 0x7f | 0x80, n >> 7 & 0x7f | 0x80, n >> 14 & 0x7f | 0x80, n >> 21];
        [digits.map(|digit| digit as u8).to_vec(), content.to_vec()].concat()
    };
    let raw = [vec![2 << 3 | 2], length(&containers)].concat();
    let type_meta = [delimited(1, b"v1"), delimited(2, b"Pod")].concat();
    let pod = [PREFIX.to_vec(), delimited(1, &type_meta), vec![0x12], length(&raw)].concat();
    assert_eq!(decode(&pod).unwrap_err(), ProtobufError::TooManyFields { limit: budget::MAX_FIELDS });
    let unknown = [PREFIX, &[15 << 3, 1].repeat(1_000_000)].concat();
    assert_eq!(decode(&unknown).unwrap_err(), ProtobufError::TooManyFields { limit: budget::MAX_FIELDS });
}

#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
    let length = |content: &[u8]| {
        let n = content.len();
        [vec![n as u8 & 0x7f | 0x80, (n >> 7) as u8], content.to_vec()].concat()
    };
    let revision = |levels: usize| {
        let fields = [vec![0x0a], length(&nested(levels))].concat();
        let entry = [vec![7 << 3 | 2], length(&fields)].concat();
        let metadata = [vec![0x8a, 1], length(&entry)].concat();
        let raw = [vec![0x0a], length(&metadata)].concat();
        let type_meta = [delimited(1, b"apps/v1"), delimited(2, b"ControllerRevision")].concat();
        [PREFIX.to_vec(), delimited(1, &type_meta), vec![0x12], length(&raw)].concat()
    };
    assert!(decode(&revision(100)).is_ok());
    assert_eq!(decode(&revision(127)).unwrap_err(), ProtobufError::TooDeep);
    assert!(decode(&revision(2000)).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(raw in prop::collection::vec(any::<u8>(), 0..120), framed: bool) {
        let _ = decode(&if framed { body("v1", "Pod", &raw) } else { [PREFIX, &raw].concat() });
    }
}

#[test]
fn damaged_bodies_never_panic() {
    let mut runner = proptest::test_runner::TestRunner::default();
    let fixtures = fixtures();
    let damage = (0..fixtures.len(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4));
    let result = runner.run(&damage, |(which, changes)| {
        let mut body = fixtures[which].body.clone();
        for (index, byte) in changes {
            let at = index.index(body.len());
            body[at] = byte;
        }
        let _ = decode(&body);
        Ok(())
    });
    result.unwrap();
}
