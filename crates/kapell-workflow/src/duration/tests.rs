use super::{DurationError, Millis};
use crate::expression::Datum;

#[test]
fn iso_8601() {
    let table = [
        ("PT1S", Ok(1000)),
        ("PT0.5S", Ok(500)),
        ("PT0S", Ok(0)),
        ("PT1H30M", Ok(5_400_000)),
        ("P1D", Ok(86_400_000)),
        ("P1W2D", Ok(777_600_000)),
        ("P1.5D", Ok(129_600_000)),
        ("P1DT1H1M1.001S", Ok(90_061_001)),
        ("P1M", Err(DurationError::Calendar)),
        ("P1Y", Err(DurationError::Calendar)),
        ("P", Err(DurationError::Format)),
        ("PT", Err(DurationError::Format)),
        ("1S", Err(DurationError::Format)),
        ("PT1S1M", Err(DurationError::Format)),
        ("PT1M1M", Err(DurationError::Format)),
        ("PT1", Err(DurationError::Format)),
        ("PT-1S", Err(DurationError::Format)),
        ("PT1.S", Err(DurationError::Format)),
        ("P99999999D", Err(DurationError::Range)),
    ];
    for (text, expected) in table {
        assert_eq!(Millis::parse(text).map(|d| d.0), expected, "{text}");
    }
}

#[test]
fn inline_objects() {
    let table = [
        (r#"{"seconds":2,"milliseconds":5}"#, Ok(2005)),
        (r#"{"days":1}"#, Ok(86_400_000)),
        (r#"{}"#, Err(DurationError::Empty)),
        (r#"{"years":1}"#, Err(DurationError::Type)),
        (r#"{"seconds":-1}"#, Err(DurationError::Range)),
        (r#"{"seconds":"1"}"#, Err(DurationError::Type)),
        ("7", Err(DurationError::Type)),
    ];
    for (json, expected) in table {
        let value: Datum = serde_json::from_str(json).unwrap();
        assert_eq!(Millis::from_datum(&value).map(|d| d.0), expected, "{json}");
    }
}
