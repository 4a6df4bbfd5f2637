use super::*;

fn on<'a>(verb: &'a str, group: &'a str, resource: &'a str, name: &'a str) -> Action<'a> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Action::Resource(OnResource { verb, group, resource, subresource, name, ..OnResource::default() })
}

#[test]
fn rules_allow_what_they_name() {
    let rule = Rule::on_resources;
    let named = Rule { resource_names: owned(&["a"]), ..rule(&[""], &["configmaps"], &["get"]) };
    for (rule, action, expected) in [
        (rule(&[""], &["pods"], &["get"]), on("get", "", "pods", "a"), true),
        (rule(&[""], &["pods"], &["get"]), on("list", "", "pods", ""), false),
        (rule(&["apps"], &["pods"], &["get"]), on("get", "", "pods", "a"), false),
        (rule(&["*"], &["pods"], &["*"]), on("delete", "x", "pods", "a"), true),
        (rule(&[""], &["pods"], &["get"]), on("get", "", "pods/log", "a"), false),
        (rule(&[""], &["pods/log"], &["get"]), on("get", "", "pods/log", "a"), true),
        (rule(&[""], &["pods/log"], &["get"]), on("get", "", "pods", "a"), false),
        (rule(&[""], &["*/log"], &["get"]), on("get", "", "pods/log", "a"), true),
        (rule(&[""], &["*/log"], &["get"]), on("get", "", "pods/exec", "a"), false),
        (rule(&[""], &["*"], &["get"]), on("get", "", "pods/exec", "a"), true),
        (named.clone(), on("get", "", "configmaps", "a"), true),
        (named.clone(), on("get", "", "configmaps", "b"), false),
        (named, on("get", "", "configmaps", ""), false),
        (Rule::on_paths(&["/healthz/*"], &["get"]), Action::Path { verb: "get", path: "/healthz/x" }, true),
        (Rule::on_paths(&["/healthz"], &["get"]), Action::Path { verb: "get", path: "/healthz/x" }, false),
        (Rule::on_paths(&["*"], &["get"]), Action::Path { verb: "get", path: "/metrics" }, true),
        (Rule::on_paths(&["*"], &["*"]), on("get", "", "pods", ""), false),
        (rule(&["*"], &["*"], &["*"]), Action::Path { verb: "get", path: "/metrics" }, false),
    ] {
        assert_eq!(rule.allows(&action), expected, "{rule} {action:?}");
    }
}

#[test]
fn what_is_not_held_is_named_shortly() {
    let rule = Rule::on_resources;
    let held = [rule(&[""], &["pods", "services"], &["get", "list"]), rule(&["apps"], &["*"], &["*"])];
    let named = Rule { resource_names: owned(&["a", "b"]), ..rule(&[""], &["secrets"], &["get"]) };
    for (held, wanted, expected) in [
        (&held[..], rule(&["", "apps"], &["pods"], &["get"]), &[][..]),
        (
            &held,
            rule(&[""], &["pods"], &["get", "delete", "watch"]),
            &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete", "watch"]}"#],
        ),
        (&held, rule(&["*"], &["*"], &["*"]), &[r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#]),
        (&held, rule(&["apps"], &["deployments/scale"], &["patch"]), &[]),
        (std::slice::from_ref(&named), named.clone(), &[]),
        (
            std::slice::from_ref(&named),
            rule(&[""], &["secrets"], &["get"]),
            &[r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#],
        ),
        (&Rule::everything(), Rule::on_paths(&["/metrics"], &["get"]), &[]),
        (&held, Rule::on_paths(&["/metrics"], &["get"]), &[r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#]),
    ] {
        let missing: Vec<String> = not_covered(held, &[wanted]).iter().map(Rule::to_string).collect();
        assert_eq!(missing, expected);
    }
}
