use super::*;

fn claims() -> Claims {
    Claims {
        aud: vec![AUDIENCE.to_owned(), "vault".to_owned()],
        exp: 2_000,
        iat: 1_000,
        iss: ISSUER.to_owned(),
        jti: "id".to_owned(),
        kubernetes: Bound {
            namespace: "shop".to_owned(),
            serviceaccount: Reference { name: "robot".to_owned(), uid: "1".to_owned() },
            pod: None,
            secret: None,
        },
        nbf: 1_000,
        sub: "system:serviceaccount:shop:robot".to_owned(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn what_was_signed_is_read_back() {
    let key = ServiceAccountKey::ephemeral().unwrap();
    assert_eq!(key.open(&key.sign(&claims()).unwrap()), Ok(claims()));
}

#[test]
fn tokens_of_others_and_changed_ones_are_refused() {
    let key = ServiceAccountKey::ephemeral().unwrap();
    let token = key.sign(&claims()).unwrap();
    let other = ServiceAccountKey::ephemeral().unwrap();
    assert_eq!(other.open(&token), Err(TokenError::Signature));

    let parts: Vec<&str> = token.split('.').collect();
    let more = Claims { exp: 9_000, ..claims() };
    let forged = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&more).unwrap());
    assert_eq!(key.open(&[parts[0], &forged, parts[2]].join(".")), Err(TokenError::Signature));
    for algorithm in ["none", "HS256", "RS256"] {
        let header = Header { alg: algorithm.to_owned(), kid: key.id.clone() };
        let header = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).unwrap());
        assert_eq!(key.open(&[&header, parts[1], parts[2]].join(".")), Err(TokenError::Signature), "{algorithm}");
    }
    for malformed in ["", ".", "..", "a.b.c", &token[1..], &format!("{token}.x"), &"x".repeat(jwt::LONGEST + 1)] {
        assert!(matches!(key.open(malformed), Err(TokenError::Malformed(_))), "{malformed}");
    }
}

#[test]
fn a_token_holds_for_its_time_and_audience() {
    let ours = [AUDIENCE.to_owned()];
    for (second, expected) in [
        (980, Err(TokenError::Early)),
        (1_000, Ok(ours.to_vec())),
        (1_999, Ok(ours.to_vec())),
        (2_000, Err(TokenError::Expired)),
    ] {
        assert_eq!(claims().check(at(second), &ours), expected, "{second}");
    }
    let wanted = ["vault".to_owned(), "other".to_owned()];
    assert_eq!(claims().check(at(1_500), &wanted), Ok(vec!["vault".to_owned()]));
    assert!(matches!(claims().check(at(1_500), &wanted[1..]), Err(TokenError::Audience(_))));
    let foreign = Claims { iss: "https://elsewhere".to_owned(), ..claims() };
    assert_eq!(foreign.check(at(1_500), &ours), Err(TokenError::Signature));
}

#[test]
fn the_key_set_is_public_only() {
    let key = ServiceAccountKey::ephemeral().unwrap();
    let set = key.key_set();
    assert_eq!(set["keys"][0]["kid"], json!(key.id));
    assert_eq!(set["keys"][0]["x"].as_str().map(str::len), Some(43));
    assert!(set["keys"][0].get("d").is_none());
}

/// Every damage of one byte, and every cut.
#[test]
fn damaged_tokens_never_open_and_never_panic() {
    let key = ServiceAccountKey::ephemeral().unwrap();
    let token = key.sign(&claims()).unwrap();
    for at in 0..token.len() {
        assert!(key.open(&token[..at]).is_err());
        for byte in [b'.', b'A', b'~', b'='] {
            let mut damaged = token.clone().into_bytes();
            let same = std::mem::replace(&mut damaged[at], byte) == byte;
            let damaged = String::from_utf8(damaged).unwrap();
            // The last digit of a part has bits that mean nothing; base64 has to be strict about them.
            assert!(same || key.open(&damaged).is_err(), "{at} {byte}");
        }
    }
}
