use proptest::prelude::*;
use serde_json::json;

use super::*;

fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn each_operator_selects_what_it_says() {
    for (selector, matching, other) in [
        ("", "", "\0"),
        ("a=b", "a=b,x=y", "a=c"),
        ("a==b", "a=b", ""),
        ("a=", "a=", "a=b"),
        ("a!=b", "a=c", "a=b"),
        ("a!=b", "", "a=b"),
        ("a in (x, y)", "a=y", ""),
        ("a in (,y)", "a=", "a=x"),
        ("a notin (x,y)", "", "a=x"),
        (" a , !b ", "a=", "a=1,b=2"),
        ("ex.com/a", "ex.com/a=1", "a=1"),
        ("a>5", "a=6", "a=5"),
        ("a<5", "a=4", "a=x"),
        ("in in (in),notin notin (notin)", "in=in", "in=in,notin=notin"),
    ] {
        let s = Selector::parse(selector).unwrap();
        assert!(s.matches(&labels(matching)), "{selector:?} refuses {matching:?}");
        assert!(other == "\0" || !s.matches(&labels(other)), "{selector:?} accepts {other:?}");
        let object = json!({"metadata": {"labels": labels(matching)}});
        assert!(s.matches_object(&object));
    }
}

#[test]
fn errors_point_at_the_place() {
    for (selector, position) in [
        ("a=b,", 5),
        ("a b", 3),
        ("a in x", 6),
        ("a in (x", 8),
        ("a=b c", 5),
        ("=b", 1),
        ("a=b,,c", 5),
        ("x,-a=1", 3),
        ("a=b=c", 4),
        ("x,a=-", 3),
        ("a>b", 1),
        ("!", 2),
        ("a in (x))", 9),
    ] {
        let error = Selector::parse(selector).unwrap_err();
        // A wrong symbol has been read when it is refused.
        assert!((position..=position + 1).contains(&error.position), "{selector:?}: {error}");
    }
}

#[test]
fn label_selector_values() {
    assert_eq!(Selector::from_label_selector(&Value::Null).unwrap(), None);
    assert!(Selector::from_label_selector(&json!({})).unwrap().unwrap().is_empty());
    let s = Selector::from_label_selector(&json!({
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["b", "a"]},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    }));
    assert_eq!(s.unwrap().unwrap().to_string(), "app=web,tier in (a,b),!old");
    for (value, field) in [
        (json!({"matchExpressions": [{"key": "a", "operator": "Is"}]}), "matchExpressions[0].operator"),
        (json!({"matchExpressions": [{"key": "a", "operator": "In"}]}), "matchExpressions[0]"),
        (json!({"matchLabels": {"a": "-"}}), "matchLabels[a]"),
        (json!({"matchLabels": {"a": 1}}), "matchLabels[a]"),
        (json!({"matchLabels": ["a"]}), "matchLabels"),
        (json!({"matchExpressions": {}}), "matchExpressions"),
        (
            json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}),
            "matchExpressions[0].operator",
        ),
        (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": "b"}]}), "matchExpressions[0].values"),
        (json!("a=b"), ""),
    ] {
        assert_eq!(Selector::from_label_selector(&value).unwrap_err().field, field);
    }
    assert_eq!(Selector::from_labels(&labels("a=b,c=d")).to_string(), "a=b,c=d");
}

#[test]
fn field_selectors() {
    let s = FieldSelector::parse(r"metadata.name=web, status.phase!=Running,x==a\,b\=c\\,").unwrap();
    let parts: Vec<_> = s.requirements.iter().map(|r| (r.path.as_str(), r.equal, r.value.as_str())).collect();
    assert_eq!(parts, [("metadata.name", true, "web"), ("status.phase", false, "Running"), ("x", true, r"a,b=c\")]);
    assert_eq!(s.exact("metadata.name"), Some("web"));
    assert_eq!(s.exact("status.phase"), None);
    assert_eq!(FieldSelector::parse(&s.to_string()).unwrap(), s);
    let field = |path: &str| match path {
        "metadata.name" => "web".to_owned(),
        "x" => r"a,b=c\".to_owned(),
        _ => String::new(),
    };
    assert!(s.matches_by(field));
    assert!(!FieldSelector::parse("status.phase!=").unwrap().matches_by(field));
    for (text, position) in [("a", 2), ("a=b,cd", 7), ("a!b", 2), ("=b", 1), ("a=b=c", 4), (r"a=b\x", 4)] {
        assert_eq!(FieldSelector::parse(text).unwrap_err().position, position, "{text}");
    }
}

fn requirement() -> impl Strategy<Value = Requirement> {
    use Operator::*;
    let key = "([a-z]{1,5}\\.com/)?[A-Za-z0-9]([a-z_.-]{0,3}[0-9])?";
    let one = (key, prop_oneof![Just(Gt), Just(Lt)], 0i64..99);
    let set = (key, prop_oneof![Just(In), Just(NotIn)], proptest::collection::btree_set("[a-z0-9]{0,3}", 1..4));
    let none = (key, prop_oneof![Just(Exists), Just(DoesNotExist)]);
    prop_oneof![
        one.prop_map(|(k, o, n)| Requirement::new(k, o, BTreeSet::from([n.to_string()])).unwrap()),
        set.prop_map(|(k, o, v)| Requirement::new(k, o, v).unwrap()),
        none.prop_map(|(k, o)| Requirement::new(k, o, BTreeSet::new()).unwrap()),
    ]
}

proptest! {
    #[test]
    fn printing_and_parsing_again_changes_nothing(requirements in proptest::collection::vec(requirement(), 0..4)) {
        let selector = Selector { requirements };
        prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
    }

    #[test]
    fn no_text_panics(text in "[a-z=!<>(), ./é\\\\-]{0,20}") {
        if let Ok(s) = Selector::parse(&text) {
            prop_assert_eq!(Selector::parse(&s.to_string()).unwrap(), s);
        }
        if let Ok(s) = FieldSelector::parse(&text) {
            prop_assert_eq!(FieldSelector::parse(&s.to_string()).unwrap(), s);
        }
    }
}
