use kapell_api::jwt::{self, Header};
use serde_json::json;

use super::*;

fn token(issued: i64, expires: i64, audience: &str) -> String {
    let header = Header { alg: "ES256".to_owned(), kid: "k".to_owned() };
    let unsigned = jwt::unsigned(&header, &json!({"iat": issued, "exp": expires, "aud": [audience]})).unwrap();
    jwt::compact(&unsigned, b"signature")
}

fn pod() -> Pod {
    let projected = |name: &str, source: serde_json::Value| json!({"name": name, "projected": {"sources": [{"serviceAccountToken": source}]}});
    serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [], "volumes": [
        projected("a", json!({"path": "token", "expirationSeconds": 3607})),
        projected("b", json!({"path": "deep/token", "audience": "vault", "expirationSeconds": 600})),
        projected("c", json!({"path": "token", "expirationSeconds": 3607})),
        {"name": "d", "emptyDir": {}},
    ]}}))
    .unwrap()
}

#[test]
fn who_asks_for_the_same_shares_a_token() {
    let wanted: Vec<Wanted> = wanted(&pod()).into_iter().collect();
    let expected = [("", 3607), ("vault", 600)];
    assert_eq!(wanted, expected.map(|(audience, seconds)| Wanted { audience: audience.to_owned(), seconds }));
}

#[test]
fn a_token_is_replaced_before_it_ends_and_when_it_is_a_day_old() {
    for (life, after) in [(1000, 800), (600, 480), (10 * 86_400, 86_400)] {
        let read = Token::read(token(5_000, 5_000 + life, "api")).unwrap();
        assert_eq!((read.replace_at.as_second(), read.expires.as_second()), (5_000 + after, 5_000 + life));
    }
    assert_eq!(Token::read("no token".to_owned()), None);
}

#[test]
fn what_an_earlier_agent_has_left_is_used_while_it_is_good() {
    let place = tempfile::tempdir().unwrap();
    let put = |path: &str, text: String| {
        let file = place.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    put("a/token", token(1_000, 2_000, "api"));
    put("b/deep/token", token(1_000, 2_000, "another"));
    let found = |second: i64| -> Vec<i64> {
        let tokens = left(&pod(), place.path(), Timestamp::from_second(second).unwrap());
        tokens.keys().map(|wanted| wanted.seconds).collect()
    };
    assert_eq!(found(1_100), [3607], "that of another audience is not the one");
    assert!(found(1_900).is_empty());
    put("b/deep/token", token(1_000, 2_000, "vault"));
    assert_eq!(found(1_100), [3607, 600]);
}
