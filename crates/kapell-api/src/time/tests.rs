use super::*;

#[test]
fn foreign_forms_become_utc() {
    for (text, seconds, micros) in [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000Z"),
        ("2026-01-02T03:04:05.123456+00:00", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123456Z"),
        ("2026-01-02T03:04:05.9999999+02:00", "2026-01-02T01:04:05Z", "2026-01-02T01:04:05.999999Z"),
        ("1969-12-31T23:59:59.5-01:00", "1970-01-01T00:59:59Z", "1970-01-01T00:59:59.500000Z"),
    ] {
        let t = parse(text).unwrap();
        assert_eq!((format_time(t).as_str(), format_micro_time(t).as_str()), (seconds, micros), "{text}");
    }
}

#[test]
fn other_formats_are_refused() {
    for text in [
        "",
        "now",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05Z",
        "2026-13-02T03:04:05Z",
        "2026-01-02T03:04Z",
        "2026-01-02T03:04:05Z[UTC]",
        "2026-01-02t03:04:05z",
        "é026-01-02T03:04:05Z",
    ] {
        assert!(parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn durations_print_as_kubectl_prints_them() {
    const M: i64 = 60;
    const H: i64 = 60 * M;
    const D: i64 = 24 * H;
    const Y: i64 = 365 * D;
    for (seconds, text) in [
        (-2, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (130, "2m10s"),
        (9 * M + 59, "9m59s"),
        (10 * M + 30, "10m"),
        (179 * M, "179m"),
        (3 * H, "3h"),
        (3 * H + 5 * M, "3h5m"),
        (8 * H + 5 * M, "8h"),
        (47 * H, "47h"),
        (2 * D, "2d"),
        (4 * D + 2 * H, "4d2h"),
        (8 * D + 5 * H, "8d"),
        (729 * D, "729d"),
        (2 * Y + 3 * D, "2y3d"),
        (8 * Y + 3 * D, "8y"),
    ] {
        assert_eq!(human_duration(seconds), text, "{seconds}");
    }
    assert_eq!(age("1970-01-01T00:00:10Z", 15), "5s");
    assert_eq!(age("", 15), "<unknown>");
}
