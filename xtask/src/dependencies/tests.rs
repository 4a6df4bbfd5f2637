use super::*;

#[test]
fn licence_expressions() {
    let cases = [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("MIT OR GPL-2.0-only", true),
        ("GPL-2.0-only OR Apache-2.0", true),
        ("MIT/Apache-2.0", true),
        ("Apache-2.0 / MIT", true),
        ("MIT AND GPL-2.0-only", false),
        ("GPL-2.0-only AND MIT OR ISC", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND LGPL-3.0", false),
        ("MIT AND (GPL-2.0-only OR LGPL-3.0)", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
        ("GPL-2.0-only WITH Classpath-exception-2.0", false),
        ("CDLA-Permissive-2.0", true),
        ("MPL-2.0", false),
        ("(MIT", false),
        ("MIT Apache-2.0", false),
        ("", false),
    ];
    for (expression, allowed) in cases {
        assert_eq!(licence_allowed(expression), allowed, "{expression}");
    }
}

#[test]
fn each_offence_is_told() {
    let package = |name: &str, license: Option<&str>, source: Option<&str>| Package {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        license: license.map(str::to_owned),
        source: source.map(str::to_owned),
        manifest_path: String::new(),
        dependencies: Vec::new(),
    };
    let packages = [
        package("good", Some("MIT"), Some(CRATES_IO)),
        package("ours", None, None),
        package("unnamed", None, Some(CRATES_IO)),
        package("copyleft", Some("AGPL-3.0-only"), Some(CRATES_IO)),
        package("elsewhere", Some("MIT"), Some("git+https://example.org/elsewhere")),
        package("openssl-probe", Some("MIT"), Some(CRATES_IO)),
        package("openssl", Some("Apache-2.0"), Some(CRATES_IO)),
    ];
    let expected = [
        "unnamed 1.0.0: names no licence",
        "copyleft 1.0.0: licence AGPL-3.0-only is not on the list",
        "elsewhere 1.0.0: comes from git+https://example.org/elsewhere, not from crates.io",
        "openssl 1.0.0: is banned (TLS is rustls: the binary needs nothing beside it)",
    ];
    assert_eq!(complaints(&packages), expected);
}

#[test]
fn deny_toml_says_the_same() {
    let deny = include_str!("../../../deny.toml");
    let section = |name: &str| deny.split("\n[").find_map(|part| part.strip_prefix(&format!("{name}]"))).unwrap();
    let quoted = |line: &str| line.split('"').nth(1).map(str::to_owned);
    let licences = section("licenses").lines().filter(|line| line.starts_with("    \"")).filter_map(quoted);
    let mut expected: Vec<_> = LICENCES.iter().chain(&SPECIAL_LICENCES).map(|name| (*name).to_owned()).collect();
    expected.sort_unstable();
    assert_eq!(licences.collect::<Vec<_>>(), expected);
    let banned = section("bans").lines().filter(|line| line.starts_with("    { crate")).filter_map(quoted);
    assert_eq!(banned.collect::<Vec<_>>(), BANNED.map(|(name, _)| name.to_owned()));
}
