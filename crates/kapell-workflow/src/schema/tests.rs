use serde_json::json;

use super::Schema;
use crate::expression::Datum;

#[test]
fn data_fits_or_the_misfit_is_named_with_its_place() {
    let schema = json!({
        "type": "object",
        "required": ["id"],
        "properties": { "id": { "type": "integer", "minimum": 1 }, "tags": { "items": { "$ref": "#/$defs/tag" } } },
        "$defs": { "tag": { "pattern": "^[a-z]+$", "type": "string" } },
    });
    let schema = Schema::compile(&schema).unwrap();
    let check = |data| schema.check(&Datum::from_json(&data).unwrap()).err().unwrap_or_default();
    assert_eq!(check(json!({ "id": 1, "tags": ["a"] })), "");
    assert_eq!(check(json!({})), "\"id\" is a required property");
    assert_eq!(check(json!({ "id": 0 })), "/id: 0 is less than the minimum of 1");
    assert_eq!(check(json!({ "id": 1, "tags": ["a", "B"] })), "/tags/1: \"B\" does not match \"^[a-z]+$\"");
    assert_eq!(check(json!([])), "[] is not of type \"object\"");
}

#[test]
fn a_schema_that_cannot_be_checked_is_refused() {
    let table = [
        (json!({ "type": "nonsense" }), "is not a JSON schema"),
        (json!({ "pattern": "(" }), "is not a JSON schema"),
        (json!({ "$ref": "https://example.com/schema.json" }), "is not a JSON schema"),
        (json!({ "$ref": "#" }), "leads back to itself"),
        (
            json!({ "$defs": { "a": { "anyOf": [{ "$ref": "#/$defs/a" }] } }, "$ref": "#/$defs/a" }),
            "leads back to itself",
        ),
    ];
    for (schema, expected) in table {
        let error = Schema::compile(&schema).unwrap_err();
        assert!(error.contains(expected), "{schema}: {error}");
    }
}

/// A chain in which each definition names the next twice: as many ways to the last as a checker takes in a lifetime.
#[test]
fn a_schema_that_asks_too_often_is_refused() {
    let chain = |length: usize| {
        let next = |n: usize| json!({ "$ref": format!("#/$defs/d{n}") });
        let definition = |n: usize| match n + 1 < length {
            true => json!({ "allOf": [next(n + 1), next(n + 1)] }),
            false => json!({ "type": "integer" }),
        };
        let definitions: serde_json::Map<_, _> = (0..length).map(|n| (format!("d{n}"), definition(n))).collect();
        json!({ "$ref": "#/$defs/d0", "$defs": definitions })
    };
    let schema = Schema::compile(&chain(10)).unwrap();
    assert!(schema.check(&Datum::Int(1)).is_ok());
    assert!(schema.check(&Datum::Null).is_err());
    let error = Schema::compile(&chain(60)).unwrap_err();
    assert!(error.starts_with("asks more than 10000 questions of the same data"), "{error}");
}

/// A schema may speak of itself as long as the data gets smaller.
#[test]
fn trees_have_schemas() {
    let tree = json!({ "type": "object", "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" } } });
    let schema = Schema::compile(&tree).unwrap();
    assert!(schema.check(&Datum::from_json(&json!({ "left": { "right": {} } })).unwrap()).is_ok());
    assert!(schema.check(&Datum::from_json(&json!({ "left": { "right": 5 } })).unwrap()).is_err());
}
