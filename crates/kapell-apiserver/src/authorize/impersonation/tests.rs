use http::HeaderName;

use super::*;

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    let parse = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    list.iter().map(parse).collect()
}

#[test]
fn headers_say_whom() {
    assert_eq!(wanted(&headers(&[("accept", "*/*")])).unwrap(), None);
    let found = wanted(&headers(&[
        ("Impersonate-User", "ann"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Extra-acme.com%2Fproject", "x"),
    ]));
    let found = found.unwrap().unwrap();
    assert_eq!((found.user.as_str(), found.uid.as_str()), ("ann", "7"));
    assert_eq!(found.groups, ["a", "b"]);
    assert_eq!(found.extra["acme.com/project"], ["x"]);
    for bad in [
        &[("Impersonate-Group", "a")][..],
        &[("Impersonate-Uid", "a")],
        &[("Impersonate-User", "a"), ("Impersonate-Extra-x%2", "y")],
        &[("Impersonate-User", "a"), ("Impersonate-Extra-x%zz", "y")],
    ] {
        assert_eq!(wanted(&headers(bad)).unwrap_err().code, 400, "{bad:?}");
    }
}

#[test]
fn groups_are_those_of_somebody_who_came_by_himself() {
    let completed = |user: &str, groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let mut identity = Identity { user: user.to_owned(), groups, ..Identity::default() };
        complete_groups(&mut identity);
        identity.groups
    };
    assert_eq!(completed("ann", &["dev"]), ["dev", "system:authenticated"]);
    assert_eq!(completed("system:anonymous", &[]), ["system:unauthenticated"]);
    assert_eq!(
        completed("system:serviceaccount:shop:robot", &[]),
        ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]
    );
    assert_eq!(completed("system:serviceaccount:shop:robot", &["x"]), ["x", "system:authenticated"]);
}
