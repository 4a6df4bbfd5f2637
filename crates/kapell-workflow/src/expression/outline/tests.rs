use serde_json::json;

use super::*;

fn write(datum: &Datum, kept: &mut Kept) -> (String, Vec<Bytes>) {
    outlining(kept, || serde_json::to_string(datum).unwrap())
}

/// As a journal is read: each part can refer to those before it.
fn read(json: &str, written: &[Bytes]) -> Datum {
    let mut parts = Parts::new();
    for part in written {
        let datum = resolving(&mut parts, || serde_json::from_slice(part).unwrap());
        parts.insert(hash_of(part), datum);
    }
    resolving(&mut parts, || serde_json::from_str(json).unwrap())
}

#[test]
fn data_survives_being_written_in_parts() {
    let long = "x".repeat(LONGEST_INLINE);
    let many: Vec<u32> = (0..20_000).collect();
    for (value, number) in [
        (json!({ "small": [1, 2.5, null, true, "text"] }), 0),
        (json!(long), 1),
        (json!({ "a": long, "b": { "again": long } }), 1),
        (json!(many), 1),
        (json!({ "many": many, "long": long }), 2),
        (json!([{ "deep": [many, long] }]), 2),
        // Data that looks like a reference is data.
        (json!({ "\0payload": "0".repeat(64) }), 0),
        (json!({ "\0\0payload": { "\0payload": long } }), 1),
    ] {
        let datum = Datum::from_json(&value).unwrap();
        let (json, parts) = write(&datum, &mut Kept::new());
        assert_eq!(parts.len(), number);
        assert!(json.len() <= LONGEST_INLINE);
        assert_eq!(read(&json, &parts).to_value(), value);
    }
}

#[test]
fn what_is_kept_is_not_written_again() {
    let long = "x".repeat(10 << 20);
    let mut kept = Kept::new();
    let mut all = Vec::new();
    for step in 0..10 {
        let datum = Datum::from_json(&json!({ "step": step, "payload": long })).unwrap();
        let (json, parts) = write(&datum, &mut kept);
        all.extend(parts);
        assert_eq!(read(&json, &all).to_value(), datum.to_value());
    }
    assert_eq!(all.iter().map(Bytes::len).sum::<usize>(), long.len() + 2);
}

/// Outside of a journal nothing is replaced, and a reference is an object like any other.
#[test]
fn elsewhere_data_is_written_as_it_is() {
    let value = json!({ "\0payload": "0".repeat(64), "long": "x".repeat(LONGEST_INLINE + 1) });
    let datum = Datum::from_json(&value).unwrap();
    assert_eq!(datum.to_json(), value.to_string());
    assert_eq!(serde_json::from_str::<Datum>(&value.to_string()).unwrap().to_value(), value);
}
