use super::*;

#[test]
fn hosts_of_services_are_ours_and_others_are_not() {
    let exists = |key: &ObjectKey| ["shop/order", "default/web"].contains(&key.to_string().as_str());
    let cases = [
        ("order", Some("shop/order:80")),
        ("Order.", Some("shop/order:80")),
        ("order.shop", Some("shop/order:80")),
        ("web.default.svc", Some("default/web:80")),
        ("web.default.svc.cluster.local", Some("default/web:80")),
        ("web", None),
        ("web.default.pod", None),
        ("example.org", None),
        ("order.shop.svc.cluster.local.example.org", None),
        ("127.0.0.1", None),
        ("", None),
    ];
    for (host, expected) in cases {
        let target = resolve_host(host, Some(80), "shop", exists).map(|target| target.to_string());
        assert_eq!(target.as_deref(), expected, "{host}");
    }
}

#[test]
fn a_port_is_chosen_only_without_doubt() {
    let number = |port| Some(TargetPort::Number(port));
    let name = |name: &str| Some(TargetPort::Name(name.to_owned()));
    type Case<'a> = (&'a [(&'a str, u16)], Option<TargetPort>, Option<usize>);
    let cases: [Case<'_>; 8] = [
        (&[("a", 81), ("b", 80)], None, Some(1)),
        (&[("a", 81), ("http", 8080)], None, Some(1)),
        (&[("", 8080)], None, Some(0)),
        (&[("a", 81), ("b", 82)], None, None),
        (&[("a", 81), ("b", 82)], number(82), Some(1)),
        (&[("a", 81)], number(80), None),
        (&[("a", 81)], name("a"), Some(0)),
        (&[], None, None),
    ];
    for (ports, wanted, expected) in cases {
        assert_eq!(choose_port(ports, wanted.as_ref()), expected, "{ports:?} {wanted:?}");
    }
}
