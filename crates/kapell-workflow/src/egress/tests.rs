use super::*;

fn rules() -> Egress {
    Egress {
        rewrites: vec!["petstore.example=http://127.0.0.1:8080/stand-in/".parse().unwrap()],
        allow: vec!["10.1.0.0/16".parse().unwrap(), "*.corp.example".parse().unwrap()],
        deny: vec!["10.1.2.3".parse().unwrap(), "bad.example".parse().unwrap()],
        own: vec!["127.0.0.1:6443".parse().unwrap()],
    }
}

#[test]
fn addresses_are_judged() {
    let table = [
        ("public.example", "93.184.216.34:443", None),
        ("public.example", "[2606:2800::1]:443", None),
        ("localhost", "127.0.0.1:80", Some("this machine")),
        ("localhost", "[::1]:80", Some("this machine")),
        ("x", "0.0.0.0:80", Some("not an address")),
        ("metadata.example", "169.254.169.254:80", Some("link-local")),
        ("x", "[fe80::1]:80", Some("link-local")),
        ("x", "[::ffff:169.254.169.254]:80", Some("link-local")),
        ("x", "[64:ff9b::a9fe:a9fe]:80", Some("link-local")),
        ("x", "[2002:7f00:1::]:80", Some("this machine")),
        ("x", "10.0.0.1:80", Some("private")),
        ("x", "192.168.1.1:80", Some("private")),
        ("x", "172.31.0.1:80", Some("private")),
        ("x", "172.32.0.1:80", None),
        ("x", "[fd00::1]:80", Some("private")),
        ("x", "224.0.0.1:80", Some("not an address")),
        ("x", "10.1.9.9:80", None),
        ("x", "10.1.2.3:80", Some("deny")),
        ("wiki.corp.example", "192.168.1.1:80", None),
        ("corp.example", "192.168.1.1:80", Some("private")),
        ("evilcorp.example", "192.168.1.1:80", Some("private")),
        ("wiki.corp.example", "127.0.0.1:6443", Some("own API")),
        ("wiki.corp.example", "127.9.9.9:6443", Some("own API")),
        ("wiki.corp.example", "0.0.0.0:6443", Some("own API")),
        ("bad.example", "93.184.216.34:443", Some("deny")),
    ];
    for (host, address, refused) in table {
        let result = rules().check_address(host, address.parse().unwrap());
        match (&result, refused) {
            (Ok(()), None) => {}
            (Err(error), Some(why)) => assert!(error.to_string().contains(why), "{host} {address}: {error}"),
            _ => panic!("{host} {address}: {result:?}, wanted {refused:?}"),
        }
    }
}

#[test]
fn hosts_are_judged_before_they_are_resolved() {
    let table =
        [("good.example", true), ("bad.example", false), ("BAD.example", false), ("[::1]", false), ("10.1.9.9", true)];
    for (host, good) in table {
        assert_eq!(rules().check_host(host, 80).is_ok(), good, "{host}");
    }
}

#[test]
fn rewrites_keep_path_and_query() {
    let table = [
        ("https://petstore.example/v2/pet?a=b", Some("http://127.0.0.1:8080/stand-in/v2/pet?a=b")),
        ("https://PETSTORE.example", Some("http://127.0.0.1:8080/stand-in/")),
        ("https://other.example/", None),
    ];
    for (uri, wanted) in table {
        let rewritten = rules().rewritten(&uri.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(rewritten.as_deref(), wanted, "{uri}");
    }
    let narrow: Rewrite = "x.example:8443=https://y.example".parse().unwrap();
    let egress = Egress { rewrites: vec![narrow], ..Egress::default() };
    assert_eq!(egress.rewritten(&"https://x.example/".parse().unwrap()), None);
    assert_eq!(
        egress.rewritten(&"https://x.example:8443/a".parse().unwrap()).unwrap().to_string(),
        "https://y.example/a"
    );
}

#[test]
fn settings_are_read_or_refused() {
    for good in ["a=http://b", "a.example:1=https://b/c"] {
        assert!(good.parse::<Rewrite>().is_ok(), "{good}");
    }
    for bad in ["a", "a=b", "a=ftp://b", "=http://b", "a=http://b?c"] {
        assert!(bad.parse::<Rewrite>().is_err(), "{bad}");
    }
    for good in ["a.example", "*.example", "1.2.3.4", "::1", "10.0.0.0/8", "fd00::/8"] {
        assert!(good.parse::<Target>().is_ok(), "{good}");
    }
    for bad in ["", "*.", "a b", "10.0.0.0/33", "x/8", "http://a"] {
        assert!(bad.parse::<Target>().is_err(), "{bad}");
    }
}
