use super::*;

fn resource(
    group: &str,
    namespace: Option<&str>,
    plural: &str,
    name: Option<&str>,
    subresource: Option<&str>,
) -> Target {
    Target::Resource(ResourcePath {
        group: group.into(),
        version: "v1".into(),
        namespace: namespace.map(Into::into),
        plural: plural.into(),
        name: name.map(Into::into),
        subresource: subresource.map(Into::into),
        rest: None,
    })
}

#[test]
fn paths_name_their_targets() {
    for (path, expected) in [
        ("/", Target::Root),
        ("/livez", Target::Health),
        ("/readyz/ping", Target::Health),
        ("/version/", Target::Version),
        ("/api", Target::CoreVersions),
        ("/apis/", Target::Groups),
        ("/apis/apps", Target::Group("apps".into())),
        ("/api/v1", Target::Resources { group: "".into(), version: "v1".into() }),
        ("/apis/apps/v1", Target::Resources { group: "apps".into(), version: "v1".into() }),
        ("/openapi/v3/apis/apps/v1", Target::OpenApiDocument { group: "apps".into(), version: "v1".into() }),
        ("/api/v1/pods", resource("", None, "pods", None, None)),
        ("/api/v1/namespaces", resource("", None, "namespaces", None, None)),
        ("/api/v1/namespaces/a", resource("", None, "namespaces", Some("a"), None)),
        ("/api/v1/namespaces/a/finalize", resource("", None, "namespaces", Some("a"), Some("finalize"))),
        ("/api/v1/namespaces/a/pods", resource("", Some("a"), "pods", None, None)),
        ("/api/v1/namespaces/a/pods/p/log", resource("", Some("a"), "pods", Some("p"), Some("log"))),
        ("/apis/apps/v1/namespaces/a/deployments/d%2Dx", resource("apps", Some("a"), "deployments", Some("d-x"), None)),
        ("/api/v1/namespaces/a/pods/..%2Fsecrets", Target::Unknown),
        ("/api/v1/namespaces/a/pods/%ff", Target::Unknown),
        ("/api/v1/namespaces/a/pods/p/log/more", Target::Unknown),
        ("/metrics-of-something", Target::Unknown),
    ] {
        assert_eq!(parse(path), expected, "{path}");
    }
}

#[test]
fn what_is_passed_on_stays_as_it_is_written() {
    for (path, name, rest) in [
        ("/api/v1/namespaces/a/pods/p/proxy", "p", Some("")),
        ("/api/v1/namespaces/a/pods/p/proxy/", "p", Some("/")),
        ("/api/v1/namespaces/a/services/https:s:web/proxy//x%2Fy/../%ff", "https:s:web", Some("//x%2Fy/../%ff")),
        ("/api/v1/namespaces/a/pods/proxy", "proxy", None),
        ("/api/v1/namespaces/a/pods/proxy/log", "proxy", None),
    ] {
        let Target::Resource(target) = parse(path) else { panic!("{path} is no resource") };
        assert_eq!((target.name.as_deref(), target.rest.as_deref()), (Some(name), rest), "{path}");
        assert_eq!(target.subresource.as_deref() == Some("proxy"), rest.is_some(), "{path}");
    }
    assert_eq!(parse("/api/v1/namespaces/../pods/p/proxy/x"), Target::Unknown);
}

#[test]
fn queries_keep_repeated_keys() {
    let query = Query::parse("command=a&command=b%20c&follow&watch=false&limit=");
    assert_eq!(query.all("command").collect::<Vec<_>>(), ["a", "b c"]);
    assert!(query.flag("follow") && !query.flag("watch") && !query.flag("absent"));
    assert_eq!(query.get("limit"), None);
}
