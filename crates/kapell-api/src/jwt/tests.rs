use serde_json::{Value, json};

use super::*;

#[test]
fn what_was_written_is_taken_apart() {
    let header = Header { alg: "ES256".to_owned(), kid: "k".to_owned() };
    let signed = unsigned(&header, &json!({"sub": "robot"})).unwrap();
    let token = compact(&signed, b"signature");
    let jwt = Jwt::parse(&token).unwrap();
    assert_eq!((&jwt.header, jwt.signed, &jwt.signature[..]), (&header, &signed[..], &b"signature"[..]));
    assert_eq!(jwt.claims::<Value>(), Ok(json!({"sub": "robot"})));
    assert_eq!(jwt.claims::<Vec<u8>>(), Err(JwtError::Claims));
}

#[test]
fn what_is_no_token_is_refused_by_what_is_wrong() {
    for (token, error) in [
        (String::new(), JwtError::Parts),
        ("a.b".to_owned(), JwtError::Parts),
        ("a.b.c.d".to_owned(), JwtError::Parts),
        ("=.b.c".to_owned(), JwtError::Base64),
        ("e30.e30.e30".to_owned(), JwtError::Header),
        ("x".repeat(LONGEST + 1), JwtError::TooLong),
    ] {
        assert_eq!(Jwt::parse(&token), Err(error), "{token:.20}");
    }
}
