use super::*;

#[test]
fn each_rule_accepts_and_refuses() {
    let long = "a".repeat(64);
    let label63 = "a".repeat(63);
    type Rule = fn(&str) -> Vec<String>;
    let rows: &[(&str, Rule, &[&str], &[&str])] = &[
        ("label", dns1123_label, &["a", "0", "my-name", &label63], &["", "-a", "a-", "A", "a.b", "a_b", "ä", &long]),
        ("subdomain", dns1123_subdomain, &["a", "a.b-c.0", &long], &["", ".", "a.", ".a", "a..b", "a.-b", "A.b"]),
        ("1035", dns1035_label, &["a", "a-1"], &["", "1a", "a-", "-a", "A", &long]),
        (
            "qualified",
            qualified_name,
            &["a", "A.b_c-1", "ex.com/Name"],
            &["", "/a", "a/", "a/b/c", "-a", "A_/b", &long],
        ),
        ("label value", label_value, &["", "a", "A.b_c"], &["-", "a-", "a b", &long]),
        ("env", env_var_name, &["A", "my.var-1", "1x", "a b"], &["", "a=b", "ü", "a\n"]),
        ("port", port_name, &["http", "http-2", "a1"], &["", "1", "a--b", "-a", "a-", "Http", "a123456789012345"]),
        ("key", config_key, &["a", ".bashrc", "A_b.c-d", "a..b"], &["", ".", "..", "..a", "a/b", "a b"]),
    ];
    for (name, rule, right, wrong) in rows {
        for v in *right {
            assert!(rule(v).is_empty(), "{name} refuses {v:?}: {:?}", rule(v));
        }
        for v in *wrong {
            assert!(!rule(v).is_empty(), "{name} accepts {v:?}");
        }
    }
    assert!(port_number(0).len() == 1 && port_number(65536).len() == 1 && port_number(65535).is_empty());
}

#[test]
fn generated_names_fit_a_label_and_use_the_alphabet() {
    assert_eq!(generate_name("web-", 0), "web-bbbbb");
    assert_eq!(generate_name("web-", 26), "web-9bbbb");
    let name = generate_name(&"a".repeat(100), u64::MAX);
    assert_eq!(name.len(), 63);
    assert!(dns1123_label(&name).is_empty());
    assert_eq!(generate_name(&"ä".repeat(40), 1).chars().count(), 29 + 5);
    assert!(safe_encode("6089324711").bytes().all(|c| ALPHABET.contains(&c)));
}
