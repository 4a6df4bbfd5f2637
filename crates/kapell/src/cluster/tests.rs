use super::*;

#[test]
fn kinds_go_by_many_names() {
    let cases = [
        ("po", "Pod"),
        ("pods", "Pod"),
        ("Pod", "Pod"),
        ("deploy", "Deployment"),
        ("deployments.apps", "Deployment"),
        ("wfr", "WorkflowRun"),
    ];
    for (word, kind) in cases {
        assert_eq!(kind_called(word).ok().map(|found| found.kind), Some(kind), "{word}");
    }
    for word in ["", "deployments.batch", "crds"] {
        assert!(kind_called(word).is_err(), "{word}");
    }
}

#[test]
fn one_object_is_named_in_one_word_or_two() {
    let named = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        named(&words).map(|named| format!("{}/{}", named.kind.singular, named.name)).map_err(|failure| failure.message)
    };
    let cases = [
        ("pod/a", Ok("pod/a")),
        ("svc a.b-c", Ok("service/a.b-c")),
        ("pod", Err("\"pod\" names a kind only")),
        ("pod/a/b", Err("\"a/b\" cannot be the name of an object")),
        ("pod ü", Err("\"ü\" cannot be the name of an object")),
    ];
    for (line, expected) in cases {
        assert_eq!(named(line), expected.map(str::to_owned).map_err(str::to_owned), "{line}");
    }
}

#[test]
fn values_in_queries_are_encoded() {
    assert_eq!(query(&[]), "");
    assert_eq!(query(&[("labelSelector", "a=b, c"), ("watch", "true")]), "?labelSelector=a%3Db%2C%20c&watch=true");
}

#[test]
fn hints_repeat_the_flags_that_were_given() {
    let target = |data: Option<&str>, kubeconfig: Option<&str>| Target {
        data: data.map(Into::into),
        kubeconfig: kubeconfig.map(Into::into),
        namespace: None,
    };
    let cases = [
        (target(None, None), None, ""),
        (target(Some("/d"), None), None, " --data /d"),
        (target(Some("/d"), None), Some("/d"), ""),
        (target(Some("/other"), None), Some("/d"), " --data /other"),
        (target(Some("/d"), Some("/k f")), None, " --kubeconfig '/k f'"),
    ];
    for (target, environment, expected) in cases {
        assert_eq!(flags(&target, environment.map(OsStr::new)), expected);
    }
}

#[test]
fn words_survive_a_shell() {
    let cases = [("plain-1./x", "plain-1./x"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("{}", "'{}'")];
    for (word, expected) in cases {
        assert_eq!(quoted(word), expected);
    }
}

#[test]
fn commands_start_as_the_person_has_typed_it() {
    let here = Some(Path::new("/src/kapell"));
    let cases = [
        ("kapell", "kapell"),
        ("", "kapell"),
        ("./kapell", "./kapell"),
        ("target/release/kapell", "target/release/kapell"),
        ("/src/kapell/target/release/kapell", "target/release/kapell"),
        ("/src/kapell/kapell", "./kapell"),
        ("/opt/my programs/kapell", "'/opt/my programs/kapell'"),
    ];
    for (called, expected) in cases {
        assert_eq!(program(called, here), expected, "{called}");
    }
}

#[tokio::test]
async fn a_file_and_a_flag_must_agree_on_the_namespace() {
    let cluster = |chosen| Cluster { chosen, namespace: "a".to_owned(), ..Cluster::nowhere("") };
    let cases = [
        (false, None, Some("a")),
        (false, Some("b"), Some("b")),
        (true, None, Some("a")),
        (true, Some("a"), Some("a")),
        (true, Some("b"), None),
    ];
    for (chosen, in_file, expected) in cases {
        assert_eq!(cluster(chosen).namespace_for(in_file).ok(), expected, "{chosen} {in_file:?}");
    }
}
