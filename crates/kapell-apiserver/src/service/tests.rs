use std::sync::Arc;

use kapell_store::memory::MemoryStore;
use tower::ServiceExt as _;

use super::*;
use crate::Config;

/// The code and headers that a request from outside gets.
async fn ask(max_in_flight: usize, path: &str, authorization: Option<&str>) -> (u16, HeaderMap) {
    let mut config = Config::new("secret-token");
    config.max_in_flight = max_in_flight;
    let server = ApiServer::new(config, Arc::new(MemoryStore::new())).await.unwrap();
    let mut request = Request::get(path);
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let service = server.remote_service(Peer::default(), CancellationToken::new());
    let response = service.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    (response.status().as_u16(), response.headers().clone())
}

#[tokio::test]
async fn only_the_token_opens() {
    const PODS: &str = "/api/v1/pods";
    for (path, authorization, expected) in [
        (PODS, Some("Bearer secret-token"), 200),
        (PODS, Some("bearer secret-token"), 200),
        (PODS, Some("Bearer secret-toke"), 401),
        (PODS, Some("Bearer "), 401),
        (PODS, Some("Basic secret-token"), 401),
        (PODS, Some("secret-token"), 401),
        (PODS, None, 401),
        ("/apis", None, 401),
        ("/openapi/v3", None, 401),
        ("/nowhere", None, 401),
        ("/version", None, 200),
        ("/livez", None, 200),
        ("/readyz", None, 200),
        ("/healthz", None, 200),
    ] {
        assert_eq!(ask(10, path, authorization).await.0, expected, "{path} {authorization:?}");
    }
}

#[tokio::test]
async fn too_many_requests_are_sent_away_with_a_time_to_come_back() {
    let (code, headers) = ask(0, "/api/v1/pods", Some("Bearer secret-token")).await;
    assert_eq!((code, headers[header::RETRY_AFTER].to_str().unwrap()), (429, "1"));
}

/// A request from outside; the answer as JSON.
async fn call(server: &ApiServer, method: Method, path: &str, token: &str, body: Value) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::from(body.to_string()))
        .unwrap();
    let service = server.remote_service(Peer::default(), CancellationToken::new());
    let response = service.oneshot(request).await.unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap())
}

async fn server() -> ApiServer {
    ApiServer::new(Config::new("secret-token"), Arc::new(MemoryStore::new())).await.unwrap()
}

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const WHO_AM_I: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

#[tokio::test]
async fn a_token_of_an_account_opens_as_that_account_while_it_exists() {
    let server = server().await;
    let admin = |method, path: String, body| {
        let server = server.clone();
        async move { call(&server, method, &path, "secret-token", body).await }
    };
    let created = admin(Method::POST, ACCOUNTS.to_owned(), json!({"metadata": {"name": "robot"}})).await;
    assert_eq!(created.0, 201, "{}", created.1);
    let issue = |spec: Value| admin(Method::POST, format!("{ACCOUNTS}/robot/token"), json!({"spec": spec}));
    for (spec, code, expected) in [
        (json!({"expirationSeconds": 599}), 422, "may not specify a duration less than 10 minutes"),
        (json!({"expirationSeconds": 1i64 << 33}), 422, "may not specify a duration larger than 2^32 seconds"),
        (json!({"boundObjectRef": {"kind": "ConfigMap", "name": "x"}}), 400, "to type ConfigMap"),
        (json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "x"}}), 404, "not found"),
        (json!({"audience": "x"}), 400, "unknown field `audience`"),
    ] {
        let (refused, answer) = issue(spec.clone()).await;
        assert_eq!(refused, code, "{spec}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(expected), "{answer}");
    }
    let (code, issued) = issue(json!({"expirationSeconds": 600})).await;
    assert_eq!(code, 201, "{issued}");
    let token = issued["status"]["token"].as_str().unwrap();

    let (code, review) = call(&server, Method::POST, WHO_AM_I, token, json!({})).await;
    assert_eq!(code, 201, "{review}");
    let user = &review["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:default:robot");
    assert_eq!(user["uid"], created.1["metadata"]["uid"]);
    assert_eq!(
        user["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );

    let (code, refused) = call(&server, Method::GET, "/api/v1/namespaces/default/pods", token, json!(null)).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            403,
            "pods is forbidden: User \"system:serviceaccount:default:robot\" cannot list resource \"pods\" in API group \"\" \
             in the namespace \"default\""
        )
    );
    let elsewhere = ApiServer::new(Config::new("other"), Arc::new(MemoryStore::new())).await.unwrap();
    assert_eq!(call(&elsewhere, Method::POST, WHO_AM_I, token, json!({})).await.0, 401, "the key is another");

    let other_audience = issue(json!({"audiences": ["vault"]})).await.1["status"]["token"].clone();
    let other_audience = other_audience.as_str().unwrap();
    assert_eq!(call(&server, Method::POST, WHO_AM_I, other_audience, json!({})).await.0, 401);
    let review_token = |audiences: Value| {
        let spec = json!({"token": other_audience, "audiences": audiences});
        admin(Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews".to_owned(), json!({"spec": spec}))
    };
    let (_, review) = review_token(json!(["vault", "x"])).await;
    assert_eq!((&review["status"]["authenticated"], &review["status"]["audiences"]), (&json!(true), &json!(["vault"])));
    let (_, review) = review_token(json!(["x"])).await;
    assert_eq!(review["status"]["authenticated"], json!(null), "{review}");
    assert!(review["status"]["error"].as_str().unwrap().contains("vault"), "{review}");

    assert_eq!(admin(Method::DELETE, format!("{ACCOUNTS}/robot"), json!({})).await.0, 200);
    assert_eq!(call(&server, Method::POST, WHO_AM_I, token, json!({})).await.0, 401, "its account is gone");
    admin(Method::POST, ACCOUNTS.to_owned(), json!({"metadata": {"name": "robot"}})).await;
    assert_eq!(call(&server, Method::POST, WHO_AM_I, token, json!({})).await.0, 401, "this is another account");
}

#[tokio::test]
async fn a_token_can_be_bound_to_a_pod() {
    let server = server().await;
    let admin = async |method, path: &str, body| call(&server, method, path, "secret-token", body).await;
    const PODS: &str = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "main", "command": ["true"]}], "runtimeClassName": "process"}});
    assert_eq!(admin(Method::POST, PODS, pod).await.0, 201);
    let spec = json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web"}});
    let (code, issued) = admin(Method::POST, &format!("{ACCOUNTS}/default/token"), json!({"spec": spec})).await;
    assert_eq!(code, 201, "{issued}");
    let token = issued["status"]["token"].as_str().unwrap();
    let (_, review) = call(&server, Method::POST, WHO_AM_I, token, json!({})).await;
    let extra = &review["status"]["userInfo"]["extra"];
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], json!(["web"]), "{review}");
    assert_eq!(admin(Method::DELETE, &format!("{PODS}/web"), json!({})).await.0, 200);
    assert_eq!(call(&server, Method::POST, WHO_AM_I, token, json!({})).await.0, 401, "its pod is gone");
}

#[tokio::test]
async fn the_keys_of_tokens_are_published() {
    let server = server().await;
    let (_, configuration) =
        call(&server, Method::GET, "/.well-known/openid-configuration", "secret-token", json!(null)).await;
    assert!(configuration["jwks_uri"].as_str().unwrap().ends_with("/openid/v1/jwks"), "{configuration}");
    let (_, keys) = call(&server, Method::GET, "/openid/v1/jwks", "secret-token", json!(null)).await;
    assert_eq!(keys["keys"][0]["alg"], "ES256", "{keys}");
}
