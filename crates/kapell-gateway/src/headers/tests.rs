use super::*;

fn request(headers: &[(&str, &str)], uri: &str) -> Request<()> {
    let mut builder = Request::builder().uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap()
}

fn prepared(headers: &[(&str, &str)], uri: &str) -> Vec<String> {
    let mut request = request(headers, uri);
    prepare_request(&mut request, Some(&HeaderValue::from_static("10.0.0.7")));
    let mut seen: Vec<_> =
        request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    seen.sort();
    seen
}

#[test]
fn connection_headers_stay_behind() {
    let headers = [
        ("host", "order"),
        ("connection", "keep-alive, X-Mine, te"),
        ("x-mine", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("expect", "100-continue"),
        ("authorization", "Bearer x"),
    ];
    assert_eq!(
        prepared(&headers, "/a"),
        [
            "authorization: Bearer x",
            "host: order",
            "te: trailers",
            "x-forwarded-for: 10.0.0.7",
            "x-forwarded-host: order",
            "x-forwarded-proto: http",
        ]
    );
}

#[test]
fn an_earlier_proxy_is_kept_and_the_targets_authority_wins() {
    let headers = [
        ("host", "wrong"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "w.org"),
    ];
    assert_eq!(
        prepared(&headers, "http://right:81/a"),
        ["host: right:81", "x-forwarded-for: 1.2.3.4, 10.0.0.7", "x-forwarded-host: w.org", "x-forwarded-proto: https"]
    );
}

#[test]
fn targets_have_the_form_of_their_version() {
    let mut sent = request(&[("host", "order:81")], "http://order:81/a?b=c");
    origin_form(&mut sent);
    assert_eq!(sent.uri(), "/a?b=c");
    absolute_form(&mut sent).unwrap();
    assert_eq!(sent.uri(), "http://order:81/a?b=c");
    assert!(!sent.headers().contains_key("host"));
}

#[test]
fn cookies_of_http2_become_one_header() {
    let mut sent = request(&[("cookie", "a=1"), ("cookie", "b=2")], "/");
    *sent.version_mut() = Version::HTTP_2;
    origin_form(&mut sent);
    let cookies: Vec<_> = sent.headers().get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
}

#[test]
fn upgrades_are_recognised() {
    let cases = [
        (&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")][..], true),
        (&[("connection", "upgrade"), ("upgrade", "h2c")], false),
        (&[("upgrade", "websocket")], false),
        (&[("connection", "upgrade")], false),
    ];
    for (headers, expected) in cases {
        assert_eq!(wanted_upgrade(request(headers, "/").headers()).is_some(), expected, "{headers:?}");
    }
}

#[test]
fn a_post_is_repeatable_only_with_a_key() {
    let keyed = request(&[("idempotency-key", "k1")], "/");
    let plain = request(&[], "/");
    assert!(is_idempotent(&Method::GET, plain.headers()));
    assert!(is_idempotent(&Method::DELETE, plain.headers()));
    assert!(!is_idempotent(&Method::POST, plain.headers()));
    assert!(!is_idempotent(&Method::PATCH, plain.headers()));
    assert!(is_idempotent(&Method::POST, keyed.headers()));
}
