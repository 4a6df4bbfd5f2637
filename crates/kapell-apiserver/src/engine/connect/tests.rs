use super::split_name;

#[test]
fn names_may_have_a_scheme_and_a_port() {
    for (text, expected) in [
        ("web", Some((false, "web", ""))),
        ("web:http", Some((false, "web", "http"))),
        ("web:8080", Some((false, "web", "8080"))),
        ("https:web:8443", Some((true, "web", "8443"))),
        ("https:web:", Some((true, "web", ""))),
        ("http:web:80", Some((false, "web", "80"))),
        (":web:", Some((false, "web", ""))),
        ("ftp:web:21", None),
        (":80", None),
        ("a:b:c:d", None),
    ] {
        assert_eq!(split_name(text), expected, "{text}");
    }
}
