use super::*;

fn parsed(line: &str) -> Result<String, String> {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let wanted = parse_targets(&words).map_err(|failure| failure.message)?;
    let each = wanted.iter().map(|want| format!("{}[{}]", want.kind.plural, want.names.join(" ")));
    Ok(each.collect::<Vec<_>>().join(" "))
}

#[test]
fn targets_are_kinds_names_or_both() {
    let cases = [
        ("pods", Ok("pods[]")),
        ("po,svc", Ok("pods[] services[]")),
        ("pod a b", Ok("pods[a b]")),
        ("deploy/a pod/b deployment/c", Ok("deployments[a c] pods[b]")),
        ("Deployment.apps a", Ok("deployments[a]")),
        ("frobs", Err(r#"there is no kind "frobs""#)),
        ("pod/", Err(r#""" cannot be the name of an object"#)),
        ("pod a?b", Err(r#""a?b" cannot be the name of an object"#)),
        ("pod/a b", Err(r#""b" names a kind only"#)),
    ];
    for (line, expected) in cases {
        assert_eq!(parsed(line), expected.map(str::to_owned).map_err(str::to_owned), "{line}");
    }
}
