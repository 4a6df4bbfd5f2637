use serde_json::json;

use super::*;

fn sealed() -> Sealed {
    let keys = BTreeMap::from([("api.v1".to_owned(), vec!["token".to_owned(), "user-name".to_owned()])]);
    Sealed::new(keys)
}

fn disclosure(sealed: &Sealed) -> Disclosure {
    let mut disclosure = Disclosure::new(&sealed.nonce);
    let data =
        BTreeMap::from([("token".to_owned(), b"p\"4ssword".to_vec()), ("user-name".to_owned(), b"ada".to_vec())]);
    disclosure.learn("api.v1", data).unwrap();
    disclosure
}

fn token_of(sealed: &Sealed, key: &str) -> String {
    sealed.argument().get("api.v1").unwrap().get(key).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn a_token_becomes_its_value_and_nothing_else_does() {
    let (sealed, other) = (sealed(), sealed());
    let disclosure = disclosure(&sealed);
    let text = format!("Bearer {}, user {}", token_of(&sealed, "token"), token_of(&sealed, "user-name"));
    assert_eq!(disclosure.names(&[&text]), ["api.v1"]);
    assert_eq!(disclosure.disclosed(&text, str::to_owned).unwrap(), "Bearer p\"4ssword, user ada");
    let json = format!("{{\"t\":\"{}\"}}", token_of(&sealed, "token"));
    assert_eq!(disclosure.disclosed(&json, escaped_json).unwrap(), r#"{"t":"p\"4ssword"}"#);
    // A token of another run was written into this one's data by somebody.
    let foreign = token_of(&other, "token");
    assert_eq!(disclosure.disclosed(&foreign, str::to_owned).unwrap(), foreign);
    assert!(disclosure.names(&[&foreign]).is_empty());
    let gone = token(&sealed.nonce, "api.v1", "gone");
    assert!(matches!(disclosure.disclosed(&gone, str::to_owned), Err(Undisclosed::Missing { .. })));
}

#[test]
fn what_looks_like_a_token_is_text() {
    for text in ["kapell-secret-", "kapell-secret-x-y-s", "kapell-secret-0123456789abcdef01234567-zz-s kapell-secret-"]
    {
        assert_eq!(shown(text), text);
        assert_eq!(Disclosure::default().disclosed(text, str::to_owned).unwrap(), text);
    }
}

#[test]
fn tokens_are_shown_by_name() {
    let sealed = sealed();
    let mut value =
        json!({ "a": [format!("x{}y", token_of(&sealed, "token"))], "b": Sealed::authorization(&sealed.nonce) });
    show(&mut value);
    assert_eq!(value, json!({ "a": ["x[secret api.v1 token]y"], "b": "[authorization]" }));
}

#[test]
fn values_do_not_come_back() {
    let sealed = sealed();
    let mut disclosure = disclosure(&sealed);
    disclosure.learn_authorization("YWRhOnA0c3M=");
    assert_eq!(
        disclosure.blotted(r#"{"echo":"p\"4ssword","raw":p"4ssword,"who":"ada"}"#),
        r#"{"echo":"[redacted]","raw":[redacted],"who":"ada"}"#
    );
    assert_eq!(disclosure.blotted("Basic YWRhOnA0c3M="), "Basic [redacted]");
    assert!(disclosure.betrayed_by(b"\x00\x01p\"4ssword") && !disclosure.betrayed_by(b"ada"));
}
