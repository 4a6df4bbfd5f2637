use serde_json::json;

use super::*;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn columns_are_as_wide_as_their_widest_cell() {
    let rows = [words("web 1/1"), words("übergrößé 0/1")];
    assert_eq!(columns(&words("NAME READY"), &rows), "NAME        READY\nweb         1/1\nübergrößé   0/1\n");
    assert_eq!(columns(&words("NAME READY"), &[]), "NAME   READY\n");
}

#[test]
fn text_wraps_at_words() {
    let cases: [(&str, usize, &[&str]); 6] = [
        ("", 5, &[""]),
        ("one two", 7, &["one two"]),
        ("one two", 6, &["one", "two"]),
        ("one  two\n three", 9, &["one two", "three"]),
        ("abcdefgh ij", 3, &["abc", "def", "gh", "ij"]),
        ("a bcdefgh", 4, &["a", "bcde", "fgh"]),
    ];
    for (text, width, expected) in cases {
        assert_eq!(wrap(text, width), expected, "{text:?} in {width}");
    }
}

#[test]
fn durations_are_short() {
    let cases = [(0, "0 ms"), (999, "999 ms"), (3_338, "3.33 s"), (60_000, "1 min 0 s"), (12_000_000, "3 h 20 min")];
    for (milliseconds, expected) in cases {
        assert_eq!(duration(milliseconds), expected);
    }
}

#[test]
fn tables_show_wide_columns_on_demand_and_put_the_kind_before_the_name() {
    let table = json!({
        "columnDefinitions": [
            {"name": "Last Seen", "format": "", "priority": 0},
            {"name": "Name", "format": "name", "priority": 0},
            {"name": "IP", "format": "", "priority": 1},
        ],
        "rows": [{"cells": ["5s", "a", null], "object": {"metadata": {"namespace": "shop"}}}],
    });
    let view =
        |wide, namespaces, prefix: Option<&str>| TableView { wide, namespaces, prefix: prefix.map(str::to_owned) };
    let cases = [
        (view(false, false, None), "LAST SEEN|NAME", "5s|a"),
        (view(true, true, Some("pod")), "NAMESPACE|LAST SEEN|NAME|IP", "shop|5s|pod/a|"),
    ];
    for (view, header, row) in cases {
        assert_eq!(view.header(&table).join("|"), header);
        assert_eq!(view.rows(&table)[0].join("|"), row);
    }
}
