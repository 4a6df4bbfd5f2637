use super::*;

#[test]
fn tokens_are_read_as_they_were_written() {
    for token in [
        Continue { revision: Some(7), after: "default/web".to_owned() },
        Continue { revision: None, after: "-/node".to_owned() },
        Continue { revision: Some(0), after: String::new() },
    ] {
        assert_eq!(Continue::parse(&token.to_string()), Ok(token));
    }
}

#[test]
fn tokens_of_others_are_refused() {
    let wire = |json: &str| URL_SAFE_NO_PAD.encode(json);
    for text in [
        "",
        "nonsense!",
        &wire("{}"),
        &wire(r#"{"v":"meta.k8s.io/v1","rv":7,"start":"default/web"}"#),
        &wire(r#"{"v":"kapell.dev/v1","rv":-2,"start":"default/web"}"#),
    ] {
        assert_eq!(Continue::parse(text), Err(NotAToken), "{text}");
    }
}
