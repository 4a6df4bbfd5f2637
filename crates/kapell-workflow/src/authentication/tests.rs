use serde_json::json;

use super::digest::{Login, answer};
use super::oauth2::{Granted, Settings, TOKEN_EXCHANGE, TokenRequest, discovered};
use super::*;

#[test]
fn digest_answers_as_the_rfc_does() {
    // RFC 7616, 3.9.1
    let challenge = |algorithm: &str| {
        format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        )
    };
    let login = Login {
        username: "Mufasa",
        password: "Circle of Life",
        method: "GET",
        target: "/dir/index.html",
        cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    };
    let (md5, sha) = (challenge("MD5"), challenge("SHA-256"));
    let header = answer([md5.as_str()].into_iter(), &login).unwrap();
    assert!(header.contains("response=\"8ca523f5e9506fed4657c9700eebdbec\""), "{header}");
    let best = answer(["Basic realm=\"x\"", md5.as_str(), sha.as_str()].into_iter(), &login).unwrap();
    assert!(best.contains("response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\""), "{best}");
    assert!(best.contains("algorithm=SHA-256") && best.contains("opaque=\"FQhe/"));
    assert!(answer(["Basic realm=\"x\"", "Digest realm=\"x\", algorithm=TOKEN"].into_iter(), &login).is_err());
}

fn policy(change: Value) -> Value {
    let mut policy = json!({ "authority": "https://id.example/", "grant": "client_credentials", "client": { "id": "me", "secret": "s3 cret" } });
    for (key, value) in change.as_object().unwrap() {
        policy[key] = value.clone();
    }
    policy
}

fn asked(change: Value) -> Result<TokenRequest, String> {
    let settings = Settings::read(&policy(change)).map_err(|error| error.to_string())?;
    settings.request(&settings.token_endpoint(), 1000, "id").map_err(|error| error.to_string())
}

#[test]
fn each_grant_and_client_authentication_has_its_request() {
    let client = |method: &str| json!({ "client": { "id": "me", "secret": "s", "authentication": method } });
    let token = |token: &str| json!({ "token": token, "type": "urn:ietf:params:oauth:token-type:jwt" });
    let table = [
        (json!({}), "grant_type=client_credentials&client_id=me&client_secret=s3+cret"),
        (
            json!({ "scopes": ["a", "b"], "audiences": ["x", "y"] }),
            "grant_type=client_credentials&scope=a+b&audience=x&audience=y&client_id=me&client_secret=s3+cret",
        ),
        (
            json!({ "grant": "password", "username": "u", "password": "p" }),
            "grant_type=password&username=u&password=p&client_id=me&client_secret=s3+cret",
        ),
        (
            json!({ "grant": "refresh_token", "subject": token("r") }),
            "grant_type=refresh_token&refresh_token=r&client_id=me&client_secret=s3+cret",
        ),
        (
            json!({ "grant": "authorization_code", "subject": token("c") }),
            "grant_type=authorization_code&code=c&client_id=me&client_secret=s3+cret",
        ),
        (
            json!({ "grant": TOKEN_EXCHANGE, "subject": token("s"), "actor": token("a") }),
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=s&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&actor_token=a&actor_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&client_id=me&client_secret=s3+cret",
        ),
        (client("client_secret_basic"), "grant_type=client_credentials"),
        (client("none"), "grant_type=client_credentials&client_id=me"),
        (
            json!({ "client": { "id": "me", "assertion": "a.b.c", "authentication": "private_key_jwt" } }),
            "grant_type=client_credentials&client_id=me&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=a.b.c",
        ),
        (
            json!({ "request": { "encoding": "application/json" }, "audiences": ["x", "y"] }),
            "{\"grant_type\":\"client_credentials\",\"audience\":[\"x\",\"y\"],\"client_id\":\"me\",\"client_secret\":\"s3 cret\"}",
        ),
    ];
    for (change, body) in table {
        let request = asked(change.clone()).unwrap_or_else(|error| panic!("{change}: {error}"));
        assert_eq!(request.body, body, "{change}");
        assert_eq!(request.url, "https://id.example/oauth2/token");
    }
    let basic = asked(client("client_secret_basic")).unwrap();
    assert!(basic.headers.contains(&("authorization", "Basic bWU6cw==".to_owned())));
    let jwt = asked(client("client_secret_jwt")).unwrap().body;
    // Header and claims can be foreseen; the signature is checked by whoever has the secret.
    let assertion = jwt.rsplit('=').next().unwrap();
    assert_eq!(assertion.split('.').count(), 3);
    assert_eq!(assertion, asked(client("client_secret_jwt")).unwrap().body.rsplit('=').next().unwrap());
}

#[test]
fn what_is_missing_is_named() {
    let table = [
        (json!({ "grant": "password" }), "`username` is missing"),
        (json!({ "grant": "refresh_token" }), "`subject` is missing"),
        (json!({ "client": {} }), "`client.id` is missing"),
        (json!({ "grant": "implicit" }), "there is no grant implicit"),
        (json!({ "client": { "id": "a", "secret": "b", "authentication": "private_key_jwt" } }), "not a private key"),
        (json!({ "authority": null }), "`authority` is missing"),
    ];
    for (change, wanted) in table {
        let error = asked(change.clone()).unwrap_err();
        assert!(error.contains(wanted), "{change}: {error}");
    }
}

#[test]
fn answers_of_token_endpoints_are_read() {
    let settings = |change| Settings::read(&policy(change)).unwrap();
    let grant =
        |status, body: &str| settings(json!({})).granted(status, body.as_bytes()).map_err(|error| error.to_string());
    assert_eq!(
        grant(200, r#"{"access_token":"t","expires_in":300}"#),
        Ok(Granted { token: "t".into(), lifetime: 290 })
    );
    assert_eq!(grant(200, r#"{"access_token":"t"}"#), Ok(Granted { token: "t".into(), lifetime: 50 }));
    let refused = grant(400, r#"{"error":"invalid_client","error_description":"who?"}"#);
    assert_eq!(refused, Err("authentication: the token endpoint answered 400: who?".to_owned()));
    assert!(grant(200, "<html>").unwrap_err().contains("no access_token"));
    // {"iss":"https://id.example"}
    let issued = r#"{"access_token":"x.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUifQ.y"}"#.as_bytes();
    assert!(settings(json!({ "issuers": ["https://id.example"] })).granted(200, issued).is_ok());
    assert!(settings(json!({ "issuers": "https://other.example" })).granted(200, issued).is_err());
    assert_eq!(discovered(200, br#"{"token_endpoint":"https://id.example/t"}"#), Ok("https://id.example/t".to_owned()));
    assert!(discovered(200, b"{}").is_err() && discovered(404, b"").is_err());
}

#[test]
fn keys_of_a_secret_are_paths() {
    let flat = json!({ "authority": "https://a", "client.id": "i", "client.secret": "s", "scopes": "a, b" });
    let settings = Settings::read(&nested(flat)).unwrap();
    let body = settings.request("https://a/t", 0, "id").unwrap().body;
    assert_eq!(body, "grant_type=client_credentials&scope=a+b&client_id=i&client_secret=s");
}
