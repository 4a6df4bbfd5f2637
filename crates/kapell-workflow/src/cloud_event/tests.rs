use serde_json::{Value, json};

use super::{CloudEvent, EventError};
use crate::expression::Datum;

fn event(with: Value) -> Result<CloudEvent, EventError> {
    let mut envelope = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t" });
    for (key, value) in with.as_object().unwrap() {
        envelope[key] = value.clone();
    }
    CloudEvent::new(Datum::from_json(&envelope).unwrap())
}

#[test]
fn what_the_specification_forbids_is_named() {
    let cases = [
        (json!({ "id": null }), "`id` is missing"),
        (json!({ "type": "" }), "`type` must be a text that is not empty"),
        (json!({ "source": 3 }), "`source` must be a text that is not empty"),
        (json!({ "specversion": "0.3" }), "`specversion` must be \"1.0\""),
        (json!({ "time": "yesterday" }), "`time` must be an RFC 3339 time"),
        (json!({ "subject": "" }), "`subject` must be a text that is not empty"),
        (json!({ "Upper": "x" }), "`Upper` must be named with lower-case letters and digits"),
        (json!({ "nested": {} }), "`nested` must be a text, a whole number or a boolean"),
        (json!({ "data_base64": "%" }), "`data_base64` must be base64"),
        (json!({ "data_base64": "YQ==", "data": 1 }), "`data_base64` must be alone, without `data`"),
    ];
    for (with, expected) in cases {
        assert_eq!(event(with.clone()).unwrap_err().to_string(), expected, "{with}");
    }
    assert!(CloudEvent::new(Datum::Null).is_err());
    assert!(event(json!({ "extension": true, "partition": 3, "time": "2026-01-01T00:00:00+01:00" })).is_ok());
}

#[test]
fn data_is_what_the_event_carries() {
    let cases = [
        (json!({ "data": { "a": 1 } }), json!({ "a": 1 }), json!("{\"a\":1}")),
        (json!({ "data": "text", "datacontenttype": "text/plain" }), json!("text"), json!("text")),
        (
            json!({ "data_base64": "eyJhIjoxfQ==", "datacontenttype": "application/json" }),
            json!({ "a": 1 }),
            json!("{\"a\":1}"),
        ),
        (json!({ "data_base64": "AAE=", "datacontenttype": "application/octet-stream" }), json!("AAE="), json!("AAE=")),
        (json!({}), json!(null), json!("")),
    ];
    for (with, data, raw) in cases {
        let event = event(with.clone()).unwrap();
        assert_eq!((event.data().to_value(), event.raw().to_value()), (data, raw), "{with}");
    }
}
