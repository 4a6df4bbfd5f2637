use super::*;

#[test]
fn pages_of_git_hosts_become_their_files() {
    let table = [
        (
            "https://github.com/org/repo/tree/main/functions/log/1.0.0/function.yaml",
            "https://raw.githubusercontent.com/org/repo/main/functions/log/1.0.0/function.yaml",
        ),
        ("https://github.com/org/repo/blob/v1/a.yaml", "https://raw.githubusercontent.com/org/repo/v1/a.yaml"),
        (
            "https://github.com/org/repo/functions/a.yaml",
            "https://raw.githubusercontent.com/org/repo/HEAD/functions/a.yaml",
        ),
        ("https://gitlab.com/g/p/-/blob/main/a.yaml", "https://gitlab.com/g/p/-/raw/main/a.yaml"),
        ("https://raw.githubusercontent.com/o/r/main/a.yaml", "https://raw.githubusercontent.com/o/r/main/a.yaml"),
        ("http://catalog/functions/a/1.0.0/function.yaml", "http://catalog/functions/a/1.0.0/function.yaml"),
        ("not a uri", "not a uri"),
    ];
    for (page, file) in table {
        assert_eq!(raw(page), file);
    }
}

#[test]
fn what_cannot_be_pinned_is_told() {
    let need =
        |kind| Need { uri: "http://x/d".into(), kind, authentication: None, secrets: Vec::new(), path: String::new() };
    let table = [
        (Kind::Function, "[1]", "is not a task definition"),
        (Kind::Function, "a: [", "is neither YAML nor JSON"),
        (Kind::Schema, "a: 1\n---\nb: 2", "holds 2 documents"),
        (Kind::Operation("x".into()), "{}", "is not an OpenAPI document"),
    ];
    for (kind, text, wanted) in table {
        let error = reduce(&need(kind), text.as_bytes()).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}
