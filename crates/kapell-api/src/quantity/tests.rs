use proptest::prelude::*;

use super::*;

#[test]
fn canonical_forms() {
    for (text, canonical, milli, value) in [
        ("0", "0", 0, 0),
        ("-0", "0", 0, 0),
        ("1", "1", 1000, 1),
        ("+1.", "1", 1000, 1),
        (".5", "500m", 500, 1),
        ("0.1", "100m", 100, 1),
        ("1000m", "1", 1000, 1),
        ("1500m", "1500m", 1500, 2),
        ("-1500m", "-1500m", -1500, -2),
        ("1000", "1k", 1_000_000, 1000),
        ("1500000", "1500k", 1_500_000_000, 1_500_000),
        ("1.5Gi", "1536Mi", 1536 * 1024 * 1024 * 1000, 1536 * 1024 * 1024),
        ("1024Mi", "1Gi", 1024 * 1024 * 1024 * 1000, 1 << 30),
        ("0.5Ki", "512", 512_000, 512),
        ("1000Ki", "1000Ki", 1_024_000_000, 1_024_000),
        ("0.1Mi", "104857600m", 104_857_600, 104_858),
        ("2e3", "2e3", 2_000_000, 2000),
        ("2E-3", "2e-3", 2, 1),
        ("1E", "1E", i64::MAX, 1_000_000_000_000_000_000),
        ("0.1n", "1n", 1, 1),
        ("0.0000000001", "1n", 1, 1),
        ("1e-400", "1e-9", 1, 1),
        ("9223372036854775807", "9223372036854775807", i64::MAX, i64::MAX),
        ("100E", "9223372036854775807", i64::MAX, i64::MAX),
        ("1e999999999", "9223372036854775807", i64::MAX, i64::MAX),
        ("000000000000000000000000000000000000000000000001", "1", 1000, 1),
    ] {
        let q = Quantity::parse(text).unwrap();
        assert_eq!((q.to_string().as_str(), q.milli(), q.value()), (canonical, milli, value), "{text}");
    }
}

#[test]
fn other_strings_are_refused() {
    for text in
        ["", "-", ".", "m", "1.2.3", "1 Gi", "1gi", "1KI", "1mi", "1e", "1e+", "1e3m", "1K", "0x1", "١", "NaN", "1é"]
    {
        assert!(Quantity::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn arithmetic_is_exact_and_keeps_the_notation() {
    let q = |t: &str| Quantity::parse(t).unwrap();
    assert_eq!(q("1"), q("1000m"));
    assert!(q("1Gi") > q("1G"));
    assert_eq!((q("0.1") + q("0.2")).to_string(), "300m");
    assert_eq!((q("1Gi") - q("512Mi")).to_string(), "512Mi");
    assert_eq!((Quantity::ZERO + q("1Mi")).to_string(), "1Mi");
    assert_eq!((q("9E") + q("9E")).value(), i64::MAX);
    assert_eq!(Quantity::from_bytes(2048).to_string(), "2Ki");
    assert_eq!(Quantity::from_milli(2000).to_string(), "2");
    assert!((q("1") - q("2")).is_negative());
}

proptest! {
    #[test]
    fn printing_and_parsing_again_changes_nothing(text in "[+-]?[0-9]{1,25}(\\.[0-9]{0,12})?(n|u|m|k|M|G|Ki|Mi|Ei|e[0-9]|E-[0-9])?") {
        let q = Quantity::parse(&text).unwrap();
        let printed = q.to_string();
        let again = Quantity::parse(&printed).unwrap();
        prop_assert_eq!(q, again);
        prop_assert_eq!(printed, again.to_string());
    }

    #[test]
    fn no_text_panics(text in ".{0,12}") {
        let _ = Quantity::parse(&text);
    }
}
